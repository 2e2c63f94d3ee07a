// Deltas from file to file: Zstandard frames that hold what a target has beyond its base, as `zstd --patch-from` makes and
// applies them. The base lies in memory while one is made or applied; the rest streams. It computes and writes in the thread
// that calls it: programs with other things to do call it through a CodecPool.

import { createHash } from "node:crypto";
import { DeltaBaseError } from "./errors.ts";
import {
  type CompressedFile,
  type CompressedRange,
  compressThrough,
  decompressRange,
  type RunOptions,
} from "./zstd_files.ts";
import { checkDeltaSize, type ZstdBase } from "./zstd_stream.ts";
import { deltaWindow } from "./zstd_windows.ts";

/** Bytes of the base that are read and hashed at a time. */
const pieceSize = 2 ** 20;

/** The image that a delta begins with. */
export interface DeltaBase {
  path: string;
  /** Of the image, hexadecimal. */
  sha256: string;
  /** Bytes of the image, 1 to `maxDeltaSize`. */
  size: number;
}

/**
 * Makes the delta from `base` to the file at `target`, which has at most `maxDeltaSize` bytes.
 *
 * @param level 1 to 22.
 * @returns What was made, as for a file that was compressed alone.
 * @throws {RangeError} For another level, and for sizes that a delta cannot have.
 * @throws {DeltaBaseError} If the base is not what it is said to be.
 * @throws {ZstdError} `no_memory`
 */
export async function makeDelta(
  base: DeltaBase,
  target: string,
  output: string,
  level: number,
  options: RunOptions = {},
): Promise<CompressedFile> {
  return await compressThrough(target, output, { ...options, level, base: zstdBase(base) });
}

/**
 * Applies a delta and, where `output` is given, leaves the target there. Everything is checked: the delta and the base before
 * they are used, the target before it appears.
 *
 * Memory: the base and the target's window, which is all of it at most.
 *
 * @param range Where the delta lies, and the target as the image that must come out.
 * @throws {DeltaBaseError} If the base is not what it is said to be.
 * @throws {PackageContentError} If the delta or the target is not what `range` says.
 * @throws {RangeError} For sizes that a delta cannot have.
 * @throws {ZstdError} `no_memory`
 */
export async function applyDelta(
  base: DeltaBase,
  range: CompressedRange,
  output: string | undefined,
  options: RunOptions = {},
): Promise<void> {
  checkDeltaSize("target", range.imageSize);
  const maxWindow = deltaWindow(range.imageSize);
  await decompressRange(range, output, { ...options, maxWindow, base: zstdBase(base) });
}

/** The base, read to where zstd uses it; what was hashed is what is used. Filling throws {@linkcode DeltaBaseError}. */
export function zstdBase({ path, sha256, size }: DeltaBase): ZstdBase {
  return {
    size,
    fill(room) {
      using file = Deno.openSync(path, { read: true });
      const hash = createHash("sha256");
      let at = 0;
      while (at < size) {
        const got = file.readSync(room.subarray(at, at + pieceSize));
        if (got === null) break;
        hash.update(room.subarray(at, at + got));
        at += got;
      }
      const more = file.readSync(new Uint8Array(1)) !== null;
      const found = hash.digest("hex");
      if (at !== size || more || found !== sha256) {
        throw new DeltaBaseError(
          `${path}: expected a base of ${size} bytes with SHA-256 ${sha256}, ` +
            `got ${more ? `more than ${at}` : at} with ${found}`,
        );
      }
    },
  };
}
