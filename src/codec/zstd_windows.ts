// How large the window of a frame in a package may be: it is memory of the vehicle.

/** Largest window of a whole image as a power of two. */
export const imageWindowLog = 23;

/**
 * Largest window of a whole image: 8 MiB, what RFC 8878, section 3.1.1.1.2, recommends every decoder to support. A frame that
 * asks for more is refused.
 */
export const imageWindow = 2 ** imageWindowLog;

/** Largest window of a delta: that of a frame that knows its size is a power of two at least as large. */
export function deltaWindow(targetSize: number): number {
  return Math.max(2 ** 10, 2 ** (32 - Math.clz32(targetSize)));
}
