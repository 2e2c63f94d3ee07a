// What attackers in the middle of the way try with stolen keys: forged bundles that the vehicle is given, and packages to match.

import type { RepositoryName, Target } from "../../../src/uptane/models.ts";
import { directed, evilImage, forge, type ForgedImage, forgePackage, type ForgeryOptions } from "./forge.ts";
import type { AttackedVehicle, Release } from "./vehicle.ts";

/** Versions of forged files: above those of the server's, and each above the one before. */
let version = 1_000;

/** The next of them. */
export function nextVersion(): number {
  version += 10;
  return version;
}

/** From now on the vehicle is given a forged bundle whenever it looks. */
export function forging(
  vehicle: AttackedVehicle,
  repository: RepositoryName,
  options: ForgeryOptions,
): void {
  const at = nextVersion();
  vehicle.middle.forge(
    repository,
    async () => await forge(await vehicle.lab.bundle(repository, vehicle.vin), { version: at, ...options }),
  );
}

/** From now on packages hold these images, signed by the stolen key. */
export async function packing(vehicle: AttackedVehicle, images: Record<string, ForgedImage>): Promise<void> {
  const key = await vehicle.lab.packageKey();
  vehicle.middle.swapPackage((manifest) =>
    forgePackage(manifest, key, ({ ecu_id }) => images[ecu_id], vehicle.lab.pool)
  );
}

/** An image of the catalogue, as forgeries take it. */
export function asForged({ bytes, ...image }: Release): ForgedImage {
  return { image, bytes: Uint8Array.from(bytes) };
}

/** Directs these images and nothing else. */
export function directing(
  images: Record<string, ForgedImage>,
): (targets?: Record<string, Target>) => Record<string, Target> {
  return () =>
    Object.assign({}, ...Object.entries(images).map(([ecuId, { image }]) => directed(image, [ecuId])));
}

/** An attacker's own image for each ECU. */
export function evilImages(released: Record<string, Release>): Record<string, ForgedImage> {
  return Object.fromEntries(Object.entries(released).map(([ecuId, image]) => [ecuId, evilImage(image)]));
}
