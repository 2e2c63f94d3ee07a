// The updates of the journal: takes them on, does them one at a time and oldest first, cancels them, and reports their end.
// Whatever interrupts it, an update that was taken goes on at the next start and has a reported end.

import type { Approver } from "../../contract/campaign.ts";
import { isFinal, type UpdateStatus } from "../../contract/ota.ts";
import type { Logger } from "../../log.ts";
import { explain, StopRequested } from "../errors.ts";
import type { Outbox } from "../link/outbox.ts";
import type { TelemetrySource } from "../telemetry.ts";
import { delay, orAborted } from "../../wait.ts";
import { type ApprovalOutcome, type OpenUpdate, openUpdates } from "./approvals.ts";
import { removePackage } from "./download.ts";
import type { JournalUpdate, NewUpdate } from "./journal.ts";
import { Permissions } from "./permission.ts";
import { UpdateReporter } from "./report.ts";
import { UpdateRun, type UpdateRunOptions } from "./run.ts";
import type { GivenTerms } from "./terms.ts";
import { isPastCancel } from "./transaction.ts";

/** Options of {@link UpdateRunner}. */
export interface UpdateRunnerOptions extends UpdateRunOptions {
  outbox: Outbox;
  /** Measured values, for conditions. undefined: there are none */
  source: TelemetrySource | undefined;
  /** An update has ended. */
  onEnded: (update: JournalUpdate, status: UpdateStatus) => void;
}

/** The updates of one vehicle. */
export class UpdateRunner {
  readonly #options: UpdateRunnerOptions;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #wake: () => void = () => {};
  readonly #permissions: Permissions;
  #current: UpdateRun | undefined;

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
        if (this.#current?.updateId === updateId) this.#current.cancel(reason);
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
    const reporter = this.#reporter(update);
    const stop = this.#stopping.signal;
    const current = new UpdateRun(update, { ...this.#options, log: this.#log }, {
      permissions: this.#permissions,
      reporter,
      stop,
      onTimeOut: () => this.#timeOut(current),
    });
    this.#current = current;
    const { terms } = current;
    // The request may have come between the journal's answer and this.
    if (this.#options.journal.get(updateId)?.cancelRequested) {
      current.cancel(terms.cancelReason ?? "cancelled on request");
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
      const { status, error } = await current.perform();
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

  /** The time has run out: it is as if somebody had cancelled the update, and as late. */
  #timeOut(current: UpdateRun): void {
    const { journal } = this.#options;
    const { updateId, terms: { deadline } } = current;
    if (current.isCancelled) return;
    const until = deadline === null ? "" : ` at ${new Date(deadline).toISOString()}`;
    if (isPastCancel(journal.get(updateId)?.phase ?? null)) {
      this.#log.warn(
        `Update ${updateId}: its time ran out${until}, but its ECUs are being activated: it goes on`,
      );
      return;
    }
    const reason = `its time ran out${until}`;
    journal.transaction(() => this.cancel(updateId, reason));
    current.cancel(reason);
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
