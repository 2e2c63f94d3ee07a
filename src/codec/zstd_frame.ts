// A Zstandard frame's header (RFC 8878, section 3.1.1.1): read before anything is decompressed, so that sizes beyond the
// limits are refused before they cost memory.

import { ZstdError } from "./zstd_errors.ts";

/** Zstandard_Frame's Magic_Number, section 3.1.1. */
const magic = 0xfd2fb528;
/** Magic_Number of skippable frames without its last four bits, section 3.1.2. */
const skippableMagic = 0x184d2a50;
/** Bytes of Magic_Number and Frame_Header_Descriptor, and of both with all fields at their largest: section 3.1.1.1. */
const headerSizes = { least: 5, most: 18 } as const;
/** Bytes of Dictionary_ID by Dictionary_ID_flag, section 3.1.1.1.1.6. */
const dictionaryIdSizes = [0, 1, 2, 4] as const;
/** Bytes of Frame_Content_Size by its flag, section 3.1.1.1.1.1; the first is 1 in a single segment. */
const contentSizeSizes = [0, 2, 4, 8] as const;
/** What a frame is allowed. */
export interface FrameLimits {
  /** Largest window in bytes: memory. */
  maxWindow: number;
  /** Most bytes of content. */
  maxContent: number;
}

/** What a frame's header says. */
export class ZstdFrameHeader {
  /** Bytes that come out, where the header says so; exact up to 2^53. */
  readonly contentSize: number | undefined;
  /** Bytes of memory that the frame wants. */
  readonly windowSize: number;
  /** 0: none, or one that the header does not name. */
  readonly dictionaryId: number;
  /** Whether a checksum ends the frame. */
  readonly checksum: boolean;

  /**
   * Reads a header.
   *
   * @param bytes The frame's first; of 18 the header never needs more.
   * @returns Nothing, where more bytes are needed.
   * @throws {ZstdError} `bad_data`, for what begins no Zstandard frame.
   */
  static read(bytes: Uint8Array): ZstdFrameHeader | undefined {
    if (bytes.length < headerSizes.least) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const found = view.getUint32(0, true);
    if (found !== magic) {
      const what = (found & ~0xf) === skippableMagic ? "a skippable frame's" : "another";
      const hex = found.toString(16).padStart(8, "0");
      throw new ZstdError("bad_data", `expected a Zstandard frame's magic number, got ${what}, 0x${hex}`);
    }
    const descriptor = view.getUint8(4);
    if ((descriptor & 0x08) !== 0) {
      throw new ZstdError("bad_data", "expected Frame_Header_Descriptor's reserved bit to be 0, got 1");
    }
    const singleSegment = (descriptor & 0x20) !== 0;
    const contentFlag = descriptor >> 6;
    const contentSizeSize = singleSegment && contentFlag === 0 ? 1 : contentSizeSizes[contentFlag];
    const dictionaryAt = headerSizes.least + (singleSegment ? 0 : 1);
    const contentSizeAt = dictionaryAt + dictionaryIdSizes[descriptor & 3];
    const size = contentSizeAt + contentSizeSize;
    if (bytes.length < size) return undefined;
    const contentSize = contentSizeSize === 0
      ? undefined
      // Section 3.1.1.1.4: two bytes begin at 256.
      : little(bytes.subarray(contentSizeAt, size)) + (contentSizeSize === 2 ? 256 : 0);
    return new ZstdFrameHeader({
      contentSize,
      windowSize: singleSegment ? contentSize ?? 0 : windowSize(view.getUint8(headerSizes.least)),
      dictionaryId: little(bytes.subarray(dictionaryAt, contentSizeAt)),
      checksum: (descriptor & 0x04) !== 0,
    });
  }

  private constructor(
    { contentSize, windowSize, dictionaryId, checksum }: Pick<
      ZstdFrameHeader,
      "contentSize" | "windowSize" | "dictionaryId" | "checksum"
    >,
  ) {
    this.contentSize = contentSize;
    this.windowSize = windowSize;
    this.dictionaryId = dictionaryId;
    this.checksum = checksum;
  }

  /** @throws {ZstdError} `output_limit`, `window_limit`; `bad_data`, for a frame that wants a dictionary, which nobody has. */
  check({ maxWindow, maxContent }: FrameLimits): void {
    if (this.dictionaryId !== 0) {
      throw new ZstdError(
        "bad_data",
        `expected a frame without dictionary, got one for ${this.dictionaryId}`,
      );
    }
    if (this.contentSize !== undefined && this.contentSize > maxContent) {
      throw new ZstdError(
        "output_limit",
        `expected at most ${maxContent} bytes of content, the frame says ${this.contentSize}`,
      );
    }
    if (this.windowSize > maxWindow) {
      throw new ZstdError(
        "window_limit",
        `expected a window of at most ${maxWindow} bytes, the frame wants ${this.windowSize}`,
      );
    }
  }
}

/** Collects a frame's first bytes until its header is there. */
export class FrameHeaderReader {
  readonly #head = new Uint8Array(headerSizes.most);
  #length = 0;
  #header: ZstdFrameHeader | undefined;

  /**
   * Takes the next piece of the frame.
   *
   * @returns The header, when this piece completes it.
   * @throws {ZstdError} `bad_data`
   */
  push(piece: Uint8Array): ZstdFrameHeader | undefined {
    if (this.#header) return undefined;
    const more = piece.subarray(0, headerSizes.most - this.#length);
    this.#head.set(more, this.#length);
    this.#length += more.length;
    this.#header = ZstdFrameHeader.read(this.#head.subarray(0, this.#length));
    return this.#header;
  }
}

/** Window_Descriptor, section 3.1.1.1.2: bytes of the window. */
function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + base / 8 * (descriptor & 7);
}

/** Little-endian; beyond 2^53 the last bits are lost. */
function little(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}
