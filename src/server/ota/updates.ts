// The run of an update: started by an operator or a vehicle, followed by reports, ended once.

import { control as controlSchema } from "../../contract/mqtt.ts";
import type { UpdateMode } from "../../contract/campaign.ts";
import type {
  PackageAnswer,
  Update as UpdateAnswer,
  UpdateReport,
  UpdateStatus,
} from "../../contract/ota.ts";
import type { Logger } from "../../log.ts";
import type { Events } from "../events.ts";
import type { Metrics } from "../metrics.ts";
import { controlMessage, type Outbox } from "../outbox.ts";
import { ConflictError, NotFoundError } from "../store/errors.ts";
import {
  type Command,
  type EcuProgress,
  isFinal,
  type Repositories,
  type Store,
  type Update,
  type Vehicle,
} from "../store/mod.ts";
import type { Outdated } from "./outdated.ts";
import { downloadUrl, type PackageService, type ReadyPackage, toPackageAnswer } from "./packages.ts";
import { replacePackage } from "./replacement.ts";
import type { Director } from "../uptane/director.ts";
import type { UpdateTargets } from "./targets.ts";
import { toAnswer, waitOf } from "./update_answer.ts";

export interface UpdatesOptions {
  store: Store;
  targets: UpdateTargets;
  packages: PackageService;
  director: Director;
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
  /** @default the system's clock */
  now?: () => Date;
}

/** What an update is started with, besides its ECUs. */
export interface Campaign {
  /** @default "forced" */
  mode?: UpdateMode;
  /** How often it is tried again. @default 0 */
  retries?: number;
  /** Milliseconds in which it must have been activated, all attempts together. @default no limit */
  timeout?: number;
}

/** One attempt of an update. */
interface Attempt {
  readonly mode: UpdateMode;
  readonly attempt: number;
  readonly attempts: number;
  readonly deadline: Date | null;
  readonly retryOf: string | null;
  readonly approvedBy: Update["approvedBy"];
}

/** What a vehicle begins by itself: once, and without anybody's approval. */
const ownAttempt: Attempt = {
  mode: "forced",
  attempt: 1,
  attempts: 1,
  deadline: null,
  retryOf: null,
  approvedBy: null,
};

/** The vehicle has another update under way. */
export class UpdateActive extends Error {
  override readonly name = "UpdateActive";
  constructor(vin: string, readonly updateId: string) {
    super(`vehicle ${vin} has update ${updateId} under way: cancel it, or wait for its end`);
  }
}

/** Another attempt was begun already, or is not wanted any more. */
class NotDue extends Error {}

/** Steps of an ECU with which the update is past the point where the vehicle obeys a cancel. */
const afterActivation: ReadonlySet<string> = new Set([
  "activate",
  "check_dependencies",
  "ecu_reset",
  "wait_for_restart",
  "verify_version",
  "confirm",
  "commit",
]);

/** What a report on an update did; `unknown`: the vehicle has no such update. */
export type ReportResult = "applied" | "behind" | "ended" | "unknown";

export class UpdateService {
  /** What is outdated. */
  readonly targets: UpdateTargets;
  readonly #options: UpdatesOptions;
  readonly #store: Store;
  readonly #log: Logger;
  readonly #timeout: number;
  readonly #commandTimeout: number;
  readonly #retryDelay: number;
  readonly #maxRetryDelay: number;
  readonly #now: () => Date;

