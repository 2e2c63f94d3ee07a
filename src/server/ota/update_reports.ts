// What vehicles report on their updates: stored, told to those who watch, and what follows from an end: the next attempt, a
// request for a new report of the versions.

import { isFinal, type UpdateReport, type UpdateStatus } from "../../contract/ota.ts";
import type { Logger } from "../../log.ts";
import type { Events } from "../events.ts";
import type { Metrics } from "../metrics.ts";
import { controlMessage, type Outbox } from "../outbox.ts";
import type { Command, EcuProgress, Repositories, Store, Update, Vehicle } from "../store/mod.ts";
import { waitOf } from "./update_answer.ts";

export interface UpdateReportsOptions {
  store: Store;
  outbox: Outbox;
  events: Events;
  metrics: Metrics;
  log: Logger;
  /** How long a vehicle may be silent in mid-update, in milliseconds. @default 1800000 */
  timeout?: number;
  /** How long a command waits for its vehicle, in milliseconds. @default 86400000 */
  commandTimeout?: number;
  /** First wait before a failed update is tried again, in milliseconds; it doubles. @default 30000 */
  retryDelay?: number;
  /** Longest such wait. @default 3600000 */
  maxRetryDelay?: number;
}

/** What a report on an update did; `unknown`: the vehicle has no such update. */
export type ReportResult = "applied" | "behind" | "ended" | "unknown";

export class UpdateReports {
  readonly #options: UpdateReportsOptions;
  readonly #store: Store;
  readonly #log: Logger;
  readonly #timeout: number;
  readonly #commandTimeout: number;
  readonly #retryDelay: number;
  readonly #maxRetryDelay: number;

  constructor(options: UpdateReportsOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#log = options.log;
    this.#timeout = options.timeout ?? 1_800_000;
    this.#commandTimeout = options.commandTimeout ?? 86_400_000;
    this.#retryDelay = options.retryDelay ?? 30_000;
    this.#maxRetryDelay = options.maxRetryDelay ?? 3_600_000;
    const times = {
      timeout: this.#timeout,
      commandTimeout: this.#commandTimeout,
      retryDelay: this.#retryDelay,
      maxRetryDelay: this.#maxRetryDelay,
    };
    for (const [name, value] of Object.entries(times)) {
      if (!(value > 0)) throw new RangeError(`updates: ${name} must be above 0 ms, got ${value}`);
    }
  }

  /**
   * Takes a report.
   * @param repositories those of a transaction that it shall be part of; call {@link afterReport} with the result then
   */
  async report(
    vin: string,
    report: UpdateReport,
    repositories?: Repositories,
  ): Promise<{ result: ReportResult; update?: Update; before?: UpdateStatus }> {
    // The end of an attempt and the next one's time stand together, or neither does.
    if (repositories === undefined) {
      return await this.#store.transaction((tx) => this.report(vin, report, tx));
    }
    const ecus: EcuProgress[] = report.ecus.map(({ ecu_id, time_left, ...ecu }) => ({
      ecuId: ecu_id,
      timeLeft: time_left,
      ...ecu,
    }));
    if (report.status === "completed") {
      // The vehicle says that all of it is done: ECUs that this report does not name are part of that.
      const named = new Set(ecus.map((ecu) => ecu.ecuId));
      const rows = (await repositories.updates.ecus([report.update_id])).get(report.update_id) ?? [];
      for (const { ecuId } of rows) {
        if (!named.has(ecuId)) ecus.push({ ecuId, status: "completed", progress: 100 });
      }
    }
    const outcome = await repositories.updates.report({
      updateId: report.update_id,
      vin,
      status: report.status,
      progress: report.status === "completed" ? 100 : report.progress,
      error: report.error,
      waiting: report.waiting,
      approvedBy: report.approved_by,
      ecus,
    });
    if (outcome.outcome === "unknown") return { result: "unknown" };
    const { update, before } = outcome;
    if (outcome.outcome !== "applied" || !isFinal(update.status)) {
      return { result: outcome.outcome, update, before };
    }
    await this.#options.outbox.withdraw(update.updateId, repositories);
    const next = update.status === "failed" && report.retryable !== false
      ? await this.#schedule(update, repositories)
      : null;
    return { result: outcome.outcome, update: next ?? update, before };
  }

