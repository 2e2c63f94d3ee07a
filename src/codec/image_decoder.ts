// Takes a blob piece by piece and gives the image: what comes out is checked against its size while it comes, and against its
// hash at the end.

import { createHash } from "node:crypto";
import { PackageContentError, type PackageErrorCode } from "./errors.ts";
import { ZstdError, type ZstdErrorCode } from "./zstd_errors.ts";
import { ZstdDecompressor, type ZstdDecompressorOptions } from "./zstd_stream.ts";

/** What zstd's errors say of the package; the others are not its fault. */
const packageCodes: Partial<Record<ZstdErrorCode, PackageErrorCode>> = {
  bad_data: "blob_not_zstd",
  truncated: "image_too_short",
  output_limit: "image_too_long",
  window_limit: "blob_window",
};

/** What must come out. */
export interface ExpectedImage {
  /** Of the image, hexadecimal. */
  imageSha256: string;
  /** Bytes of the image: not one more is made. */
  imageSize: number;
}

/** Options of an {@linkcode ImageDecoder}. */
export type ImageDecoderOptions = ExpectedImage & Omit<ZstdDecompressorOptions, "maxOutput">;

/** The image of one blob. */
export class ImageDecoder implements Disposable {
  readonly #expected: ExpectedImage;
  readonly #zstd: ZstdDecompressor;
  readonly #hash = createHash("sha256");
  #size = 0;

  /** @throws {RangeError} For options out of range. @throws {DeltaBaseError} What filling the base throws. */
  constructor({ imageSha256, imageSize, ...options }: ImageDecoderOptions) {
    this.#expected = { imageSha256, imageSize };
    this.#zstd = new ZstdDecompressor({ ...options, maxOutput: imageSize });
  }

  /** Takes a piece of the blob and gives what comes out; each piece of it is valid until the next. @throws {PackageContentError} */
  *push(piece: Uint8Array): Generator<Uint8Array<ArrayBuffer>, void, void> {
    try {
      for (const made of this.#zstd.push(piece)) {
        this.#size += made.length;
        this.#hash.update(made);
        yield made;
      }
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /** Says that the blob has ended. @throws {PackageContentError} If the image is not what it must be. */
  finish(): void {
    const { imageSha256, imageSize } = this.#expected;
    try {
      this.#zstd.finish();
    } catch (error) {
      throw this.#explained(error);
    }
    if (this.#size < imageSize) {
      throw new PackageContentError(
        "image_too_short",
        `expected an image of ${imageSize} bytes, got ${this.#size}`,
      );
    }
    const found = this.#hash.digest("hex");
    if (found !== imageSha256) {
      throw new PackageContentError(
        "image_hash",
        `expected an image with SHA-256 ${imageSha256}, got one with ${found}`,
      );
    }
  }

  [Symbol.dispose](): void {
    this.#zstd[Symbol.dispose]();
  }

  #explained(error: unknown): unknown {
    const code = error instanceof ZstdError ? packageCodes[error.code] : undefined;
    if (code === undefined || !(error instanceof ZstdError)) return error;
    return new PackageContentError(
      code,
      `expected one Zstandard frame of an image of ${this.#expected.imageSize} bytes: ${error.message}`,
      { cause: error },
    );
  }
}