  constructor(options: UpdatesOptions) {
    this.#options = options;
    this.#store = options.store;
    this.targets = options.targets;
    this.#log = options.log;
    this.#timeout = options.timeout ?? 1_800_000;
    this.#commandTimeout = options.commandTimeout ?? 86_400_000;
    this.#retryDelay = options.retryDelay ?? 30_000;
    this.#maxRetryDelay = options.maxRetryDelay ?? 3_600_000;
    this.#now = options.now ?? (() => new Date());
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
   * Starts an update for an operator: package, update and command stand before anything is sent.
   * @throws {UpdateActive} {@link NothingToUpdate} {@link RequirementUnmet} {@link PackageBuildFailed}
   */
  async start(vehicle: Vehicle, targetEcus?: readonly string[], campaign: Campaign = {}): Promise<Update> {
    const { mode = "forced", retries = 0, timeout } = campaign;
    // Counted from the request on: building the package is part of it.
    const deadline = timeout === undefined ? null : new Date(this.#now().getTime() + timeout);
    // Asked before the package is built, which may take a while; asked again when the update is entered.
    const active = await this.#store.updates.active(vehicle.vin);
    if (active) throw new UpdateActive(vehicle.vin, active.updateId);
    const targets = await this.targets.choose(vehicle.vin, targetEcus);
    const ready = await this.#options.packages.provide(vehicle.vin, targets, true);
    const attempt = { mode, attempt: 1, attempts: retries + 1, deadline, retryOf: null, approvedBy: null };
    const update = await this.#guarded(
      vehicle.vin,
      () => this.#store.transaction((tx) => this.#launch(tx, vehicle, ready, targets, targetEcus, attempt)),
    );
    this.#log.info(`Update ${update.updateId} of ${vehicle.vmgId} started`, {
      ecus: targets.length,
      mode,
      attempts: update.attempts,
      deadline: deadline?.toISOString(),
    });
    this.tell(update);
    this.#options.outbox.flush(vehicle.vin);
    return update;
  }

  /**
   * Tries a failed update again: the same images for the same ECUs, as an update of its own.
   * @returns undefined when somebody else did, or called it off
   * @throws {UpdateActive} {@link NothingToUpdate} {@link RequirementUnmet} {@link PackageBuildFailed}
   */
  async retry(failed: Update): Promise<Update | undefined> {
    const vehicle = await this.#store.vehicles.get(failed.vin);
    const targets = await this.targets.again(failed);
    const ready = await this.#options.packages.provide(vehicle.vin, targets, true);
    const attempt = {
      mode: failed.mode,
      attempt: failed.attempt + 1,
      attempts: failed.attempts,
      deadline: failed.deadline,
      retryOf: failed.updateId,
      // What was approved are these images for these ECUs, not one attempt to install them.
      approvedBy: failed.approvedBy,
    };
    const update = await this.#guarded(vehicle.vin, () =>
      this.#store.transaction(async (tx) => {
        const { requestedEcus } = failed;
        const entered = await this.#launch(tx, vehicle, ready, targets, requestedEcus ?? undefined, attempt);
        if (!await tx.campaigns.retried(failed.updateId, entered.updateId)) throw new NotDue();
        return entered;
      })).catch((error: unknown) => {
        if (error instanceof NotDue) return undefined;
        throw error;
      });
    if (update === undefined) return undefined;
    this.#log.info(
      `Update ${update.updateId} of ${vehicle.vmgId} started: attempt ${update.attempt} of ${update.attempts}, after ` +
        failed.updateId,
    );
    this.tell({ ...failed, retryAt: null, retriedBy: update.updateId });
    this.tell(update);
    this.#options.outbox.flush(vehicle.vin);
    return update;
  }

  /**
   * The package that a vehicle asks for, with the update that its reports shall name. Asking again while that update is
   * under way gives the same one.
   * @throws {UpdateActive} {@link NothingToUpdate} {@link RequirementUnmet} {@link PackageBuildFailed}
   */
  async request(
    vehicle: Vehicle,
    targetEcus: readonly string[] | undefined,
    { zoned, deltas }: { zoned: boolean; deltas: boolean },
  ): Promise<PackageAnswer> {
    const targets = await this.targets.choose(vehicle.vin, targetEcus);
    const ready = await this.#options.packages.provide(vehicle.vin, targets, zoned, deltas);
    const active = await this.#store.updates.active(vehicle.vin);
    if (active && active.packageId !== ready.packageId) throw new UpdateActive(vehicle.vin, active.updateId);
    const update = active ??
      await this.#guarded(
        vehicle.vin,
        () =>
          this.#store.transaction((tx) =>
            this.#enter(tx, vehicle, ready, targets, "vehicle", targetEcus, ownAttempt)
          ),
      );
    if (!active) {
      this.#log.info(`Update ${update.updateId} begun by ${vehicle.vmgId}`, { ecus: targets.length });
      this.tell(update);
    }
    return toPackageAnswer(ready, update.updateId);
  }

  /** Another package for an update under way, where a delta could not be applied. @throws as {@link replacePackage} */
  async replacePackage(
    vehicle: Vehicle,
    updateId: string,
    kind: { zoned: boolean; deltas: boolean },
  ): Promise<PackageAnswer> {
    return await replacePackage(vehicle, updateId, kind, { ...this.#options, targets: this.targets });
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

  /**
   * Asks the vehicle to stop; of an update that was tried again, the last attempt. An update whose command the vehicle has
   * not taken yet ends at once, and an attempt that failed is not followed by another.
   * @param reason why, where nobody asked for it
   * @throws {NotFoundError}
   */
  async cancel(updateId: string, reason?: string): Promise<{ update: Update; message: string }> {
    const found = await this.latestAttempt(updateId);
    const vehicle = await this.#store.vehicles.get(found.vin);
    const { outcome, update, message } = await this.#store.transaction(async (tx) => {
      const requested = await tx.updates.requestCancel(found.updateId);
      if (requested.outcome === "ended") {
        const { status, attempt, attempts } = requested.update;
        if (await tx.campaigns.callOff(found.updateId, "called off")) {
          const now = await tx.updates.find(found.updateId);
          return {
            outcome: "called_off" as const,
            update: now ?? requested.update,
            message: `attempt ${attempt} of ${attempts} had failed; the next one is called off`,
          };
        }
        return { ...requested, message: `the update had ended before: ${status}` };
      }
      return { outcome: requested.outcome, ...await this.#askToStop(tx, vehicle, requested.update, reason) };
    });
    if (outcome !== "ended") {
      this.#log.info(
        `Update ${update.updateId} of ${vehicle.vmgId}: ${
          outcome === "called_off" ? "not tried again" : "cancel requested"
        }${reason === undefined ? "" : `, ${reason}`}`,
      );
      this.tell(update);
      if (outcome === "requested" && isFinal(update.status)) {
        this.#options.metrics.updatesEnded.inc({ status: update.status });
      }
      this.#options.outbox.flush(vehicle.vin);
    }
    return { update, message };
  }

  async #askToStop(
    tx: Repositories,
    vehicle: Vehicle,
    { updateId, status }: Update,
    reason: string | undefined,
  ): Promise<{ update: Update; message: string }> {
    const withdrawn = await tx.commands.withdraw(updateId);
    if (status === "pending" && withdrawn.length > 0) {
      // Its start was never taken over, and is taken back: nobody works on it. It may have been sent, though, and only
      // the acknowledgement be missing; so the vehicle is told as well.
      await tx.updates.end(updateId, "cancelled", `${reason ?? "cancelled"} before the vehicle took it`);
    }
    const command = controlSchema.parse({
      message_id: this.#options.outbox.newId(),
      command: "CANCEL_OTA_UPDATE",
      update_id: updateId,
      ...reason === undefined ? {} : { reason },
    });
    const lifetime = this.#commandTimeout;
    await this.#options.outbox.enter(controlMessage(vehicle, command, { lifetime, updateId }), tx);
    const update = await tx.updates.find(updateId);
    if (update === null) throw new NotFoundError("update", updateId);
    const message = isFinal(update.status)
      ? `${reason ?? "cancelled"} before the vehicle took it`
      : update.ecus.some(({ step }) => step !== null && afterActivation.has(step))
      ? "the vehicle is activating its new software and does not stop any more: all ECUs run it in the end, or all the old"
      : "the vehicle is asked to stop; its report ends the update";
    return { update, message };
  }

  /** The last attempt of the update that this one belongs to. @throws {NotFoundError} */
  async latestAttempt(updateId: string): Promise<Update> {
    let update = await this.#store.updates.find(updateId);
    if (!update) throw new NotFoundError("update", updateId);
    while (update.retriedBy !== null) {
      const next = await this.#store.updates.find(update.retriedBy);
      if (!next) break;
      update = next;
    }
    return update;
  }

  async get(updateId: string): Promise<UpdateAnswer> {
    const update = await this.#store.updates.find(updateId);
    if (!update) throw new NotFoundError("update", updateId);
    return toAnswer(update, update.ecus, await this.#store.vehicles.find(update.vin));
  }

  async list(filter: { limit: number; offset: number; vin?: string; status?: UpdateStatus }) {
    const vin = filter.vin === undefined ? undefined : (await this.#store.vehicles.get(filter.vin)).vin;
    const { items, total } = await this.#store.updates.list({ ...filter, vin });
    const ecus = await this.#store.updates.ecus(items.map((update) => update.updateId));
    const updates = items.map(async (update) => {
      // Whether it is offline is said of a vehicle that has not taken its command: one update a vehicle at most.
      const vehicle = update.status === "pending" ? await this.#store.vehicles.find(update.vin) : null;
      return toAnswer(update, ecus.get(update.updateId) ?? [], vehicle);
    });
    return { updates: await Promise.all(updates), total };
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

  /** Enters an update with the command that starts it. */
  async #launch(
    tx: Repositories,
    vehicle: Vehicle,
    ready: ReadyPackage,
    targets: readonly Outdated[],
    requested: readonly string[] | undefined,
    attempt: Attempt,
  ): Promise<Update> {
    const entered = await this.#enter(tx, vehicle, ready, targets, "operator", requested, attempt);
    const { deadline, mode, attempts } = attempt;
    const now = this.#now();
    const command = controlSchema.parse({
      message_id: this.#options.outbox.newId(),
      command: "START_OTA_UPDATE",
      update_id: entered.updateId,
      package_id: ready.packageId,
      download_url: downloadUrl(ready.packageId),
      target_ecus: targets.map(({ ecu }) => ecu.ecu_id),
      mode,
      attempt: attempt.attempt,
      attempts,
      approved: attempt.approvedBy !== null,
      ...deadline === null ? {} : { issued: now.toISOString(), deadline: deadline.toISOString() },
    });
    // What its vehicle would not begin any more is not sent either.
    const left = deadline === null ? Infinity : Math.max(1, deadline.getTime() - now.getTime());
    const lifetime = Math.min(this.#commandTimeout, left);
    await this.#options.outbox.enter(
      controlMessage(vehicle, command, { lifetime, updateId: entered.updateId }),
      tx,
    );
    return entered;
  }

  async #enter(
    tx: Repositories,
    vehicle: Vehicle,
    ready: ReadyPackage,
    targets: readonly Outdated[],
    initiator: "operator" | "vehicle",
    requested: readonly string[] | undefined,
    attempt: Attempt,
  ): Promise<Update> {
    const update = await tx.updates.create({
      vin: vehicle.vin,
      initiator,
      packageId: ready.packageId,
      requestedEcus: requested ?? null,
      ...attempt,
      ecus: targets.map(({ ecu, current, image }) => ({
        ecuId: ecu.ecu_id,
        zonalGatewayId: ecu.zonal_gateway_id,
        imageId: image.imageId,
        fromVersion: current,
        toVersion: image.version,
      })),
    });
    await this.#options.director.direct(tx, vehicle.vin);
    return update;
  }

  /** Two starts at once: one wins, the other learns of it. */
  async #guarded(vin: string, enter: () => Promise<Update>): Promise<Update> {
    try {
      return await enter();
    } catch (error) {
      if (error instanceof ConflictError) throw new UpdateActive(vin, error.existing);
      throw error;
    }
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
    const vehicle = await this.#store.vehicles.find(vin);
    if (!vehicle) return;
    // What runs on the ECUs now is what they say, not what was meant to run.
    const message = { message_id: this.#options.outbox.newId(), command: "REPORT_VCI" as const };
    await this.#options.outbox.send(controlMessage(vehicle, message, { lifetime: this.#commandTimeout }));
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
