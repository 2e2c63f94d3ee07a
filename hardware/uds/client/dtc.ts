// The tester's side of the stored data transmission unit (ISO 14229-1:2020 clause 12): clears and reads DTCs.
import {
  clearDiagnosticInformation,
  type DtcReportResponse,
  type DtcWithSeverity,
  readDtcInformation,
  type ReportParameters,
} from "../codec/dtc.ts";
import type { Dtc } from "../dtc.ts";
import type { Exchange, RequestOptions } from "../exchange.ts";
import { DtcReport, hex, Sid } from "../services.ts";
import { ask, unexpected } from "./ask.ts";

/** DTCs of a report. */
export interface DtcList {
  /** Status bits that the ECU supports. */
  readonly availability: number;
  readonly dtcs: readonly Dtc[];
}

/** How many DTCs there are. */
export interface DtcCount {
  /** Status bits that the ECU supports. */
  readonly availability: number;
  /** One of `DtcFormat`. */
  readonly format: number;
  readonly count: number;
}

/** A DTC with the records stored beside it. */
export interface DtcRecords extends Dtc {
  /** Record number and data, repeated; take apart with `decodeSnapshots` or `decodeExtendedData` of dtc.ts. */
  readonly records: Uint8Array;
}

/** Part of {@link UdsClient}: `client.dtc`. */
export class DtcClient {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** 0x14, 12.2. @param group DTC or group of DTCs. @default 0xFFFFFF, all @param options.memory user defined memory */
  async clear(group = 0xffffff, options: RequestOptions & { memory?: number } = {}): Promise<void> {
    await ask(this.#exchange, clearDiagnosticInformation, { group, memory: options.memory }, options);
  }

  /** 0x19 with any report type of the standard, 12.3. @throws {RangeError} when a parameter of the type is missing */
  async report(
    report: number,
    parameters: ReportParameters = {},
    options?: RequestOptions,
  ): Promise<DtcReportResponse> {
    const answer = await ask(this.#exchange, readDtcInformation, { ...parameters, report }, options);
    // What the answer repeats of the request tells that it is this request's.
    if (answer.kind === "records" && answer.code !== parameters.dtc) {
      throw this.#unexpected(`DTC ${hex(parameters.dtc ?? 0, 6)} with its status`, hex(answer.code, 6));
    }
    if ("memory" in answer && answer.memory !== parameters.memory) {
      throw this.#unexpected(`memory ${parameters.memory}`, `${answer.memory}`);
    }
    return answer;
  }

  /** 0x19 01: how many DTCs have one of the status bits. */
  count(statusMask: number, options?: RequestOptions): Promise<DtcCount> {
    return this.#count(DtcReport.numberByStatusMask, { statusMask }, options);
  }

  /** 0x19 02: the DTCs that have one of the status bits. */
  byStatusMask(statusMask: number, options?: RequestOptions): Promise<DtcList> {
    return this.#list(DtcReport.byStatusMask, { statusMask }, options);
  }

  /** 0x19 03: which snapshot records there are. */
  async snapshotIdentification(
    options?: RequestOptions,
  ): Promise<readonly { dtc: number; record: number }[]> {
    const answer = await this.report(DtcReport.snapshotIdentification, {}, options);
    if (answer.kind !== "snapshots") throw this.#wrongKind("snapshots", answer);
    return answer.snapshots;
  }

  /** 0x19 04, or 18 with a memory: what was stored when the DTC occurred. @param record @default 0xFF, all */
  snapshot(
    dtc: number,
    record = 0xff,
    options: RequestOptions & { memory?: number } = {},
  ): Promise<DtcRecords> {
    const { memory } = options;
    const report = memory === undefined
      ? DtcReport.snapshotByDtcNumber
      : DtcReport.userMemorySnapshotByDtcNumber;
    return this.#records(report, { dtc, record, memory }, options);
  }

  /** 0x19 06, or 19 with a memory: counters and the like beside the DTC. @param record @default 0xFF, all */
  extendedData(
    dtc: number,
    record = 0xff,
    options: RequestOptions & { memory?: number } = {},
  ): Promise<DtcRecords> {
    const { memory } = options;
    const report = memory === undefined
      ? DtcReport.extendedDataByDtcNumber
      : DtcReport.userMemoryExtendedDataByDtcNumber;
    return this.#records(report, { dtc, record, memory }, options);
  }

  /** 0x19 07: how many DTCs have one of the severity bits and one of the status bits. */
  countBySeverity(severityMask: number, statusMask: number, options?: RequestOptions): Promise<DtcCount> {
    return this.#count(DtcReport.numberBySeverityMask, { severityMask, statusMask }, options);
  }

  /** 0x19 08. */
  bySeverity(
    severityMask: number,
    statusMask: number,
    options?: RequestOptions,
  ): Promise<readonly DtcWithSeverity[]> {
    return this.#severities(DtcReport.bySeverityMask, { severityMask, statusMask }, options);
  }

  /** 0x19 09. @returns undefined for a DTC that the ECU does not know */
  async severityOf(dtc: number, options?: RequestOptions): Promise<DtcWithSeverity | undefined> {
    const found = await this.#severities(DtcReport.severityOfDtc, { dtc }, options);
    return found.find(({ code }) => code === dtc);
  }

  /** 0x19 0A: all DTCs that the ECU can store. */
  supported(options?: RequestOptions): Promise<DtcList> {
    return this.#list(DtcReport.supported, {}, options);
  }

  /** 0x19 0B … 0E: first and most recent, failed and confirmed. @returns undefined when there is none */
  async only(
    which: "firstTestFailed" | "firstConfirmed" | "mostRecentTestFailed" | "mostRecentConfirmed",
    options?: RequestOptions,
  ): Promise<Dtc | undefined> {
    const { dtcs } = await this.#list(DtcReport[which], {}, options);
    if (dtcs.length > 1) throw this.#unexpected("at most 1 DTC", `${dtcs.length}`);
    return dtcs[0];
  }

  /** 0x19 14: DTCs that are on their way, with counters from 1 to 126. */
  async faultDetectionCounters(
    options?: RequestOptions,
  ): Promise<readonly { dtc: number; counter: number }[]> {
    const answer = await this.report(DtcReport.faultDetectionCounters, {}, options);
    if (answer.kind !== "counters") throw this.#wrongKind("counters", answer);
    return answer.counters;
  }

  /** 0x19 15. */
  withPermanentStatus(options?: RequestOptions): Promise<DtcList> {
    return this.#list(DtcReport.withPermanentStatus, {}, options);
  }

  /** 0x19 17: a user defined memory. */
  userMemory(statusMask: number, memory: number, options?: RequestOptions): Promise<DtcList> {
    return this.#list(DtcReport.userMemoryByStatusMask, { statusMask, memory }, options);
  }

  async #list(report: number, parameters: ReportParameters, options?: RequestOptions): Promise<DtcList> {
    const answer = await this.report(report, parameters, options);
    if (answer.kind !== "list") throw this.#wrongKind("list", answer);
    return { availability: answer.availability, dtcs: answer.dtcs };
  }

  async #count(report: number, parameters: ReportParameters, options?: RequestOptions): Promise<DtcCount> {
    const answer = await this.report(report, parameters, options);
    if (answer.kind !== "count") throw this.#wrongKind("count", answer);
    return { availability: answer.availability, format: answer.format, count: answer.count };
  }

  async #records(
    report: number,
    parameters: ReportParameters,
    options?: RequestOptions,
  ): Promise<DtcRecords> {
    const answer = await this.report(report, parameters, options);
    if (answer.kind !== "records") throw this.#wrongKind("records", answer);
    return { code: answer.code, status: answer.status, records: answer.records };
  }

  async #severities(
    report: number,
    parameters: ReportParameters,
    options?: RequestOptions,
  ): Promise<readonly DtcWithSeverity[]> {
    const answer = await this.report(report, parameters, options);
    if (answer.kind !== "severities") throw this.#wrongKind("severities", answer);
    return answer.dtcs;
  }

  // The report type is repeated and checked before, so this says that the table of shapes is wrong.
  #wrongKind(expected: string, answer: DtcReportResponse): Error {
    return this.#unexpected(`an answer of kind ${expected}`, answer.kind);
  }

  #unexpected(expected: string, came: string): Error {
    return unexpected(this.#exchange, Sid.readDtcInformation, expected, came);
  }
}
