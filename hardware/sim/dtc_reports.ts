// The services of a simulated ECU that read and clear its DTC memory: ReadDTCInformation (0x19) and
// ClearDiagnosticInformation (0x14), ISO 14229-1:2020 clause 12.
import {
  clearDiagnosticInformation,
  type DtcReportResponse,
  readDtcInformation,
  reportLength,
  type ReportRequest,
  reportShapes,
} from "../uds/codec/dtc.ts";
import { DtcFormat } from "../uds/dtc.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal, type ServiceConditions, type ServiceDefinition } from "../uds/server_service.ts";
import { DtcReport } from "../uds/services.ts";
import type { DtcMemory, StoredDtc } from "./dtc_memory.ts";

/** Status bits that the ECU keeps: all of them. */
const availability = 0xff;
const format = DtcFormat.iso14229;
const allRecords = 0xff;

/** Reports that the simulator does not have: the mirror memory, which the 2020 edition dropped. */
const withoutMirror: readonly number[] = [
  DtcReport.mirrorMemoryByStatusMask,
  DtcReport.mirrorMemoryExtendedDataByDtcNumber,
  DtcReport.numberOfMirrorMemoryByStatusMask,
];

/** Functional group of DTCs that concern emissions, Annex D.5. */
const emissions = 0x33;

/** 0x19. @param available whether the DTC memory can be read now */
export function readDtcService(memory: DtcMemory, available: () => boolean): ServiceDefinition {
  const subFunctions = new Map<number, ServiceConditions>();
  for (const report of reportShapes.keys()) {
    const length = reportLength(report);
    if (!withoutMirror.includes(report)) subFunctions.set(report, { minLength: length, maxLength: length });
  }
  return {
    subFunctions,
    handle: ({ bytes }) => {
      if (!available()) throw new Refusal(Nrc.serviceNotSupported);
      return readDtcInformation.response.encode(answer(memory, readDtcInformation.request.decode(bytes)));
    },
  };
}

/** 0x14. @param available whether the DTC memory can be cleared now */
export function clearDtcService(memory: DtcMemory, available: () => boolean): ServiceDefinition {
  return {
    minLength: 4,
    maxLength: 5,
    handle: ({ bytes }) => {
      if (!available()) throw new Refusal(Nrc.serviceNotSupported);
      const { group, memory: selected } = clearDiagnosticInformation.request.decode(bytes);
      if (!memory.clear(group, selected)) throw new Refusal(Nrc.requestOutOfRange);
      return clearDiagnosticInformation.response.encode({});
    },
  };
}

