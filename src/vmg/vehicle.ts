// The vehicle as the bench describes it: who it is, which zonal gateways it has and which ECUs stand behind them.

import type { ByteStream } from "../../hardware/byte_stream.ts";
import type { OpenLine, SlcanBusOptions } from "../../hardware/can/slcan_bus.ts";
import type { FlashPlan } from "../../hardware/flash/plan.ts";
import { type IsoTpAddress, resolveAddress } from "../../hardware/isotp/address.ts";
import type { IsoTpOptions } from "../../hardware/isotp/settings.ts";
import type { CanTap, NetworkTap } from "../../hardware/trace/tap.ts";
import { adapterId, ecuId, ecuType, vin, vmgId, zonalGatewayId } from "../contract/identifiers.ts";

interface AnyGateway {
  readonly zonalGatewayId: string;
  /** The gateway's own logical address, 0x0001 … 0xFFFF. */
  readonly logicalAddress: number;
  /** Opens a stream to it that is more than TCP: TLS. @default plain TCP */
  readonly openStream?: (hostname: string, signal: AbortSignal) => Promise<ByteStream>;
  /** Records plain TCP connections to it. @default nothing is recorded */
  readonly tap?: NetworkTap;
}

/** One zonal gateway, a DoIP entity: at an address, or wherever it is found. */
export type ZonalGateway =
  & AnyGateway
  & (
    | {
      readonly hostname: string;
      /** TCP port, 1 … 65535. */
      readonly port: number;
    }
    | {
      readonly hostname: undefined;
      readonly port?: undefined;
      /** Looks for it. */
      readonly locate: (signal: AbortSignal) => Promise<{ hostname: string; port: number }>;
    }
  );

/** One SLCAN adapter: the way to a CAN bus. */
export interface CanAdapter {
  readonly adapterId: string;
  /** Where it is, for messages: a device or an address. */
  readonly where: string;
  /** Opens the serial line to it, each time anew. */
  readonly openLine: OpenLine;
  /** Records what crosses its bus. @default nothing is recorded */
  readonly tap?: CanTap;
  /** How it is set up. */
  readonly settings: Pick<
    SlcanBusOptions,
    "bitRate" | "dataBitRate" | "acknowledgement" | "window" | "s7BitRate"
  >;
}

/** How an ECU is reached over CAN. */
export interface EcuOnCan {
  readonly adapterId: string;
  readonly address: IsoTpAddress;
  /** Frames and timing of this side. */
  readonly isotp: IsoTpOptions;
}

/** One ECU of a zone. */
export interface VehicleEcu {
  readonly ecuId: string;
  readonly ecuType: string;
  readonly zonalGatewayId: string;
  /** DoIP logical address, 0x0001 … 0xFFFF. */
  readonly logicalAddress: number;
  /** Reached over CAN, not through its zonal gateway. */
  readonly can?: EcuOnCan;
  /** How this ECU is flashed. */
  readonly flashPlan: FlashPlan;
  /** The routine by which it signs version reports. @default it signs none: the gateway speaks for it */
  readonly versionReport?: { readonly routine: number };
}

/** A vehicle. */
export interface VehicleDescription {
  readonly vin: string;
  readonly vmgId: string;
  readonly model: string;
  /** Model year. */
  readonly year: number;
  readonly gateways: readonly ZonalGateway[];
  readonly adapters: readonly CanAdapter[];
  readonly ecus: readonly VehicleEcu[];
}

/**
 * Checks what the rest relies on: names, addresses, and that every ECU stands behind a gateway that is there.
 * @throws {RangeError} quoting what does not fit
 */
export function checkVehicle(vehicle: VehicleDescription): void {
  fits(vin, vehicle.vin, "vin");
  fits(vmgId, vehicle.vmgId, "vmgId");
  const gateways = new Set<string>();
  for (const gateway of vehicle.gateways) {
    const where = `gateway ${gateway.zonalGatewayId}`;
    fits(zonalGatewayId, gateway.zonalGatewayId, "zonalGatewayId");
    if (gateways.has(gateway.zonalGatewayId)) throw new RangeError(`${where} is described twice`);
    gateways.add(gateway.zonalGatewayId);
    if (gateway.hostname !== undefined) within(gateway.port, 1, 65_535, `${where}: port`);
    within(gateway.logicalAddress, 1, 0xffff, `${where}: logicalAddress`);
  }
  const adapters = new Set<string>();
  for (const adapter of vehicle.adapters) {
    fits(adapterId, adapter.adapterId, "adapterId");
    if (adapters.has(adapter.adapterId)) {
      throw new RangeError(`adapter ${adapter.adapterId} is described twice`);
    }
    adapters.add(adapter.adapterId);
  }
  const ecus = new Set<string>();
  const addresses = new Map<string, string>();
  for (const ecu of vehicle.ecus) {
    const where = `ECU ${ecu.ecuId}`;
    fits(ecuId, ecu.ecuId, "ecuId");
    fits(ecuType, ecu.ecuType, `${where}: ecuType`);
    if (ecus.has(ecu.ecuId)) throw new RangeError(`${where} is described twice`);
    ecus.add(ecu.ecuId);
    if (!gateways.has(ecu.zonalGatewayId)) {
      throw new RangeError(
        `${where}: expected one of the gateways ${[...gateways].join(", ")}, got ${ecu.zonalGatewayId}`,
      );
    }
    within(ecu.logicalAddress, 1, 0xffff, `${where}: logicalAddress`);
    if (ecu.can !== undefined) {
      if (!adapters.has(ecu.can.adapterId)) {
        throw new RangeError(
          `${where}: expected one of the adapters ${[...adapters].join(", ")}, got ${ecu.can.adapterId}`,
        );
      }
      resolveAddress(ecu.can.address);
    }
    const address = `${ecu.zonalGatewayId} ${ecu.logicalAddress}`;
    const other = addresses.get(address);
    if (other !== undefined) {
      throw new RangeError(`${where}: ${other} has the logical address ${ecu.logicalAddress} already`);
    }
    addresses.set(address, ecu.ecuId);
  }
}

function fits(
  rule: { safeParse(value: unknown): { success: boolean; error?: { issues: { message: string }[] } } },
  value: string,
  what: string,
): void {
  const { success, error } = rule.safeParse(value);
  if (!success) throw new RangeError(`${what} ${JSON.stringify(value)}: ${error?.issues[0]?.message}`);
}

function within(value: number, min: number, max: number, what: string): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${what}: expected a whole number from ${min} to ${max}, got ${value}`);
  }
}
