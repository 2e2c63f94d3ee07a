// Reads a firmware file of any size from a stream of bytes: its format, its checks, its payload in address order.

import { createHash, type Hash } from "node:crypto";
import type { DownloadHints, Segment } from "../image.ts";
import { detectFormat, detectionSize, type FirmwareFormat, startOfText } from "./detect.ts";
import { FirmwareFormatError, hex32 } from "./errors.ts";
import { IntelHexReader } from "./intel_hex.ts";
import { LineSplitter } from "./lines.ts";
import { Pace } from "./pace.ts";
import { PayloadWriter } from "./payload_writer.ts";
import type { RecordReader, RecordSummary } from "./record_reader.ts";
import { runLimit } from "./run_table.ts";
import { SRecordReader } from "./s_record.ts";
import { VbfReader } from "./vbf.ts";

export type { FirmwareFormat } from "./detect.ts";

const addressSpace = 2 ** 32;

/** Bytes taken at a time: what they can hold of data fits the payload writer's room. */
const pieceSize = 64 * 1024;

/** Options of {@linkcode parseFirmware}. */
export interface ParseFirmwareOptions {
  /** Where the payload goes, a path; it appears there whole or not at all. */
  output: string;
  /**
   * Format of the file; `auto` looks at its first bytes.
   * @default "auto"
   */
  format?: FirmwareFormat | "auto";
  /**
   * First address of a raw binary. Records carry their own addresses: given with such a format, named or found by `auto`,
   * it is refused.
   * @default 0
   */
  baseAddress?: number;
  /**
   * Most segments of the image.
   * @default 4096
   */
  maxSegments?: number;
  /**
   * Most runs of consecutive addresses in the order of the file, at most 2^20. It bounds memory: 24 bytes a run.
   * @default 262144
   */
  maxRuns?: number;
  /**
   * Most bytes of payload.
   * @default 4294967296
   */
  maxPayload?: number;
  /** Calls the reading off; what was written is removed. */
  signal?: AbortSignal;
}

/** A firmware file that was read. */
export interface ParsedFirmware {
  format: FirmwareFormat;
  /** In ascending order; they neither overlap nor touch. */
  segments: Segment[];
  /** Bytes of the payload. */
  payloadSize: number;
  /** SHA-256 of the payload, 32 bytes. */
  payloadSha256: Uint8Array;
  /** Bytes of the file. */
  fileSize: number;
  /** SHA-256 of the file as it came, 32 bytes. */
  fileSha256: Uint8Array;
  /** Where execution begins, if the file says so. Many tools write 0 into an S-record's end where there is none. */
  startAddress: number | undefined;
  /** Text of an S0 record, unprintable characters replaced; kind and part number of a VBF file. */
  header: string | undefined;
  /** What the file says of its download; only VBF does. */
  hints: DownloadHints | undefined;
}

/**
 * Reads a firmware file and leaves its payload, all segments one after another in address order, at `options.output`.
 *
 * @throws {FirmwareFormatError} If the file is not what its format says.
 * @throws {RangeError} If an option is out of its range.
 */
export async function parseFirmware(
  source: AsyncIterable<Uint8Array>,
  options: ParseFirmwareOptions,
): Promise<ParsedFirmware> {
  const { output, format = "auto", signal } = options;
  const limits = {
    maxSegments: inRange("maxSegments", options.maxSegments ?? 4096, 1, runLimit),
    maxRuns: inRange("maxRuns", options.maxRuns ?? 2 ** 18, 1, runLimit),
    maxPayload: inRange("maxPayload", options.maxPayload ?? addressSpace, 1, addressSpace),
  };
  const baseAddress = inRange("baseAddress", options.baseAddress ?? 0, 0, addressSpace - 1);
  if (options.baseAddress !== undefined && format !== "auto") refuseForRecords(format, baseAddress);
  signal?.throwIfAborted();

  const writer = await PayloadWriter.create(output, limits);
  const iterator = source[Symbol.asyncIterator]();
  let ended = false;
  try {
    const pace = new Pace(signal);
    const file = new FileDigest();
    const next = async (): Promise<Uint8Array | undefined> => {
      const result = await orAborted(iterator.next(), signal);
      if (result.done) {
        ended = true;
        return undefined;
      }
      await file.update(result.value, pace);
      return result.value;
    };

    const head = await readHead(next);
    const chosen = format === "auto" ? detectFormat(head) : format;
    if (options.baseAddress !== undefined) refuseForRecords(chosen, baseAddress);
    const input = inputOf(chosen, writer, baseAddress);
    const begin = chosen === "binary" ? 0 : startOfText(head);

    for (let chunk: Uint8Array | undefined = head.subarray(begin); chunk; chunk = await next()) {
      for (let at = 0; at < chunk.length; at += pieceSize) {
        input.push(chunk.subarray(at, at + pieceSize));
        await writer.flush();
        await pace.step();
      }
    }
    const { startAddress, header, hints } = input.finish();
    const payload = await writer.finish(pace);
    return {
      format: chosen,
      segments: payload.segments,
      payloadSize: payload.size,
      payloadSha256: payload.sha256,
      ...file.finish(),
      startAddress,
      header,
      hints,
    };
  } finally {
    await writer.discard();
    // Not waited for: a source that hangs in its own read would hang here too.
    if (!ended) iterator.return?.().catch(() => {/* the first error is the one to report */});
  }
}

