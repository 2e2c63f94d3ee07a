// A package's first bytes, as they come: header, manifest and signature. Nothing is reserved for them before the header's
// lengths are found to be within the limits.

import { mlDsa65 } from "../pqc/signature.ts";
import {
  decodeHeader,
  headerSize,
  type PackageHeader,
  partsStart,
  type ResolvedLimits,
} from "./container.ts";

/** What stands before the parts. */
export interface PackageFront {
  readonly header: PackageHeader;
  readonly manifestBytes: Uint8Array;
  readonly signature: Uint8Array;
}

/** Collects a front. */
export class FrontReader {
  readonly #fileSize: number | undefined;
  readonly #limits: ResolvedLimits;
  #header: PackageHeader | undefined;
  #bytes: Uint8Array = new Uint8Array(headerSize);
  #length = 0;

  /** @param fileSize Bytes of the whole file; undefined: not known. */
  constructor(fileSize: number | undefined, limits: ResolvedLimits) {
    this.#fileSize = fileSize;
    this.#limits = limits;
  }

  /** Bytes that have come. */
  get length(): number {
    return this.#length;
  }

  /** The front, once all of it is there. */
  get front(): PackageFront | undefined {
    const header = this.#header;
    if (header === undefined || this.#length < this.#bytes.length) return undefined;
    const signatureAt = headerSize + header.manifestLength;
    return {
      header,
      manifestBytes: this.#bytes.subarray(headerSize, signatureAt),
      signature: this.#bytes.subarray(signatureAt),
    };
  }

  /**
   * Takes what comes next.
   *
   * @returns How many of the bytes belong to the front.
   * @throws {PackageFormatError} As soon as the header is there, for one that cannot be.
   */
  push(bytes: Uint8Array): number {
    let taken = this.#take(bytes);
    if (this.#header === undefined && this.#length === headerSize) {
      this.#header = decodeHeader(this.#bytes, this.#fileSize, mlDsa65.signature, this.#limits);
      const whole = new Uint8Array(partsStart(this.#header));
      whole.set(this.#bytes);
      this.#bytes = whole;
      taken += this.#take(bytes.subarray(taken));
    }
    return taken;
  }

  /** Says that nothing more comes. @throws {PackageFormatError} `truncated`, if the header is not all there */
  finish(): void {
    if (this.#header === undefined) {
      decodeHeader(this.#bytes.subarray(0, this.#length), this.#fileSize, mlDsa65.signature, this.#limits);
    }
  }

  #take(bytes: Uint8Array): number {
    const part = bytes.subarray(0, this.#bytes.length - this.#length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
    return part.length;
  }
}
