// Zstandard (RFC 8878) from file to file in a stream. It computes and writes in the thread that calls it: programs with other
// things to do call it through a CodecPool.
//
// node:zlib compresses, which measures faster than zstd in WebAssembly; it decompresses faster as well, but damaged input
// can make its streams throw where nobody can catch it (Deno 2.9.6), and they pass over what lies behind the frame.

import zlib from "node:zlib";
import {
  type CompressedFile,
  type CompressedRange,
  compressThrough,
  decompressRange,
  type RunOptions,
} from "./zstd_files.ts";
import { checkLevel } from "./zstd_levels.ts";

/** Bytes of output that zlib gives at most at a time. */
const chunkSize = 128 * 1024;

/**
 * Largest window as a power of two: 8 MiB, what RFC 8878, section 3.1.1.1.2, recommends every decoder to support. A frame
 * that asks for more is refused, since the window is memory of the vehicle.
 */
const maxWindowLog = 23;

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
  options: RunOptions = {},
): Promise<CompressedFile> {
  checkLevel(level);
  const params: Record<number, number> = {
    [zlib.constants.ZSTD_c_compressionLevel]: level,
    [zlib.constants.ZSTD_c_checksumFlag]: 1,
  };
  // Levels below 20 stay within 8 MiB by themselves, and choose less for small input.
  if (level >= 20) params[zlib.constants.ZSTD_c_windowLog] = maxWindowLog;
  const begin = (size: number) => {
    // The types do not know `pledgedSrcSize` yet, so it does not stand in the call.
    const settings = { chunkSize, params, pledgedSrcSize: size };
    return (input: AsyncIterable<Uint8Array>) => through(input, zlib.createZstdCompress(settings));
  };
  return await compressThrough(begin, input, output, options);
}

/**
 * Checks a compressed image and, where `output` is given, leaves the image there.
 *
 * @throws {PackageContentError}
 */
export async function extractRange(
  range: CompressedRange,
  output: string | undefined,
  options: RunOptions = {},
): Promise<void> {
  await decompressRange(range, output, { ...options, maxWindow: 2 ** maxWindowLog });
}

/** What comes out of a stream of zlib. */
async function* through(
  input: AsyncIterable<Uint8Array>,
  stream: zlib.ZstdCompress,
): AsyncGenerator<Uint8Array, void, void> {
  // What fails while feeding comes out below.
  feed(input, stream).catch((error) => stream.destroy(error));
  try {
    yield* stream;
  } finally {
    stream.destroy();
  }
}

async function feed(input: AsyncIterable<Uint8Array>, stream: zlib.ZstdCompress): Promise<void> {
  // Each piece is taken before the next one is asked for, whose place is the same. A stream that is destroyed takes it too.
  for await (const piece of input) await taken((done) => stream.write(piece, done));
  // Flushed first: the end is then a few bytes, which leave room in the output. An end that filled it would be repeated,
  // and begin a second frame.
  await taken((done) => stream.flush(zlib.constants.ZSTD_e_flush, done));
  stream.end();
}

/** Waits until a stream calls back. */
function taken(give: (done: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => give((error) => error ? reject(error) : resolve()));
}
