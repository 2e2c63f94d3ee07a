// Routes about updates: what is outdated, packages and their bytes, reports, the run of an update.

import { routes } from "../../contract/routes.ts";
import type { Identity } from "../identity.ts";
import type { Inbox } from "../inbox.ts";
import type { Metrics } from "../metrics.ts";
import { type CampaignService, NotApprovable } from "../ota/campaigns.ts";
import { NothingToUpdate } from "../ota/targets.ts";
import { UpdateActive, type UpdateService } from "../ota/updates.ts";
import { RequirementUnmet } from "../ota/requirements.ts";
import { PackageBuildFailed, type PackageService, PackageVersionDiffers } from "../ota/packages.ts";
import type { Registry } from "../registry.ts";
import type { Package, Vehicle } from "../store/mod.ts";
import { isFullDisk } from "../files.ts";
import { fileResponse } from "./file_response.ts";
import { type Mount, otherVehicle } from "./mount.ts";
import { HttpProblem } from "./problem.ts";

export interface OtaRouteOptions {
  registry: Registry;
  updates: UpdateService;
  campaigns: CampaignService;
  packages: PackageService;
  inbox: Inbox;
  metrics: Metrics;
}

export function mountOta(mount: Mount, options: OtaRouteOptions): void {
  const { registry, updates, campaigns, packages, inbox, metrics } = options;

  /** The vehicle that a body names; a vehicle's certificate opens its own alone. */
  async function named(id: string, caller: Identity): Promise<Vehicle> {
    if (caller.kind === "vehicle") {
      const own = await registry.find(caller.vin);
      if (id !== caller.vin && id !== own?.vmgId) throw otherVehicle(caller, id);
      if (own) return own;
      throw new HttpProblem(404, `vehicle ${caller.vin} is not registered`, { code: "vehicle_unknown" });
    }
    const vehicle = await registry.find(id);
    if (!vehicle) throw new HttpProblem(404, `there is no vehicle ${id}`, { code: "vehicle_unknown" });
    return vehicle;
  }

  /** A package that the caller may see. To a vehicle, another's package and none are the same. */
  async function packageOf(id: string, caller: Identity): Promise<Package> {
    const row = await packages.find(id);
    if (!row || (caller.kind === "vehicle" && row.vin !== caller.vin)) {
      throw new HttpProblem(404, `there is no package ${id}`, { code: "not_found" });
    }
    if (row.status === "building") {
      throw new HttpProblem(409, `package ${id} is still being built`, {
        code: "package_building",
        headers: { "retry-after": "2" },
      });
    }
    if (row.status === "failed") {
      throw new HttpProblem(404, `package ${id} was not built: ${row.error ?? "unknown reason"}`, {
        code: "package_failed",
      });
    }
    return row;
  }

  mount(routes.checkUpdate, async ({ body, caller }) => {
    const vehicle = await named(body.vehicle_id, caller);
    if (body.vci && body.vci.vin !== vehicle.vin) throw otherVehicle(caller, body.vci.vin);
    const outdated = body.vci
      ? await updates.targets.outdated(vehicle.vin, body.vci)
      : await updates.targets.outdatedNow(vehicle.vin);
    return { updates_available: outdated.length > 0, outdated_ecus: outdated };
  });

  mount(routes.requestPackage, async ({ body, caller }) => {
    const vehicle = await named(body.vehicle_id, caller);
    const { update_id, target_ecus, zonal_gateway_optimization: zoned, deltas } = body;
    return await refusing(() =>
      update_id === undefined
        ? updates.request(vehicle, target_ecus, { zoned, deltas })
        : updates.replacePackage(vehicle, update_id, { zoned, deltas })
    );
  });

  mount(routes.downloadPackage, async ({ path, caller, method, header, signal }) => {
    const row = await packageOf(path.id, caller);
    const ready = await refusing(() => packages.open(row));
    if (!ready) throw new HttpProblem(404, `there is no package ${path.id}`, { code: "not_found" });
    await packages.touch(row.packageId);
    return await fileResponse(ready.path, {
      etag: ready.etag,
      size: ready.size,
      request: {
        method,
        ifMatch: header("if-match"),
        ifNoneMatch: header("if-none-match"),
        range: header("range"),
        ifRange: header("if-range"),
      },
      fileName: `${ready.packageId}.pkg`,
      signal,
      onBytes: (count) => metrics.downloadBytes.inc(count),
    });
  });

  mount(routes.getManifest, async ({ path, caller }) => {
    const row = await packageOf(path.id, caller);
    return await refusing(() => packages.manifest(row));
  });

  mount(routes.reportUpdate, async ({ body, caller }) => {
    const { vehicle_id, completed_ecus, ...report } = body;
    const vehicle = await named(vehicle_id, caller);
    const reported = new Set(report.ecus.map((ecu) => ecu.ecu_id));
    const completed = completed_ecus.filter((ecu) => !reported.has(ecu));
    const ecus = [
      ...report.ecus,
      ...completed.map((ecu_id) => ({ ecu_id, status: "completed" as const, progress: 100 })),
    ];
    const outcome = await inbox.take({
      vin: vehicle.vin,
      name: vehicle.vmgId,
      channel: "ota/status",
      topic: `vehicle/${vehicle.vmgId}/ota/status`,
      transport: "https",
    }, { ...report, ecus });
    if (outcome.result === "rejected") {
      throw new HttpProblem(404, outcome.reason, { code: "update_unknown" });
    }
    return { status: "accepted" as const };
  });

  mount(routes.startUpdate, async ({ body, caller }) => {
    const vehicle = await named(body.vin, caller);
    const { target_ecus, mode, retries, timeout } = body;
    const campaign = { mode, retries, ...timeout === undefined ? {} : { timeout: timeout * 1000 } };
    const update = await refusing(() => updates.start(vehicle, target_ecus, campaign));
    if (update.packageId === null) throw new TypeError(`update ${update.updateId} has no package`);
    return { status: update.status, update_id: update.updateId, package_id: update.packageId };
  });

  mount(routes.listUpdates, ({ query }) => updates.list(query));

  mount(routes.getUpdate, ({ path }) => updates.get(path.id));

  mount(routes.cancelUpdate, async ({ path }) => {
    const { update, message } = await updates.cancel(path.id);
    return { update_id: update.updateId, status: update.status, message };
  });

  mount(routes.approveUpdate, async ({ path, caller }) => {
    try {
      const { update, message } = await campaigns.approve(path.id, caller.name);
      return { update_id: update.updateId, status: update.status, message };
    } catch (error) {
      if (!(error instanceof NotApprovable)) throw error;
      throw new HttpProblem(409, error.message, { code: error.code, cause: error });
    }
  });
}

/** Gives what the update and package services refuse its status. */
async function refusing<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UpdateActive) {
      throw new HttpProblem(409, error.message, { code: "update_active", cause: error });
    }
    if (error instanceof NothingToUpdate || error instanceof RequirementUnmet) {
      throw new HttpProblem(409, error.message, { code: error.code, cause: error });
    }
    if (error instanceof PackageVersionDiffers) {
      throw new HttpProblem(409, error.message, { code: "package_version", cause: error });
    }
    if (error instanceof PackageBuildFailed && !isFullDisk(error)) {
      throw new HttpProblem(503, error.message, { code: "build_failed", cause: error });
    }
    throw error;
  }
}
