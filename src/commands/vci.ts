// `zonebench vci`: what a vehicle last reported about its ECUs.

import type { Command } from "commander";
import { routes } from "../contract/routes.ts";
import type { VehicleDetail } from "../contract/vehicles.ts";
import { asOperator, makeCommand, type OperatorOptions, withJson, withOperator } from "./common.ts";
import { CommandFailed, print, printJson, printTable } from "./output.ts";

export function vciCommand(): Command {
  return withJson(
    withOperator(makeCommand("vci", "what the vehicle last reported: ECUs, versions, what is outdated")),
    "the report with outdated_ecus and verified as JSON",
  )
    .argument("<VIN>", "the vehicle's VIN or gateway id")
    .action(async (vin: string, options: OperatorOptions) => {
      const vehicle = await asOperator(
        options,
        (client) => client.call(routes.getVehicle, { path: { vin } }),
      );
      if (vehicle.vci === null) throw new CommandFailed(`vehicle ${vehicle.vin} has not reported yet`);
      if (options.json) {
        const { outdated_ecus, verified, unverified_reason, last_verified, signed_by_gateway } = vehicle;
        printJson({
          ...vehicle.vci,
          outdated_ecus,
          verified,
          unverified_reason,
          last_verified,
          signed_by_gateway,
        });
        return;
      }
      const latest = new Map(vehicle.outdated_ecus.map((ecu) => [ecu.ecu_id, ecu.latest]));
      print(`${vehicle.vin} (${vehicle.vmg_id}), reported ${vehicle.vci.timestamp}, ${vehicle.status}`);
      for (const line of verificationOf(vehicle)) print(line);
      printTable(
        ["ECU", "TYPE", "ZONE", "SOFTWARE", "LATEST", "HARDWARE", "SERIAL", "PART"],
        vehicle.vci.ecus.map((ecu) => [
          ecu.ecu_id,
          ecu.ecu_type,
          ecu.zonal_gateway_id,
          ecu.status === "unreachable" ? "unreachable" : ecu.sw_version ?? "-",
          latest.get(ecu.ecu_id) ?? "",
          ecu.hw_version ?? "-",
          ecu.serial_number ?? "-",
          ecu.part_number ?? "-",
        ]),
      );
    });
}

/** Whether the ECUs' keys bear the report out, for people. */
function verificationOf(
  { verified, unverified_reason, last_verified, signed_by_gateway }: VehicleDetail,
): string[] {
  const lines = verified
    ? ["Verified: each ECU's version bears a signature of a key in the inventory"]
    : [`Not verified: ${unverified_reason ?? "nothing is known of its signatures"}`];
  if (!verified && last_verified !== null) {
    lines.push(`Updates follow the last verified report, of ${last_verified}`);
  }
  if (signed_by_gateway.length > 0) lines.push(`Signed by the gateway: ${signed_by_gateway.join(", ")}`);
  return lines;
}
