// The run of an update: started by an operator or a vehicle, followed by reports, ended once.

import { control as controlSchema } from "../../contract/mqtt.ts";
import type {
  PackageAnswer,
  Update as UpdateAnswer,
  UpdateReport,
  UpdateStatus,
} from "../../contract/ota.ts";
import { pathOf, routes } from "../../contract/routes.ts";
import type { OutdatedEcu, Vci } from "../../contract/vehicles.ts";
import type { Logger } from "../../log.ts";
import type { Events } from "../events.ts";
import type { Metrics } from "../metrics.ts";
import { controlMessage, type Outbox } from "../outbox.ts";
import type { Registry } from "../registry.ts";
import { ConflictError, NotFoundError } from "../store/errors.ts";
import {
  type Command,
  type EcuProgress,
  isFinal,
  type Repositories,
  type Store,
  type Update,
  type UpdateEcu,
  type Vehicle,
} from "../store/mod.ts";
import { analyse, type Outdated, toOutdatedEcus } from "./outdated.ts";
import type { PackageService, ReadyPackage } from "./packages.ts";
import { checkRequirements, targetsOf } from "./requirements.ts";

export interface UpdatesOptions {
  store: Store;
  registry: Registry;
  packages: PackageService;
  outbox: Outbox;
  events: Events;
  metrics: Metrics;
  log: Logger;
  /** How long a vehicle may be silent in mid-update, in milliseconds. @default 1800000 */
  timeout?: number;
  /** How long a command waits for its vehicle, in milliseconds. @default 86400000 */
  commandTimeout?: number;
}

/** There is nothing to update, or not what was asked for. */
export class NothingToUpdate extends Error {
  override readonly name = "NothingToUpdate";
  constructor(message: string, readonly code: "no_report" | "up_to_date" | "not_outdated") {
    super(message);
  }
}

