// Straight to an ECU of the bench, without the server: finds it in bench.yaml and opens the path.

import { DoipConnection } from "../../hardware/doip/client.ts";
import { routingActivationCodes } from "../../hardware/doip/constants.ts";
import { RoutingActivationError } from "../../hardware/doip/errors.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import type { BenchConfig, BenchEcuType } from "../config/schema.ts";
import { type PlacedGateway, placeGateways } from "./bench_description.ts";
import { UsageError } from "./output.ts";

/** An ECU with the way to it. */
export interface BenchEcu {
  ecuId: string;
  ecuType: BenchEcuType;
  logicalAddress: number;
  gateway: PlacedGateway;
}

/** Finds an ECU by its id; with several vehicles on the bench the VIN may be needed. @throws {UsageError} */
export function findEcu(bench: BenchConfig, ecuId: string, vin?: string): BenchEcu {
  const found = placeGateways(bench)
    .filter(({ vehicle }) => vin === undefined || vehicle.vin === vin || vehicle.vmg_id === vin)
    .flatMap((gateway) =>
      gateway.ecus.filter((ecu) => ecu.ecu_id === ecuId).map((ecu) => ({ gateway, ecu }))
    );
  if (found.length === 1) {
    const [{ gateway, ecu }] = found;
    return { ecuId, ecuType: bench.ecu_types[ecu.ecu_type], logicalAddress: ecu.logical_address, gateway };
  }
  if (found.length > 1) {
    const vins = found.map(({ gateway }) => gateway.vehicle.vin).join(", ");
    throw new UsageError(`${ecuId} stands in several vehicles (${vins}): say which with --vin`);
  }
  const known = placeGateways(bench).flatMap((gateway) => gateway.ecus.map((ecu) => ecu.ecu_id));
  const names = known.length > 12 ? `${known.slice(0, 12).join(", ")}, …` : known.join(", ");
  throw new UsageError(`no ECU ${ecuId} on the bench${vin ? ` in vehicle ${vin}` : ""}; there are ${names}`);
}

/** Opens the path to an ECU for the time of a function. */
export async function withEcu<T>(
  bench: BenchConfig,
  ecu: BenchEcu,
  signal: AbortSignal,
  run: (client: UdsClient) => Promise<T>,
): Promise<T> {
  await using connection = await connect(ecu.gateway, bench.tester_address, signal);
  using client = new UdsClient(connection.transport(ecu.logicalAddress), { ecu: ecu.ecuId });
  return await run(client);
}

/** How many commands may go to one gateway at once: each takes a source address of its own. */
const testers = 16;

/** Connects as the first tester from `address` on that no other command is using. */
async function connect(
  gateway: PlacedGateway,
  address: number,
  signal: AbortSignal,
): Promise<DoipConnection> {
  const { hostname, port } = gateway;
  for (let tester = 0;; tester++) {
    try {
      return await DoipConnection.connect({ hostname, port, sourceAddress: address + tester, signal });
    } catch (error) {
      const inUse = error instanceof RoutingActivationError &&
        error.code === routingActivationCodes.sourceAddressInUse;
      if (!inUse || tester === testers - 1) throw error;
    }
  }
}
