// Vehicle configuration information: what each ECU says about itself, read now. Nothing is made up for an ECU that does
// not answer: it is reported as unreachable, with the reason.

import { type EcuIdentification, readIdentification } from "../../hardware/flash/identification.ts";
import type { UdsClient } from "../../hardware/uds/client.ts";
import { hwVersion, label, reportedVersion } from "../contract/identifiers.ts";
import type { Vci, VciEcu } from "../contract/vehicles.ts";
import type { Logger } from "../log.ts";
import type { VehicleBus } from "./bus/bus.ts";
import { mapBounded } from "./parallel.ts";
import type { VehicleDescription, VehicleEcu } from "./vehicle.ts";
import { explain } from "./errors.ts";

/** Options of {@link readVci}. */
export interface ReadVciOptions {
  vehicle: VehicleDescription;
  bus: VehicleBus;
  /** Why it is read, e.g. `startup`. */
  trigger: string;
  /** ECUs of one zonal gateway that are read at once. @default 4 */
  parallel?: number;
  /** SHA-256 of the images that this gateway keeps a copy of, by the ECU that they are installed in. @default none */
  kept?: () => Promise<ReadonlyMap<string, string>>;
  /** Asks each ECU that answered for more. Resolves with why it did not get that; undefined: it did. */
  also?: (
    ecu: VehicleEcu,
    identification: EcuIdentification,
    client: UdsClient,
    signal: AbortSignal | undefined,
  ) => Promise<string | undefined>;
  log: Logger;
  signal?: AbortSignal;
}

/** Reads every ECU, the zonal gateways side by side. @throws the signal's reason; nothing else */
export async function readVci(options: ReadVciOptions): Promise<Vci> {
  const { vehicle, bus, trigger, parallel = 4, also, log, signal } = options;
  const read = async (ecu: VehicleEcu): Promise<VciEcu> => {
    try {
      const { identification, fault } = await bus.use(
        ecu.ecuId,
        { purpose: "reading its identification", signal },
        async (client) => {
          const identification = await readIdentification(client, { signal, step: "read identification" });
          return { identification, fault: await also?.(ecu, identification, client, signal) };
        },
      );
      if (identification.vin !== undefined && identification.vin !== vehicle.vin) {
        log.warn(`${ecu.ecuId}: expected the VIN ${vehicle.vin} in F190, it holds ${identification.vin}`);
      }
      return { ...reported(ecu, identification), ...fault === undefined ? {} : { error: asLabel(fault) } };
    } catch (error) {
      signal?.throwIfAborted();
      log.warn(`${ecu.ecuId} is unreachable: ${explain(error)}`);
      return { ...named(ecu), status: "unreachable", error: asLabel(explain(error)) };
    }
  };
  const zones = await Promise.all(
    vehicle.gateways.map(({ zonalGatewayId }) =>
      mapBounded(vehicle.ecus.filter((ecu) => ecu.zonalGatewayId === zonalGatewayId), parallel, read)
    ),
  );
  const kept = await options.kept?.() ?? new Map<string, string>();
  return {
    device_id: vehicle.vmgId,
    vin: vehicle.vin,
    timestamp: new Date().toISOString(),
    trigger,
    ecus: zones.flat().map((ecu) => {
      const base = kept.get(ecu.ecu_id);
      return base === undefined ? ecu : { ...ecu, base_sha256: base };
    }),
  };
}

/**
 * The hardware version that images are chosen by: the supplier's (F193), or the manufacturer's number (F191) where an
 * ECU has no other. `undefined` when it tells neither.
 */
export function hardwareOf(identification: EcuIdentification): string | undefined {
  return identification.hwVersion ?? identification.hardwareNumber;
}

function named(ecu: VehicleEcu): Pick<VciEcu, "ecu_id" | "ecu_type" | "zonal_gateway_id"> {
  return { ecu_id: ecu.ecuId, ecu_type: ecu.ecuType, zonal_gateway_id: ecu.zonalGatewayId };
}

function reported(ecu: VehicleEcu, identification: EcuIdentification): VciEcu {
  const fields = {
    sw_version: fitting(reportedVersion, identification.swVersion),
    hw_version: fitting(hwVersion, hardwareOf(identification)),
    serial_number: fitting(label, identification.serialNumber),
    part_number: fitting(label, identification.partNumber),
    supplier: fitting(label, identification.supplier),
  };
  return { ...named(ecu), ...fields, status: "ok" };
}

/** What the contract can carry; a longer text would make the whole report invalid, and a shortened one would be made up. */
function fitting(
  rule: { safeParse(value: unknown): { success: boolean } },
  text: string | undefined,
): string | undefined {
  return text !== undefined && rule.safeParse(text).success ? text : undefined;
}

function asLabel(text: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what this takes out
  return text.replaceAll(/[\u0000-\u001f\u007f]/g, " ").slice(0, 128);
}
