// A payload file as a firmware image.

import type { DownloadHints, FirmwareImage, ImageReader, Segment } from "../image.ts";

/** Bytes read ahead: flashing reads blocks of some 4 KiB one after another. */
const window = 256 * 1024;

/**
 * The payload at `path` as an image; it is opened by `open`, not before.
 *
 * @param segments In ascending order, neither overlapping nor touching; their lengths sum up to the file's.
 * @param sha256 Of the payload, 32 bytes.
 * @param hints What the firmware file says of its download.
 * @throws {RangeError} If the segments are not so or the hash is no SHA-256.
 */
export function fileImage(
  path: string,
  segments: readonly Segment[],
  sha256: Uint8Array,
  hints?: DownloadHints,
): FirmwareImage {
  const size = payloadSize(segments, hints);
  if (sha256.length !== 32) throw new RangeError(`a SHA-256 has 32 bytes, got ${sha256.length}`);
  return {
    segments,
    size,
    sha256,
    ...hints === undefined ? {} : { hints },
    open: async () => {
      const file = await Deno.open(path, { read: true });
      try {
        const found = (await file.stat()).size;
        if (found !== size) {
          throw new RangeError(`expected a payload of ${size} bytes at ${path}, found ${found}`);
        }
        return new FileReader(file, size);
      } catch (error) {
        file.close();
        throw error;
      }
    },
  };
}

/**
 * Sum of the segments' lengths.
 * @throws {RangeError} If they are not ascending, overlap or touch; compressed or encrypted ones need only ascend.
 */
export function payloadSize(segments: readonly Segment[], hints: DownloadHints = {}): number {
  const apart = (hints.dataFormat ?? 0) !== 0;
  if (segments.length === 0) throw new RangeError("an image needs at least one segment, got none");
  let size = 0;
  let end = -1;
  for (const { address, length } of segments) {
    if (!Number.isInteger(address) || !Number.isInteger(length) || length < 1 || address + length > 2 ** 32) {
      throw new RangeError(`a segment must lie within 32 bits, got ${length} bytes at ${address}`);
    }
    if (address <= end) {
      throw new RangeError(
        `segments must ascend without touching, got ${address} after one that ends at ${end}`,
      );
    }
    end = apart ? address : address + length;
    size += length;
  }
  return size;
}

class FileReader implements ImageReader {
  readonly #file: Deno.FsFile;
  readonly #size: number;
  readonly #ahead: Uint8Array;
  #aheadStart = 0;
  #aheadLength = 0;
  /** Reads wait for one another: a file has one position. */
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(file: Deno.FsFile, size: number) {
    this.#file = file;
    this.#size = size;
    this.#ahead = new Uint8Array(Math.min(window, size));
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (!Number.isInteger(offset) || offset < 0 || offset + into.length > this.#size) {
      throw new RangeError(
        `expected a range within ${this.#size} bytes, got ${into.length} bytes at ${offset}`,
      );
    }
    const before = this.#turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#turn = promise;
    await before;
    try {
      await this.#readNow(offset, into);
    } finally {
      resolve();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#turn;
    this.#file.close();
  }

  async #readNow(offset: number, into: Uint8Array): Promise<void> {
    if (into.length > this.#ahead.length) {
      await this.#file.seek(offset, Deno.SeekMode.Start);
      await this.#fill(into);
      return;
    }
    if (offset < this.#aheadStart || offset + into.length > this.#aheadStart + this.#aheadLength) {
      const length = Math.min(this.#ahead.length, this.#size - offset);
      this.#aheadLength = 0;
      await this.#file.seek(offset, Deno.SeekMode.Start);
      await this.#fill(this.#ahead.subarray(0, length));
      this.#aheadStart = offset;
      this.#aheadLength = length;
    }
    const from = offset - this.#aheadStart;
    into.set(this.#ahead.subarray(from, from + into.length));
  }

  async #fill(into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length;) {
      const got = await this.#file.read(into.subarray(at));
      if (got === null) throw new RangeError(`the payload ended ${into.length - at} bytes early`);
      at += got;
    }
  }
}
