// The fingerprint that is written before programming: who flashed and when, laid out as an ECU type wants it.
import { Buffer } from "node:buffer";

/** One part of a fingerprint; the record is all of them, one after another. */
export type FingerprintPart =
  /** These bytes. */
  | { bytes: Uint8Array }
  /** Today, in binary-coded decimal: 3 or 4 bytes. */
  | { date: "yymmdd" | "yyyymmdd" | "ddmmyy" }
  /** ASCII text, cut or filled up with `fill` to `length`. @default its own length, filled up with 0x20 */
  | { text: string; length?: number; fill?: number };

/** Longest record. */
const longest = 255;

/** Checks a layout. @throws {RangeError} quoting what cannot be */
export function checkFingerprint(parts: readonly FingerprintPart[]): void {
  const length = buildFingerprint(parts, new Date(0)).length;
  if (length < 1 || length > longest) {
    throw new RangeError(`flash plan fingerprint: expected 1 … ${longest} bytes, got ${length}`);
  }
}

/** The record of that moment, local time. @throws {RangeError} for a text that is not printable ASCII */
export function buildFingerprint(parts: readonly FingerprintPart[], now: Date): Uint8Array {
  return new Uint8Array(Buffer.concat(parts.map((part) => partBytes(part, now))));
}

function partBytes(part: FingerprintPart, now: Date): Uint8Array {
  if ("bytes" in part) return part.bytes;
  if ("date" in part) {
    const day = bcd(now.getDate());
    const month = bcd(now.getMonth() + 1);
    const year = bcd(now.getFullYear() % 100);
    const century = bcd(Math.floor(now.getFullYear() / 100));
    switch (part.date) {
      case "yymmdd":
        return Uint8Array.of(year, month, day);
      case "yyyymmdd":
        return Uint8Array.of(century, year, month, day);
      case "ddmmyy":
        return Uint8Array.of(day, month, year);
    }
  }
  const { text, length = text.length, fill = 0x20 } = part;
  if (!/^[\x20-\x7e]*$/.test(text)) {
    throw new RangeError(
      `flash plan fingerprint text: expected printable ASCII, got ${JSON.stringify(text)}`,
    );
  }
  if (!Number.isInteger(length) || length < 1 || length > longest) {
    throw new RangeError(`flash plan fingerprint length: expected 1 … ${longest}, got ${length}`);
  }
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set(Buffer.from(text.slice(0, length), "latin1"));
  return bytes;
}

/** Two decimal digits in one byte. */
function bcd(value: number): number {
  return Math.floor(value / 10) << 4 | value % 10;
}
