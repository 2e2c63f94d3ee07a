// Intel HEX, as in "Hexadecimal Object File Format Specification", revision A, Intel 1988. A record is a line
// `:LLAAAATTDD…CC`: length of the data, address, type, data, checksum, two hexadecimal digits a byte.

import { badDigit, character, digitValues, hex8, pairAt } from "./digits.ts";
import { FirmwareFormatError, hex32 } from "./errors.ts";
import type { DataSink, RecordReader, RecordSummary } from "./record_reader.ts";

const colon = 0x3a;
const addressSpace = 2 ** 32;
const segmentSize = 2 ** 16;

/** Record types (chapters 3 to 8), with the length of data that each asks for. */
const types = {
  data: { type: 0, length: undefined },
  endOfFile: { type: 1, length: 0 },
  extendedSegmentAddress: { type: 2, length: 2 },
  startSegmentAddress: { type: 3, length: 4 },
  extendedLinearAddress: { type: 4, length: 2 },
  startLinearAddress: { type: 5, length: 4 },
} as const;
const lengths = new Map<number, number>(
  Object.values(types).flatMap(({ type, length }) => length === undefined ? [] : [[type, length]]),
);

/** Characters of a record without data: mark, length, address, type, checksum. */
const frame = 11;

/** Reads Intel HEX records. */
export class IntelHexReader implements RecordReader {
  readonly maxLineLength: number = frame + 2 * 255;
  readonly #sink: DataSink;
  /** What type 02 or 04 set; data lies at `base` plus the record's address. */
  #base = 0;
  /** Under type 02 addresses wrap within 64 KiB; under 04, and before either, they do not. */
  #wraps = false;
  #start: number | undefined;
  #ended = false;

  constructor(sink: DataSink) {
    this.#sink = sink;
  }

  line(buffer: Uint8Array, start: number, end: number, line: number): void {
    if (this.#ended) {
      throw new FirmwareFormatError("data_after_end", {
        line,
        expected: "nothing behind the end-of-file record (type 01)",
        found: `${end - start} characters`,
      });
    }
    if (buffer[start] !== colon) {
      throw new FirmwareFormatError("bad_character", {
        line,
        expected: "':' at the beginning of a record",
        found: character(buffer[start]),
      });
    }
    const characters = end - start;
    if (characters < frame) throw truncated(line, frame, characters);
    const length = pairAt(buffer, start + 1);
    if (length < 0) throw badDigit(buffer, start + 1, end, line, start);
    const whole = frame + 2 * length;
    if (characters < whole) throw truncated(line, whole, characters);
    if (characters > whole) {
      throw new FirmwareFormatError("bad_length", {
        line,
        expected: `${whole} characters, as the record's length 0x${hex8(length)} says`,
        found: `${characters}`,
      });
    }
    const high = pairAt(buffer, start + 3);
    const low = pairAt(buffer, start + 5);
    const type = pairAt(buffer, start + 7);
    if (high < 0 || low < 0 || type < 0) throw badDigit(buffer, start + 3, end, line, start);
    const address = high << 8 | low;
    const sum = length + high + low + type;
    if (type === types.data.type) {
      if (length === 0) this.#check(sum, buffer, start, end, line);
      else this.#data(buffer, start, end, line, address, length, sum);
    } else this.#control(buffer, start, end, line, type, address, length, sum);
  }

