// A firmware image as flashing needs it: addressed segments and a reader of their bytes, wherever they lie.

/** A run of consecutive bytes in an ECU's address space. */
export interface Segment {
  /** First address. 0 … 0xFFFFFFFF. */
  readonly address: number;
  /** Bytes. At least 1; `address + length` is at most 2^32. */
  readonly length: number;
}

/** What a firmware file can say of its own download. It goes before what the plan says. */
export interface DownloadHints {
  /**
   * dataFormatIdentifier of RequestDownload. Not 0x00: the payload is compressed or encrypted, the ECU undoes it, and the
   * segments' lengths are those of the bytes to transfer.
   * @default that of the plan
   */
  readonly dataFormat?: number;
  /** Ranges to be erased. @default the segments */
  readonly erase?: readonly Segment[];
  /** Address that is called once the payload is in memory: that of a secondary boot loader. @default none is called */
  readonly call?: number;
}

/**
 * An image: segments in ascending order that neither overlap nor touch; those of a compressed or encrypted payload ascend.
 * The payload is the bytes of all segments, one after another in that order.
 */
export interface FirmwareImage {
  readonly segments: readonly Segment[];
  /** Bytes of the payload: the sum of the segments' lengths. */
  readonly size: number;
  /** SHA-256 of the payload, 32 bytes. */
  readonly sha256: Uint8Array;
  /** What the file says of its download. @default nothing: the plan says it */
  readonly hints?: DownloadHints;
  /** Opens the payload for reading. Several readers may be open at once. */
  open(): Promise<ImageReader>;
}

/** Reads a payload at any offset. */
export interface ImageReader extends AsyncDisposable {
  /** Fills `into` with the payload's bytes from `offset` on. @throws {RangeError} past the payload's end. */
  read(offset: number, into: Uint8Array): Promise<void>;
}
