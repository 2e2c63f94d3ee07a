// Bytes in memory as a firmware image: small ones, made by a program rather than read from a file.

import { createHash } from "node:crypto";
import type { DownloadHints, FirmwareImage, Segment } from "../image.ts";
import { payloadSize } from "./file_image.ts";

/**
 * An image of `payload`, the bytes of all segments in ascending order.
 *
 * @throws {RangeError} If the segments overlap, touch, or do not sum up to the payload.
 */
export function memoryImage(
  segments: readonly Segment[],
  payload: Uint8Array,
  hints?: DownloadHints,
): FirmwareImage {
  const size = payloadSize(segments, hints);
  if (size !== payload.length) {
    throw new RangeError(`expected a payload of ${size} bytes, as its segments say, got ${payload.length}`);
  }
  return {
    segments,
    size,
    sha256: createHash("sha256").update(payload).digest(),
    ...hints === undefined ? {} : { hints },
    open: () =>
      Promise.resolve({
        read: (offset: number, into: Uint8Array) => {
          if (!Number.isInteger(offset) || offset < 0 || offset + into.length > size) {
            return Promise.reject(
              new RangeError(`expected a range within ${size} bytes, got ${into.length} bytes at ${offset}`),
            );
          }
          into.set(payload.subarray(offset, offset + into.length));
          return Promise.resolve();
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  };
}
