// `zonebench vci`: what a vehicle last reported about its ECUs.

import type { Command } from "commander";
import { routes } from "../contract/routes.ts";
import { asOperator, makeCommand, type OperatorOptions, withJson, withOperator } from "./common.ts";
import { CommandFailed, print, printJson, printTable } from "./output.ts";

export function vciCommand(): Command {
  return withJson(
    withOperator(makeCommand("vci", "what the vehicle last reported: ECUs, versions, what is outdated")),
    "the report with outdated_ecus as JSON",
  )
    .argument("<VIN>", "the vehicle's VIN or gateway id")
    .action(async (vin: string, options: OperatorOptions) => {
      const vehicle = await asOperator(
        options,
        (client) => client.call(routes.getVehicle, { path: { vin } }),
      );
      if (vehicle.vci === null) throw new CommandFailed(`vehicle ${vehicle.vin} has not reported yet`);
      if (options.json) {
        printJson({ ...vehicle.vci, outdated_ecus: vehicle.outdated_ecus });
        return;
      }
      const latest = new Map(vehicle.outdated_ecus.map((ecu) => [ecu.ecu_id, ecu.latest]));
      print(`${vehicle.vin} (${vehicle.vmg_id}), reported ${vehicle.vci.timestamp}, ${vehicle.status}`);
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
