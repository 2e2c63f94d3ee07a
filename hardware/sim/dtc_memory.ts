// DTC memory of a simulated ECU: what its tests report, what ClearDiagnosticInformation (0x14) takes away, and in which
// order things happened. dtc_reports.ts answers ReadDTCInformation (0x19) from it.
import { Buffer } from "node:buffer";
import { DtcSeverity, DtcStatus } from "../uds/dtc.ts";
import type { SimulatedDtcOptions, SimulatedDtcRecord } from "./options.ts";

/** Status of a DTC after it was cleared (Annex D.2). */
const cleared = DtcStatus.testNotCompletedSinceLastClear | DtcStatus.testNotCompletedThisOperationCycle;
const allGroups = 0xffffff;
/** Groups FFFFxx are those of functional group xx (Annex D.1). */
const functionalGroups = 0xffff00;

interface StoredRecord {
  readonly record: number;
  readonly data: Uint8Array;
}

/** One DTC of the memory. */
export interface StoredDtc {
  readonly code: number;
  status: number;
  /** User defined memory; undefined: the primary one. */
  readonly memory: number | undefined;
  readonly severity: number;
  readonly functionalUnit: number;
  readonly functionalGroup: number | undefined;
  readonly permanent: boolean;
  /** Fault detection counter, −128 … 127. */
  counter: number;
  snapshots: readonly StoredRecord[];
  extendedData: readonly StoredRecord[];
}

/** Code, status and, of a user defined memory, its number. */
export type KeptDtc = [code: number, status: number, memory?: number];

/** The DTCs of one ECU. */
export class DtcMemory {
  readonly #dtcs: StoredDtc[] = [];
  /** DTCs in the order in which they failed and were confirmed since the last clear, oldest first. */
  readonly #failed: StoredDtc[] = [];
  readonly #confirmed: StoredDtc[] = [];
  /** Called when something changed, so that it can be kept. */
  onChange: (() => void) | undefined;
  /** Called with the status bits of a DTC that came to be set. */
  onStatusSet: ((bits: number) => void) | undefined;

  constructor(dtcs: readonly SimulatedDtcOptions[]) {
    for (const options of dtcs) {
      const { code, status = 0x09, memory, severity = DtcSeverity.noClassInformation, counter } = options;
      const dtc: StoredDtc = {
        code: checkCode(code),
        status: 0,
        memory: memory === undefined ? undefined : checkByte(memory, "DTC memory"),
        severity: checkByte(severity, "DTC severity"),
        functionalUnit: checkByte(options.functionalUnit ?? 0, "DTC functional unit"),
        functionalGroup: options.functionalGroup,
        permanent: options.permanent ?? false,
        counter: counter ?? ((status & DtcStatus.testFailed) !== 0 ? 127 : 0),
        snapshots: (options.snapshots ?? []).map(storedRecord),
        extendedData: (options.extendedData ?? []).map(storedRecord),
      };
      if (!Number.isInteger(dtc.counter) || dtc.counter < -128 || dtc.counter > 127) {
        throw new RangeError(`DTC counter: expected −128 … 127, got ${dtc.counter}`);
      }
      this.#dtcs.push(dtc);
      this.#setStatus(dtc, checkByte(status, "DTC status"));
    }
  }

  /** All DTCs of a memory, in the order in which they were configured or first reported. */
  dtcs(memory?: number): StoredDtc[] {
    return this.#dtcs.filter((dtc) => dtc.memory === memory);
  }

  /** DTCs of the primary memory that failed, or were confirmed, since the last clear; oldest first. */
  history(which: "failed" | "confirmed"): readonly StoredDtc[] {
    const history = which === "failed" ? this.#failed : this.#confirmed;
    return history.filter(({ memory }) => memory === undefined);
  }

  /** What is to be kept without power. */
  get statuses(): KeptDtc[] {
    return this.#dtcs.map(({ code, status, memory }) =>
      memory === undefined ? [code, status] : [code, status, memory]
    );
  }

  /** Takes kept statuses over; codes that the ECU does not know are passed over. */
  restore(statuses: readonly KeptDtc[]): void {
    for (const [code, status, memory] of statuses) {
      const dtc = this.#find(code, memory);
      if (dtc === undefined) continue;
      // Records do not outlive a clear.
      if (status === cleared) this.#clear(dtc);
      else this.#setStatus(dtc, status);
    }
  }

  /** A test of the ECU set this status. */
  set(code: number, status: number): void {
    checkByte(status, "DTC status");
    let dtc = this.#find(checkCode(code), undefined);
    if (dtc === undefined) {
      dtc = {
        code,
        status: 0,
        memory: undefined,
        severity: DtcSeverity.noClassInformation,
        functionalUnit: 0,
        functionalGroup: undefined,
        permanent: false,
        counter: 0,
        snapshots: [],
        extendedData: [],
      };
      this.#dtcs.push(dtc);
    }
    dtc.counter = (status & DtcStatus.testFailed) !== 0 ? 127 : -128;
    const set = this.#setStatus(dtc, status);
    this.onChange?.();
    if (set !== 0) this.onStatusSet?.(set);
  }

  /** 0x14: all, a functional group, or one DTC of a memory. @returns false for a group that is not there */
  clear(group: number, memory?: number): boolean {
    const dtcs = this.dtcs(memory);
    const wanted = group === allGroups
      ? dtcs
      : dtcs.filter(({ code, functionalGroup }) =>
        code === group || functionalGroup !== undefined && group === functionalGroups + functionalGroup
      );
    // All of nothing is nothing, and done (12.2.4); a memory or a group that does not exist is out of range.
    if (wanted.length === 0 && (group !== allGroups || memory !== undefined)) return false;
    for (const dtc of wanted) this.#clear(dtc);
    this.onChange?.();
    return true;
  }

  #find(code: number, memory: number | undefined): StoredDtc | undefined {
    return this.#dtcs.find((dtc) => dtc.code === code && dtc.memory === memory);
  }

  #clear(dtc: StoredDtc): void {
    this.#setStatus(dtc, cleared);
    Object.assign(dtc, { counter: 0, snapshots: [], extendedData: [] });
    for (const history of [this.#failed, this.#confirmed]) {
      const at = history.indexOf(dtc);
      if (at >= 0) history.splice(at, 1);
    }
  }

  /** @returns the bits that came to be set */
  #setStatus(dtc: StoredDtc, status: number): number {
    const set = status & ~dtc.status;
    dtc.status = status;
    if ((set & DtcStatus.testFailed) !== 0) moveToEnd(this.#failed, dtc);
    if ((set & DtcStatus.confirmedDtc) !== 0) moveToEnd(this.#confirmed, dtc);
    return set;
  }
}

function moveToEnd(history: StoredDtc[], dtc: StoredDtc): void {
  const at = history.indexOf(dtc);
  if (at >= 0) history.splice(at, 1);
  history.push(dtc);
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
