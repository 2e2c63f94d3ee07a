// Opens an update package in the vehicle: nothing of it is used before the check that speaks for it.

import { fileImage } from "../../hardware/flash/format/file_image.ts";
import type { FirmwareImage } from "../../hardware/flash/image.ts";
import type { PackageEcu, PackageManifest } from "../contract/package.ts";
import { mlDsa65, type VerifyKey } from "../pqc/signature.ts";
import {
  blobsStart,
  decodeHeader,
  headerSize,
  type PackageHeader,
  type PackageLimits,
  resolveLimits,
} from "./container.ts";
import { PackageFormatError } from "./errors.ts";
import { type BlobEntry, verifyManifest } from "./manifest.ts";
import type { CodecPool } from "./pool.ts";
import { results } from "./protocol.ts";
import { readRange } from "./whole_file.ts";
import type { CompressedRange, RunOptions } from "./zstd_files.ts";

/** Options of {@linkcode openPackage}. */
export interface OpenPackageOptions {
  /** Trusted keys by key id. */
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  /** VIN of this vehicle. */
  expectVehicle: string;
  limits?: PackageLimits;
  /** Threads that do the work. */
  pool: CodecPool;
}

/** How far {@linkcode UpdatePackage.verifyBlobs} is. */
export interface VerifyProgress {
  /** Compressed bytes of all blobs. */
  total: number;
  /** Compressed bytes that are through. */
  done: number;
}

/** A package whose manifest is signed, is for this vehicle, and agrees with its file. Its blobs are yet to be verified. */
export class UpdatePackage {
  readonly path: string;
  readonly manifest: PackageManifest;
  /** Blobs in the order in which they lie. */
  readonly blobs: readonly BlobEntry[];
  readonly #start: number;
  readonly #pool: CodecPool;

  /** For {@linkcode openPackage}, which makes the checks. */
  constructor(
    path: string,
    manifest: PackageManifest,
    blobs: readonly BlobEntry[],
    start: number,
    pool: CodecPool,
  ) {
    this.path = path;
    this.manifest = manifest;
    this.blobs = blobs;
    this.#start = start;
    this.#pool = pool;
  }

  /**
   * Verifies every blob: the compressed form's hash, then what decompression gives, its size and its hash.
   *
   * @throws {PackageContentError}
   */
  async verifyBlobs(
    { signal, onProgress }: { signal?: AbortSignal; onProgress?: (progress: VerifyProgress) => void } = {},
  ): Promise<void> {
    const total = this.blobs.reduce((sum, { length }) => sum + length, 0);
    let done = 0;
    for (const blob of this.blobs) {
      await this.#extract(blob, undefined, {
        signal,
        onProgress: (bytes) => {
          done += bytes;
          onProgress?.({ total, done });
        },
      });
    }
  }

  /**
   * Leaves an ECU's image at `output`, verified once more, whole or not at all.
   *
   * @param entry One of this package's manifest.
   * @throws {PackageContentError}
   * @throws {RangeError} For an entry that is not this package's.
   */
  async extractImage(entry: PackageEcu, output: string, options: RunOptions = {}): Promise<FirmwareImage> {
    const blob = this.blobs.find(({ offset }) => offset === entry.blob.offset);
    const own = this.manifest.zonal_gateways.some(({ ecus }) => ecus.includes(entry));
    if (!blob || !own) {
      throw new RangeError(`expected an entry of this package's manifest, got ${entry.ecu_id}`);
    }
    await this.#extract(blob, output, options);
    const { segments, sha256, download } = entry.image;
    const hints = download &&
      { dataFormat: download.data_format, erase: download.erase, call: download.call };
    return fileImage(output, segments, Uint8Array.fromHex(sha256), hints);
  }

  async #extract(blob: BlobEntry, output: string | undefined, options: RunOptions): Promise<void> {
    const range: CompressedRange = {
      path: this.path,
      offset: this.#start + blob.offset,
      length: blob.length,
      sha256: blob.sha256,
      imageSha256: blob.imageSha256,
      imageSize: blob.imageSize,
    };
    await this.#pool.run({ kind: "extract", range, output }, results.extract, options);
  }
}

/**
 * Opens the package at `path`: header, lengths, canonical form, schema, key, signature, vehicle, entries, layout, in this
 * order.
 *
 * @throws {PackageError} At the first check that fails, with the check's code.
 */
export async function openPackage(path: string, options: OpenPackageOptions): Promise<UpdatePackage> {
  const limits = resolveLimits(options.limits);
  const { size } = await Deno.stat(path);
  const header = decodeHeader(
    await readExactly(path, 0, Math.min(headerSize, size)),
    size,
    mlDsa65.signature,
    limits,
  );
  const { manifestBytes, signature } = await readFront(path, header);
  const start = blobsStart(header);
  const { manifest, blobs } = await verifyManifest(manifestBytes, signature, {
    verifyKeys: options.verifyKeys,
    expectVehicle: options.expectVehicle,
    blobBytes: size - start,
    limits,
  });
  return new UpdatePackage(path, manifest, blobs, start, options.pool);
}

async function readFront(
  path: string,
  { manifestLength, signatureLength }: PackageHeader,
): Promise<{ manifestBytes: Uint8Array; signature: Uint8Array }> {
  const bytes = await readExactly(path, headerSize, manifestLength + signatureLength);
  return { manifestBytes: bytes.subarray(0, manifestLength), signature: bytes.subarray(manifestLength) };
}

async function readExactly(path: string, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for await (const chunk of readRange(path, offset, length, length)) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  if (at !== length) {
    throw new PackageFormatError("truncated", `expected ${length} bytes at ${offset} of ${path}, got ${at}`);
  }
  return bytes;
}
