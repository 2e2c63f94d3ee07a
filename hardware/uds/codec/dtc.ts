// Messages of the stored data transmission functional unit, ISO 14229-1:2020 clause 12: which parameters each report
// type of ReadDTCInformation takes and in which of a few shapes it answers.
import type { MessageReader, MessageWriter } from "../bytes.ts";
import type { Dtc } from "../dtc.ts";
import { DtcReport, hex, Sid } from "../services.ts";
import { serviceCodec, suppressed, type Suppressible } from "./codec.ts";

/** 12.2 */
export interface ClearRequest {
  /** Group or DTC; 0xFFFFFF: all. */
  readonly group: number;
  /** MemorySelection of a user defined memory, 2020 edition. */
  readonly memory?: number;
}

export const clearDiagnosticInformation = serviceCodec<ClearRequest, Record<never, never>>(
  Sid.clearDiagnosticInformation,
  {
    writeRequest: (writer, { group, memory }) => {
      writer.u24(group, "group of DTC");
      if (memory !== undefined) writer.u8(memory, "memory selection");
    },
    readRequest: (reader) => {
      const group = reader.u24("group of DTC");
      return reader.left === 0 ? { group } : { group, memory: reader.u8("memory selection") };
    },
    writeResponse: () => {},
    readResponse: () => ({}),
  },
);

/** Parameters of a report, in the order in which the table below names them. */
export interface ReportParameters {
  /** Bits of `DtcStatus`. */
  readonly statusMask?: number;
  /** Bits of `DtcSeverity`. */
  readonly severityMask?: number;
  /** Three bytes. */
  readonly dtc?: number;
  /** Snapshot or extended data record; 0xFF: all. */
  readonly record?: number;
  /** User defined memory. */
  readonly memory?: number;
  /** FunctionalGroupIdentifier, Annex D.5: 0x33 emissions, 0xD0 safety, 0xFE VOBD. */
  readonly functionalGroup?: number;
  /** DTCReadinessGroupIdentifier. */
  readonly readinessGroup?: number;
}

/** 12.3 */
export interface ReportRequest extends ReportParameters, Suppressible {
  /** One of `DtcReport`. */
  readonly report: number;
}

const widths: Readonly<Record<keyof ReportParameters, number>> = {
  statusMask: 1,
  severityMask: 1,
  dtc: 3,
  record: 1,
  memory: 1,
  functionalGroup: 1,
  readinessGroup: 1,
};

/** A DTC with its severity (08, 09). */
export interface DtcWithSeverity extends Dtc {
  /** Bits of `DtcSeverity`. */
  readonly severity: number;
  readonly functionalUnit: number;
}

/** What a report answers, by its shape. Availability is the mask of status bits that the ECU supports. */
export type DtcReportResponse =
  & { readonly report: number }
  & (
    /** 01, 07, 11, 12. `format` is one of `DtcFormat`. */
    | {
      readonly kind: "count";
      readonly availability: number;
      readonly format: number;
      readonly count: number;
    }
    /** 02, 0A–0F, 13, 15, and 17 with its memory. */
    | {
      readonly kind: "list";
      readonly availability: number;
      readonly dtcs: readonly Dtc[];
      readonly memory?: number;
    }
    /** 03. */
    | { readonly kind: "snapshots"; readonly snapshots: readonly { dtc: number; record: number }[] }
    /** 04, 06, 10, and 18, 19 with their memory: a DTC with records, see `decodeSnapshots` in dtc.ts. */
    | {
      readonly kind: "records";
      readonly code: number;
      readonly status: number;
      readonly records: Uint8Array;
      readonly memory?: number;
    }
    /** 05, 16: what follows the first record number; its layout is the ECU's. */
    | { readonly kind: "stored"; readonly record: number; readonly data: Uint8Array }
    /** 08, 09. */
    | {
      readonly kind: "severities";
      readonly availability: number;
      readonly dtcs: readonly DtcWithSeverity[];
    }
    /** 14. Counters are signed: −128 … 127, 127 is a failed test. */
    | { readonly kind: "counters"; readonly counters: readonly { dtc: number; counter: number }[] }
    /** 1A: which DTCs have that extended data record. */
    | {
      readonly kind: "with_record";
      readonly availability: number;
      readonly record?: number;
      readonly dtcs: readonly Dtc[];
    }
    /** 42: WWH-OBD. */
    | {
      readonly kind: "wwh_obd";
      readonly functionalGroup: number;
      readonly availability: number;
      readonly severityAvailability: number;
      readonly format: number;
      readonly dtcs: readonly { readonly severity: number; readonly code: number; readonly status: number }[];
    }
    /** 55, and 56 with its readiness group. */
    | {
      readonly kind: "group";
      readonly functionalGroup: number;
      readonly availability: number;
      readonly format: number;
      readonly readinessGroup?: number;
      readonly dtcs: readonly Dtc[];
    }
  );

