// Straight to an ECU of the bench, without the server: finds it in bench.yaml and opens the path, over DoIP or CAN.

import { DoipConnection } from "../../hardware/doip/client.ts";
import { routingActivationCodes } from "../../hardware/doip/constants.ts";
import { RoutingActivationError } from "../../hardware/doip/errors.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import type { BenchConfig, BenchEcuType } from "../config/schema.ts";
import type { CanAdapter, EcuOnCan, ZonalGateway } from "../vmg/vehicle.ts";
import { type PlacedGateway, placeGateways } from "./bench_description.ts";
import { canAdapterOf, ecuOnCan, placeAdapters } from "./can_description.ts";
import { type BenchWiring, gatewayLink } from "./gateway_links.ts";
import { UsageError } from "./output.ts";
import { useAdapter } from "./shared_adapters.ts";

/** An ECU with the way to it. */
export interface BenchEcu {
  ecuId: string;
  ecuType: BenchEcuType;
  logicalAddress: number;
  gateway: PlacedGateway;
  /** The adapter that leads to it, and its address there; absent for one that is reached over DoIP. */
  can?: { adapter: CanAdapter; onCan: EcuOnCan };
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
    const ecuType = bench.ecu_types[ecu.ecu_type];
    const logicalAddress = ecu.logical_address;
    if (ecu.can === undefined) return { ecuId, ecuType, logicalAddress, gateway };
    const onCan = ecuOnCan(ecu.can);
    const placed = placeAdapters(bench).find(({ adapter }) => adapter.adapter_id === onCan.adapterId);
    // The bench file was checked: an ECU names an adapter that is there.
    if (placed === undefined) throw new RangeError(`${ecuId}: no adapter ${onCan.adapterId}`);
    return { ecuId, ecuType, logicalAddress, gateway, can: { adapter: canAdapterOf(placed), onCan } };
  }
  if (found.length > 1) {
    const vins = found.map(({ gateway }) => gateway.vehicle.vin).join(", ");
    throw new UsageError(`${ecuId} stands in several vehicles (${vins}): say which with --vin`);
  }
  const known = placeGateways(bench).flatMap((gateway) => gateway.ecus.map((ecu) => ecu.ecu_id));
  const names = known.length > 12 ? `${known.slice(0, 12).join(", ")}, …` : known.join(", ");
  throw new UsageError(`no ECU ${ecuId} on the bench${vin ? ` in vehicle ${vin}` : ""}; there are ${names}`);
}

/** A way to an ECU that is open. */
interface OpenEcu {
  client: UdsClient;
  close(): Promise<void>;
}

/**
 * Opens the path to an ECU for the time of a function.
 * @param run is given a client, and a function that gives another one over a new path when this one was lost
 */
export async function withEcu<T>(
  wiring: BenchWiring,
  ecu: BenchEcu,
  signal: AbortSignal,
  run: (client: UdsClient, reconnect: () => Promise<UdsClient>) => Promise<T>,
): Promise<T> {
  let open: OpenEcu | undefined = await openEcu(wiring, ecu, signal);
  const close = async () => {
    const before = open;
    open = undefined;
    before?.client.close();
    await before?.close();
  };
  try {
    return await run(open.client, async () => {
      await close();
      return (open = await openEcu(wiring, ecu, signal)).client;
    });
  } finally {
    await close();
  }
}

async function openEcu(wiring: BenchWiring, ecu: BenchEcu, signal: AbortSignal): Promise<OpenEcu> {
  if (ecu.can === undefined) {
    const connection = await connect(
      gatewayLink(ecu.gateway, wiring),
      wiring.config.bench.tester_address,
      signal,
    );
    const client = new UdsClient(connection.transport(ecu.logicalAddress), { ecu: ecu.ecuId });
    return { client, close: () => connection.close() };
  }
  const { adapter, onCan } = ecu.can;
  const used = await useAdapter(adapter, signal, wiring.trace?.can(adapter.adapterId));
  const transport = used.isotp.transport(onCan.address, onCan.isotp);
  return {
    client: new UdsClient(transport, { ecu: ecu.ecuId, latency: canLatency }),
    close: async () => {
      transport.close();
      await used.release();
    },
  };
}

/** Added to P2 over CAN, ms: a serial line with what waits in the adapter is on the way there and back. */
const canLatency = 1_000;

/** How many commands may go to one gateway at once: each takes a source address of its own. */
const testers = 16;

/** Connects as the first tester from `address` on that no other command is using. */
async function connect(
  gateway: ZonalGateway,
  address: number,
  signal: AbortSignal,
): Promise<DoipConnection> {
  const { hostname, port } = gateway.hostname === undefined ? await gateway.locate(signal) : gateway;
  const { openStream, tap } = gateway;
  const open = openStream === undefined
    ? { tap }
    : { open: (signal: AbortSignal) => openStream(hostname, signal) };
  for (let tester = 0;; tester++) {
    try {
      return await DoipConnection.connect({
        hostname,
        port,
        ...open,
        sourceAddress: address + tester,
        signal,
      });
    } catch (error) {
      const inUse = error instanceof RoutingActivationError &&
        error.code === routingActivationCodes.sourceAddressInUse;
      if (!inUse || tester === testers - 1) throw error;
    }
  }
}
