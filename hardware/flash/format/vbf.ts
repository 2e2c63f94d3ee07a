// The blocks of a VBF file (Versatile Binary Format): start address and length, 32 bits each, big-endian, the data, and
// their CRC-16, up to the end of the file. The header holds the CRC-32 of all of it.

import type { DownloadHints } from "../image.ts";
import { crc16, crc16Start, crc32 } from "./crc.ts";
import { FirmwareFormatError, hex32 } from "./errors.ts";
import type { RunRules } from "./run_table.ts";
import { type VbfHeader, VbfHeaderCollector } from "./vbf_header.ts";

const addressSpace = 2 ** 32;
/** Bytes before a block's data, and behind it. */
const frame = { before: 8, behind: 2 } as const;

/** Where the blocks go. */
export interface BlockSink {
  readonly buffer: Uint8Array;
  arrange(rules: RunRules): void;
  reserve(address: number, length: number, block: number): number;
}

/** What a VBF file says beside its data. */
export interface VbfSummary {
  startAddress: number | undefined;
  header: string | undefined;
  hints: DownloadHints;
}

/** Reads a VBF file piece by piece. */
export class VbfReader {
  readonly #sink: BlockSink;
  readonly #collector = new VbfHeaderCollector();
  #header: VbfHeader | undefined;
  /** Bytes of the file so far. */
  #offset = 0;
  #crc32 = 0;
  #block = 0;
  /** Address and length of the block, or its CRC, as far as they came. */
  readonly #frame = new Uint8Array(frame.before);
  #framed = 0;
  #address = 0;
  #length = 0;
  #left = 0;
  #crc16 = crc16Start;
  #part: "before" | "data" | "behind" = "before";

  constructor(sink: BlockSink) {
    this.#sink = sink;
  }

  /** Takes the next bytes. @throws {FirmwareFormatError} */
  push(piece: Uint8Array): void {
    let at = 0;
    if (this.#header === undefined) {
      const { taken, header } = this.#collector.push(piece);
      this.#offset += taken;
      if (header === undefined) return;
      this.#header = header;
      this.#sink.arrange({ unit: "block", apart: header.dataFormat !== 0 });
      at = taken;
    }
    if (at < piece.length) this.#crc32 = crc32(piece.subarray(at), this.#crc32);
    while (at < piece.length) {
      const taken = this.#part === "data" ? this.#data(piece, at) : this.#fill(piece, at);
      at += taken;
      this.#offset += taken;
      if (this.#part === "before" && this.#framed === frame.before) this.#begin();
      else if (this.#part === "data" && this.#left === 0) this.#part = "behind";
      else if (this.#part === "behind" && this.#framed === frame.behind) this.#end();
    }
  }

  /** Ends the file. @throws {FirmwareFormatError} */
  finish(): VbfSummary {
    const header = this.#header;
    if (header === undefined) throw this.#collector.missing();
    if (this.#part !== "before" || this.#framed > 0) {
      const missing = this.#part === "before"
        ? frame.before - this.#framed
        : this.#left + frame.behind - this.#framed;
      throw new FirmwareFormatError("truncated_line", {
        offset: this.#offset,
        expected: `${missing} more bytes of block ${this.#part === "before" ? this.#block + 1 : this.#block}`,
        found: "the end of the file",
      });
    }
    if (this.#crc32 !== header.checksum) {
      throw new FirmwareFormatError("bad_checksum", {
        expected: `CRC-32 ${hex32(header.checksum)} of the blocks, as file_checksum says`,
        found: hex32(this.#crc32),
      });
    }
    const { dataFormat, erase, call } = header;
    return {
      startAddress: call,
      header: [header.partType, header.partNumber].filter((text) => text !== undefined).join(" ") ||
        undefined,
      hints: {
        ...dataFormat === 0 ? {} : { dataFormat },
        ...erase === undefined ? {} : { erase },
        ...call === undefined ? {} : { call },
      },
    };
  }

  #fill(piece: Uint8Array, at: number): number {
    const taken = Math.min(
      frame[this.#part === "before" ? "before" : "behind"] - this.#framed,
      piece.length - at,
    );
    this.#frame.set(piece.subarray(at, at + taken), this.#framed);
    this.#framed += taken;
    return taken;
  }

  #begin(): void {
    const view = new DataView(this.#frame.buffer);
    this.#address = view.getUint32(0);
    this.#length = this.#left = view.getUint32(4);
    this.#block++;
    this.#framed = 0;
    const offset = this.#offset - frame.before;
    if (this.#length === 0) {
      throw new FirmwareFormatError("bad_length", {
        offset,
        expected: `at least 1 byte in block ${this.#block}`,
        found: "a length of 0",
      });
    }
    if (this.#address + this.#length > addressSpace) {
      throw new FirmwareFormatError("address_overflow", {
        offset,
        expected: `block ${this.#block} to end at 0xFFFFFFFF or before`,
        found: `${this.#length} bytes at ${hex32(this.#address)}`,
      });
    }
    const left = this.#header?.omit.find(({ address, length }) =>
      address < this.#address + this.#length && this.#address < address + length
    );
    if (left !== undefined) {
      throw new FirmwareFormatError("unsupported", {
        offset,
        expected: "blocks outside the ranges that 'omit' leaves as they are",
        found: `block ${this.#block}, ${this.#length} bytes at ${hex32(this.#address)}, in the range ${
          hex32(left.address)
        } of ${left.length} bytes`,
      });
    }
    this.#crc16 = crc16Start;
    this.#part = "data";
  }

  #data(piece: Uint8Array, at: number): number {
    const taken = Math.min(this.#left, piece.length - at);
    const bytes = piece.subarray(at, at + taken);
    this.#crc16 = crc16(bytes, this.#crc16);
    const address = this.#address + this.#length - this.#left;
    this.#sink.buffer.set(bytes, this.#sink.reserve(address, taken, this.#block));
    this.#left -= taken;
    return taken;
  }

  #end(): void {
    const expected = this.#frame[0] << 8 | this.#frame[1];
    this.#framed = 0;
    this.#part = "before";
    // The CRC is that of the data in memory: of compressed or encrypted blocks only the ECU sees it. The file's own
    // CRC-32 covers them.
    if (this.#header?.dataFormat !== 0 || this.#crc16 === expected) return;
    throw new FirmwareFormatError("bad_checksum", {
      offset: this.#offset - frame.behind,
      expected: `CRC-16 0x${hex16(this.#crc16)} of block ${this.#block}, ${this.#length} bytes at ${
        hex32(this.#address)
      }`,
      found: `0x${hex16(expected)}`,
    });
  }
}

function hex16(value: number): string {
  return value.toString(16).toUpperCase().padStart(4, "0");
}
