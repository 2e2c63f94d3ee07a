// Does the updates of the journal, one at a time and oldest first: download, verify, install as one transaction, report.
// Whatever interrupts it, an update that was taken goes on at the next start and has a reported end.

import type { EcuIdentification } from "../../../hardware/flash/identification.ts";
import type { Approver } from "../../contract/campaign.ts";
import type { RestClient } from "../../contract/client.ts";
import { isFinal, type UpdateStatus, updateStatus } from "../../contract/ota.ts";
import type { CodecPool } from "../../codec/pool.ts";
import type { Logger } from "../../log.ts";
import type { VerifyKey } from "../../pqc/signature.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { ApprovalError, CancelRequested, explain, StopRequested } from "../errors.ts";
import type { Outbox } from "../link/outbox.ts";
import type { UpdateSettings } from "../options.ts";
import { mapBounded } from "../parallel.ts";
import type { VehicleDescription } from "../vehicle.ts";
import type { TelemetrySource } from "../telemetry.ts";
import { delay, orAborted } from "../../wait.ts";
import type { UpdateDirections } from "./directions.ts";
import { removePackage } from "./download.ts";
import { type FetchedPackage, type FetchOptions, fetchPackage } from "./fetch.ts";
import { EcuProgress } from "./ecu_progress.ts";
import { failureOf, mayBeMended } from "./failures.ts";
import type { JournalUpdate, NewUpdate, UpdateJournal } from "./journal.ts";
import type { UpdateTimer } from "./deadline.ts";
import { type ApprovalOutcome, type OpenUpdate, openUpdates } from "./approvals.ts";
import { Permissions, type WaitingUpdate } from "./permission.ts";
import { UpdateReporter } from "./report.ts";
import { checkHardware } from "./targets.ts";
import type { ImageStore } from "./image_store.ts";
import { preparedImage } from "./package_images.ts";
import type { GivenTerms, TermsJournal, UpdateTerms } from "./terms.ts";
import { InstallTransaction, isPastCancel, needsNoPackage, type TransactionEnd } from "./transaction.ts";

/** Options of {@link UpdateRunner}. */
export interface UpdateRunnerOptions {
  vehicle: VehicleDescription;
  bus: VehicleBus;
  journal: UpdateJournal;
  outbox: Outbox;
  rest: RestClient;
  /** e.g. `https://localhost:8443`: packages come from there and nowhere else. */
  origin: string;
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  pool: CodecPool;
  /** Folder for packages. */
  directory: string;
  images: ImageStore;
  /** Folder for what ECUs ran that do not keep it. */
  backups: string;
  /** Measured values, for conditions. undefined: there are none */
  source: TelemetrySource | undefined;
  settings: Required<UpdateSettings>;
  /** ECUs of one zonal gateway that are read at once. */
  parallelReads: number;
  /** What signed metadata directs. */
  directions: UpdateDirections;
  /** What updates were started with. */
  terms: TermsJournal;
  /** Tells when an update's time has run out. */
  timer: UpdateTimer;
  /** An update has ended. */
  onEnded: (update: JournalUpdate, status: UpdateStatus) => void;
  log: Logger;
}

const stages = updateStatus.options;

/** What the verification found. */
interface Verified extends FetchedPackage {
  found: Map<string, EcuIdentification>;
}

/** The update under way. */
interface Current {
  readonly updateId: string;
  readonly terms: UpdateTerms;
  readonly cancel: AbortController;
  readonly reporter: UpdateReporter;
  installing: boolean;
}

/** The updates of one vehicle. */
export class UpdateRunner {
  readonly #options: UpdateRunnerOptions;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #wake: () => void = () => {};
  readonly #permissions: Permissions;
  #current: Current | undefined;

