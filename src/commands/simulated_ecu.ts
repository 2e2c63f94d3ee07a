// From an ECU of bench.yaml and its type to the simulated one.

import { defaultDataIdentifiers } from "../../hardware/sim/ecu_defaults.ts";
import type { SimulatedDtcOptions, SimulatedEcuOptions } from "../../hardware/sim/options.ts";
import type { BenchEcu, BenchEcuType } from "../config/schema.ts";
import type { SimulatedDtc } from "../config/simulated_ecu.ts";
import { simulatedCan } from "./can_description.ts";
import { flashPlanOf, seedKeyOf } from "./flash_plan.ts";

/** @param trustAnchors authorities whose testers the ECU takes, where its type asks for authentication */
export function simulatedEcu(
  ecu: BenchEcu,
  type: BenchEcuType,
  trustAnchors: Uint8Array[] = [],
): SimulatedEcuOptions {
  const { data_identifiers = [], authentication } = type;
  return {
    ecuId: ecu.ecu_id,
    ecuType: ecu.ecu_type,
    logicalAddress: ecu.logical_address,
    ...ecu.can === undefined ? {} : { can: simulatedCan(ecu.can) },
    hwVersion: ecu.hw_version,
    swVersion: ecu.sw_version,
    serialNumber: ecu.serial_number,
    partNumber: ecu.part_number,
    supplier: type.supplier,
    banks: type.banks,
    memory: type.memory.map((region) => ({
      name: region.name,
      address: region.start,
      size: region.size,
      sectorSize: region.sector_size,
      eraseTime: region.erase_ms,
      programTime: region.program_ms,
    })),
    securityAccess: { level: type.security.level, seedKey: seedKeyOf(type) },
    maxBlockLength: type.max_block_length,
    flash: flashPlanOf(type),
    ...type.version_report === false ? {} : { versionReport: type.version_report ?? {} },
    bootTime: type.boot_ms,
    dataIdentifiers: [
      ...defaultDataIdentifiers.filter(({ did }) => !data_identifiers.some((it) => it.did === did)),
      ...data_identifiers,
    ],
    files: type.files,
    ...authentication === undefined ? {} : { authentication: { trustAnchors, forProgramming: true } },
    dtcs: ecu.dtcs?.map(simulatedDtc),
    faults: ecu.faults,
  };
}

function simulatedDtc(
  { snapshots, extended_data, functional_unit, functional_group, ...dtc }: SimulatedDtc,
): SimulatedDtcOptions {
  return {
    ...dtc,
    functionalUnit: functional_unit,
    functionalGroup: functional_group,
    extendedData: extended_data,
    // Count of identifiers, then each with its data (ISO 14229-1:2020 12.3.5.5).
    snapshots: snapshots?.map(({ record, values }) => ({
      record,
      data: [hexOf(values.length, 2), ...values.map(({ did, data }) => hexOf(did, 4) + data)].join(""),
    })),
  };
}

function hexOf(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
