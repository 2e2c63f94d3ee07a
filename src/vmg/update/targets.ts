// Whether a package is for this vehicle as it is now: what was asked for, which ECU stands where, and what hardware each
// ECU reports at this moment. All of it is checked before anything is changed in an ECU.

import { type EcuIdentification, readIdentification } from "../../../hardware/flash/identification.ts";
import type { PackageEcu, PackageManifest } from "../../contract/package.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { EcuUnreadableError, explainFor, PackageMismatchError } from "../errors.ts";
import type { VehicleDescription, VehicleEcu } from "../vehicle.ts";
import { hardwareOf } from "../vci.ts";
import { delay } from "../../wait.ts";
import type { JournalUpdate } from "./journal.ts";

/** An ECU with what the package has for it. */
export interface Target {
  readonly ecu: VehicleEcu;
  readonly entry: PackageEcu;
}

/** Tries to read an ECU's identification, and the wait between them in milliseconds: it may be booting. */
const identifyTries = 3;
const identifyPause = 1_000;

/**
 * Compares the manifest with what was asked for and with the vehicle.
 * @returns the targets in the manifest's order
 * @throws {PackageMismatchError} naming the first thing that differs
 */
export function findTargets(
  manifest: PackageManifest,
  update: JournalUpdate,
  vehicle: VehicleDescription,
): Target[] {
  if (manifest.package_id !== update.packageId) {
    throw new PackageMismatchError(`expected the package ${update.packageId}, got ${manifest.package_id}`);
  }
  const asked = new Set(update.targetEcus);
  const targets: Target[] = [];
  for (const zone of manifest.zonal_gateways) {
    for (const entry of zone.ecus) {
      const ecu = vehicle.ecus.find(({ ecuId }) => ecuId === entry.ecu_id);
      if (ecu === undefined) {
        throw new PackageMismatchError(`${entry.ecu_id}: this vehicle has no such ECU`);
      }
      if (ecu.zonalGatewayId !== zone.zonal_gateway_id) {
        throw new PackageMismatchError(
          `${ecu.ecuId}: it stands behind ${ecu.zonalGatewayId}, the package has it behind ${zone.zonal_gateway_id}`,
        );
      }
      if (ecu.ecuType !== entry.ecu_type) {
        throw new PackageMismatchError(
          `${ecu.ecuId}: it is a ${ecu.ecuType}, the package's image is for a ${entry.ecu_type}`,
        );
      }
      if (!asked.delete(ecu.ecuId)) {
        throw new PackageMismatchError(`${ecu.ecuId}: the package has an image that was not asked for`);
      }
      targets.push({ ecu, entry });
    }
  }
  const [missing] = asked;
  if (missing !== undefined) throw new PackageMismatchError(`${missing}: the package has no image for it`);
  return targets;
}

/**
 * Reads what the ECU is now and compares its hardware with what the image is for.
 * @throws {PackageMismatchError} for other hardware, or an ECU that does not tell
 * @throws {EcuUnreadableError} when it does not answer
 */
export async function checkHardware(
  { ecu, entry }: Target,
  bus: VehicleBus,
  purpose: string,
  signal: AbortSignal,
): Promise<EcuIdentification> {
  const identification = await identify(ecu, bus, purpose, signal);
  const hardware = hardwareOf(identification);
  if (hardware !== entry.hw_version) {
    throw new PackageMismatchError(
      `${ecu.ecuId}: the image is for hardware ${entry.hw_version}, the ECU reports ${hardware ?? "none"}`,
    );
  }
  return identification;
}

/** Reads what an ECU is now. @throws {EcuUnreadableError} when it does not answer; the signal's reason */
export async function identify(
  ecu: VehicleEcu,
  bus: VehicleBus,
  purpose: string,
  signal: AbortSignal,
): Promise<EcuIdentification> {
  for (let attempt = 1;; attempt++) {
    try {
      return await bus.use(
        ecu.ecuId,
        { purpose, signal },
        (client) => readIdentification(client, { signal, step: "read identification" }),
      );
    } catch (cause) {
      signal.throwIfAborted();
      if (attempt >= identifyTries) {
        throw new EcuUnreadableError(explainFor(ecu.ecuId, cause), { cause });
      }
    }
    await delay(identifyPause, signal);
  }
}
