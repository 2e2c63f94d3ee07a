// From bench.yaml to what the simulation and the gateway are started with.

import { versionReportRoutine } from "../../hardware/flash/version_report.ts";
import type { SimulatedBenchOptions } from "../../hardware/sim/options.ts";
import type { BenchConfig, BenchEcu, BenchVehicle } from "../config/schema.ts";
import type { VehicleDescription, VehicleEcu } from "../vmg/vehicle.ts";
import { canAdapterOf, ecuOnCan, placeAdapters, simulatedAdapter } from "./can_description.ts";
import { flashPlanOf } from "./flash_plan.ts";
import { type BenchWiring, gatewayLink } from "./gateway_links.ts";
import { addressesOf } from "./network.ts";
import { simulatedEcu } from "./simulated_ecu.ts";

/** Port of DoIP over TCP and UDP (ISO 13400-2 table 48). */
const doipPort = 13_400;

/** A zonal gateway of the bench with the address at which it is found. */
export interface PlacedGateway {
  vehicle: BenchVehicle;
  zonalGatewayId: string;
  /** Undefined for a real gateway that is looked for. */
  hostname: string | undefined;
  port: number;
  logicalAddress: number;
  eid: string | undefined;
  tls: BenchVehicle["gateways"][number]["tls"];
  ecus: BenchEcu[];
}

/**
 * All gateways with their addresses: the n-th of a simulated bench, counted over all vehicles, has the n-th address of
 * the network unless it has one of its own.
 * @throws {RangeError} when the network has too few addresses
 */
export function placeGateways(bench: BenchConfig): PlacedGateway[] {
  const addresses = addressesOf(bench.network);
  let n = 0;
  return bench.vehicles.flatMap((vehicle) =>
    vehicle.gateways.map((gateway) => ({
      vehicle,
      zonalGatewayId: gateway.zonal_gateway_id,
      hostname: gateway.hostname ?? (bench.simulated ? addresses(++n) : undefined),
      port: gateway.port ?? doipPort,
      logicalAddress: gateway.logical_address,
      eid: gateway.eid,
      tls: gateway.tls,
      ecus: gateway.ecus,
    }))
  );
}

/**
 * The simulation of the whole bench.
 * @param directory keeps what the ECUs' memories hold
 * @param trust authorities of testers, by ECU type, as `ecuTrust()` gives them
 */
export function simulationOf(
  bench: BenchConfig,
  directory: string,
  trust: ReadonlyMap<string, Uint8Array[]> = new Map(),
): SimulatedBenchOptions {
  const adapters = placeAdapters(bench).flatMap((placed) => simulatedAdapter(placed) ?? []);
  const simulated = new Set(adapters.map(({ adapterId }) => adapterId));
  return {
    timing: bench.timing,
    directory,
    adapters,
    gateways: placeGateways(bench).map((gateway) => ({
      zonalGatewayId: gateway.zonalGatewayId,
      hostname: simulatedHostname(gateway),
      port: gateway.port,
      logicalAddress: gateway.logicalAddress,
      eid: gateway.eid,
      vin: gateway.vehicle.vin,
      tlsRequired: gateway.tls?.required ?? false,
      // What is behind a real adapter is real.
      ecus: gateway.ecus.filter((ecu) => ecu.can === undefined || simulated.has(ecu.can.adapter))
        .map((ecu) => simulatedEcu(ecu, bench.ecu_types[ecu.ecu_type], trust.get(ecu.ecu_type))),
    })),
  };
}

/** A vehicle as its gateway sees it. */
export function vehicleOf(bench: BenchConfig, vin: string, wiring: BenchWiring): VehicleDescription {
  const gateways = placeGateways(bench).filter((gateway) => gateway.vehicle.vin === vin);
  const [first] = gateways;
  if (first === undefined) throw new RangeError(`expected a vehicle of the bench, got ${vin}`);
  return {
    vin,
    vmgId: first.vehicle.vmg_id,
    model: first.vehicle.vehicle_model,
    year: first.vehicle.vehicle_year,
    gateways: gateways.map((gateway) => gatewayLink(gateway, wiring)),
    adapters: placeAdapters(bench).filter(({ vehicle }) => vehicle.vin === vin).map((placed) =>
      canAdapterOf(placed, wiring.trace)
    ),
    ecus: gateways.flatMap((gateway) =>
      gateway.ecus.map((ecu) => ({
        ...versionReportOf(bench, ecu),
        ecuId: ecu.ecu_id,
        ecuType: ecu.ecu_type,
        zonalGatewayId: gateway.zonalGatewayId,
        logicalAddress: ecu.logical_address,
        ...ecu.can === undefined ? {} : { can: ecuOnCan(ecu.can) },
        flashPlan: flashPlanOf(bench.ecu_types[ecu.ecu_type], wiring.pki),
      }))
    ),
  };
}

/** The routine by which the ECU signs version reports, if it has one: real ECUs where their type says so alone. */
export function versionReportOf(bench: BenchConfig, ecu: BenchEcu): Pick<VehicleEcu, "versionReport"> {
  const { version_report } = bench.ecu_types[ecu.ecu_type];
  const onRealAdapter = bench.vehicles.some(({ adapters }) =>
    adapters.some(({ adapter_id, port }) => adapter_id === ecu.can?.adapter && port !== undefined)
  );
  const own = version_report ??
    (bench.simulated && !onRealAdapter ? { routine: versionReportRoutine } : false);
  return own === false ? {} : { versionReport: { routine: own.routine } };
}

function simulatedHostname({ zonalGatewayId, hostname }: PlacedGateway): string {
  if (hostname === undefined) throw new RangeError(`${zonalGatewayId}: a simulated gateway needs an address`);
  return hostname;
}
