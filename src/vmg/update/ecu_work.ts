// What an installation does to one ECU: each phase over the bus, alone at the ECU, and repeatable.

import { decodeText } from "../../../hardware/flash/identification.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import { FlashError } from "../../../hardware/flash/errors.ts";
import { type FlashStep, resolveFlashPlan } from "../../../hardware/flash/plan.ts";
import {
  activateEcu,
  commitEcu,
  confirmEcu,
  flashEcu,
  type FlashOptions,
  rollBackEcu,
  stageEcu,
  verifyStaged,
} from "../../../hardware/flash/sequence.ts";
import type { UdsClient } from "../../../hardware/uds/client.ts";
import { NegativeResponseError } from "../../../hardware/uds/errors.ts";
import { Nrc } from "../../../hardware/uds/nrc.ts";
import type { Logger } from "../../log.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { BackupError, ReleaseRefusedError } from "../errors.ts";
import { openBackup } from "./backups.ts";
import type { JournalEcu } from "./journal.ts";

/** Options of {@link EcuWork}. */
export interface EcuWorkOptions {
  updateId: string;
  bus: VehicleBus;
  /** Folder of the backups. */
  backups: string;
  fingerprint: Uint8Array;
  onStep: (ecuId: string, step: FlashStep, done: number, total: number) => void;
  log: Logger;
}

/** An ECU with what is to run on it. */
export type EcuGoal = Pick<JournalEcu, "ecuId" | "release"> & { version: string };

type Work<T> = (client: UdsClient, options: FlashOptions) => Promise<T>;

/** The phases of an installation on any ECU of the vehicle. */
export class EcuWork {
  readonly #options: EcuWorkOptions;

  constructor(options: EcuWorkOptions) {
    this.#options = options;
  }

  /** Whether the ECU keeps what it ran, and goes back to it by itself. */
  keepsOld(ecuId: string): boolean {
    return this.#options.bus.ecu(ecuId).flashPlan.trial ?? false;
  }

  /** What runs in the ECU; undefined when it tells no version: a boot loader without software. */
  async version(ecuId: string, signal: AbortSignal): Promise<string | undefined> {
    const { bus, updateId } = this.#options;
    const { versionDid } = resolveFlashPlan(bus.ecu(ecuId).flashPlan);
    try {
      return await bus.use(
        ecuId,
        { purpose: `update ${updateId}`, signal },
        async (client) => decodeText(await client.readDataByIdentifier(versionDid, { signal })),
      );
    } catch (error) {
      if (error instanceof NegativeResponseError) return undefined;
      throw error;
    }
  }

  /** @param save called before the first cell changes */
  async stage(
    goal: EcuGoal,
    image: FirmwareImage,
    save: ((client: UdsClient) => Promise<void>) | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#do(
      goal,
      signal,
      (client, options) => stageEcu(client, image, { ...options, beforeErase: save }),
    );
  }

  async verify(goal: EcuGoal, image: FirmwareImage, signal: AbortSignal): Promise<void> {
    await this.#do(goal, signal, (client, options) => verifyStaged(client, image, options));
  }

  /**
   * @param image undefined: it was transferred before, and is not needed where the ECU can have it without running it
   * @throws {ReleaseRefusedError} when the ECU has committed a newer release
   */
  async activate(goal: EcuGoal, image: FirmwareImage | undefined, signal: AbortSignal): Promise<void> {
    try {
      await this.#do(goal, signal, (client, options) => activateEcu(client, image, options));
    } catch (error) {
      throw await this.#releaseRefused(goal, error, signal) ?? error;
    }
  }

  /** What an ECU that counts releases means by requestOutOfRange at its activation; undefined for any other refusal. */
  async #releaseRefused(
    { ecuId, version, release }: EcuGoal,
    error: unknown,
    signal: AbortSignal,
  ): Promise<ReleaseRefusedError | undefined> {
    if (!(error instanceof FlashError) || error.step !== "activate" || release === null) return undefined;
    if (error.nrc !== Nrc.requestOutOfRange) return undefined;
    const committed = await this.#releaseCounter(ecuId, signal);
    if (committed !== undefined && committed <= release) return undefined;
    return new ReleaseRefusedError(
      `${ecuId}: ${version} is release ${release}, and the ECU has committed release ${
        committed ?? "above it"
      }: it takes ` +
        "none below that (anti-rollback)",
      { cause: error },
    );
  }

  /** The release that the ECU has committed; undefined when it does not tell. */
  async #releaseCounter(ecuId: string, signal: AbortSignal): Promise<number | undefined> {
    const { bus, updateId } = this.#options;
    const { releaseCounterDid } = resolveFlashPlan(bus.ecu(ecuId).flashPlan);
    try {
      return await bus.use(ecuId, { purpose: `update ${updateId}`, signal }, async (client) => {
        const record = await client.readDataByIdentifier(releaseCounterDid, { signal });
        return record.length === 4 ? new DataView(record.buffer, record.byteOffset).getUint32(0) : undefined;
      });
    } catch (error) {
      // The refusal itself is what is told; the counter would only have explained it.
      this.#options.log.debug(`${ecuId}: the release counter cannot be read`, { error });
      return undefined;
    }
  }

  async confirm(goal: EcuGoal, signal: AbortSignal): Promise<void> {
    await this.#do(goal, signal, confirmEcu);
  }

  async commit(goal: EcuGoal, signal: AbortSignal): Promise<void> {
    await this.#do(goal, signal, commitEcu);
  }

  /**
   * Has the old software run again, its version read back.
   * @throws {BackupError} when there is none, or what was saved of it is not whole: trying again changes nothing
   */
  async rollBack(ecu: JournalEcu, signal: AbortSignal): Promise<void> {
    const { ecuId, fromVersion, backup, phase } = ecu;
    const running = await this.version(ecuId, signal);
    const accepted = phase !== "staging" && phase !== "staged";
    // What was not accepted does not run at the next start either.
    if (!accepted && running !== undefined && running === fromVersion) return;
    if (fromVersion === null) {
      throw new BackupError(`${ecuId}: it ran no software before that could be gone back to`);
    }
    const goal = { ecuId, version: fromVersion, release: null };
    if (this.keepsOld(ecuId)) {
      await this.#do(goal, signal, rollBackEcu);
      return;
    }
    if (backup === null) throw new BackupError(`${ecuId}: nothing was saved of ${fromVersion}`);
    const image = await openBackup(this.#options.backups, backup);
    await this.#do(goal, signal, (client, options) => flashEcu(client, image, options));
  }

  async #do<T>({ ecuId, version, release }: EcuGoal, signal: AbortSignal, work: Work<T>): Promise<T> {
    const { bus, updateId, fingerprint, log, onStep } = this.#options;
    return await bus.use(
      ecuId,
      { purpose: `update ${updateId}`, exclusive: true, signal },
      (client, reconnect) =>
        work(client, {
          plan: bus.ecu(ecuId).flashPlan,
          version,
          fingerprint,
          ...release === null ? {} : { releaseCounter: release },
          reconnect,
          signal,
          onProgress: (step, done, total) => onStep(ecuId, step, done, total),
          log: (message) => log.debug(message),
        }),
    );
  }
}
