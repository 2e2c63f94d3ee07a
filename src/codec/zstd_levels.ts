// The levels of zstd.

/** Levels of zstd; those from 20 on need much memory. */
export const zstdLevels = { lowest: 1, highest: 22, default: 3 } as const;

/** @throws {RangeError} For a level that zstd has not. */
export function checkLevel(level: number): void {
  if (!Number.isInteger(level) || level < zstdLevels.lowest || level > zstdLevels.highest) {
    throw new RangeError(`level must be ${zstdLevels.lowest} to ${zstdLevels.highest}, got ${level}`);
  }
}