type Kind = DtcReportResponse["kind"];

interface ReportShape {
  parameters: readonly (keyof ReportParameters)[];
  answer: Kind;
}

const byStatus: ReportShape = { parameters: ["statusMask"], answer: "list" };
const plainList: ReportShape = { parameters: [], answer: "list" };

/** 12.3.2 and 12.3.3: parameters of the request and shape of the answer. 0F–13 are those of the 2013 edition. */
export const reportShapes: ReadonlyMap<number, ReportShape> = new Map<number, ReportShape>([
  [DtcReport.numberByStatusMask, { parameters: ["statusMask"], answer: "count" }],
  [DtcReport.byStatusMask, byStatus],
  [DtcReport.snapshotIdentification, { parameters: [], answer: "snapshots" }],
  [DtcReport.snapshotByDtcNumber, { parameters: ["dtc", "record"], answer: "records" }],
  [DtcReport.storedDataByRecordNumber, { parameters: ["record"], answer: "stored" }],
  [DtcReport.extendedDataByDtcNumber, { parameters: ["dtc", "record"], answer: "records" }],
  [DtcReport.numberBySeverityMask, { parameters: ["severityMask", "statusMask"], answer: "count" }],
  [DtcReport.bySeverityMask, { parameters: ["severityMask", "statusMask"], answer: "severities" }],
  [DtcReport.severityOfDtc, { parameters: ["dtc"], answer: "severities" }],
  [DtcReport.supported, plainList],
  [DtcReport.firstTestFailed, plainList],
  [DtcReport.firstConfirmed, plainList],
  [DtcReport.mostRecentTestFailed, plainList],
  [DtcReport.mostRecentConfirmed, plainList],
  [DtcReport.mirrorMemoryByStatusMask, byStatus],
  [DtcReport.mirrorMemoryExtendedDataByDtcNumber, { parameters: ["dtc", "record"], answer: "records" }],
  [DtcReport.numberOfMirrorMemoryByStatusMask, { parameters: ["statusMask"], answer: "count" }],
  [DtcReport.numberOfEmissionsByStatusMask, { parameters: ["statusMask"], answer: "count" }],
  [DtcReport.emissionsByStatusMask, byStatus],
  [DtcReport.faultDetectionCounters, { parameters: [], answer: "counters" }],
  [DtcReport.withPermanentStatus, plainList],
  [DtcReport.extendedDataByRecordNumber, { parameters: ["record"], answer: "stored" }],
  [DtcReport.userMemoryByStatusMask, { parameters: ["statusMask", "memory"], answer: "list" }],
  [DtcReport.userMemorySnapshotByDtcNumber, { parameters: ["dtc", "record", "memory"], answer: "records" }],
  [DtcReport.userMemoryExtendedDataByDtcNumber, {
    parameters: ["dtc", "record", "memory"],
    answer: "records",
  }],
  [DtcReport.supportedExtendedDataRecord, { parameters: ["record"], answer: "with_record" }],
  [DtcReport.wwhObdByMask, {
    parameters: ["functionalGroup", "statusMask", "severityMask"],
    answer: "wwh_obd",
  }],
  [DtcReport.wwhObdWithPermanentStatus, { parameters: ["functionalGroup"], answer: "group" }],
  [DtcReport.byReadinessGroup, { parameters: ["functionalGroup", "readinessGroup"], answer: "group" }],
]);

