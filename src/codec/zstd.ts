// Zstandard (RFC 8878) from file to file in a stream. It computes and writes in the thread that calls it: programs with other
// things to do call it through a CodecPool.

import {
  type CompressedFile,
  type CompressedRange,
  compressThrough,
  decompressRange,
  type RunOptions,
} from "./zstd_files.ts";
import { checkLevel } from "./zstd_levels.ts";
import { imageWindow, imageWindowLog } from "./zstd_windows.ts";

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
  // Levels below 20 stay within 8 MiB by themselves, and choose less for small input.
  const windowLog = level >= 20 ? imageWindowLog : undefined;
  return await compressThrough(input, output, { ...options, level, windowLog });
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
  await decompressRange(range, output, { ...options, maxWindow: imageWindow });
}
