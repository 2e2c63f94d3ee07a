// Installs a verified package: zonal gateways side by side, the ECUs of one gateway one after another.
//
// When an ECU fails, no further one is begun; those that are being flashed are finished, because a half-written ECU is
// the worse end. A cancel stops each flash between two requests; the ECU is sent back to its default session, and what
// runs in it then is read and told: two-bank ECUs go on with their old software, others wait in their boot loader for the
// next update.

import { join } from "node:path";
import type { EcuIdentification } from "../../../hardware/flash/identification.ts";
import { type FlashStep, flashSteps } from "../../../hardware/flash/plan.ts";
import { FlashCancelledError, flashEcu } from "../../../hardware/flash/sequence.ts";
import type { UpdatePackage } from "../../codec/open_package.ts";
import type { Logger } from "../../log.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { CancelRequested, explain } from "../errors.ts";
import type { EcuUpdateStatus, JournalEcu } from "./journal.ts";
import type { EcuState } from "./report.ts";
import { lookAtStopped } from "./stopped.ts";
import type { Target } from "./targets.ts";

/** Options of {@link installPackage}. */
export interface InstallOptions {
  update: { readonly updateId: string };
  bundle: UpdatePackage;
  targets: readonly Target[];
  /** What each target ECU reported just now. */
  found: ReadonlyMap<string, EcuIdentification>;
  /** What the journal has of each target: an update that is gone on with has done some of it. */
  journal: ReadonlyMap<string, JournalEcu>;
  bus: VehicleBus;
  /** Folder for the images while they are flashed. */
  directory: string;
  fingerprint: Uint8Array;
  /** Called when an ECU's status changes: noted on disk when it returns. */
  onEcu: (ecu: JournalEcu) => void;
  /** Called as an ECU gets on. */
  onProgress: (ecuId: string, change: Partial<EcuState>) => void;
  signal: AbortSignal;
  log: Logger;
}

/** Share of an ECU's own progress, per cent, that is done when the transfer begins and when it ends. */
const transfer = { begin: 10, end: 90 } as const;
const transferAt = flashSteps.indexOf("transfer_data");

/**
 * Installs on every target. Resolves when each has an end: `completed`, `failed` or `cancelled`, told by `onEcu`.
 * @throws the signal's reason when that is anything but {@link CancelRequested}: the update is gone on with later
 */
export async function installPackage(options: InstallOptions): Promise<void> {
  const installer = new Installer(options);
  const zones = Map.groupBy(options.targets, ({ ecu }) => ecu.zonalGatewayId);
  const outcomes = await Promise.allSettled([...zones.values()].map((targets) => installer.zone(targets)));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

class Installer {
  readonly #options: InstallOptions;
  readonly #log: Logger;
  /** Set once an ECU failed. */
  #failed: boolean;

  constructor(options: InstallOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#failed = [...options.journal.values()].some(({ status }) => status === "failed");
  }

  async zone(targets: readonly Target[]): Promise<void> {
    for (const target of targets) await this.#target(target);
  }

  async #target(target: Target): Promise<void> {
    const { ecu, entry } = target;
    const { journal, found, signal } = this.#options;
    const before = journal.get(ecu.ecuId)?.status ?? "pending";
    if (before === "failed") return;
    this.#throwIfStopped();
    if (found.get(ecu.ecuId)?.swVersion === entry.version) {
      this.#log.info(`${ecu.ecuId} runs ${entry.version} already`);
      this.#end(target, "completed", null, null);
    } else if (signal.aborted) {
      if (before === "installing") await this.#endStopped(target, null, "interrupted");
      else this.#end(target, "cancelled", null, null);
    } else if (this.#failed && before !== "installing") {
      this.#end(target, "cancelled", null, "not begun: another ECU failed");
    } else {
      await this.#install(target);
    }
  }

  async #install(target: Target): Promise<void> {
    const { ecu, entry } = target;
    const { onEcu, bundle, bus, update, directory, fingerprint, signal } = this.#options;
    this.#log.info(`${ecu.ecuId}: installing ${entry.version} (${entry.image.size} bytes)`);
    onEcu({ ecuId: ecu.ecuId, status: "installing", step: null, error: null });
    const file = join(directory, `${ecu.ecuId}.bin`);
    let step: string = "extract_image";
    try {
      const image = await bundle.extractImage(entry, file, { signal });
      const { version } = await bus.use(
        ecu.ecuId,
        { purpose: `update ${update.updateId}`, exclusive: true, signal },
        (client, reconnect) =>
          flashEcu(client, image, {
            plan: ecu.flashPlan,
            version: entry.version,
            fingerprint,
            reconnect,
            signal,
            onProgress: (at, done, total) => {
              step = at;
              this.#options.onProgress(ecu.ecuId, { step: at, progress: progressOf(at, done, total) });
            },
            log: (message) => this.#log.debug(message),
          }),
      );
      this.#log.info(`${ecu.ecuId}: reports ${version}`);
      this.#end(target, "completed", null, null);
    } catch (error) {
      this.#throwIfStopped();
      if (signal.aborted && (error instanceof FlashCancelledError || error === signal.reason)) {
        await this.#endStopped(target, step, `stopped at ${step}`);
        return;
      }
      this.#failed = true;
      const text = explain(error);
      this.#end(target, "failed", step, text.includes(ecu.ecuId) ? text : `${ecu.ecuId}: ${step}: ${text}`);
    } finally {
      await removeFile(file);
    }
  }

  /** A stop that came after the ECU took the new software over has changed nothing. */
  async #endStopped(target: Target, step: string | null, what: string): Promise<void> {
    const { version, text } = await lookAtStopped(this.#options.bus, target.ecu.ecuId, what);
    if (version === target.entry.version) this.#end(target, "completed", null, null);
    else this.#end(target, "cancelled", step, text);
  }

  #end(target: Target, status: EcuUpdateStatus, step: string | null, error: string | null): void {
    const { ecuId } = target.ecu;
    if (error !== null) this.#log.warn(`${ecuId} ${status}: ${error}`);
    this.#options.onEcu({ ecuId, status, step, error });
  }

  /** Anything but a cancel leaves the update as it is, to be gone on with. */
  #throwIfStopped(): void {
    const { signal } = this.#options;
    if (signal.aborted && !(signal.reason instanceof CancelRequested)) throw signal.reason;
  }
}

function progressOf(step: FlashStep, done: number, total: number): number {
  const at = flashSteps.indexOf(step);
  if (at < transferAt) return transfer.begin * at / transferAt;
  if (at === transferAt) {
    return transfer.begin + (transfer.end - transfer.begin) * (total > 0 ? done / total : 0);
  }
  return transfer.end + (100 - transfer.end) * (at - transferAt) / (flashSteps.length - transferAt);
}

async function removeFile(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