/** The vehicle has another update under way. */
export class UpdateActive extends Error {
  override readonly name = "UpdateActive";
  constructor(vin: string, readonly updateId: string) {
    super(`vehicle ${vin} has update ${updateId} under way: cancel it, or wait for its end`);
  }
}

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
  readonly #options: UpdatesOptions;
  readonly #store: Store;
  readonly #log: Logger;
  readonly #timeout: number;
  readonly #commandTimeout: number;

  constructor(options: UpdatesOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#log = options.log;
    this.#timeout = options.timeout ?? 1_800_000;
    this.#commandTimeout = options.commandTimeout ?? 86_400_000;
    for (
      const [name, value] of Object.entries({ timeout: this.#timeout, commandTimeout: this.#commandTimeout })
    ) {
      if (!(value > 0)) throw new RangeError(`updates: ${name} must be above 0 ms, got ${value}`);
    }
  }

  /** Which ECUs of a report are outdated; those that cannot be judged are logged with the reason. */
  async outdated(vin: string, report: Pick<Vci, "ecus">): Promise<OutdatedEcu[]> {
    return toOutdatedEcus(await this.#analyse(vin, report));
  }

  /** Which ECUs of the last stored report are outdated; none before the first report. */
  async outdatedNow(vin: string): Promise<OutdatedEcu[]> {
    const report = await this.#options.registry.latestVci(vin);
    return report ? await this.outdated(vin, report) : [];
  }

  /**
   * Starts an update for an operator: package, update and command stand before anything is sent.
   * @throws {UpdateActive} {@link NothingToUpdate} {@link RequirementUnmet} {@link PackageBuildFailed}
   */
  async start(vehicle: Vehicle, targetEcus?: readonly string[]): Promise<Update> {
    // Asked before the package is built, which may take a while; asked again when the update is entered.
    const active = await this.#store.updates.active(vehicle.vin);
    if (active) throw new UpdateActive(vehicle.vin, active.updateId);
    const targets = await this.#targets(vehicle.vin, targetEcus);
    const ready = await this.#options.packages.provide(vehicle.vin, targets, true);
    const update = await this.#guarded(vehicle.vin, () =>
      this.#store.transaction(async (tx) => {
        const entered = await this.#enter(tx, vehicle, ready, targets, "operator", targetEcus);
        const command = controlSchema.parse({
          message_id: this.#options.outbox.newId(),
          command: "START_OTA_UPDATE",
          update_id: entered.updateId,
          package_id: ready.packageId,
          download_url: downloadUrl(ready.packageId),
          target_ecus: targets.map(({ ecu }) => ecu.ecu_id),
        });
        const lifetime = this.#commandTimeout;
        await this.#options.outbox.enter(
          controlMessage(vehicle, command, { lifetime, updateId: entered.updateId }),
          tx,
        );
        return entered;
      }));
    this.#log.info(`Update ${update.updateId} of ${vehicle.vmgId} started`, { ecus: targets.length });
    this.#tell(update);
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
    zoned: boolean,
  ): Promise<PackageAnswer> {
    const targets = await this.#targets(vehicle.vin, targetEcus);
    const ready = await this.#options.packages.provide(vehicle.vin, targets, zoned);
    const active = await this.#store.updates.active(vehicle.vin);
    if (active && active.packageId !== ready.packageId) throw new UpdateActive(vehicle.vin, active.updateId);
    const update = active ??
      await this.#guarded(
        vehicle.vin,
        () =>
          this.#store.transaction((tx) => this.#enter(tx, vehicle, ready, targets, "vehicle", targetEcus)),
      );
    if (!active) {
      this.#log.info(`Update ${update.updateId} begun by ${vehicle.vmgId}`, { ecus: targets.length });
      this.#tell(update);
    }
    return {
      status: "ready",
      package_id: ready.packageId,
      download_url: downloadUrl(ready.packageId),
      update_id: update.updateId,
      size: ready.size,
      sha256: ready.sha256,
    };
  }

  /**
   * Takes a report.
   * @param repositories those of a transaction that it shall be part of; call {@link afterReport} with the result then
   */
  async report(
    vin: string,
    report: UpdateReport,
    repositories: Repositories = this.#store,
  ): Promise<{ result: ReportResult; update?: Update; before?: UpdateStatus }> {
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
      ecus,
    });
    if (outcome.outcome === "unknown") return { result: "unknown" };
    const { update, before } = outcome;
    if (outcome.outcome === "applied" && isFinal(update.status)) {
      await this.#options.outbox.withdraw(update.updateId, repositories);
    }
    return { result: outcome.outcome, update, before };
  }

  /** What follows a stored report: log, event, and after the end a request for a new report of the versions. */
  async afterReport(
    { result, update, before }: { result: ReportResult; update?: Update; before?: UpdateStatus },
  ): Promise<void> {
    if (!update || result !== "applied") return;
    this.#tell(update);
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
   * Asks the vehicle to stop. An update whose command the vehicle has not taken yet ends at once.
   * @throws {NotFoundError}
   */
  async cancel(updateId: string): Promise<{ update: Update; message: string }> {
    const found = await this.#store.updates.find(updateId);
    if (!found) throw new NotFoundError("update", updateId);
    const vehicle = await this.#store.vehicles.get(found.vin);
    const { outcome, update, message } = await this.#store.transaction(async (tx) => {
      const requested = await tx.updates.requestCancel(updateId);
      if (requested.outcome === "ended") {
        const { status } = requested.update;
        return { ...requested, message: `the update had ended before: ${status}` };
      }
      const withdrawn = await tx.commands.withdraw(updateId);
      if (requested.update.status === "pending" && withdrawn.length > 0) {
        // Its start was never taken over, and is taken back: nobody works on it. It may have been sent, though, and only
        // the acknowledgement be missing; so the vehicle is told as well.
        await tx.updates.end(updateId, "cancelled", "cancelled before the vehicle took it");
      }
      const command = controlSchema.parse({
        message_id: this.#options.outbox.newId(),
        command: "CANCEL_OTA_UPDATE",
        update_id: updateId,
      });
      const lifetime = this.#commandTimeout;
      await this.#options.outbox.enter(controlMessage(vehicle, command, { lifetime, updateId }), tx);
      const now = await tx.updates.find(updateId);
      const state = now ?? requested.update;
      const ecus = (await tx.updates.ecus([updateId])).get(updateId) ?? [];
      const text = isFinal(state.status)
        ? "cancelled before the vehicle took it"
        : ecus.some(({ step }) => step !== null && afterActivation.has(step))
        ? "the vehicle is activating its new software and does not stop any more: all ECUs run it in the end, or all the old"
        : "the vehicle is asked to stop; its report ends the update";
      return { outcome: requested.outcome, update: state, message: text };
    });
    if (outcome === "requested") {
      this.#log.info(`Update ${updateId} of ${vehicle.vmgId}: cancel requested`);
      this.#tell(update);
      if (isFinal(update.status)) this.#options.metrics.updatesEnded.inc({ status: update.status });
      this.#options.outbox.flush(vehicle.vin);
    }
    return { update, message };
  }

  async get(updateId: string): Promise<UpdateAnswer> {
    const update = await this.#store.updates.find(updateId);
    if (!update) throw new NotFoundError("update", updateId);
    return toAnswer(update, update.ecus);
  }

  async list(filter: { limit: number; offset: number; vin?: string; status?: UpdateStatus }) {
    const vin = filter.vin === undefined ? undefined : (await this.#store.vehicles.get(filter.vin)).vin;
    const { items, total } = await this.#store.updates.list({ ...filter, vin });
    const ecus = await this.#store.updates.ecus(items.map((update) => update.updateId));
    return { updates: items.map((update) => toAnswer(update, ecus.get(update.updateId) ?? [])), total };
  }

  /** Ends updates whose vehicle is silent, and those whose command nobody took in time. */
  async sweepSilent(): Promise<number> {
    const failed = await this.#store.updates.failSilent(this.#timeout, this.#commandTimeout);
    for (const update of failed) {
      await this.#options.outbox.withdraw(update.updateId);
      this.#tell(update);
      await this.#ended(update);
    }
    return failed.length;
  }

  async #analyse(vin: string, report: Pick<Vci, "ecus">): Promise<Outdated[]> {
    const { outdated, skipped } = await analyse(report.ecus, this.#store.images);
    for (const { ecu_id, reason } of skipped) this.#log.debug(`${ecu_id} of ${vin} not judged: ${reason}`);
    return outdated;
  }

  /**
   * What is to be updated, in an order that its images allow.
   * @throws {NothingToUpdate} {@link RequirementUnmet}
   */
  async #targets(vin: string, wanted: readonly string[] | undefined): Promise<Outdated[]> {
    const report = await this.#options.registry.latestVci(vin);
    if (!report) {
      throw new NothingToUpdate(`vehicle ${vin} has not reported its ECUs yet`, "no_report");
    }
    const outdated = await this.#analyse(vin, report);
    if (wanted === undefined) {
      if (outdated.length === 0) throw new NothingToUpdate(`no ECU of ${vin} is outdated`, "up_to_date");
      return await this.#checked(outdated, report);
    }
    const byId = new Map(outdated.map((entry) => [entry.ecu.ecu_id, entry]));
    const missing = wanted.filter((ecu) => !byId.has(ecu));
    if (missing.length > 0) {
      throw new NothingToUpdate(
        `not outdated by the last report of ${vin}: ${missing.slice(0, 10).join(", ")}`,
        "not_outdated",
      );
    }
    const names = new Set(wanted);
    return await this.#checked(outdated.filter((entry) => names.has(entry.ecu.ecu_id)), report);
  }

  async #checked(targets: readonly Outdated[], report: Pick<Vci, "ecus">): Promise<Outdated[]> {
    return checkRequirements(targets, report.ecus, await this.#store.images.ofTargets(targetsOf(targets)));
  }

  async #enter(
    tx: Repositories,
    vehicle: Vehicle,
    ready: ReadyPackage,
    targets: readonly Outdated[],
    initiator: "operator" | "vehicle",
    requested: readonly string[] | undefined,
  ): Promise<Update> {
    return await tx.updates.create({
      vin: vehicle.vin,
      initiator,
      packageId: ready.packageId,
      requestedEcus: requested ?? null,
      ecus: targets.map(({ ecu, current, image }) => ({
        ecuId: ecu.ecu_id,
        zonalGatewayId: ecu.zonal_gateway_id,
        imageId: image.imageId,
        fromVersion: current,
        toVersion: image.version,
      })),
    });
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
    const text = `Update ${updateId} of ${vin} ${status}${error ? `: ${error}` : ""}`;
    if (status === "completed") this.#log.info(text);
    else this.#log.warn(text);
    const vehicle = await this.#store.vehicles.find(vin);
    if (!vehicle) return;
    // What runs on the ECUs now is what they say, not what was meant to run.
    const message = { message_id: this.#options.outbox.newId(), command: "REPORT_VCI" as const };
    await this.#options.outbox.send(controlMessage(vehicle, message, { lifetime: this.#commandTimeout }));
  }

  #tell({ vin, updateId, status, progress }: Update): void {
    this.#options.events.emit({ type: "update", vin, update_id: updateId, status, progress });
  }
}

function downloadUrl(packageId: string): string {
  return pathOf(routes.downloadPackage, { id: packageId });
}

function toAnswer(update: Update, ecus: readonly UpdateEcu[]): UpdateAnswer {
  return {
    update_id: update.updateId,
    vin: update.vin,
    package_id: update.packageId,
    initiator: update.initiator,
    status: update.status,
    progress: update.progress,
    error: update.error,
    cancel_requested: update.cancelRequested !== null,
    created: update.created.toISOString(),
    last_report: update.lastReport?.toISOString() ?? null,
    ended: update.ended?.toISOString() ?? null,
    ecus: ecus.map((ecu) => ({
      ecu_id: ecu.ecuId,
      zonal_gateway_id: ecu.zonalGatewayId ?? "",
      from_version: ecu.fromVersion ?? "",
      to_version: ecu.toVersion ?? "",
      status: ecu.status,
      progress: ecu.progress,
      step: ecu.step,
      bytes: ecu.bytes,
      speed: ecu.speed,
      time_left: ecu.timeLeft,
      error: ecu.error,
    })),
  };
}
