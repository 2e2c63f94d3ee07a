// A firmware image as flashing needs it: addressed segments and a reader of their bytes, wherever they lie.

/** A run of consecutive bytes in an ECU's address space. */
export interface Segment {
  /** First address. 0 … 0xFFFFFFFF. */
  readonly address: number;
  /** Bytes. At least 1; `address + length` is at most 2^32. */
  readonly length: number;
}

/**
 * An image: segments in ascending order that neither overlap nor touch. The payload is the bytes of all segments,
 * one after another in that order.
 */
export interface FirmwareImage {
  readonly segments: readonly Segment[];
  /** Bytes of the payload: the sum of the segments' lengths. */
  readonly size: number;
  /** SHA-256 of the payload, 32 bytes. */
  readonly sha256: Uint8Array;
  /** Opens the payload for reading. Several readers may be open at once. */
  open(): Promise<ImageReader>;
}

/** Reads a payload at any offset. */
export interface ImageReader extends AsyncDisposable {
  /** Fills `into` with the payload's bytes from `offset` on. @throws {RangeError} past the payload's end. */
  read(offset: number, into: Uint8Array): Promise<void>;
}
