// Zstandard (RFC 8878) from file to file in a stream, by node:zlib. It computes in the thread that calls it: programs with
// other things to do call it through a CodecPool.

import { createHash } from "node:crypto";
import { Readable, type Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import zlib from "node:zlib";
import { PackageContentError } from "./errors.ts";
import { readRange, type Write, writeWhole } from "./whole_file.ts";

/** Bytes that go through at a time. Measured: below 1 MiB the calls into zstd cost more than its work. */
const chunkSize = 2 ** 20;

/**
 * Largest window as a power of two: 8 MiB, what RFC 8878, section 3.1.1.1.2, recommends every decoder to support. A frame
 * that asks for more is refused, since the window is memory of the vehicle.
 */
const maxWindowLog = 23;

/** Levels of zstd; those from 20 on need more memory, and here gain little, as the window is limited. */
export const zstdLevels = { lowest: 1, highest: 22, default: 3 } as const;

/** A file that was compressed. */
export interface CompressedFile {
  /** Of the compressed form, hexadecimal. */
  sha256: string;
  /** Bytes of the compressed form. */
  length: number;
  /** Of what was compressed, hexadecimal: the caller sees whether it still is what it was. */
  inputSha256: string;
  /** Bytes of what was compressed. */
  inputSize: number;
}

/** Where a compressed image lies, and what must come out. */
export interface CompressedRange {
  path: string;
  /** First byte in the file. */
  offset: number;
  /** Bytes of the compressed form. */
  length: number;
  /** Of the compressed form, hexadecimal. */
  sha256: string;
  /** Of the image, hexadecimal. */
  imageSha256: string;
  /** Bytes of the image: not one more is made. */
  imageSize: number;
}

/** What the long-running functions take beside their data. */
export interface RunOptions {
  signal?: AbortSignal;
  /** Is told how many bytes more went in. */
  onProgress?: (bytes: number) => void;
}

/**
 * Compresses a file to one frame with its content size and a checksum, as the `zstd` command does.
 *
 * @param level 1 to 22.
 * @throws {RangeError} For another level.
 */
export async function compressFile(
  input: string,
  output: string,
  level: number,
  { signal, onProgress }: RunOptions = {},
): Promise<CompressedFile> {
  checkLevel(level);
  const { size } = await Deno.stat(input);
  const params: Record<number, number> = {
    [zlib.constants.ZSTD_c_compressionLevel]: level,
    [zlib.constants.ZSTD_c_checksumFlag]: 1,
  };
  if (level >= 20) params[zlib.constants.ZSTD_c_windowLog] = maxWindowLog;
  const inputHash = createHash("sha256");
  const hash = createHash("sha256");
  let inputSize = 0;
  let length = 0;
  await writeWhole(output, async (write) => {
    const source = async function* () {
      for await (const chunk of readRange(input, 0, Infinity, chunkSize)) {
        inputHash.update(chunk);
        inputSize += chunk.length;
        onProgress?.(chunk.length);
        yield chunk;
      }
    };
    // The frame then says its content's size. The types do not know the option yet, so it does not stand in the call.
    const options = { chunkSize, params, pledgedSrcSize: size };
    await through(source(), zlib.createZstdCompress(options), async (chunk) => {
      hash.update(chunk);
      length += chunk.length;
      await write(chunk);
    }, signal);
  });
  return { sha256: hash.digest("hex"), length, inputSha256: inputHash.digest("hex"), inputSize };
}

/** @throws {RangeError} For a level that zstd has not. */
export function checkLevel(level: number): void {
  if (!Number.isInteger(level) || level < zstdLevels.lowest || level > zstdLevels.highest) {
    throw new RangeError(`level must be ${zstdLevels.lowest} to ${zstdLevels.highest}, got ${level}`);
  }
}

/**
 * Checks a compressed image and, where `output` is given, leaves the image there. First the compressed form against its
 * hash, so that zstd reads no byte that nobody vouches for; then what comes out, against its size and its hash.
 *
 * @throws {PackageContentError}
 */
export async function extractRange(
  range: CompressedRange,
  output: string | undefined,
  { signal, onProgress }: RunOptions = {},
): Promise<void> {
  await checkCompressed(range, signal);
  if (output === undefined) await decompress(range, undefined, { signal, onProgress });
  else await writeWhole(output, (write) => decompress(range, write, { signal, onProgress }));
}

/** Corruption and arbitrary software: the compressed bytes are those that the manifest names. */
async function checkCompressed(range: CompressedRange, signal: AbortSignal | undefined): Promise<void> {
  const hash = createHash("sha256");
  let length = 0;
  for await (const chunk of readRange(range.path, range.offset, range.length, chunkSize)) {
    signal?.throwIfAborted();
    hash.update(chunk);
    length += chunk.length;
  }
  const found = hash.digest("hex");
  if (length !== range.length || found !== range.sha256) {
    throw new PackageContentError(
      "blob_hash",
      `expected ${range.length} bytes at ${range.offset} with SHA-256 ${range.sha256}, got ${length} with ${found}`,
    );
  }
}

async function decompress(
  range: CompressedRange,
  write: Write | undefined,
  { signal, onProgress }: RunOptions,
): Promise<void> {
  const hash = createHash("sha256");
  let size = 0;
  const zstd = zlib.createZstdDecompress({
    chunkSize,
    params: { [zlib.constants.ZSTD_d_windowLogMax]: maxWindowLog },
  });
  const source = async function* () {
    for await (const chunk of readRange(range.path, range.offset, range.length, chunkSize)) {
      yield chunk;
      onProgress?.(chunk.length);
    }
  };
  const take = async (chunk: Uint8Array) => {
    size += chunk.length;
    // A bomb: stopped at the first byte too many, before it reaches memory or disk.
    if (size > range.imageSize) {
      throw new PackageContentError(
        "image_too_long",
        `expected an image of ${range.imageSize} bytes, decompression gives more`,
      );
    }
    hash.update(chunk);
    await write?.(chunk);
  };
  await through(source(), zstd, take, signal, (cause) =>
    new PackageContentError(
      "blob_not_zstd",
      `expected a Zstandard frame with a window of at most 2^${maxWindowLog} bytes at ${range.offset}: ${cause.message}`,
      { cause },
    ));
  // node:zlib ends without a word where a frame is cut off: size and hash say it.
  if (size < range.imageSize) {
    throw new PackageContentError(
      "image_too_short",
      `expected an image of ${range.imageSize} bytes, got ${size}`,
    );
  }
  const found = hash.digest("hex");
  if (found !== range.imageSha256) {
    throw new PackageContentError(
      "image_hash",
      `expected an image with SHA-256 ${range.imageSha256}, got one with ${found}`,
    );
  }
}

/** Sends a source through a transformation to a taker, no faster than the taker takes. */
async function through(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
  take: (chunk: Uint8Array) => Promise<void>,
  signal: AbortSignal | undefined,
  explain: (error: Error) => Error = (error) => error,
): Promise<void> {
  // pipeline() may report the abort of a neighbour instead of the fault that led to it: the first one is kept here.
  let fault: { error: unknown } | undefined;
  const kept = async function* () {
    try {
      yield* source;
    } catch (error) {
      fault ??= { error };
      throw error;
    }
  };
  transform.once("error", (error: Error) => fault ??= { error: explain(error) });
  try {
    await pipeline(
      Readable.from(kept(), { objectMode: false, highWaterMark: chunkSize }),
      transform,
      async (output: AsyncIterable<Uint8Array>) => {
        for await (const chunk of output) {
          try {
            await take(chunk);
          } catch (error) {
            fault ??= { error };
            throw error;
          }
        }
      },
      { signal },
    );
  } catch (error) {
    signal?.throwIfAborted();
    throw fault ? fault.error : error;
  }
}