/** What takes the bytes of a file. */
interface FirmwareInput {
  push(piece: Uint8Array): void;
  finish(): RecordSummary & { hints?: DownloadHints };
}

function inputOf(format: FirmwareFormat, writer: PayloadWriter, baseAddress: number): FirmwareInput {
  switch (format) {
    case "binary":
      return new BinaryInput(writer, baseAddress);
    case "vbf":
      return new VbfReader(writer);
    case "intel-hex":
      return new RecordInput(new IntelHexReader(writer));
    case "s-record":
      return new RecordInput(new SRecordReader(writer));
  }
}

/** Hashes the file as it comes. */
class FileDigest {
  readonly #hash: Hash = createHash("sha256");
  #size = 0;

  async update(chunk: Uint8Array, pace: Pace): Promise<void> {
    this.#size += chunk.length;
    const step = 16 * pieceSize;
    for (let at = 0; at < chunk.length; at += step) {
      this.#hash.update(chunk.subarray(at, at + step));
      await pace.step();
    }
  }

  finish(): { fileSize: number; fileSha256: Uint8Array } {
    return { fileSize: this.#size, fileSha256: this.#hash.digest() };
  }
}

/** A format of records: lines to a reader. */
class RecordInput {
  readonly #reader: RecordReader;
  readonly #lines: LineSplitter;

  constructor(reader: RecordReader) {
    this.#reader = reader;
    this.#lines = new LineSplitter(
      reader.maxLineLength,
      (buffer, start, end, line) => reader.line(buffer, start, end, line),
    );
  }

  push(piece: Uint8Array): void {
    this.#lines.push(piece);
  }

  finish(): RecordSummary {
    this.#lines.finish();
    return this.#reader.finish();
  }
}

/** @throws {RangeError} for a format whose records carry their own addresses. */
function refuseForRecords(format: FirmwareFormat, baseAddress: number): void {
  if (format === "binary") return;
  throw new RangeError(
    `baseAddress goes with a raw binary; ${format} has addresses of its own, got ${baseAddress}`,
  );
}

/** A raw binary: every byte is payload. */
class BinaryInput {
  readonly #writer: PayloadWriter;
  #address: number;

  constructor(writer: PayloadWriter, baseAddress: number) {
    this.#writer = writer;
    this.#address = baseAddress;
  }

  push(piece: Uint8Array): void {
    if (piece.length === 0) return;
    if (this.#address + piece.length > addressSpace) {
      throw new FirmwareFormatError("address_overflow", {
        expected: "addresses up to 0xFFFFFFFF",
        found: `more than the bytes up to there, the last ones at ${hex32(this.#address)}`,
      });
    }
    this.#writer.buffer.set(piece, this.#writer.reserve(this.#address, piece.length, undefined));
    this.#address += piece.length;
  }

  finish(): RecordSummary {
    return { startAddress: undefined, header: undefined };
  }
}

/** The first chunks as one, until there is enough to see the format. */
async function readHead(next: () => Promise<Uint8Array | undefined>): Promise<Uint8Array> {
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < detectionSize) {
    const chunk = await next();
    if (chunk === undefined) break;
    if (head.length === 0) head = chunk;
    else {
      const longer = new Uint8Array(head.length + chunk.length);
      longer.set(head);
      longer.set(chunk, head.length);
      head = longer;
    }
  }
  return head;
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function inRange(name: string, value: number, low: number, high: number): number {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new RangeError(`${name} must be a whole number from ${low} to ${high}, got ${value}`);
  }
  return value;
}