function answer(memory: DtcMemory, request: ReportRequest): DtcReportResponse {
  const { report, statusMask = 0, severityMask = 0, dtc: code, record = 0, functionalGroup } = request;
  const dtcs = memory.dtcs();
  const masked = (list: StoredDtc[]) => list.filter(({ status }) => (status & statusMask) !== 0);
  const severe = (list: StoredDtc[]) =>
    masked(list).filter(({ severity }) => (severity & severityMask) !== 0);
  const inGroup = (group: number | undefined) => dtcs.filter((dtc) => dtc.functionalGroup === group);
  const list = (found: readonly StoredDtc[]): DtcReportResponse => ({
    report,
    kind: "list",
    availability,
    dtcs: found,
  });
  const count = (found: readonly StoredDtc[]): DtcReportResponse => ({
    report,
    kind: "count",
    availability,
    format,
    count: found.length,
  });
  switch (report) {
    case DtcReport.numberByStatusMask:
      return count(masked(dtcs));
    case DtcReport.byStatusMask:
      return list(masked(dtcs));
    case DtcReport.numberOfEmissionsByStatusMask:
      return count(masked(inGroup(emissions)));
    case DtcReport.emissionsByStatusMask:
      return list(masked(inGroup(emissions)));
    case DtcReport.snapshotIdentification: {
      const snapshots = dtcs.flatMap(({ code, snapshots }) =>
        snapshots.map(({ record }) => ({ dtc: code, record }))
      );
      return { report, kind: "snapshots", snapshots };
    }
    case DtcReport.snapshotByDtcNumber:
    case DtcReport.userMemorySnapshotByDtcNumber:
      return records(memory, request, "snapshots");
    case DtcReport.extendedDataByDtcNumber:
    case DtcReport.userMemoryExtendedDataByDtcNumber:
      return records(memory, request, "extendedData");
    case DtcReport.storedDataByRecordNumber:
      return stored(dtcs, request, "snapshots");
    case DtcReport.extendedDataByRecordNumber:
      return stored(dtcs, request, "extendedData");
    case DtcReport.numberBySeverityMask:
      return count(severe(dtcs));
    case DtcReport.bySeverityMask:
      return { report, kind: "severities", availability, dtcs: severe(dtcs) };
    case DtcReport.severityOfDtc: {
      // A DTC that the ECU does not know is an answer without a record (12.3.3).
      return { report, kind: "severities", availability, dtcs: dtcs.filter((dtc) => dtc.code === code) };
    }
    case DtcReport.supported:
      return list(dtcs);
    case DtcReport.firstTestFailed:
      return list(memory.history("failed").slice(0, 1));
    case DtcReport.firstConfirmed:
      return list(memory.history("confirmed").slice(0, 1));
    case DtcReport.mostRecentTestFailed:
      return list(memory.history("failed").slice(-1));
    case DtcReport.mostRecentConfirmed:
      return list(memory.history("confirmed").slice(-1));
    case DtcReport.faultDetectionCounters: {
      // Those on their way to failing: 1 to 126 (12.3.1).
      const counters = dtcs.filter(({ counter }) => counter >= 1 && counter <= 126)
        .map(({ code, counter }) => ({ dtc: code, counter }));
      return { report, kind: "counters", counters };
    }
    case DtcReport.withPermanentStatus:
      return list(dtcs.filter(({ permanent }) => permanent));
    case DtcReport.userMemoryByStatusMask: {
      const inMemory = memory.dtcs(request.memory);
      if (inMemory.length === 0) throw new Refusal(Nrc.requestOutOfRange);
      return { report, kind: "list", availability, dtcs: masked(inMemory), memory: request.memory };
    }
    case DtcReport.supportedExtendedDataRecord: {
      const found = dtcs.filter(({ extendedData }) => extendedData.some((it) => it.record === record));
      if (found.length === 0) throw new Refusal(Nrc.requestOutOfRange);
      return { report, kind: "with_record", availability, record, dtcs: found };
    }
    case DtcReport.wwhObdByMask: {
      const found = severe(inGroup(functionalGroup));
      const group = functionalGroup ?? 0;
      return {
        report,
        kind: "wwh_obd",
        functionalGroup: group,
        availability,
        severityAvailability: 0xff,
        format,
        dtcs: found,
      };
    }
    case DtcReport.wwhObdWithPermanentStatus:
      return {
        report,
        kind: "group",
        functionalGroup: functionalGroup ?? 0,
        availability,
        format,
        dtcs: inGroup(functionalGroup).filter(({ permanent }) => permanent),
      };
    case DtcReport.byReadinessGroup:
      // The simulator's DTCs belong to no readiness group.
      return {
        report,
        kind: "group",
        functionalGroup: functionalGroup ?? 0,
        availability,
        format,
        readinessGroup: request.readinessGroup,
        dtcs: [],
      };
  }
  throw new Refusal(Nrc.subFunctionNotSupported);
}

/** 04, 06, 18, 19: the records of one DTC. */
function records(
  memory: DtcMemory,
  { report, dtc: code, record = allRecords, memory: selected }: ReportRequest,
  which: "snapshots" | "extendedData",
): DtcReportResponse {
  const dtc = memory.dtcs(selected).find((it) => it.code === code);
  if (dtc === undefined) throw new Refusal(Nrc.requestOutOfRange);
  const found = dtc[which].filter((it) => record === allRecords || it.record === record);
  // A record number that was never defined is out of range; no records at all is an empty answer.
  if (found.length === 0 && record !== allRecords) throw new Refusal(Nrc.requestOutOfRange);
  const bytes = found.flatMap(({ record, data }) => [record, ...data]);
  const head = selected === undefined ? {} : { memory: selected };
  return {
    report,
    kind: "records",
    ...head,
    code: dtc.code,
    status: dtc.status,
    records: Uint8Array.from(bytes),
  };
}

/** 05, 16: records by their number, each with its DTC and status. */
function stored(
  dtcs: readonly StoredDtc[],
  { report, record = allRecords }: ReportRequest,
  which: "snapshots" | "extendedData",
): DtcReportResponse {
  const bytes: number[] = [];
  for (const dtc of dtcs) {
    for (const found of dtc[which]) {
      if (record !== allRecords && found.record !== record) continue;
      const head = [dtc.code >> 16, dtc.code >> 8 & 0xff, dtc.code & 0xff, dtc.status];
      // 05 has the record number before each DTC, 16 once in front of all (12.3.3).
      if (which === "snapshots" && bytes.length > 0) bytes.push(found.record);
      bytes.push(...head, ...found.data);
    }
  }
  if (bytes.length === 0) throw new Refusal(Nrc.requestOutOfRange);
  return { report, kind: "stored", record, data: Uint8Array.from(bytes) };
}
