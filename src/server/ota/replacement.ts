// Another package for an update under way: the same images for the same ECUs, for a vehicle that could not apply a delta. And the
// same one for a vehicle that asks for them again, also where another would be built by now.

import type { PackageAnswer } from "../../contract/ota.ts";
import type { Logger } from "../../log.ts";
import { ConflictError, NotFoundError } from "../store/errors.ts";
import { isFinal, type Store, type Update, type Vehicle } from "../store/mod.ts";
import type { Outdated } from "./outdated.ts";
import {
  PackageFileMissing,
  type PackageService,
  PackageVersionDiffers,
  toPackageAnswer,
} from "./packages.ts";
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

/**
 * The package of an update under way, for a vehicle that asks for the same images again: a delta may have been made since, or may
 * not be made any more.
 *
 * @returns undefined when it asks for other images, or for other ECUs
 * @throws as {@link replacePackage}
 */
export async function samePackage(
  vehicle: Vehicle,
  update: Update,
  outdated: readonly Outdated[],
  kind: { zoned: boolean; deltas: boolean },
  options: ReplacementOptions,
): Promise<PackageAnswer | undefined> {
  const { store, packages } = options;
  const directed = await store.director.directions(update.updateId);
  const wanted = new Map(outdated.map(({ ecu, image }) => [ecu.ecu_id, image.imageId]));
  if (directed.length !== wanted.size) return undefined;
  if (directed.some(({ ecuId, imageId }) => wanted.get(ecuId) !== imageId)) return undefined;
  if (kind.deltas && update.packageId !== null) {
    try {
      const row = await packages.find(update.packageId);
      const ready = row && await packages.open(row);
      if (ready) return toPackageAnswer(ready, update.updateId);
    } catch (error) {
      // What cannot be served is built again.
      if (!(error instanceof PackageFileMissing || error instanceof PackageVersionDiffers)) throw error;
    }
  }
  return await replacePackage(vehicle, update.updateId, kind, options);
}
