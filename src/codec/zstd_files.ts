// What compressing and decompressing from file to file have in common, with a base and without: hashes of both forms, limits,
// and files that appear whole or not at all.

import { createHash } from "node:crypto";
import { PackageContentError, type PackageErrorCode } from "./errors.ts";
import { readRange, writeWhole } from "./whole_file.ts";
import { ZstdError, type ZstdErrorCode } from "./zstd_errors.ts";
import {
  ZstdCompressor,
  type ZstdCompressorOptions,
  ZstdDecompressor,
  type ZstdDecompressorOptions,
} from "./zstd_stream.ts";

/** Bytes that are read at a time. */
const inputSize = 256 * 1024;
/** Time in ms after which messages to the thread get their turn. */
const turnAfter = 20;

/** What zstd's errors say of the package; the others are not its fault. */
const packageCodes: Partial<Record<ZstdErrorCode, PackageErrorCode>> = {
  bad_data: "blob_not_zstd",
  truncated: "image_too_short",
  output_limit: "image_too_long",
  window_limit: "blob_window",
};

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

/** What compressing takes beside the size, which the file says. */
export interface CompressOptions extends RunOptions, Omit<ZstdCompressorOptions, "size"> {}

/**
 * Sends the file at `input` through zstd to the file at `output`.
 *
 * @throws {RangeError} For options out of range.
 * @throws {Error} If the file's size changes meanwhile.
 */
export async function compressThrough(
  input: string,
  output: string,
  options: CompressOptions,
): Promise<CompressedFile> {
  const { size } = await Deno.stat(input);
  const inputHash = createHash("sha256");
  const source = async function* () {
    let left = size;
    // One byte more than there should be, to see a file that has grown.
    for await (const chunk of readWatched(input, 0, size + 1, options)) {
      inputHash.update(chunk);
      left -= chunk.length;
      if (left < 0) break;
      yield chunk;
    }
    if (left !== 0) {
      throw new Error(`${input}: expected ${size} bytes, got ${left > 0 ? size - left : "more"}`);
    }
  };
  const hash = createHash("sha256");
  let length = 0;
  await writeWhole(output, async (write) => {
    const take = (pieces: Iterable<Uint8Array>) => {
      for (const piece of pieces) {
        hash.update(piece);
        length += piece.length;
        write(piece);
      }
    };
    using zstd = new ZstdCompressor({ ...options, size });
    for await (const chunk of source()) take(zstd.push(chunk));
    take(zstd.finish());
  });
  return { sha256: hash.digest("hex"), length, inputSha256: inputHash.digest("hex"), inputSize: size };
}

/** What decompressing takes beside the limit of its output, which the range says. */
export interface DecompressOptions extends RunOptions, Omit<ZstdDecompressorOptions, "maxOutput"> {}

/**
 * Decompresses an image and, where `output` is given, leaves it there. First the compressed form is checked against its
 * hash, so that zstd reads no byte that nobody vouches for; then what comes out, against its size and its hash.
 *
 * @throws {PackageContentError}
 */
export async function decompressRange(
  range: CompressedRange,
  output: string | undefined,
  options: DecompressOptions,
): Promise<void> {
  await checkCompressed(range, options.signal);
  const run = async (write: (bytes: Uint8Array) => void) => {
    for await (const piece of checkedImage(range, options)) write(piece);
  };
  if (output === undefined) await run(() => {});
  else await writeWhole(output, run);
}

/** Corruption and arbitrary software: the compressed bytes are those that the manifest names. */
async function checkCompressed(range: CompressedRange, signal: AbortSignal | undefined): Promise<void> {
  const hash = createHash("sha256");
  let length = 0;
  for await (const chunk of readWatched(range.path, range.offset, range.length, { signal })) {
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

async function* checkedImage(
  range: CompressedRange,
  options: DecompressOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash("sha256");
  let size = 0;
  const turn = turns(options.signal);
  for await (const piece of explained(decompressed(range, options), range)) {
    size += piece.length;
    hash.update(piece);
    yield piece;
    await turn();
  }
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

async function* decompressed(
  range: CompressedRange,
  options: DecompressOptions,
): AsyncGenerator<Uint8Array, void, void> {
  using zstd = new ZstdDecompressor({ ...options, maxOutput: range.imageSize });
  for await (const chunk of readWatched(range.path, range.offset, range.length, options)) {
    yield* zstd.push(chunk);
  }
  zstd.finish();
}

/** Says of zstd's errors which blob they are about. */
async function* explained(
  pieces: AsyncIterable<Uint8Array>,
  range: CompressedRange,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* pieces;
  } catch (cause) {
    const code = cause instanceof ZstdError ? packageCodes[cause.code] : undefined;
    if (code === undefined || !(cause instanceof ZstdError)) throw cause;
    throw new PackageContentError(
      code,
      `expected one Zstandard frame of an image of ${range.imageSize} bytes at ${range.offset}: ${cause.message}`,
      { cause },
    );
  }
}

/**
 * Lets messages to the thread in from time to time, that the work is called off among them. A timer does it: neither what
 * ends at once nor an immediate is sure to.
 */
function turns(signal: AbortSignal | undefined): () => Promise<void> {
  let last = performance.now();
  return async () => {
    if (performance.now() - last < turnAfter) return;
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    last = performance.now();
    signal?.throwIfAborted();
  };
}

/** A file's bytes, as long as nobody calls the work off. */
async function* readWatched(
  path: string,
  offset: number,
  length: number,
  { signal, onProgress }: RunOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const turn = turns(signal);
  for await (const chunk of readRange(path, offset, length, inputSize)) {
    signal?.throwIfAborted();
    yield chunk;
    onProgress?.(chunk.length);
    await turn();
  }
}
