// Another package for an update under way: the same images for the same ECUs, for a vehicle that could not apply a delta.

import type { PackageAnswer } from "../../contract/ota.ts";
import type { Logger } from "../../log.ts";
import { ConflictError, NotFoundError } from "../store/errors.ts";
import { isFinal, type Store, type Vehicle } from "../store/mod.ts";
import { type PackageService, toPackageAnswer } from "./packages.ts";
import type { UpdateTargets } from "./targets.ts";

export interface ReplacementOptions {
  store: Store;
  packages: PackageService;
  targets: UpdateTargets;
  log: Logger;
}

/**
 * Builds the package and has the update refer to it.
 *
 * @param deltas whether it may have deltas
 * @throws {NotFoundError} when the vehicle has no such update; {@link ConflictError} when it has ended
 * @throws {PackageBuildFailed} {@link NothingToUpdate} when an image or an ECU of it is gone
 */
export async function replacePackage(
  vehicle: Vehicle,
  updateId: string,
  { zoned, deltas }: { zoned: boolean; deltas: boolean },
  { store, packages, targets, log }: ReplacementOptions,
): Promise<PackageAnswer> {
  const update = await store.updates.find(updateId);
  if (!update || update.vin !== vehicle.vin) throw new NotFoundError("update", updateId);
  if (isFinal(update.status)) {
    throw new ConflictError(`update ${updateId} has ended: ${update.status}`, updateId);
  }
  const ready = await packages.provide(vehicle.vin, await targets.again(update), zoned, deltas);
  await store.updates.setPackage(updateId, ready.packageId);
  log.info(
    `Update ${updateId} of ${vehicle.vmgId}: package ${ready.packageId} takes the place of ${update.packageId}`,
    { size: ready.size, deltas },
  );
  return toPackageAnswer(ready, updateId);
}
