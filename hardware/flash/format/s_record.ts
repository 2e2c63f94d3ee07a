// Motorola S-records. A record is a line `STLL…DD…CC`: type, number of the bytes that follow, address, data, checksum,
// two hexadecimal digits a byte. Source: "M68000 Family Programmer's Reference Manual", appendix C.

import { badDigit, character, digitValues, hex8, pairAt } from "./digits.ts";
import { FirmwareFormatError, hex32 } from "./errors.ts";
import type { DataSink, RecordReader, RecordSummary } from "./record_reader.ts";

const upperS = 0x53;
const lowerS = 0x73;
const zero = 0x30;
const addressSpace = 2 ** 32;

/** Records by type (appendix C.3): what each is for, and the bytes of its address. S4 is reserved. */
const types: readonly ({ kind: "header" | "data" | "count" | "end"; addressBytes: number } | undefined)[] = [
  { kind: "header", addressBytes: 2 },
  { kind: "data", addressBytes: 2 },
  { kind: "data", addressBytes: 3 },
  { kind: "data", addressBytes: 4 },
  undefined,
  { kind: "count", addressBytes: 2 },
  { kind: "count", addressBytes: 3 },
  { kind: "end", addressBytes: 4 },
  { kind: "end", addressBytes: 3 },
  { kind: "end", addressBytes: 2 },
];

/** Characters before the address: mark, type, count. */
const head = 4;

/** Reads Motorola S-records. */
export class SRecordReader implements RecordReader {
  readonly maxLineLength: number = head + 2 * 255;
  readonly #sink: DataSink;
  #dataRecords = 0;
  #header: string | undefined;
  #start: number | undefined;
  #ended = false;
  /** The last record was a count of all data before it: nothing is missing then, even without an end record. */
  #counted = false;

  constructor(sink: DataSink) {
    this.#sink = sink;
  }

  line(buffer: Uint8Array, start: number, end: number, line: number): void {
    if (this.#ended) {
      throw new FirmwareFormatError("data_after_end", {
        line,
        expected: "nothing behind the end record (S7, S8 or S9)",
        found: `${end - start} characters`,
      });
    }
    if (buffer[start] !== upperS && buffer[start] !== lowerS) {
      throw new FirmwareFormatError("bad_character", {
        line,
        expected: "'S' at the beginning of a record",
        found: character(buffer[start]),
      });
    }
    const characters = end - start;
    if (characters < head) throw truncated(line, head, characters);
    const type = buffer[start + 1] - zero;
    const form = types[type];
    if (form === undefined) {
      throw new FirmwareFormatError("bad_record_type", {
        line,
        expected: "a record S0 to S3 or S5 to S9",
        found: character(buffer[start + 1]),
      });
    }
    const count = pairAt(buffer, start + 2);
    if (count < 0) throw badDigit(buffer, start + 2, end, line, start);
    const whole = head + 2 * count;
    if (characters < whole) throw truncated(line, whole, characters);
    if (characters > whole) {
      throw new FirmwareFormatError("bad_length", {
        line,
        expected: `${whole} characters, as the record's count 0x${hex8(count)} says`,
        found: `${characters}`,
      });
    }
    const dataLength = count - form.addressBytes - 1;
    if (dataLength < 0 || (dataLength > 0 && (form.kind === "count" || form.kind === "end"))) {
      throw new FirmwareFormatError("bad_length", {
        line,
        expected: `a count of ${dataLength < 0 ? "at least " : ""}${
          form.addressBytes + 1
        } in an S${type} record`,
        found: `${count}`,
      });
    }
    let sum = count;
    let address = 0;
    const dataStart = start + head + 2 * form.addressBytes;
    for (let from = start + head; from < dataStart; from += 2) {
      const byte = pairAt(buffer, from);
      if (byte < 0) throw badDigit(buffer, from, end, line, start);
      sum += byte;
      address = address * 256 + byte;
    }
    switch (form.kind) {
      case "data":
        this.#data(buffer, start, dataStart, end, line, address, dataLength, sum);
        break;
      case "header":
        this.#headerText(buffer, start, dataStart, end, line, sum);
        break;
      case "count":
        check(sum, buffer, start, end, line);
        this.#checkCount(type, form.addressBytes, address, line);
        break;
      case "end":
        check(sum, buffer, start, end, line);
        this.#start = address;
        this.#ended = true;
        break;
    }
  }

  finish(): RecordSummary {
    // Some tools write an end record only where there is a start address, and a count otherwise.
    if (!this.#ended && !this.#counted) {
      throw new FirmwareFormatError("missing_end", {
        expected: "an end record (S7, S8 or S9) or a count (S5 or S6) as the last record",
        found: "the end of the file",
      });
    }
    return { startAddress: this.#start, header: this.#header };
  }

  #data(
    buffer: Uint8Array,
    start: number,
    dataStart: number,
    end: number,
    line: number,
    address: number,
    length: number,
    sum: number,
  ): void {
    this.#dataRecords++;
    this.#counted = false;
    if (address + length > addressSpace) {
      throw new FirmwareFormatError("address_overflow", {
        line,
        expected: "addresses up to 0xFFFFFFFF",
        found: `${length} bytes at ${hex32(address)}`,
      });
    }
    if (length > 0) {
      let at = this.#sink.reserve(address, length, line);
      const into = this.#sink.buffer;
      // The hot loop: one table look-up a digit, faults gathered in the sign of `bad` and looked for afterwards.
      let bad = 0;
      const last = end - 2;
      for (let from = dataStart; from < last; from += 2) {
        const high = digitValues[buffer[from]];
        const low = digitValues[buffer[from + 1]];
        bad |= high | low;
        const byte = high << 4 | low;
        into[at++] = byte;
        sum += byte;
      }
      if (bad < 0) throw badDigit(buffer, dataStart, last, line, start);
    }
    check(sum, buffer, start, end, line);
  }

  #headerText(
    buffer: Uint8Array,
    start: number,
    dataStart: number,
    end: number,
    line: number,
    sum: number,
  ): void {
    let text = "";
    for (let from = dataStart; from < end - 2; from += 2) {
      const byte = pairAt(buffer, from);
      if (byte < 0) throw badDigit(buffer, from, end, line, start);
      sum += byte;
      // What is no printable ASCII must not reach a log or a terminal.
      if (byte !== 0) text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "\ufffd";
    }
    check(sum, buffer, start, end, line);
    if (text !== "") this.#header ??= text;
  }

  #checkCount(type: number, bytes: number, count: number, line: number): void {
    // The field is 16 or 24 bits wide: a file with more records than that cannot say so.
    const wanted = this.#dataRecords % 256 ** bytes;
    if (count !== wanted) {
      throw new FirmwareFormatError("bad_count", {
        line,
        expected: `S${type} to count the ${wanted} data records before it`,
        found: `${count}`,
      });
    }
    this.#counted = true;
  }
}

/** Appendix C.2: the checksum is the ones' complement of the sum of count, address and data. */
function check(sum: number, buffer: Uint8Array, start: number, end: number, line: number): void {
  const checksum = pairAt(buffer, end - 2);
  if (checksum < 0) throw badDigit(buffer, end - 2, end, line, start);
  if ((sum + checksum & 0xff) !== 0xff) {
    throw new FirmwareFormatError("bad_checksum", {
      line,
      expected: `checksum ${hex8(~sum & 0xff)}`,
      found: hex8(checksum),
    });
  }
}

function truncated(line: number, wanted: number, found: number): FirmwareFormatError {
  return new FirmwareFormatError("truncated_line", {
    line,
    expected: `at least ${wanted} characters`,
    found: `${found}`,
  });
}
