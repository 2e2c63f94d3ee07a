// From the CAN part of bench.yaml to what the stacks take: where each adapter is, and the ISO-TP addresses of ECUs.

import { defaultAdapterPort } from "../../hardware/sim/adapter.ts";
import type { SimulatedAdapterOptions, SimulatedCanOptions } from "../../hardware/sim/options.ts";
import type { IsoTpAddress, IsoTpFunctionalAddress } from "../../hardware/isotp/address.ts";
import type { IsoTpOptions } from "../../hardware/isotp/settings.ts";
import type { BusTrace } from "../../hardware/trace/trace.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { formatOf } from "../config/can.ts";
import type { BenchAdapter, BenchConfig, BenchVehicle, EcuCan } from "../config/schema.ts";
import type { CanAdapter, EcuOnCan } from "../vmg/vehicle.ts";
import { addressesOf } from "./network.ts";

/** An adapter of the bench with the place at which it is found. */
export interface PlacedAdapter {
  vehicle: BenchVehicle;
  adapter: BenchAdapter;
  /** Device path or `tcp://host:port`. */
  target: string;
  /** Where a simulated one listens. */
  simulated: { hostname: string; port: number } | undefined;
}

/**
 * All adapters. Simulated ones have the addresses of the network that follow the gateways'.
 * @throws {RangeError} when the network has too few addresses
 */
export function placeAdapters(bench: BenchConfig): PlacedAdapter[] {
  const addresses = addressesOf(bench.network);
  let n = bench.vehicles.flatMap(({ gateways }) => gateways).filter(({ hostname }) => hostname === undefined)
    .length;
  return bench.vehicles.flatMap((vehicle) =>
    vehicle.adapters.map((adapter) => {
      if (adapter.port !== undefined) {
        return { vehicle, adapter, target: adapter.port, simulated: undefined };
      }
      const hostname = addresses(++n);
      return {
        vehicle,
        adapter,
        target: `tcp://${hostname}:${defaultAdapterPort}`,
        simulated: { hostname, port: defaultAdapterPort },
      };
    })
  );
}

/** How an adapter is simulated; undefined for a real one. */
export function simulatedAdapter({ adapter, simulated }: PlacedAdapter): SimulatedAdapterOptions | undefined {
  if (simulated === undefined) return undefined;
  return {
    adapterId: adapter.adapter_id,
    ...simulated,
    bitRate: adapter.bit_rate,
    dataBitRate: adapter.data_bit_rate,
    serialBaudRate: adapter.serial_baud_rate,
    acknowledgement: adapter.acknowledgement,
    s7BitRate: adapter.s7_bit_rate,
    pty: adapter.pty,
    faults: adapter.faults,
  };
}

/** An adapter as whoever opens it needs it. */
export function canAdapterOf({ adapter, target }: PlacedAdapter, trace?: BusTrace): CanAdapter {
  return {
    adapterId: adapter.adapter_id,
    where: target,
    tap: trace?.can(adapter.adapter_id),
    openLine: (signal) => openPort(target, { baudRate: adapter.serial_baud_rate, signal }),
    settings: {
      bitRate: adapter.bit_rate,
      dataBitRate: adapter.data_bit_rate,
      acknowledgement: adapter.acknowledgement,
      window: adapter.window,
      s7BitRate: adapter.s7_bit_rate,
    },
  };
}

/** An ECU's address, for a tester. */
export function ecuOnCan(can: EcuCan): EcuOnCan {
  return { adapterId: can.adapter, address: addressOf(can), isotp: isotpOf(can) };
}

/** The same for the simulated ECU. */
export function simulatedCan(can: EcuCan): SimulatedCanOptions {
  return { ...ecuOnCan(can), functional: functionalOf(can) };
}

/** What legislated OBD listens to (ISO 15765-4): all ECUs, unless the bench file names another. */
const obdFunctional = { base: 0x7df, extended: 0x18db_33f1, group: 0x33 } as const;

function addressOf(can: EcuCan): IsoTpAddress {
  const free = { requestId: can.request_id ?? 0, responseId: can.response_id ?? 0, idBits: can.id_bits };
  const fixed = { ecu: can.ecu_address ?? 0, tester: can.tester_address };
  const addressExtension = can.address_extension ?? 0;
  const format = formatOf(can);
  switch (format) {
    case "normal":
      return { format, ...free };
    case "normal_fixed":
      return { format, ...fixed };
    case "extended":
      return { format, ...free, ...fixed };
    case "mixed_11":
      return { format, ...free, addressExtension };
    case "mixed_29":
      return { format, ...fixed, addressExtension };
  }
}

function functionalOf(can: EcuCan): IsoTpFunctionalAddress | undefined {
  const { functional_id, functional_address, tester_address: tester, id_bits: idBits } = can;
  const addressExtension = can.address_extension ?? 0;
  const format = formatOf(can);
  switch (format) {
    case "normal": {
      const extended = idBits === 29 || Math.max(can.request_id ?? 0, can.response_id ?? 0) > 0x7ff;
      const usual = extended ? obdFunctional.extended : obdFunctional.base;
      return { format, requestId: functional_id ?? usual, idBits };
    }
    case "normal_fixed":
      return { format, group: functional_address ?? obdFunctional.group, tester };
    case "extended":
      if (functional_id === undefined || functional_address === undefined) return undefined;
      return { format, requestId: functional_id, group: functional_address, tester, idBits };
    case "mixed_11":
      return functional_id === undefined
        ? undefined
        : { format, requestId: functional_id, addressExtension, idBits };
    case "mixed_29":
      return { format, group: functional_address ?? obdFunctional.group, tester, addressExtension };
  }
}

function isotpOf({ fd, frame_length, padding, block_size, st_min, timing = {} }: EcuCan): IsoTpOptions {
  const { n_as, n_ar, n_bs, n_br, n_cr, frame_time } = timing;
  return {
    fd,
    txDl: frame_length ?? (fd ? 64 : 8),
    padding,
    blockSize: block_size,
    stMin: st_min,
    nAs: n_as,
    nAr: n_ar,
    nBs: n_bs,
    nBr: n_br,
    nCr: n_cr,
    frameTime: frame_time,
  };
}
