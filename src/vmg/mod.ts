// The vehicle main gateway: it holds the link to the server, knows the ECUs, updates and diagnoses them.

import type { VmgOptions } from "./options.ts";
import { checkVehicle } from "./vehicle.ts";

export type * from "./options.ts";
export type { TelemetrySource } from "./telemetry.ts";
export type { VehicleDescription, VehicleEcu, ZonalGateway } from "./vehicle.ts";

/** A gateway that runs. */
export interface RunningVmg extends AsyncDisposable {
  /** Ends what is under way in a state that the next start goes on from, and closes everything, within 5 s. */
  stop(): Promise<void>;
}

/**
 * Starts a gateway. It does not wait for the server: the link comes up, and comes back, by itself.
 *
 * @throws {RangeError} for options that cannot be
 * @throws {StateLockedError} when another gateway uses the folder
 */
export function startVmg(options: VmgOptions): Promise<RunningVmg> {
  checkVehicle(options.vehicle);
  const stop = () => Promise.resolve();
  return Promise.resolve({ stop, [Symbol.asyncDispose]: stop });
}
