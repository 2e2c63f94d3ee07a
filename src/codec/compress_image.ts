// An image's payload, compressed for packages.

import type { CodecPool } from "./pool.ts";
import { results } from "./protocol.ts";
import type { CompressedFile, RunOptions } from "./zstd_files.ts";
import { checkLevel, zstdLevels } from "./zstd_levels.ts";

/** Options of {@linkcode compressImage}. */
export interface CompressImageOptions extends RunOptions {
  /**
   * Level of zstd, 1 to 22. From about 10 on memory and time grow steeply.
   * @default 3
   */
  level?: number;
  /** Threads that do the work. */
  pool: CodecPool;
}

/**
 * Compresses the file at `input` to one zstd frame at `output`, which appears whole or not at all.
 *
 * @returns Hash and length of the compressed form and of the input. `onProgress` counts bytes of the input.
 * @throws {RangeError} For a level that zstd has not.
 */
export async function compressImage(
  input: string,
  output: string,
  { level = zstdLevels.default, pool, signal, onProgress }: CompressImageOptions,
): Promise<CompressedFile> {
  checkLevel(level);
  return await pool.run({ kind: "compress", input, output, level }, results.compress, { signal, onProgress });
}
