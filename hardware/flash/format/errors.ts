// What can be wrong with a firmware file.

/** Causes, for programs; the message is for people. */
export type FirmwareFormatCode =
  /** The content is of no known format, or of another than the one named. */
  | "unknown_format"
  /** A character that does not belong there: no record mark, not a hexadecimal digit, something behind the checksum. */
  | "bad_character"
  | "truncated_line"
  | "line_too_long"
  | "bad_checksum"
  | "bad_record_type"
  /** The record's length is not what its type asks for. */
  | "bad_length"
  /** S5 or S6 counts other records than there were. */
  | "bad_count"
  | "address_overflow"
  | "overlap"
  | "data_after_end"
  | "missing_end"
  /** Two start addresses that differ. */
  | "conflicting_start"
  | "empty_image"
  | "too_many_runs"
  | "too_many_segments"
  | "too_large"
  /** The header of a VBF file is not of its grammar, or lacks what must be there. */
  | "bad_header"
  /** A VBF file says something about its blocks that cannot be done here. */
  | "unsupported";

/** What {@linkcode FirmwareFormatError} is made of. */
export interface FirmwareFormatErrorOptions {
  /** Line of the file, counted from 1. Binary files have none. */
  line?: number;
  /** Byte of the file, counted from 0: where a binary part has no lines. */
  offset?: number;
  expected: string;
  found: string;
}

/** A firmware file that is not what its format says, with the place and what was expected there. */
export class FirmwareFormatError extends Error {
  override readonly name = "FirmwareFormatError";
  readonly code: FirmwareFormatCode;
  /** Line of the file, counted from 1; `undefined` where the fault has no line. */
  readonly line: number | undefined;
  /** Byte of the file, counted from 0; `undefined` where the fault has a line or no place. */
  readonly offset: number | undefined;
  readonly expected: string;
  readonly found: string;

  constructor(code: FirmwareFormatCode, { line, offset, expected, found }: FirmwareFormatErrorOptions) {
    const place = line !== undefined ? `line ${line}: ` : offset !== undefined ? `byte ${offset}: ` : "";
    super(`${place}expected ${expected}, found ${found}`);
    this.code = code;
    this.line = line;
    this.offset = offset;
    this.expected = expected;
    this.found = found;
  }
}

/** An address as people write it. */
export function hex32(address: number): string {
  return `0x${address.toString(16).toUpperCase().padStart(8, "0")}`;
}
