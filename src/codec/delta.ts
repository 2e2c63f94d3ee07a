// Deltas from file to file: Zstandard frames that hold what a target has beyond its base, as `zstd --patch-from` makes and
// applies them. The base lies in memory while one is made or applied; the rest streams. It computes and writes in the thread
// that calls it: programs with other things to do call it through a CodecPool.

import { createHash } from "node:crypto";
import { DeltaBaseError, PackageContentError } from "./errors.ts";
import {
  type CompressedFile,
  type CompressedRange,
  compressThrough,
  decompressRange,
  type RunOptions,
} from "./zstd_files.ts";
import { checkDeltaSize, type ZstdBase } from "./zstd_stream.ts";
import { deltaWindow } from "./zstd_windows.ts";

/** Bytes of the base that are read at a time. */
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
 * Applies a delta and, where `output` is given, leaves the target there. The delta's hash is checked before it is used, the
 * target's before it appears. The base's is looked at only where something is wrong: what gives the target's hash was the right
 * one.
 *
 * Memory: the base and the target.
 *
 * @param range Where the delta lies, and the target as the image that must come out.
 * @throws {DeltaBaseError} If the base has another size, or is why the target is not what must come out.
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
  const unhashed = { size: base.size, fill: (room: Uint8Array) => readBase(base, room, () => {}) };
  try {
    await decompressRange(range, output, { ...options, maxWindow, base: unhashed });
  } catch (error) {
    if (error instanceof PackageContentError && error.code !== "blob_hash") {
      zstdBase(base).fill(new Uint8Array(base.size));
    }
    throw error;
  }
}

/** The base, read to where zstd uses it; what was hashed is what is used. Filling throws {@linkcode DeltaBaseError}. */
export function zstdBase(base: DeltaBase): ZstdBase {
  return {
    size: base.size,
    fill(room) {
      const hash = createHash("sha256");
      readBase(base, room, (piece) => hash.update(piece));
      const found = hash.digest("hex");
      if (found !== base.sha256) {
        throw new DeltaBaseError(
          `${base.path}: expected a base with SHA-256 ${base.sha256}, got one with ${found}`,
        );
      }
    },
  };
}

/** @throws {DeltaBaseError} If the file has another size. */
function readBase({ path, size }: DeltaBase, room: Uint8Array, take: (piece: Uint8Array) => void): void {
  using file = Deno.openSync(path, { read: true });
  let at = 0;
  while (at < size) {
    const got = file.readSync(room.subarray(at, at + pieceSize));
    if (got === null) break;
    take(room.subarray(at, at + got));
    at += got;
  }
  const more = file.readSync(new Uint8Array(1)) !== null;
  if (at === size && !more) return;
  throw new DeltaBaseError(`${path}: expected a base of ${size} bytes, got ${more ? `more than ${at}` : at}`);
}
