// The run of an update: started by an operator or a vehicle, tried again, cancelled, shown.

import { control as controlSchema } from "../../contract/mqtt.ts";
import type { UpdateMode } from "../../contract/campaign.ts";
import type { PackageAnswer, Update as UpdateAnswer, UpdateStatus } from "../../contract/ota.ts";
import type { Logger } from "../../log.ts";
import type { Metrics } from "../metrics.ts";
import { controlMessage, type Outbox } from "../outbox.ts";
import { ConflictError, NotFoundError } from "../store/errors.ts";
import { isFinal, type Repositories, type Store, type Update, type Vehicle } from "../store/mod.ts";
import type { Outdated } from "./outdated.ts";
import { downloadUrl, type PackageService, type ReadyPackage, toPackageAnswer } from "./packages.ts";
import { replacePackage, samePackage } from "./replacement.ts";
import type { Director } from "../uptane/director.ts";
import type { UpdateTargets } from "./targets.ts";
import { toAnswer } from "./update_answer.ts";
import type { UpdateReports } from "./update_reports.ts";

export interface UpdatesOptions {
  store: Store;
  targets: UpdateTargets;
  reports: UpdateReports;
  packages: PackageService;
  director: Director;
  outbox: Outbox;
  metrics: Metrics;
  log: Logger;
  /** How long a command waits for its vehicle, in milliseconds. @default 86400000 */
  commandTimeout?: number;
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

export class UpdateService {
  /** What is outdated. */
  readonly targets: UpdateTargets;
  /** What vehicles say of their updates. */
  readonly reports: UpdateReports;
  readonly #options: UpdatesOptions;
  readonly #store: Store;
  readonly #log: Logger;
  readonly #commandTimeout: number;
  readonly #now: () => Date;

  constructor(options: UpdatesOptions) {
    this.#options = options;
    this.#store = options.store;
    this.targets = options.targets;
    this.reports = options.reports;
    this.#log = options.log;
    this.#commandTimeout = options.commandTimeout ?? 86_400_000;
    this.#now = options.now ?? (() => new Date());
    if (!(this.#commandTimeout > 0)) {
      throw new RangeError(`updates: commandTimeout must be above 0 ms, got ${this.#commandTimeout}`);
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
    this.reports.tell(update);
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
    this.reports.tell({ ...failed, retryAt: null, retriedBy: update.updateId });
    this.reports.tell(update);
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
    if (active && active.packageId !== ready.packageId) {
      const options = { ...this.#options, targets: this.targets };
      const same = await samePackage(vehicle, active, targets, { zoned, deltas }, options);
      if (same) return same;
      throw new UpdateActive(vehicle.vin, active.updateId);
    }
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
      this.reports.tell(update);
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
    // Between the look and the transaction its next attempt began: that one is meant.
    if (outcome === "ended" && update.retriedBy !== null) return await this.cancel(update.retriedBy, reason);
    if (outcome !== "ended") {
      this.#log.info(
        `Update ${update.updateId} of ${vehicle.vmgId}: ${
          outcome === "called_off" ? "not tried again" : "cancel requested"
        }${reason === undefined ? "" : `, ${reason}`}`,
      );
      this.reports.tell(update);
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
}
