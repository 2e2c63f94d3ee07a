// Diagnostic trouble codes as ReadDTCInformation (0x19) carries them.
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

/** One DTC with its status. */
export interface Dtc {
  /** Three bytes, 0x000000 … 0xFFFFFF. */
  readonly code: number;
  /** Bits of {@link DtcStatus}. */
  readonly status: number;
}

/** The names of the bits that are set, lowest first. */
export function dtcStatusNames(status: number): string[] {
  return Object.entries(DtcStatus).filter(([, bit]) => (status & bit) !== 0).map(([name]) => name);
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
  return `${"PCBU"[high >> 14]}${digits}-${hex(code & 0xff, 2).slice(2)}`;
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
