// Installs a verified package as one transaction over several ECUs and zones: all of them run the new software in the end, or
// all the old.
//
//   staging        zonal gateways side by side: what an ECU runs is saved unless it keeps that by itself, the image goes in
//                  and is checked. When all have theirs, each checks it once more
//   activating     group by group: the ECUs accept it, restart and report the new version. A cancel is not obeyed any more
//   confirming     all end their trial within a time; each can still be gone back from
//   committing     the decision is on disk: it only goes forward. Release counters are raised, backups deleted
//   rolling_back   whatever went wrong up to confirming: every ECU that was touched runs its old version, read back
//
// Each step stands in the journal before it is begun, and each can be done again: after a crash or a loss of power, of the
// gateway, of ECUs or both, run() goes on where the journal says.

import type { EcuIdentification } from "../../../hardware/flash/identification.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import { type FlashStep, resolveFlashPlan } from "../../../hardware/flash/plan.ts";
import { FlashError } from "../../../hardware/flash/sequence.ts";
import type { UdsClient } from "../../../hardware/uds/client.ts";
import type { PackageEcu } from "../../contract/package.ts";
import type { Logger } from "../../log.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { BackupError, explain, explainFor } from "../errors.ts";
import { mapBounded } from "../parallel.ts";
import { delay } from "../../wait.ts";
import { activationGroups } from "./activation_order.ts";
import { rangesToSave, readSoftwareRanges, removeBackups, saveBackup } from "./backups.ts";
import { type EcuGoal, EcuWork } from "./ecu_work.ts";
import type { EcuNote, EcuPhase, InstallPhase, JournalEcu, UpdateJournal } from "./journal.ts";
import type { Target } from "./targets.ts";

/** What is installed. Not needed from `confirming` on, and not for rolling back. */
export interface Installation {
  /** The verified image of one of the targets. */
  image: (entry: PackageEcu) => FirmwareImage;
  targets: readonly Target[];
  /** What each target ECU reported just now. */
  found: ReadonlyMap<string, Pick<EcuIdentification, "swVersion">>;
}

/** What the transaction writes to the journal and reads there. */
export type TransactionJournal = Pick<
  UpdateJournal,
  "get" | "ecus" | "setEcu" | "setPhase" | "setBackup" | "beginInstall"
>;

/** Times of a transaction, milliseconds, and how much of it is done at once. */
export interface TransactionSettings {
  /** ECUs of one zonal gateway whose images are transferred at once. */
  parallelFlash: number;
  /** Longest time for all ECUs together to confirm. */
  confirmTimeout: number;
  /** How long an ECU that cannot be brought back, or does not commit, is tried again. */
  rollBackPatience: number;
  /** First wait before such a try; it doubles. */
  retryDelay: number;
  /** Largest such wait. */
  maxRetryDelay: number;
}

/** Options of {@link InstallTransaction}. */
export interface TransactionOptions {
  updateId: string;
  journal: TransactionJournal;
  bus: VehicleBus;
  /** undefined where the journal is past the need for it. */
  installation: Installation | undefined;
  /** Folder of the backups. */
  backups: string;
  fingerprint: Uint8Array;
  settings: TransactionSettings;
  /** Waits until ECUs may be changed. */
  conditions: (signal: AbortSignal) => Promise<void>;
  /** Called with what makes all go back. */
  onFailure: (error: unknown) => void;
  /** Called when an ECU's state has changed in the journal. */
  onEcu: (ecu: EcuNote) => void;
  /** Called as an ECU gets on. */
  onStep: (ecuId: string, step: FlashStep, done: number, total: number) => void;
  /** Obeyed before the activation. */
  cancel: AbortSignal;
  /** The gateway stops: what is under way is gone on with at the next start. */
  stop: AbortSignal;
  log: Logger;
}

/** How a transaction ended. */
export interface TransactionEnd {
  status: "completed" | "failed" | "cancelled";
  /** Why, where it is not completed. */
  error: string | null;
}

/** Phases in which a cancel is not obeyed. */
export function isPastCancel(phase: InstallPhase | null): boolean {
  return phase !== null && phase !== "staging";
}

/** Whether a transaction in this phase goes on without its package. */
export function needsNoPackage(phase: InstallPhase | null): boolean {
  return phase === "confirming" || phase === "committing" || phase === "rolling_back";
}

/** The installation of one update. */
export class InstallTransaction {
  readonly #options: TransactionOptions;
  readonly #work: EcuWork;
  readonly #log: Logger;

