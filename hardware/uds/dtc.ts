// Diagnostic trouble codes: status and severity bits, formats, text form, and the records stored beside them.
import { hex } from "./services.ts";

/** Bits of a DTC's status, ISO 14229-1:2020 Annex D.2. */
export const DtcStatus = {
  testFailed: 0x01,
  testFailedThisOperationCycle: 0x02,
  pendingDtc: 0x04,
  confirmedDtc: 0x08,
  testNotCompletedSinceLastClear: 0x10,
  testFailedSinceLastClear: 0x20,
  testNotCompletedThisOperationCycle: 0x40,
  warningIndicatorRequested: 0x80,
} as const;

/** Bits of a DTC's severity and class, Annex D.3. */
export const DtcSeverity = {
  noClassInformation: 0x01,
  class1: 0x02,
  class2: 0x04,
  class3: 0x08,
  class4: 0x10,
  maintenanceOnly: 0x20,
  checkAtNextHalt: 0x40,
  checkImmediately: 0x80,
} as const;

/** DTCFormatIdentifier, Annex D.4. */
export const DtcFormat = {
  saeJ2012Format00: 0x00,
  iso14229: 0x01,
  saeJ1939: 0x02,
  iso11992: 0x03,
  saeJ2012Format04: 0x04,
} as const;

/** One DTC with its status. */
export interface Dtc {
  /** Three bytes, 0x000000 … 0xFFFFFF. */
  readonly code: number;
  /** Bits of {@link DtcStatus}. */
  readonly status: number;
}

/** The names of the status bits that are set, lowest first. */
export function dtcStatusNames(status: number): string[] {
  return namesIn(DtcStatus, status);
}

/** The names of the severity bits that are set, lowest first. */
export function dtcSeverityNames(severity: number): string[] {
  return namesIn(DtcSeverity, severity);
}

/** A status mask of names and numbers, e.g. `confirmedDtc,testFailed` or `0x09`. @throws {RangeError} */
export function parseStatusMask(text: string): number {
  const bits = new Map<string, number>(Object.entries(DtcStatus));
  return text.split(",").map((part) => part.trim()).reduce((mask, part) => {
    const value = /^(0x[0-9a-f]{1,2}|\d{1,3})$/i.test(part) ? Number(part) : bits.get(part);
    if (value === undefined || value > 0xff) {
      throw new RangeError(
        `status mask: expected 0x00 … 0xFF or names of ${[...bits.keys()].join(", ")}, got ${
          JSON.stringify(part)
        }`,
      );
    }
    return mask | value;
  }, 0);
}

/**
 * The code as SAE J2012-DA (ISO 15031-6) writes it with its failure type: `P0123-45`. The two top bits choose the letter.
 */
export function formatDtc(code: number): string {
  if (!Number.isInteger(code) || code < 0 || code > 0xffffff) {
    throw new RangeError(`DTC: expected 0 … 0xFFFFFF, got ${code}`);
  }
  const high = code >> 8;
  const digits = (high & 0x3fff).toString(16).toUpperCase().padStart(4, "0");
  return `${letters[high >> 14]}${digits}-${hex(code & 0xff, 2).slice(2)}`;
}

/** Powertrain, chassis, body, network: SAE J2012. */
const letters = "PCBU";

/** Reads what {@link formatDtc} writes, also without the dash or the failure type (00), and `0x056216`. @throws {RangeError} */
export function parseDtc(text: string): number {
  const number = /^0x([0-9a-f]{6})$/i.exec(text);
  if (number !== null) return parseInt(number[1], 16);
  const named = /^([PCBU])([0-3][0-9A-F]{3})(?:-?([0-9A-F]{2}))?$/i.exec(text);
  if (named === null) {
    throw new RangeError(`DTC: expected e.g. P0562-16 or 0x056216, got ${JSON.stringify(text)}`);
  }
  const [, letter, digits, failureType = "00"] = named;
  const high = letters.indexOf(letter.toUpperCase()) << 14 | parseInt(digits, 16);
  return high * 256 + parseInt(failureType, 16);
}

/** Reads `DTC (3 bytes) status` records. @returns undefined when the bytes are not whole records */
export function decodeDtcList(bytes: Uint8Array): Dtc[] | undefined {
  if (bytes.length % 4 !== 0) return undefined;
  const list: Dtc[] = [];
  for (let at = 0; at < bytes.length; at += 4) {
    list.push({ code: bytes[at] << 16 | bytes[at + 1] << 8 | bytes[at + 2], status: bytes[at + 3] });
  }
  return list;
}

/** What was stored when a DTC occurred (19 04). */
export interface DtcSnapshot {
  readonly record: number;
  /** Identifiers with their data, in the ECU's order. */
  readonly values: readonly { readonly did: number; readonly data: Uint8Array }[];
}

/**
 * Takes snapshot records apart: number, count of identifiers, each identifier with its data (12.3.3).
 *
 * @param lengthOf bytes of an identifier's data, from the ECU's description: nothing else tells where the data end
 * @returns undefined when a length is not known or the bytes do not fit
 */
export function decodeSnapshots(
  bytes: Uint8Array,
  lengthOf: (did: number) => number | undefined,
): DtcSnapshot[] | undefined {
  const snapshots: DtcSnapshot[] = [];
  for (let at = 0; at < bytes.length;) {
    if (at + 2 > bytes.length) return undefined;
    const record = bytes[at];
    const count = bytes[at + 1];
    at += 2;
    const values = [];
    for (let index = 0; index < count; index++) {
      if (at + 2 > bytes.length) return undefined;
      const did = bytes[at] << 8 | bytes[at + 1];
      at += 2;
      const length = lengthOf(did);
      if (length === undefined || at + length > bytes.length) return undefined;
      values.push({ did, data: bytes.slice(at, at + length) });
      at += length;
    }
    snapshots.push({ record, values });
  }
  return snapshots;
}

/** A record of extended data (19 06). */
export interface DtcExtendedData {
  readonly record: number;
  readonly data: Uint8Array;
}

/**
 * Takes extended data records apart.
 *
 * @param lengthOf bytes of a record's data, from the ECU's description; undefined: all that is left
 * @returns undefined when the bytes do not fit the lengths
 */
export function decodeExtendedData(
  bytes: Uint8Array,
  lengthOf: (record: number) => number | undefined,
): DtcExtendedData[] | undefined {
  const records: DtcExtendedData[] = [];
  for (let at = 0; at < bytes.length;) {
    const record = bytes[at++];
    const length = lengthOf(record) ?? bytes.length - at;
    if (at + length > bytes.length) return undefined;
    records.push({ record, data: bytes.slice(at, at + length) });
    at += length;
  }
  return records;
}

function namesIn(table: Readonly<Record<string, number>>, value: number): string[] {
  return Object.entries(table).filter(([, bit]) => (value & bit) !== 0).map(([name]) => name);
}
