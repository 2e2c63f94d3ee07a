// What the vehicles and the operator of a test server do before what a test is about: registration, a report, an upload.

import { routes } from "../../src/contract/routes.ts";
import type { VciEcu } from "../../src/contract/vehicles.ts";
import { type Caller, chunks, report, type TestServer, vinA, vinB } from "./running_server.ts";

/** Registers a vehicle, which reports its ECUs where there are any. */
export async function registerVehicle(
  { rest }: Caller,
  vin: string,
  vmgId: string,
  ecus: VciEcu[] = [],
): Promise<void> {
  const body = { vin, vehicle_model: "Test", vehicle_year: 2026, vmg_id: vmgId };
  await rest.call(routes.registerVehicle, { body });
  if (ecus.length > 0) await rest.call(routes.submitVci, { path: { vin }, body: report(vin, vmgId, ecus) });
}

/** Registers the two vehicles of a server, `VMG-A` and `VMG-B`, with the same ECUs. */
export async function registerBoth(server: TestServer, ecus: VciEcu[] = []): Promise<void> {
  await registerVehicle(server.vehicleA, vinA, "VMG-A", ecus);
  await registerVehicle(server.vehicleB, vinB, "VMG-B", ecus);
}

/** Takes software of body controllers of hardware HW1 into the catalogue. */
export async function uploadFirmware(server: TestServer, version: string, bytes: string | Uint8Array) {
  return await server.operator.rest.upload(routes.addFirmware, {
    query: {
      ecu_type: "BODY_CONTROLLER",
      hw_version: "HW1",
      version,
      format: "binary",
      base_address: 0x8000,
    },
    stream: chunks(bytes),
  });
}
