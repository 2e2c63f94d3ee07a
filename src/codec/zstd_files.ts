// What compressing and decompressing from file to file have in common, with a base and without: hashes of both forms, limits,
// and files that appear whole or not at all.

import { createHash } from "node:crypto";
import { PackageContentError } from "./errors.ts";
import { type ExpectedImage, ImageDecoder } from "./image_decoder.ts";
import { readRange, writeWhole } from "./whole_file.ts";
import { ZstdCompressor, type ZstdCompressorOptions, type ZstdDecompressorOptions } from "./zstd_stream.ts";

/** Bytes that are read at a time. */
const inputSize = 256 * 1024;
/** Time in ms after which messages to the thread get their turn, which takes two more. */
const turnAfter = 50;

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
export interface CompressedRange extends ExpectedImage {
  path: string;
  /** First byte in the file. */
  offset: number;
  /** Bytes of the compressed form. */
  length: number;
  /** Of the compressed form, hexadecimal. */
  sha256: string;
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
    const turn = turns(options.signal);
    using decoder = new ImageDecoder({ ...options, ...range });
    for await (const chunk of readWatched(range.path, range.offset, range.length, options, turn)) {
      for (const piece of decoder.push(chunk)) {
        write(piece);
        await turn();
      }
    }
    decoder.finish();
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

/**
 * A file's bytes, as long as nobody calls the work off.
 *
 * @param turn What lets messages in after each piece.
 */
export async function* readWatched(
  path: string,
  offset: number,
  length: number,
  { signal, onProgress }: RunOptions,
  turn = turns(signal),
): AsyncGenerator<Uint8Array, void, void> {
  for await (const chunk of readRange(path, offset, length, inputSize)) {
    signal?.throwIfAborted();
    yield chunk;
    onProgress?.(chunk.length);
    await turn();
  }
}