  /** Notes the next attempt, where there is one; not while an ECU is left that did not come back. */
  async #schedule(update: Update, repositories: Repositories): Promise<Update | null> {
    const { updateId, attempt, attempts } = update;
    if (attempt >= attempts) return null;
    const ecus = (await repositories.updates.ecus([updateId])).get(updateId) ?? [];
    if (ecus.some(({ status }) => status === "failed")) return null;
    const wait = Math.min(this.#retryDelay * 2 ** (attempt - 1), this.#maxRetryDelay);
    return await repositories.campaigns.schedule(updateId, wait);
  }

  /** What follows a stored report: log, event, and after the end a request for a new report of the versions. */
  async afterReport(
    { result, update, before }: { result: ReportResult; update?: Update; before?: UpdateStatus },
  ): Promise<void> {
    if (!update || result !== "applied") return;
    this.tell(update);
    const text = `Update ${update.updateId} of ${update.vin}: ${update.status} ${
      Math.round(update.progress)
    }%`;
    if (!isFinal(update.status)) {
      if (before !== update.status) this.#log.info(text);
      else this.#log.debug(text);
      return;
    }
    await this.#ended(update);
  }

  /** The vehicle has taken a command over: an update's start makes it accepted. */
  async commandTaken(command: Command): Promise<void> {
    if (command.command !== "START_OTA_UPDATE" || command.updateId === null) return;
    const { updateId, vin } = command;
    const report = { update_id: updateId, status: "accepted" as const, progress: 0, ecus: [] };
    await this.afterReport(await this.report(vin, report));
  }

  /** Ends updates whose vehicle is silent, and those whose command nobody took in time. */
  async sweepSilent(): Promise<number> {
    const failed = await this.#store.updates.failSilent(this.#timeout, this.#commandTimeout);
    for (const update of failed) await this.endedHere(update);
    return failed.length;
  }

  /** What follows an end that the server decided on. */
  async endedHere(update: Update): Promise<void> {
    await this.#options.outbox.withdraw(update.updateId);
    this.tell(update);
    await this.#ended(update);
  }

  async #ended(update: Update): Promise<void> {
    const { updateId, vin, status, error } = update;
    this.#options.metrics.updatesEnded.inc({ status });
    const { attempt, attempts, retryAt } = update;
    const text = `Update ${updateId} of ${vin} ${status}${error ? `: ${error}` : ""}` +
      (attempts === 1 ? "" : `; attempt ${attempt} of ${attempts}`) +
      (retryAt === null ? "" : `, the next at ${retryAt.toISOString()}`);
    if (status === "completed") this.#log.info(text);
    else this.#log.warn(text);
    // What runs on the ECUs now is what they say, not what was meant to run.
    await this.askForReport(vin);
  }

  /** Asks a vehicle what its ECUs run. @returns the vehicle; null where there is none */
  async askForReport(vin: string): Promise<Vehicle | null> {
    const vehicle = await this.#store.vehicles.find(vin);
    if (!vehicle) return null;
    const { outbox } = this.#options;
    const message = { message_id: outbox.newId(), command: "REPORT_VCI" as const };
    await outbox.send(controlMessage(vehicle, message, { lifetime: this.#commandTimeout }));
    return vehicle;
  }

  /** Tells those who watch. */
  tell(update: Update): void {
    const { vin, updateId, status, progress, mode, attempt, attempts } = update;
    const waiting = waitOf(update, null);
    this.#options.events.emit({
      type: "update",
      vin,
      update_id: updateId,
      status,
      progress,
      mode,
      attempt,
      attempts,
      waiting,
    });
  }
}