  constructor(options: TransactionOptions) {
    this.#options = options;
    this.#log = options.log;
    const { updateId, bus, backups, fingerprint, onStep, log } = options;
    this.#work = new EcuWork({ updateId, bus, backups, fingerprint, onStep, log });
  }

  /**
   * Begins the installation, or goes on with it.
   * @throws the reason of `stop`, and what the journal throws: the next call goes on
   */
  async run(): Promise<TransactionEnd> {
    const { journal, updateId, stop } = this.#options;
    const phase = journal.get(updateId)?.phase ?? null;
    if (phase === "rolling_back") return await this.#rollBack();
    if (phase === "committing") return await this.#commit();
    try {
      if (phase === null || phase === "staging") await this.#stage(phase === null);
      await this.#activate();
      await this.#confirm();
    } catch (error) {
      stop.throwIfAborted();
      return await this.rollBack(error);
    }
    return await this.#commit();
  }

  /** Rolls everything back that was touched: the installation cannot go on for `error`, or is cancelled. */
  async rollBack(error: unknown): Promise<TransactionEnd> {
    const { journal, updateId, cancel } = this.#options;
    const cancelled = cancel.aborted && !isPastCancel(journal.get(updateId)?.phase ?? null);
    const ecu = error instanceof FlashError ? error.ecu : undefined;
    const text = ecu === undefined ? explainFor("", error) : explainFor(ecu, error);
    if (!cancelled) this.#options.onFailure(error);
    journal.setPhase(
      updateId,
      "rolling_back",
      cancelled
        ? { outcome: "cancelled", error: explain(cancel.reason) }
        : { outcome: "failed", error: `install: ${text}` },
    );
    this.#log.warn(
      `Update ${updateId}: all ECUs go back to what they ran: ${cancelled ? "cancelled" : text}`,
    );
    return await this.#rollBack();
  }

  // ---- staging

  async #stage(first: boolean): Promise<void> {
    const { conditions, cancel, stop } = this.#options;
    const failed = new AbortController();
    const signal = AbortSignal.any([stop, cancel, failed.signal]);
    await conditions(signal);
    if (first) this.#begin();
    const targets = this.#targets().filter(({ ecu }) => this.#ecu(ecu.ecuId).phase !== "unchanged");
    const zones = [...Map.groupBy(targets, ({ ecu }) => ecu.zonalGatewayId).values()];
    // One that fails has the others stopped: what they would be given is not going to run.
    const each = async (zone: Target[], work: (target: Target, signal: AbortSignal) => Promise<void>) => {
      // ECUs that go on with their old software meanwhile come first.
      const order = zone.toSorted((a, b) => rank(this.#work, a) - rank(this.#work, b));
      await mapBounded(order, this.#options.settings.parallelFlash, async (target) => {
        try {
          await work(target, signal);
        } catch (error) {
          const own = !signal.aborted;
          if (own) this.#noteError(target.ecu.ecuId, error);
          failed.abort(error);
          throw error;
        }
      });
    };
    const inAll = async (work: (target: Target, signal: AbortSignal) => Promise<void>) => {
      const outcomes = await Promise.allSettled(zones.map((zone) => each(zone, work)));
      stop.throwIfAborted();
      if (failed.signal.aborted) throw failed.signal.reason;
      for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
      cancel.throwIfAborted();
    };
    await inAll((target, signal) => this.#stageEcu(target, signal));
    await inAll((target, signal) => this.#verifyEcu(target, signal));
    // The vehicle may have moved meanwhile.
    await conditions(signal);
    cancel.throwIfAborted();
  }

  /** Puts on record what runs where, and what is to. */
  #begin(): void {
    const { journal, updateId, installation } = this.#options;
    const targets = this.#targets();
    const groups = activationGroups(targets);
    const plans = targets.map(({ ecu: { ecuId }, entry }) => {
      const fromVersion = installation?.found.get(ecuId)?.swVersion ?? null;
      const phase: EcuPhase = fromVersion === entry.version ? "unchanged" : "pending";
      return {
        ecuId,
        phase,
        fromVersion,
        toVersion: entry.version,
        release: entry.release ?? null,
        image: { sha256: entry.image.sha256, size: entry.image.size },
        activation: groups.get(ecuId) ?? 0,
      };
    });
    journal.beginInstall(updateId, plans);
    for (const { ecuId, phase, toVersion } of plans) {
      if (phase !== "unchanged") continue;
      this.#log.info(`${ecuId} runs ${toVersion} already`);
      this.#note(ecuId, { status: "completed", step: null, error: null });
    }
  }

  async #stageEcu(target: Target, signal: AbortSignal): Promise<void> {
    const { ecu: { ecuId }, entry } = target;
    const { journal, updateId, backups, bus } = this.#options;
    const row = this.#ecu(ecuId);
    if (row.phase === "staged") return;
    signal.throwIfAborted();
    this.#log.info(`${ecuId}: installing ${entry.version} (${entry.image.size} bytes)`);
    const image = this.#image(target);
    // From here on the ECU is looked at when everything is rolled back.
    this.#note(ecuId, { status: "installing", step: "extended_session", error: null }, "staging");
    const { flashPlan } = bus.ecu(ecuId);
    const needsBackup = !this.#work.keepsOld(ecuId) && (flashPlan.backup ?? true) &&
      row.fromVersion !== null && row.backup === null;
    const save = async (client: UdsClient) => {
      const { softwareRangesDid } = resolveFlashPlan(flashPlan);
      const software = await readSoftwareRanges(client, softwareRangesDid);
      const saved = await saveBackup(client, {
        directory: backups,
        file: `${updateId}_${ecuId}.bin`,
        ranges: rangesToSave(image, flashPlan, software),
        plan: flashPlan,
        onProgress: (done, total) => this.#options.onStep(ecuId, "read_memory", done, total),
        signal,
      });
      journal.setBackup(updateId, ecuId, saved);
    };
    await this.#work.stage(this.#goal(row), image, needsBackup ? save : undefined, signal);
    this.#note(ecuId, { status: "installing", step: "check_memory", error: null }, "staged");
  }

  async #verifyEcu(target: Target, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const row = this.#ecu(target.ecu.ecuId);
    await this.#work.verify(this.#goal(row), this.#image(target), signal);
  }

  // ---- activating, confirming, committing

  async #activate(): Promise<void> {
    const { journal, updateId, stop, installation } = this.#options;
    const resumed = isPastCancel(journal.get(updateId)?.phase ?? null);
    if (!resumed) journal.setPhase(updateId, "activating");
    const groups = Map.groupBy(this.#touched(), ({ activation }) => activation);
    for (const group of [...groups.keys()].sort((a, b) => a - b)) {
      await this.#all(groups.get(group) ?? [], async (row) => {
        const target = installation?.targets.find(({ ecu }) => ecu.ecuId === row.ecuId);
        // An ECU that has lost power since goes back to the old software, and is activated once more.
        if (row.phase === "staged") this.#noteStep(row.ecuId, "activate", "activating");
        const image = target === undefined ? undefined : this.#image(target);
        await this.#work.activate(this.#goal(row), image, stop);
        if (row.phase !== "confirmed") this.#noteStep(row.ecuId, "verify_version", "activated");
      });
    }
  }

  async #confirm(): Promise<void> {
    const { journal, updateId, stop, settings } = this.#options;
    journal.setPhase(updateId, "confirming");
    const signal = AbortSignal.any([stop, AbortSignal.timeout(settings.confirmTimeout)]);
    await this.#all(this.#touched(), async (row) => {
      await this.#work.confirm(this.#goal(row), signal);
      this.#noteStep(row.ecuId, "confirm", "confirmed");
    });
  }

  /** The decision, and what follows from it. An ECU that does not commit runs the new software all the same. */
  async #commit(): Promise<TransactionEnd> {
    const { journal, updateId, stop, backups } = this.#options;
    if (journal.get(updateId)?.phase !== "committing") journal.setPhase(updateId, "committing");
    await this.#all(this.#touched().filter(({ phase }) => phase !== "committed"), async (row) => {
      const { ecuId, toVersion } = row;
      let error: string | null = null;
      try {
        await this.#patiently(ecuId, () => this.#work.commit(this.#goal(row), stop));
      } catch (failure) {
        stop.throwIfAborted();
        error = `it runs ${toVersion} and keeps its old software: ${explainFor(ecuId, failure)}`;
        this.#log.warn(`${ecuId}: ${error}`);
      }
      this.#log.info(`${ecuId}: runs ${toVersion}`);
      this.#note(ecuId, { status: "completed", step: null, error }, "committed");
    });
    await removeBackups(backups, updateId);
    return { status: "completed", error: null };
  }

  // ---- rolling back

  async #rollBack(): Promise<TransactionEnd> {
    const { journal, updateId, backups } = this.#options;
    const rows = journal.ecus(updateId);
    const touched = rows.filter(({ phase }) =>
      phase !== "pending" && phase !== "unchanged" && phase !== "rolled_back" && phase !== "lost"
    );
    await this.#all(touched, (row) => this.#rollBackEcu(row));
    for (const { ecuId, phase, error } of rows) {
      if (phase === "pending") this.#note(ecuId, { status: "cancelled", step: null, error });
    }
    const lost = journal.ecus(updateId).filter(({ phase }) => phase === "lost");
    // What could not be brought back may still be needed.
    if (lost.length === 0) await removeBackups(backups, updateId);
    const update = journal.get(updateId);
    const errors = [update?.error ?? "install", ...lost.map(({ error }) => error)];
    return {
      status: lost.length > 0 ? "failed" : update?.outcome ?? "failed",
      error: errors.filter((it) => it !== null).join("; "),
    };
  }

  async #rollBackEcu(row: JournalEcu): Promise<void> {
    const { ecuId, fromVersion } = row;
    const { stop } = this.#options;
    try {
      await this.#patiently(ecuId, () => this.#work.rollBack(row, stop));
    } catch (error) {
      stop.throwIfAborted();
      const text = explainFor(ecuId, error);
      const why = row.error === null ? "" : `${row.error}; `;
      this.#log.error(`${ecuId} could not be brought back: ${text}`);
      this.#note(
        ecuId,
        { status: "failed", step: "roll_back", error: `${why}not brought back: ${text}` },
        "lost",
      );
      return;
    }
    this.#log.info(`${ecuId}: runs ${fromVersion} again`);
    this.#note(ecuId, { status: "rolled_back", step: null, error: row.error }, "rolled_back");
  }

  /** Tries again while the ECU may only be away. */
  async #patiently(ecuId: string, work: () => Promise<void>): Promise<void> {
    const { stop, settings } = this.#options;
    const until = Date.now() + settings.rollBackPatience;
    for (let wait = settings.retryDelay;; wait = Math.min(2 * wait, settings.maxRetryDelay)) {
      try {
        return await work();
      } catch (error) {
        stop.throwIfAborted();
        if (error instanceof BackupError || Date.now() >= until) throw error;
        this.#log.info(`${ecuId}: ${explainFor(ecuId, error)}; tried again in ${wait} ms`);
      }
      await delay(wait, stop);
    }
  }

  // ---- what all phases use

  #targets(): readonly Target[] {
    const { installation, updateId } = this.#options;
    if (installation === undefined) {
      throw new RangeError(`update ${updateId}: expected its package, got none`);
    }
    return installation.targets;
  }

  #ecu(ecuId: string): JournalEcu {
    const row = this.#options.journal.ecus(this.#options.updateId).find((it) => it.ecuId === ecuId);
    if (row === undefined) throw new RangeError(`${ecuId}: the journal has no such ECU`);
    return row;
  }

  /** ECUs that are changed. */
  #touched(): JournalEcu[] {
    const { journal, updateId } = this.#options;
    return journal.ecus(updateId).filter(({ phase }) => phase !== "unchanged");
  }

  #goal({ ecuId, toVersion, release }: JournalEcu): EcuGoal {
    if (toVersion === null) throw new RangeError(`${ecuId}: the journal does not say what it is to run`);
    return { ecuId, version: toVersion, release };
  }

  /** Works on all at once, waits for each, and throws what the first of them threw; its ECU's note says it. */
  async #all(rows: readonly JournalEcu[], work: (row: JournalEcu) => Promise<void>): Promise<void> {
    const outcomes = await Promise.allSettled(rows.map(async (row) => {
      try {
        await work(row);
      } catch (error) {
        if (!this.#options.stop.aborted) this.#noteError(row.ecuId, error);
        throw error;
      }
    }));
    this.#options.stop.throwIfAborted();
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  #image({ entry }: Target): FirmwareImage {
    const { installation, updateId } = this.#options;
    if (installation === undefined) {
      throw new RangeError(`update ${updateId}: expected its package, got none`);
    }
    return installation.image(entry);
  }

  #noteStep(ecuId: string, step: FlashStep, phase: EcuPhase): void {
    this.#note(ecuId, { status: "installing", step, error: null }, phase);
  }

  #noteError(ecuId: string, error: unknown): void {
    const { status, step } = this.#ecu(ecuId);
    const at = error instanceof FlashError ? error.step : step;
    this.#note(ecuId, { status, step: at, error: explainFor(ecuId, error) });
  }

  #note(ecuId: string, change: Omit<EcuNote, "ecuId">, phase?: EcuPhase): void {
    const ecu = { ecuId, ...change };
    this.#options.journal.setEcu(this.#options.updateId, ecu, phase);
    this.#options.onEcu(ecu);
  }
}

/** ECUs that run on while they are written before those that do not. */
function rank(work: EcuWork, { ecu }: Target): number {
  return work.keepsOld(ecu.ecuId) ? 0 : 1;
}
