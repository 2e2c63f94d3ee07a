// What the Director's targets say to one vehicle (Uptane Standard 2.1, section 5.4.4.6, steps 6 to 8, and 5.2.3.1).

import type { Checker } from "../checks.ts";
import type { Target } from "../models.ts";
import type { CheckedTargets } from "./repository.ts";

/** An ECU as the vehicle knows it. */
export interface VehicleEcu {
  readonly ecuId: string;
  /** Hardware as the ECU reports it. */
  readonly hardwareId: string;
  /** Kind of ECU; without it, what is signed of kinds is not checked. */
  readonly ecuType?: string;
  /** SHA-256 of the image that it runs, 64 hexadecimal digits; without it, whatever is directed is new. */
  readonly installed?: string;
  /** Release counter of the image that it runs, as the ECU or the vehicle keeps it. */
  readonly releaseCounter?: number;
}

/** An image that the Director wants on an ECU. */
export interface Directed {
  readonly ecu: VehicleEcu;
  readonly filename: string;
  readonly target: Target;
}

/**
 * Checks the Director's targets.
 *
 * @param ecus The ECUs of the vehicle; a Secondary that knows only itself gives itself alone, and `others` is true.
 * @param others Whether there may be ECUs that are not in `ecus`.
 * @returns {Directed[]} what is directed to `ecus`
 * @throws {DelegationError | WrongVehicleError | MixedBundlesError | WrongEcuError | WrongHardwareError}
 */
export function checkDirections(
  { metadata: { signed } }: CheckedTargets,
  vehicleId: string,
  ecus: readonly VehicleEcu[],
  others: boolean,
  checker: Checker,
): Directed[] {
  const subject = `director targets ${signed.version}`;
  checker.require(
    "director_no_delegations",
    subject,
    signed.delegations === undefined,
    () => "expected no delegations, got some",
  );
  checker.require(
    "director_vehicle",
    subject,
    signed.vehicle_id === vehicleId,
    () => `expected targets for the vehicle ${vehicleId}, got some for ${signed.vehicle_id ?? "no vehicle"}`,
  );
  const named = Object.entries(signed.targets).flatMap(([filename, target]) =>
    Object.entries(target.custom?.ecus ?? {}).map(([ecuId, { hardware_id }]) => ({
      filename,
      target,
      ecuId,
      hardwareId: hardware_id,
    }))
  );
  const ids = new Set<string>();
  const twice = named.find(({ ecuId }) => ids.size === ids.add(ecuId).size);
  checker.require(
    "director_ecu_once",
    subject,
    twice === undefined,
    () => `expected each ECU once, got ${twice?.ecuId} for two images`,
  );
  const known = new Map(ecus.map((ecu) => [ecu.ecuId, ecu]));
  const unknown = others ? undefined : named.find(({ ecuId }) => !known.has(ecuId));
  const nobodys = Object.entries(signed.targets).find(([, { custom }]) =>
    Object.keys(custom?.ecus ?? {}).length === 0
  );
  checker.require(
    "director_ecu_known",
    subject,
    unknown === undefined && nobodys === undefined,
    () =>
      unknown === undefined
        ? `expected an ECU for each image, got none for ${nobodys?.[0]}`
        : `expected ECUs of the vehicle, got ${unknown.ecuId}`,
  );
  const directed = named.flatMap(({ filename, target, ecuId, hardwareId }) => {
    const ecu = known.get(ecuId);
    return ecu === undefined ? [] : [{ filename, target, ecu, hardwareId }];
  });
  const wrong = directed.find(({ ecu, hardwareId }) => ecu.hardwareId !== hardwareId);
  checker.require(
    "director_hardware",
    subject,
    wrong === undefined,
    () => `expected hardware ${wrong?.ecu.hardwareId} for ${wrong?.ecu.ecuId}, got ${wrong?.hardwareId}`,
  );
  return directed.map(({ ecu, filename, target }) => ({ ecu, filename, target }));
}