/** Reports whose answer begins with the memory that was asked for. */
const ofUserMemory: readonly number[] = [
  DtcReport.userMemoryByStatusMask,
  DtcReport.userMemorySnapshotByDtcNumber,
  DtcReport.userMemoryExtendedDataByDtcNumber,
];

/** Bytes of a report's request. */
export function reportLength(report: number): number | undefined {
  return reportShapes.get(report)?.parameters.reduce((sum, name) => sum + widths[name], 2);
}

export const readDtcInformation = serviceCodec<ReportRequest, DtcReportResponse>(Sid.readDtcInformation, {
  writeRequest: (writer, request) => {
    const { parameters } = shapeOf(request.report);
    writer.subFunction(request.report, request.suppress, "report type");
    for (const name of parameters) {
      const value = request[name];
      if (value === undefined) {
        throw new RangeError(`${name}: expected one with report type ${hex(request.report, 2)}, got none`);
      }
      writer.uint(value, widths[name], name);
    }
  },
  readRequest: (reader) => {
    const { value: report, suppress } = reader.subFunction("report type");
    const shape = reportShapes.get(report);
    if (shape === undefined) return reader.fail("a report type of the standard", hex(report, 2));
    const parameters: { -readonly [Name in keyof ReportParameters]: number } = {};
    for (const name of shape.parameters) parameters[name] = reader.uint(widths[name], name);
    return { report, ...parameters, ...suppressed(suppress) };
  },
  writeResponse: writeReport,
  readResponse: readReport,
});

function shapeOf(report: number): ReportShape {
  const shape = reportShapes.get(report);
  if (shape === undefined) {
    throw new RangeError(`report type: expected one of the standard's, got ${hex(report, 2)}`);
  }
  return shape;
}

function writeDtc(writer: MessageWriter, { code, status }: Dtc): void {
  writer.u24(code, "DTC").u8(status, "status of DTC");
}

function readDtc(reader: MessageReader): Dtc {
  return { code: reader.u24("DTC"), status: reader.u8("status of DTC") };
}

function readDtcs(reader: MessageReader): Dtc[] {
  return reader.list(4, "DTC and status records", () => readDtc(reader));
}

function writeReport(writer: MessageWriter, answer: DtcReportResponse): void {
  const { answer: kind } = shapeOf(answer.report);
  if (kind !== answer.kind) {
    throw new RangeError(
      `report ${hex(answer.report, 2)}: expected an answer of kind ${kind}, got ${answer.kind}`,
    );
  }
  writer.subFunction(answer.report, false, "report type");
  switch (answer.kind) {
    case "count":
      writer.u8(answer.availability, "availability mask").u8(answer.format, "DTC format identifier")
        .u16(answer.count, "DTC count");
      return;
    case "list":
      if (answer.memory !== undefined) writer.u8(answer.memory, "memory selection");
      writer.u8(answer.availability, "availability mask");
      for (const dtc of answer.dtcs) writeDtc(writer, dtc);
      return;
    case "snapshots":
      for (const { dtc, record } of answer.snapshots) writer.u24(dtc, "DTC").u8(record, "record number");
      return;
    case "records":
      if (answer.memory !== undefined) writer.u8(answer.memory, "memory selection");
      writeDtc(writer, answer);
      writer.bytes(answer.records);
      return;
    case "stored":
      writer.u8(answer.record, "record number").bytes(answer.data);
      return;
    case "severities":
      writer.u8(answer.availability, "availability mask");
      for (const dtc of answer.dtcs) {
        writer.u8(dtc.severity, "severity").u8(dtc.functionalUnit, "functional unit");
        writeDtc(writer, dtc);
      }
      return;
    case "counters":
      for (const { dtc, counter } of answer.counters) {
        writer.u24(dtc, "DTC").u8(counter & 0xff, "fault detection counter");
      }
      return;
    case "with_record":
      writer.u8(answer.availability, "availability mask");
      if (answer.record !== undefined) writer.u8(answer.record, "record number");
      for (const dtc of answer.dtcs) writeDtc(writer, dtc);
      return;
    case "wwh_obd":
      writer.u8(answer.functionalGroup, "functional group").u8(answer.availability, "availability mask")
        .u8(answer.severityAvailability, "severity availability mask").u8(
          answer.format,
          "DTC format identifier",
        );
      for (const dtc of answer.dtcs) {
        writer.u8(dtc.severity, "severity");
        writeDtc(writer, dtc);
      }
      return;
    case "group":
      writer.u8(answer.functionalGroup, "functional group").u8(answer.availability, "availability mask")
        .u8(answer.format, "DTC format identifier");
      if (answer.readinessGroup !== undefined) writer.u8(answer.readinessGroup, "readiness group");
      for (const dtc of answer.dtcs) writeDtc(writer, dtc);
  }
}