  constructor(options: UpdateRunnerOptions) {
    this.#options = options;
    this.#log = options.log.child("OTA");
    this.#permissions = new Permissions({
      ...options,
      onApproved: (updateId, by) => {
        if (this.#current?.updateId === updateId) this.#current.reporter.approved(by);
      },
      log: this.#log,
    });
  }

  /** Whether ECUs are being changed. */
  get installing(): boolean {
    return this.#current?.installing ?? false;
  }

  start(): void {
    if (this.#running !== undefined) return;
    this.#giveUpDamaged();
    this.#running = this.#run();
  }

  /** How far such an update was, nobody knows: what its ECUs run, the next report of versions tells. */
  #giveUpDamaged(): void {
    const { journal, terms } = this.#options;
    for (const { error, open } of journal.giveUpDamaged((updateId) => terms.get(updateId))) {
      terms.forget(error.updateId);
      const text =
        `${error.message}. Its ECUs may run different versions: look at them, and update them again`;
      this.#log.error(`Update ${error.updateId} is given up: ${text}`);
      if (open) this.#tellEnd(error.updateId, "failed", text);
    }
  }

  /** Reports the end of an update whose ECUs nothing is known of. */
  #tellEnd(updateId: string, status: "failed" | "cancelled", error: string): void {
    const { outbox, vehicle: { vmgId }, settings: { reportInterval, waitReportInterval } } = this.#options;
    new UpdateReporter({
      vmgId,
      updateId,
      status,
      ecus: [],
      outbox,
      interval: reportInterval,
      waitInterval: waitReportInterval,
    }).finish(status, error);
  }

  /** Ends what is under way where the next start goes on. */
  async stop(): Promise<void> {
    this.#stopping.abort(new StopRequested("the gateway stops"));
    await this.#running;
  }

  /** Updates that have not ended, oldest first. */
  open(): OpenUpdate[] {
    return openUpdates(
      this.#options,
      (updateId) => this.#current?.updateId === updateId ? this.#current.reporter.waiting : undefined,
    );
  }

  /**
   * Takes an update on; one that is known already is not begun again. To be called within a transaction.
   * @param given what the server's command says of it. @default at once, and without an end
   */
  accept(update: NewUpdate, given?: GivenTerms): void {
    const { journal, terms, timer } = this.#options;
    if (!journal.add(update)) {
      this.#log.info(`Update ${update.updateId} is known already`);
      return;
    }
    if (given !== undefined) terms.begin(update.updateId, given);
    timer.heard(update.updateId);
    this.#log.info(`Update ${update.updateId} accepted: ${update.targetEcus.join(", ")}`);
    const accepted = journal.get(update.updateId);
    if (accepted !== undefined) this.#reporter(accepted).enter("accepted");
    // The work begins after the transaction around this.
    setTimeout(() => this.#wake(), 0);
  }

  /** Approves an update, as {@link Permissions.approve} does. To be called within a transaction. */
  approve(updateId: string, by: Approver): ApprovalOutcome {
    return this.#permissions.approve(updateId, by);
  }

  /**
   * Cancels an update. To be called within a transaction.
   * @param reason why, as it is told
   */
  cancel(updateId: string, reason = "cancelled on request"): void {
    const { journal, terms } = this.#options;
    const known = journal.get(updateId);
    if (known === undefined) {
      const error = "cancelled before it was begun";
      journal.addCancelled(updateId, error);
      this.#tellEnd(updateId, "cancelled", error);
      this.#log.info(`Update ${updateId} is cancelled; its start was never heard of`);
    } else if (isPastCancel(known.phase) && !isFinal(known.status)) {
      this.#log.warn(
        `Update ${updateId} cannot be cancelled any more: ${
          known.phase === "rolling_back"
            ? "its ECUs are going back to their old software"
            : "its ECUs are being activated; all run the new software in the end, or all the old"
        }`,
      );
    } else if (journal.requestCancel(updateId)) {
      terms.setCancelReason(updateId, reason);
      this.#log.info(`Update ${updateId} is to be cancelled: ${reason}`);
      setTimeout(() => {
        if (this.#current?.updateId === updateId) this.#current.cancel.abort(new CancelRequested(reason));
      }, 0);
    } else {
      this.#log.info(`Update ${updateId} cannot be cancelled: it is ${known.status}`);
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    // What the last run of the program may have left, and what is beyond a limit that was lowered.
    if (this.#options.journal.next() === undefined) {
      await this.#trimImages().catch((error: unknown) =>
        this.#log.warn(`Images are not tidied up: ${explain(error)}`)
      );
    }
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      let what = "The next update";
      try {
        const update = this.#options.journal.next();
        if (update === undefined) await orAborted(woken, signal).catch(() => {}); // The loop's condition sees the end.
        else {
          what = `Update ${update.updateId}`;
          await this.#update(update);
        }
      } catch (error) {
        // The disk is full or fails: the update is where the journal says, and is gone on with.
        const wait = this.#options.settings.maxRetryDelay;
        this.#log.error(`${what}: ${explain(error)}. It is gone on with in ${wait} ms`);
        await delay(wait, signal).catch(() => {}); // The loop's condition sees the end.
      }
    }
  }

  #reporter(update: JournalUpdate): UpdateReporter {
    const { vehicle, outbox, settings, journal, terms } = this.#options;
    return new UpdateReporter({
      vmgId: vehicle.vmgId,
      updateId: update.updateId,
      status: update.status,
      ecus: journal.ecus(update.updateId).map(({ ecuId, status, step, error }) => ({
        ecuId,
        status,
        step,
        error,
        progress: status === "completed" ? 100 : 0,
        bytes: null,
        speed: null,
        timeLeft: null,
        weight: 1,
      })),
      outbox,
      interval: settings.reportInterval,
      waitInterval: settings.waitReportInterval,
      approvedBy: terms.get(update.updateId).approvedBy,
      onFault: (error) => this.#log.warn(`Update ${update.updateId} is not reported now: ${explain(error)}`),
    });
  }

  async #update(update: JournalUpdate): Promise<void> {
    const { updateId } = update;
    const { timer } = this.#options;
    const terms = this.#options.terms.get(updateId);
    const reporter = this.#reporter(update);
    const current: Current = { updateId, terms, cancel: new AbortController(), reporter, installing: false };
    this.#current = current;
    const stop = this.#stopping.signal;
    const signal = AbortSignal.any([stop, current.cancel.signal]);
    // The request may have come between the journal's answer and this.
    if (this.#options.journal.get(updateId)?.cancelRequested) {
      current.cancel.abort(new CancelRequested(terms.cancelReason ?? "cancelled on request"));
    }
    timer.heard(updateId);
    const unwatch = timer.watch(
      updateId,
      terms,
      () => this.#timeOut(current),
      (error) =>
        this.#log.error(`Update ${updateId}, whose time ran out, goes on for now: ${explain(error)}`),
    );
    if (update.status !== "accepted") this.#log.info(`Update ${updateId} goes on: it was ${update.status}`);
    try {
      const { status, error } = await this.#perform(update, reporter, current, signal);
      this.#end(update, reporter, status, error);
    } catch (error) {
      if (!stop.aborted) throw error;
      this.#log.info(`Update ${updateId} rests until the next start`);
      return;
    } finally {
      unwatch();
      reporter.close();
      this.#current = undefined;
    }
    timer.forget(updateId);
    await this.#cleanUp(update);
    const ended = this.#options.journal.get(updateId);
    if (ended !== undefined) this.#options.onEnded(ended, ended.status);
  }

  /** From wherever the journal says to the update's end. @throws when the gateway stops, or its disk fails */
  async #perform(
    update: JournalUpdate,
    reporter: UpdateReporter,
    current: Current,
    signal: AbortSignal,
  ): Promise<TransactionEnd> {
    let stage = "download";
    let verified: Verified | undefined;
    if (!needsNoPackage(update.phase)) {
      try {
        verified = await this.#fetchVerified(update, reporter, signal, (name) => stage = name);
        // The time may have been attested on the way.
        this.#checkTime(current);
        stage = "wait";
        if (update.phase === null) await this.#permissions.wait(waitingUpdate(current, verified, signal));
        this.#checkTime(current);
      } catch (error) {
        this.#stopping.signal.throwIfAborted();
        this.#log.debug(`Update ${update.updateId}`, { error });
        if (update.phase !== null) {
          // Some ECUs are not any more what they were.
          current.installing = true;
          return await this.#transaction(update, undefined, reporter, current).rollBack(error);
        }
        if (current.cancel.signal.aborted) {
          return { status: "cancelled", error: explain(current.cancel.signal.reason) };
        }
        if (error instanceof ApprovalError) return { status: "cancelled", error: explain(error) };
        this.#noteFailure(update.updateId, error);
        return { status: "failed", error: failureOf(stage, error) };
      }
      for (const { ecu, entry } of verified.targets) reporter.ecu(ecu.ecuId, { weight: entry.image.size });
    }
    current.installing = true;
    this.#enter(update, reporter, "installing");
    return await this.#transaction(update, verified, reporter, current).run();
  }

  /** Has the images of all targets on the disk, verified, and knows what each target is now. */
  async #fetchVerified(
    update: JournalUpdate,
    reporter: UpdateReporter,
    signal: AbortSignal,
    onStage: (stage: string) => void,
  ): Promise<Verified> {
    const { bus, parallelReads, directions } = this.#options;
    onStage("metadata");
    const directed = await directions.of(update, signal);
    const fetched = await this.#fetch(update, {
      check: (manifest) => directions.match(manifest, directed),
      onStage,
      onEnter: (status) => this.#enter(update, reporter, status),
      onProgress: (share) => reporter.stage(share),
      signal,
    });
    const zones = [...Map.groupBy(fetched.targets, ({ ecu }) => ecu.zonalGatewayId).values()];
    const found = await Promise.all(zones.map((zone) =>
      mapBounded(zone, parallelReads, async (target) =>
        [
          target.ecu.ecuId,
          await checkHardware(target, bus, `update ${update.updateId}`, signal),
        ] as const)
    ));
    return { ...fetched, found: new Map(found.flat()) };
  }

  async #fetch(
    update: JournalUpdate,
    options: Pick<FetchOptions, "check" | "onStage" | "onEnter" | "onProgress" | "signal">,
  ): Promise<FetchedPackage> {
    try {
      return await fetchPackage(update, { ...this.#options, ...options, log: this.#log });
    } catch (error) {
      options.signal.throwIfAborted();
      throw this.#options.directions.refused(error);
    }
  }

  /** An update that is gone on with is not told to be further back than it was. */
  #enter(update: JournalUpdate, reporter: UpdateReporter, status: UpdateStatus): void {
    if (stages.indexOf(status) <= stages.indexOf(update.status)) return;
    this.#options.journal.setStatus(update.updateId, status);
    reporter.enter(status);
    this.#log.info(`Update ${update.updateId}: ${status}`);
  }

  #transaction(
    update: JournalUpdate,
    verified: Verified | undefined,
    reporter: UpdateReporter,
    current: Current,
  ): InstallTransaction {
    const { journal, bus, images, backups, settings } = this.#options;
    const { updateId } = update;
    const progress = new Map<string, EcuProgress>();
    return new InstallTransaction({
      updateId,
      journal,
      bus,
      installation: verified && {
        image: (entry) => preparedImage(entry, images),
        targets: verified.targets,
        found: verified.found,
      },
      backups,
      fingerprint: settings.fingerprint,
      settings,
      conditions: async (signal) => {
        await this.#permissions.waitForConditions(waitingUpdate(current, verified, signal));
        this.#checkTime(current);
      },
      onFailure: (error) => this.#noteFailure(updateId, this.#options.directions.refused(error)),
      onEcu: ({ ecuId, ...note }) =>
        reporter.ecu(ecuId, {
          ...note,
          ...(note.status === "completed" ? { progress: 100 } : {}),
          ...(note.status === "installing" ? {} : { bytes: null, speed: null, timeLeft: null }),
        }),
      onStep: (ecuId, step, done, total) => {
        const own = progress.get(ecuId) ?? new EcuProgress();
        progress.set(ecuId, own);
        reporter.ecu(ecuId, own.at(step, done, total));
      },
      cancel: current.cancel.signal,
      stop: this.#stopping.signal,
      log: this.#log,
    });
  }

  /** The time has run out: it is as if somebody had cancelled the update, and as late. */
  #timeOut(current: Current): void {
    const { journal } = this.#options;
    const { updateId, terms: { deadline }, cancel } = current;
    if (cancel.signal.aborted) return;
    const until = deadline === null ? "" : ` at ${new Date(deadline).toISOString()}`;
    if (isPastCancel(journal.get(updateId)?.phase ?? null)) {
      this.#log.warn(
        `Update ${updateId}: its time ran out${until}, but its ECUs are being activated: it goes on`,
      );
      return;
    }
    const reason = `its time ran out${until}`;
    journal.transaction(() => this.cancel(updateId, reason));
    cancel.abort(new CancelRequested(reason));
  }

  /** @throws the cancel's reason */
  #checkTime(current: Current): void {
    const { updateId, terms, cancel } = current;
    if (this.#options.timer.left(updateId, terms) <= 0) this.#timeOut(current);
    cancel.signal.throwIfAborted();
  }

  #noteFailure(updateId: string, error: unknown): void {
    this.#options.terms.setRetryable(updateId, mayBeMended(error));
  }

  /** Writes the end down together with the report of it. ECUs that were not begun never will be. */
  #end(update: JournalUpdate, reporter: UpdateReporter, status: UpdateStatus, error: string | null): void {
    const { journal } = this.#options;
    const { updateId } = update;
    journal.transaction(() => {
      for (const { ecuId, status: at, step, error: note } of reporter.ecus) {
        if (at !== "pending" && at !== "installing") continue;
        journal.setEcu(updateId, { ecuId, status: "cancelled", step, error: note });
        reporter.ecu(ecuId, { status: "cancelled" });
      }
      journal.finish(updateId, status, error);
      const { retryable } = this.#options.terms.get(updateId);
      reporter.finish(
        status,
        error,
        retryable !== false && !reporter.ecus.some((ecu) => ecu.status === "failed"),
      );
    });
    if (status === "completed") this.#log.info(`Update ${updateId} completed`);
    else this.#log.warn(`Update ${updateId} ${status}: ${error}`);
  }

  async #removePackage({ updateId }: JournalUpdate): Promise<void> {
    // It may have got another one since it was begun.
    const packageId = this.#options.journal.get(updateId)?.packageId ?? null;
    if (packageId !== null) await removePackage(this.#options.directory, packageId);
  }

  async #cleanUp(update: JournalUpdate): Promise<void> {
    try {
      await this.#removePackage(update);
      await this.#trimImages(update.updateId);
    } catch (error) {
      // The update has its end; what stays on the disk is said and does no harm.
      this.#log.warn(`Files of update ${update.updateId} stay on the disk: ${explain(error)}`, { error });
    }
  }

  /** @param updateId the update that has just ended: its images are the newest */
  async #trimImages(updateId?: string): Promise<void> {
    const { journal, images } = this.#options;
    if (updateId !== undefined) {
      await images.touch(journal.ecus(updateId).flatMap(({ image }) => image === null ? [] : [image]));
    }
    await images.trim(new Set([...journal.installedImages().values()].map(({ sha256 }) => sha256)));
  }
}

function waitingUpdate(
  { updateId, reporter }: Current,
  verified: Verified | undefined,
  signal: AbortSignal,
): WaitingUpdate {
  const conditions = verified?.manifest.conditions ?? [];
  return { updateId, conditions, onWait: (wait) => reporter.wait(wait), signal };
}