  finish(): RecordSummary {
    if (!this.#ended) {
      throw new FirmwareFormatError("missing_end", {
        expected: "an end-of-file record (type 01) as the last record",
        found: "the end of the file",
      });
    }
    return { startAddress: this.#start, header: undefined };
  }

  #data(
    buffer: Uint8Array,
    start: number,
    end: number,
    line: number,
    address: number,
    length: number,
    sum: number,
  ): void {
    const first = this.#base + address;
    let at: number;
    if (this.#wraps && address + length > segmentSize) {
      // Chapter 4: "(DRLO + DRI) MOD 64K" — the bytes behind the segment's end lie at its beginning.
      const before = segmentSize - address;
      at = this.#sink.reserve(first, before, line);
      this.#sink.reserve(this.#base, length - before, line);
    } else {
      if (first + length > addressSpace) {
        throw new FirmwareFormatError("address_overflow", {
          line,
          expected: "addresses up to 0xFFFFFFFF",
          found: `${length} bytes at ${hex32(first)}`,
        });
      }
      at = this.#sink.reserve(first, length, line);
    }
    const into = this.#sink.buffer;
    // The hot loop: one table look-up a digit, faults gathered in the sign of `bad` and looked for afterwards.
    let bad = 0;
    const last = end - 2;
    for (let from = start + 9; from < last; from += 2) {
      const high = digitValues[buffer[from]];
      const low = digitValues[buffer[from + 1]];
      bad |= high | low;
      const byte = high << 4 | low;
      into[at++] = byte;
      sum += byte;
    }
    if (bad < 0) throw badDigit(buffer, start + 9, last, line, start);
    this.#check(sum, buffer, start, end, line);
  }

  #control(
    buffer: Uint8Array,
    start: number,
    end: number,
    line: number,
    type: number,
    address: number,
    length: number,
    sum: number,
  ): void {
    let value = 0;
    for (let from = start + 9; from < end - 2; from += 2) {
      const byte = pairAt(buffer, from);
      if (byte < 0) throw badDigit(buffer, from, end, line, start);
      sum += byte;
      value = value * 256 + byte;
    }
    this.#check(sum, buffer, start, end, line);
    const wanted = lengths.get(type);
    if (wanted === undefined) {
      throw new FirmwareFormatError("bad_record_type", {
        line,
        expected: "a record of type 00 to 05",
        found: `type ${hex8(type)}`,
      });
    }
    if (length !== wanted) {
      throw new FirmwareFormatError("bad_length", {
        line,
        expected: `${wanted} bytes of data in a record of type ${hex8(type)}`,
        found: `${length}`,
      });
    }
    if (type === types.endOfFile.type) {
      this.#ended = true;
      // Revision A wants address 0; the 8-bit form before it puts the start address there.
      if (address !== 0) this.#setStart(address, line);
      return;
    }
    if (address !== 0) {
      throw new FirmwareFormatError("bad_length", {
        line,
        expected: `address 0000 in a record of type ${hex8(type)}`,
        found: hex8(address >> 8) + hex8(address & 0xff),
      });
    }
    switch (type) {
      case types.extendedSegmentAddress.type:
        this.#base = value * 16;
        this.#wraps = true;
        break;
      case types.extendedLinearAddress.type:
        this.#base = value * segmentSize;
        this.#wraps = false;
        break;
      case types.startSegmentAddress.type:
        this.#setStart(Math.floor(value / segmentSize) * 16 + value % segmentSize, line);
        break;
      case types.startLinearAddress.type:
        this.#setStart(value, line);
        break;
    }
  }

  #setStart(address: number, line: number): void {
    if (this.#start !== undefined && this.#start !== address) {
      throw new FirmwareFormatError("conflicting_start", {
        line,
        expected: `no start address beside ${hex32(this.#start)}`,
        found: hex32(address),
      });
    }
    this.#start = address;
  }

  /** Chapter 2: all bytes of a record, its checksum included, sum up to 0 modulo 256. */
  #check(sum: number, buffer: Uint8Array, start: number, end: number, line: number): void {
    const checksum = pairAt(buffer, end - 2);
    if (checksum < 0) throw badDigit(buffer, end - 2, end, line, start);
    if ((sum + checksum & 0xff) !== 0) {
      throw new FirmwareFormatError("bad_checksum", {
        line,
        expected: `checksum ${hex8(-sum & 0xff)}`,
        found: hex8(checksum),
      });
    }
  }
}

function truncated(line: number, wanted: number, found: number): FirmwareFormatError {
  return new FirmwareFormatError("truncated_line", {
    line,
    expected: `at least ${wanted} characters`,
    found: `${found}`,
  });
}
