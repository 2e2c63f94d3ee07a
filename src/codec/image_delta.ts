// Deltas between images, made and applied in the codec's threads.

import type { DeltaBase } from "./delta.ts";
import type { CodecPool } from "./pool.ts";
import { results } from "./protocol.ts";
import type { CompressedFile, CompressedRange, RunOptions } from "./zstd_files.ts";
import { checkLevel, zstdLevels } from "./zstd_levels.ts";
import { checkDeltaSize } from "./zstd_stream.ts";

/** Options of {@linkcode applyImageDelta}. */
export interface ImageDeltaOptions extends RunOptions {
  /** Threads that do the work. */
  pool: CodecPool;
}

/** Options of {@linkcode makeImageDelta}. */
export interface MakeImageDeltaOptions extends ImageDeltaOptions {
  /**
   * Level of zstd, 1 to 22. From about 10 on time and memory grow steeply: with base and target of 256 MiB each level 3
   * takes 550 MiB, level 19 850 MiB, level 22 1.4 GiB. The base is searched through in one go before the first progress,
   * at the highest levels at about 2 MB/s: the pool's `stallTimeout` has to be longer than that.
   * @default 3
   */
  level?: number;
}

/**
 * Makes the delta from `base` to the file at `target` in a file at `output`, which appears whole or not at all. It is what
 * `zstd --patch-from` makes.
 *
 * @returns Hash and length of the delta and of the target. `onProgress` counts bytes of the target.
 * @throws {RangeError} For a level that zstd has not, and for a base that is too large for a delta.
 * @throws {DeltaBaseError} If the base is not what it is said to be.
 * @throws {CodecJobError} Also for a target that is too large.
 */
export async function makeImageDelta(
  base: DeltaBase,
  target: string,
  output: string,
  { level = zstdLevels.default, pool, signal, onProgress }: MakeImageDeltaOptions,
): Promise<CompressedFile> {
  checkLevel(level);
  checkDeltaSize("base", base.size);
  const job = { kind: "make_delta", base, target, output, level } as const;
  return await pool.run(job, results.make_delta, { signal, onProgress });
}

/**
 * Applies a delta and, where `output` is given, leaves the target there, whole or not at all. It may come from `zstd
 * --patch-from`.
 *
 * @param range Where the delta lies, and the target as the image that must come out. `onProgress` counts its bytes.
 * @throws {RangeError} For a base or a target that is too large for a delta.
 * @throws {DeltaBaseError} If the base has another size, or is why the target is not what must come out.
 * @throws {PackageContentError} If the delta or the target is not what `range` says.
 */
export async function applyImageDelta(
  base: DeltaBase,
  range: CompressedRange,
  output: string | undefined,
  { pool, signal, onProgress }: ImageDeltaOptions,
): Promise<void> {
  checkDeltaSize("base", base.size);
  checkDeltaSize("target", range.imageSize);
  await pool.run({ kind: "apply_delta", base, range, output }, results.apply_delta, { signal, onProgress });
}
