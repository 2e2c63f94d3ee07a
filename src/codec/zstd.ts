// Zstandard (RFC 8878) from file to file in a stream. It computes and writes in the thread that calls it:
// programs with other things to do call it through a CodecPool.

import { createHash } from "node:crypto";
import { setImmediate } from "node:timers";
import { PackageContentError } from "./errors.ts";
import { readRange, type Write, writeWhole } from "./whole_file.ts";
import { ZstdCompressor, ZstdDecompressor } from "./zstd_engine.ts";

/** Bytes that are read at a time. */
const inputSize = 256 * 1024;
/** Bytes of output after which messages to the thread get their turn. */
const turnAfter = 16 * 2 ** 20;

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
  const inputHash = createHash("sha256");
  const hash = createHash("sha256");
  let taken = 0;
  let length = 0;
  await writeWhole(output, async (write) => {
    const take = (pieces: Iterable<Uint8Array>) => {
      for (const piece of pieces) {
        hash.update(piece);
        length += piece.length;
        write(piece);
      }
    };
    using zstd = new ZstdCompressor({ level, size, maxWindowLog });
    for await (const chunk of readRange(input, 0, Infinity, inputSize)) {
      signal?.throwIfAborted();
      inputHash.update(chunk);
      taken += chunk.length;
      take(zstd.push(chunk));
      onProgress?.(chunk.length);
    }
    take(zstd.finish());
  });
  return { sha256: hash.digest("hex"), length, inputSha256: inputHash.digest("hex"), inputSize: taken };
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
  for await (const chunk of readRange(range.path, range.offset, range.length, inputSize)) {
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
  let sinceTurn = 0;
  using zstd = new ZstdDecompressor(maxWindowLog);
  for await (const chunk of readRange(range.path, range.offset, range.length, inputSize)) {
    signal?.throwIfAborted();
    for (const piece of explained(zstd.push(chunk), range)) {
      size += piece.length;
      // A bomb: stopped at the first piece too many, before it reaches the disk.
      if (size > range.imageSize) {
        throw new PackageContentError(
          "image_too_long",
          `expected an image of ${range.imageSize} bytes, decompression gives more`,
        );
      }
      hash.update(piece);
      write?.(piece);
      sinceTurn += piece.length;
      if (sinceTurn >= turnAfter) {
        sinceTurn = 0;
        await new Promise<void>((resolve) => setImmediate(resolve));
        signal?.throwIfAborted();
      }
    }
    onProgress?.(chunk.length);
  }
  // zstd has no word for a frame that is cut off: size and hash say it.
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

/** Says of zstd's errors which blob they are about. */
function* explained(
  pieces: Generator<Uint8Array, void, void>,
  range: CompressedRange,
): Generator<Uint8Array, void, void> {
  try {
    yield* pieces;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PackageContentError(
      "blob_not_zstd",
      `expected one Zstandard frame with a window of at most 2^${maxWindowLog} bytes at ${range.offset}: ${reason}`,
      { cause },
    );
  }
}
