// Opens an update package in the vehicle: nothing of it is used before the check that speaks for it.

import type { PackageEcu, PackageManifest } from "../contract/package.ts";
import type { VerifyKey } from "../pqc/signature.ts";
import { type PackageLimits, partsStart, type ResolvedLimits, resolveLimits } from "./container.ts";
import type { DeltaBase } from "./delta.ts";
import { DeltaBaseError, PackageFormatError } from "./errors.ts";
import { FrontReader, type PackageFront } from "./front.ts";
import { type BlobEntry, verifyManifest } from "./manifest.ts";
import type { CodecPool } from "./pool.ts";
import { results } from "./protocol.ts";
import { readRange } from "./whole_file.ts";
import type { CompressedRange, RunOptions } from "./zstd_files.ts";

/** Bytes of the front that are read at a time. */
const frontChunk = 64 * 1024;

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

/** Options of {@linkcode UpdatePackage.extractImage}. */
export interface ExtractOptions extends RunOptions {
  /** The delta's base, where the blob is one. */
  base?: DeltaBase;
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
   * Makes an ECU's image and, where `output` is given, leaves it there, whole or not at all: the blob's hash is checked, then
   * the image's size and hash. `onProgress` counts bytes of the blob.
   *
   * @param entry One of this package's manifest.
   * @throws {PackageContentError}
   * @throws {DeltaBaseError} If the blob is a delta and its base is not there, or not what the manifest says.
   * @throws {RangeError} For an entry that is not this package's.
   */
  async extractImage(
    entry: PackageEcu,
    output: string | undefined,
    { base, ...options }: ExtractOptions = {},
  ): Promise<void> {
    const found = this.blobs.find(({ blob: { offset } }) => offset === entry.blob.offset);
    const own = this.manifest.zonal_gateways.some(({ ecus }) => ecus.includes(entry));
    if (!found || !own) {
      throw new RangeError(`expected an entry of this package's manifest, got ${entry.ecu_id}`);
    }
    const { blob, dataOffset, imageSha256, imageSize } = found;
    const range: CompressedRange = {
      path: this.path,
      offset: this.#start + dataOffset,
      length: blob.length,
      sha256: blob.sha256,
      imageSha256,
      imageSize,
    };
    if (blob.encoding === "zstd") {
      await this.#pool.run({ kind: "extract", range, output }, results.extract, options);
      return;
    }
    if (base?.sha256 !== blob.base.sha256 || base.size !== blob.base.size) {
      throw new DeltaBaseError(
        `${entry.ecu_id}: expected a base of ${blob.base.size} bytes with SHA-256 ${blob.base.sha256} for its delta, ` +
          `got ${base === undefined ? "none" : `${base.size} bytes with ${base.sha256}`}`,
      );
    }
    await this.#pool.run({ kind: "apply_delta", base, range, output }, results.apply_delta, options);
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
  const front = await readFront(path, size, limits);
  const start = partsStart(front.header);
  const { manifest, blobs } = await verifyManifest(front.manifestBytes, front.signature, {
    verifyKeys: options.verifyKeys,
    expectVehicle: options.expectVehicle,
    partBytes: size - start,
    limits,
  });
  return new UpdatePackage(path, manifest, blobs, start, options.pool);
}

async function readFront(path: string, size: number, limits: ResolvedLimits): Promise<PackageFront> {
  const reader = new FrontReader(size, limits);
  for await (const chunk of readRange(path, 0, size, frontChunk)) {
    reader.push(chunk);
    if (reader.front) return reader.front;
  }
  reader.finish();
  throw new PackageFormatError(
    "truncated",
    `expected a manifest and a signature in ${path}, got ${reader.length} bytes`,
  );
}
