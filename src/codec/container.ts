// The package container, version 2: a header, the manifest, its signature, one part for each zonal gateway.
//
//   offset  bytes  field
//   0       4      magic, "OTAP"
//   4       2      version, 2
//   6       2      flags, 0: none is defined
//   8       4      length of the manifest, M
//   12      4      length of the signature, S
//   16      M      manifest, canonical JSON (src/contract/package.ts)
//   16+M    S      signature over the manifest's bytes: ML-DSA-65, 3,309 bytes
//   16+M+S  …      parts, back to back in the manifest's order; offsets in the manifest count from here
//
// A part holds, for each of its blobs, the blob's block table and the blob, back to back. Numbers are big-endian and unsigned.
// The last part ends with the file: there is no byte that the signature does not cover, itself or by a hash in the manifest.
// docs/package.md describes all of it.

import { PackageFormatError } from "./errors.ts";

/** "OTAP" */
const magic = 0x4f544150;
const version = 2;

/** Bytes of the header. */
export const headerSize = 16;

/** What a package may ask its reader to hold or to wait for. */
export interface PackageLimits {
  /**
   * Bytes of the manifest; it is read before anything is known of its origin.
   * @default 1048576
   */
  maxManifest?: number;
  /**
   * Bytes of one image after decompression.
   * @default 4294967296
   */
  maxImage?: number;
  /**
   * Bytes of the whole file.
   * @default 68719476736
   */
  maxFile?: number;
  /**
   * Bytes of one block table, which is held as a whole.
   * @default 8388608
   */
  maxTable?: number;
}

/** {@linkcode PackageLimits} with every value set. */
export type ResolvedLimits = Required<PackageLimits>;

/** Fills in what the caller left out. @throws {RangeError} For a limit that is no positive whole number. */
export function resolveLimits(limits: PackageLimits = {}): ResolvedLimits {
  const resolved = {
    maxManifest: limits.maxManifest ?? 2 ** 20,
    maxImage: limits.maxImage ?? 2 ** 32,
    maxFile: limits.maxFile ?? 2 ** 36,
    maxTable: limits.maxTable ?? 2 ** 23,
  };
  for (const [name, value] of Object.entries(resolved)) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new RangeError(`${name} must be a positive whole number, got ${value}`);
    }
  }
  return resolved;
}

/** What the header says. */
export interface PackageHeader {
  manifestLength: number;
  signatureLength: number;
}

/** Offset of the first part in the file. */
export function partsStart({ manifestLength, signatureLength }: PackageHeader): number {
  return headerSize + manifestLength + signatureLength;
}

/** The header's 16 bytes. */
export function encodeHeader({ manifestLength, signatureLength }: PackageHeader): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(headerSize);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic);
  view.setUint16(4, version);
  view.setUint16(6, 0);
  view.setUint32(8, manifestLength);
  view.setUint32(12, signatureLength);
  return bytes;
}

/**
 * Reads a header.
 *
 * @param bytes The file's first bytes.
 * @param fileSize Bytes of the whole file: lengths are checked against it before anything is reserved for them. undefined:
 * it is not known, as of a stream
 * @param signatureSize Bytes of a signature of the algorithm in use.
 * @throws {PackageFormatError}
 */
export function decodeHeader(
  bytes: Uint8Array,
  fileSize: number | undefined,
  signatureSize: number,
  limits: ResolvedLimits,
): PackageHeader {
  // Endless data: a file beyond the limit is not looked at.
  if (fileSize !== undefined && fileSize > limits.maxFile) {
    throw new PackageFormatError(
      "too_large",
      `expected a package of at most ${limits.maxFile} bytes, got ${fileSize}`,
    );
  }
  if (bytes.length < headerSize) {
    throw new PackageFormatError(
      "truncated",
      `expected a header of ${headerSize} bytes, got ${bytes.length}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // Another kind of file passed off as a package.
  if (view.getUint32(0) !== magic) {
    const first = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new PackageFormatError("bad_magic", `expected the magic "OTAP" (4f 54 41 50), got ${first}`);
  }
  // A version whose rules this reader does not know, so could not check.
  const found = view.getUint16(4);
  if (found !== version) {
    const why = found === 1 ? ": packages of version 1 are not read any more, build it again" : "";
    throw new PackageFormatError("bad_version", `expected container version ${version}, got ${found}${why}`);
  }
  if (view.getUint16(6) !== 0) {
    throw new PackageFormatError("bad_flags", `expected no flags, got 0x${view.getUint16(6).toString(16)}`);
  }
  const header = { manifestLength: view.getUint32(8), signatureLength: view.getUint32(12) };
  // Lengths that lie: to make the reader reserve memory, or take blobs for manifest.
  if (header.manifestLength === 0 || header.manifestLength > limits.maxManifest) {
    throw new PackageFormatError(
      "bad_length",
      `expected a manifest of 1 to ${limits.maxManifest} bytes, got ${header.manifestLength}`,
    );
  }
  if (header.signatureLength !== signatureSize) {
    throw new PackageFormatError(
      "bad_length",
      `expected a signature of ${signatureSize} bytes, got ${header.signatureLength}`,
    );
  }
  if (fileSize !== undefined && partsStart(header) > fileSize) {
    throw new PackageFormatError(
      "truncated",
      `expected at least ${partsStart(header)} bytes for manifest and signature, the file has ${fileSize}`,
    );
  }
  return header;
}
