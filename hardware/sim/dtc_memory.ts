// DTC memory of a simulated ECU: what ReadDTCInformation (0x19) reads and ClearDiagnosticInformation (0x14) clears.
import { Buffer } from "node:buffer";
import { DtcStatus } from "../uds/dtc.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal, type ServiceDefinition } from "../uds/server_service.ts";
import { DtcReport, positiveOffset, Sid } from "../uds/services.ts";
import type { SimulatedDtcOptions, SimulatedDtcRecord } from "./options.ts";

/** Status bits that the ECU keeps: all of them. */
const availability = 0xff;
/** DTCFormatIdentifier: ISO 14229-1 (12.3.3.2). */
const format = 0x01;
/** Status of a DTC after it was cleared (Annex D.2). */
const cleared = DtcStatus.testNotCompletedSinceLastClear | DtcStatus.testNotCompletedThisOperationCycle;
const allGroups = 0xffffff;

interface StoredRecord {
  record: number;
  data: Uint8Array;
}

interface StoredDtc {
  status: number;
  snapshots: StoredRecord[];
  extendedData: StoredRecord[];
}

/** The DTCs of one ECU. */
export class DtcMemory {
  readonly #dtcs = new Map<number, StoredDtc>();
  /** Called when something changed, so that it can be kept. */
  onChange: (() => void) | undefined;

  constructor(dtcs: readonly SimulatedDtcOptions[]) {
    for (const { code, status = 0x09, snapshots = [], extendedData = [] } of dtcs) {
      this.#dtcs.set(checkCode(code), {
        status: checkByte(status, "DTC status"),
        snapshots: snapshots.map(storedRecord),
        extendedData: extendedData.map(storedRecord),
      });
    }
  }

  /** Code and status of each DTC. */
  get statuses(): [number, number][] {
    return [...this.#dtcs].map(([code, { status }]) => [code, status]);
  }

  /** Takes kept statuses over; codes that the ECU does not know are passed over. */
  restore(statuses: readonly [number, number][]): void {
    for (const [code, status] of statuses) {
      const dtc = this.#dtcs.get(code);
      if (dtc === undefined) continue;
      dtc.status = status;
      // Records do not outlive a clear.
      if (status === cleared) Object.assign(dtc, { snapshots: [], extendedData: [] });
    }
  }

  /** A test of the ECU set this status. */
  set(code: number, status: number): void {
    const dtc = this.#dtcs.get(checkCode(code)) ?? { status: 0, snapshots: [], extendedData: [] };
    dtc.status = checkByte(status, "DTC status");
    this.#dtcs.set(code, dtc);
    this.onChange?.();
  }

  /** 0x14: all groups, or one DTC. @throws {Refusal} 31 for a group that is not there */
  clear(group: number): void {
    if (group !== allGroups && !this.#dtcs.has(group)) throw new Refusal(Nrc.requestOutOfRange);
    for (const [code, dtc] of this.#dtcs) {
      if (group !== allGroups && group !== code) continue;
      Object.assign(dtc, { status: cleared, snapshots: [], extendedData: [] });
    }
    this.onChange?.();
  }

  /** 0x19 with the report types that the simulator has. @param available whether the DTC memory can be read now */
  readService(available: () => boolean): ServiceDefinition {
    return {
      subFunctions: new Map([
        [DtcReport.numberByStatusMask, { minLength: 3, maxLength: 3 }],
        [DtcReport.byStatusMask, { minLength: 3, maxLength: 3 }],
        [DtcReport.snapshotByDtcNumber, { minLength: 6, maxLength: 6 }],
        [DtcReport.extendedDataByDtcNumber, { minLength: 6, maxLength: 6 }],
        [DtcReport.supported, { maxLength: 2 }],
      ]),
      handle: ({ bytes, subFunction }) => {
        if (!available()) throw new Refusal(Nrc.serviceNotSupported);
        return this.#report(bytes, subFunction);
      },
    };
  }

  /** 0x14. @param available whether the DTC memory can be cleared now */
  clearService(available: () => boolean): ServiceDefinition {
    return {
      minLength: 4,
      maxLength: 4,
      handle: ({ bytes }) => {
        if (!available()) throw new Refusal(Nrc.serviceNotSupported);
        this.clear(codeAt(bytes, 1));
        return Uint8Array.of(Sid.clearDiagnosticInformation + positiveOffset);
      },
    };
  }

  #report(request: Uint8Array, report: number): Uint8Array {
    const head = [Sid.readDtcInformation + positiveOffset, report];
    const masked = (mask: number) => [...this.#dtcs].filter(([, { status }]) => (status & mask) !== 0);
    switch (report) {
      case DtcReport.numberByStatusMask: {
        const count = masked(request[2]).length;
        return Uint8Array.of(...head, availability, format, count >> 8, count & 0xff);
      }
      case DtcReport.byStatusMask:
        return list(head, masked(request[2]));
      case DtcReport.supported:
        return list(head, [...this.#dtcs]);
      default: {
        const code = codeAt(request, 2);
        const dtc = this.#dtcs.get(code);
        if (dtc === undefined) throw new Refusal(Nrc.requestOutOfRange);
        const records = report === DtcReport.snapshotByDtcNumber ? dtc.snapshots : dtc.extendedData;
        const wanted = request[5];
        const found = records.filter(({ record }) => wanted === 0xff || record === wanted);
        // A record number that was never defined is out of range; no records at all is an empty answer.
        if (found.length === 0 && wanted !== 0xff) throw new Refusal(Nrc.requestOutOfRange);
        const bytes = [...head, code >> 16, code >> 8 & 0xff, code & 0xff, dtc.status];
        for (const { record, data } of found) bytes.push(record, ...data);
        return Uint8Array.from(bytes);
      }
    }
  }
}

function list(head: number[], dtcs: [number, StoredDtc][]): Uint8Array {
  const bytes = [...head, availability];
  for (const [code, { status }] of dtcs) bytes.push(code >> 16, code >> 8 & 0xff, code & 0xff, status);
  return Uint8Array.from(bytes);
}

function codeAt(bytes: Uint8Array, at: number): number {
  return bytes[at] << 16 | bytes[at + 1] << 8 | bytes[at + 2];
}

function checkCode(code: number): number {
  if (!Number.isInteger(code) || code < 0 || code > 0xffffff) {
    throw new RangeError(`DTC code: expected 0 … 0xFFFFFF, got ${code}`);
  }
  return code;
}

function checkByte(value: number, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xff) {
    throw new RangeError(`${what}: expected 0x00 … 0xFF, got ${value}`);
  }
  return value;
}

function storedRecord({ record, data }: SimulatedDtcRecord): StoredRecord {
  if (!Number.isInteger(record) || record < 1 || record > 0xfe) {
    throw new RangeError(`DTC record number: expected 0x01 … 0xFE, got ${record}`);
  }
  if (!/^([0-9a-fA-F]{2})+$/.test(data)) {
    throw new RangeError(
      `DTC record data: expected pairs of hexadecimal digits, got ${JSON.stringify(data)}`,
    );
  }
  return { record, data: new Uint8Array(Buffer.from(data, "hex")) };
}