function readReport(reader: MessageReader): DtcReportResponse {
  const report = reader.echo("report type");
  const shape = reportShapes.get(report);
  if (shape === undefined) return reader.fail("a report type of the standard", hex(report, 2));
  const kind = shape.answer;
  switch (kind) {
    case "count":
      return {
        report,
        kind,
        availability: reader.u8("availability mask"),
        format: reader.u8("DTC format identifier"),
        count: reader.u16("DTC count"),
      };
    case "list":
      return {
        report,
        kind,
        ...memoryOf(reader, report),
        availability: reader.u8("availability mask"),
        dtcs: readDtcs(reader),
      };
    case "snapshots": {
      const read = () => ({ dtc: reader.u24("DTC"), record: reader.u8("record number") });
      return { report, kind, snapshots: reader.list(4, "snapshot records", read) };
    }
    case "records":
      return { report, kind, ...memoryOf(reader, report), ...readDtc(reader), records: reader.rest() };
    case "stored":
      return { report, kind, record: reader.u8("record number"), data: reader.rest() };
    case "severities": {
      const availability = reader.u8("availability mask");
      const read = () => ({
        severity: reader.u8("severity"),
        functionalUnit: reader.u8("functional unit"),
        ...readDtc(reader),
      });
      return { report, kind, availability, dtcs: reader.list(6, "severity records", read) };
    }
    case "counters": {
      // A signed byte (Annex D.6): shifted up and down again its sign comes out.
      const read = () => ({
        dtc: reader.u24("DTC"),
        counter: reader.u8("fault detection counter") << 24 >> 24,
      });
      return { report, kind, counters: reader.list(4, "fault detection counters", read) };
    }
    case "with_record": {
      const availability = reader.u8("availability mask");
      // Without any DTC the record number is left out (12.3.3).
      if (reader.left === 0) return { report, kind, availability, dtcs: [] };
      return { report, kind, availability, record: reader.u8("record number"), dtcs: readDtcs(reader) };
    }
    case "wwh_obd": {
      const head = {
        functionalGroup: reader.u8("functional group"),
        availability: reader.u8("availability mask"),
        severityAvailability: reader.u8("severity availability mask"),
        format: reader.u8("DTC format identifier"),
      };
      const read = () => ({ severity: reader.u8("severity"), ...readDtc(reader) });
      return { report, kind, ...head, dtcs: reader.list(5, "DTC and severity records", read) };
    }
    case "group": {
      const head = {
        functionalGroup: reader.u8("functional group"),
        availability: reader.u8("availability mask"),
        format: reader.u8("DTC format identifier"),
      };
      const readiness = report === DtcReport.byReadinessGroup
        ? { readinessGroup: reader.u8("readiness group") }
        : {};
      return { report, kind, ...head, ...readiness, dtcs: readDtcs(reader) };
    }
  }
}

function memoryOf(reader: MessageReader, report: number): { memory?: number } {
  return ofUserMemory.includes(report) ? { memory: reader.u8("memory selection") } : {};
}
