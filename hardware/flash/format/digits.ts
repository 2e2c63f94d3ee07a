// Hexadecimal digits as bytes of a text.

import { FirmwareFormatError } from "./errors.ts";

/** Value of each byte as a hexadecimal digit, upper or lower case; −1 for every other byte. */
export const digitValues: Int8Array = (() => {
  const values = new Int8Array(256).fill(-1);
  for (let value = 0; value < 16; value++) {
    const digit = value.toString(16);
    values[digit.charCodeAt(0)] = value;
    values[digit.toUpperCase().charCodeAt(0)] = value;
  }
  return values;
})();

/** The byte of two digits at `at`; negative where one of them is no digit. */
export function pairAt(buffer: Uint8Array, at: number): number {
  const high = digitValues[buffer[at]];
  const low = digitValues[buffer[at + 1]];
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/** The error for the first byte in the range that is no digit. */
export function badDigit(
  buffer: Uint8Array,
  start: number,
  end: number,
  line: number,
  lineStart: number,
): FirmwareFormatError {
  let at = start;
  while (at < end && digitValues[buffer[at]] >= 0) at++;
  return new FirmwareFormatError("bad_character", {
    line,
    expected: `a hexadecimal digit in column ${at - lineStart + 1}`,
    found: character(buffer[at]),
  });
}

/** A byte as people can read it. */
export function character(byte: number): string {
  const code = `0x${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}' (${code})` : code;
}

/** A byte as two digits. */
export function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(2, "0");
}
