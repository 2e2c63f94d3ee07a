// Builds an update package: the manifest, its signature, one file. Blobs are copied in a stream.

import {
  type PackageCondition,
  packageFormat,
  type PackageImage,
  type PackageManifest,
  packageVersion,
  type PackageZone,
} from "../contract/package.ts";
import { mlDsa65, sign, type SigningKey } from "../pqc/signature.ts";
import type { BlobFile } from "./assemble.ts";
import { canonicalJson } from "./canonical_json.ts";
import { blobsStart, encodeHeader, type PackageLimits, resolveLimits } from "./container.ts";
import { PackageFormatError } from "./errors.ts";
import { checkSchema, verifyEntries, verifyLayout } from "./manifest.ts";
import type { CodecPool } from "./pool.ts";
import { results } from "./protocol.ts";
import type { RunOptions } from "./zstd_files.ts";

/** What one ECU is to get. */
export interface PackageEcuPart {
  ecu_id: string;
  ecu_type: string;
  hw_version: string;
  version: string;
  /** Release counter. @default none is told */
  release?: number;
  /** ECUs that are activated before this one. @default none */
  depends_on?: string[];
  image: PackageImage;
  /** The image's payload, compressed by {@linkcode compressImage}. ECUs that name the same SHA-256 share one blob. */
  blob: BlobFile;
}

/** What one zonal gateway's ECUs are to get. */
export interface PackageZonePart {
  zonal_gateway_id: string;
  ecus: readonly PackageEcuPart[];
}

/** Options of {@linkcode buildPackage}. */
export interface BuildPackageOptions extends RunOptions {
  package_id: string;
  /** VIN. */
  vehicle_id: string;
  /** RFC 3339. */
  created: string;
  /** What must hold in the vehicle before its ECUs are changed. @default nothing */
  conditions?: PackageCondition[];
  /** Blobs lie in this order. */
  zonal_gateways: readonly PackageZonePart[];
  signingKey: SigningKey;
  /** Where the package goes, a path; it appears there whole or not at all. */
  output: string;
  /** What the vehicles accept: a package beyond it is not built. */
  limits?: PackageLimits;
  /** Threads that do the work. */
  pool: CodecPool;
}

/** A package that was built. */
export interface BuiltPackage {
  /** Of the whole file, hexadecimal. */
  sha256: string;
  /** Bytes of the whole file. */
  size: number;
  /** Strong entity tag of the file for HTTP (RFC 9110, section 8.8.3), quotes included. */
  etag: string;
  manifest: PackageManifest;
  /** The manifest as it was signed. */
  manifestBytes: Uint8Array<ArrayBuffer>;
  /** ML-DSA-65 over `manifestBytes`. */
  signature: Uint8Array<ArrayBuffer>;
}

/**
 * Builds a package. `onProgress` counts bytes of blobs.
 *
 * @throws {PackageFormatError} If the parts make no valid manifest, or one beyond the limits.
 * @throws {PackageContentError} `blob_hash`, if a blob's file is not what `blob` says.
 */
export async function buildPackage(options: BuildPackageOptions): Promise<BuiltPackage> {
  const limits = resolveLimits(options.limits);
  const { zones, blobs } = layOut(options.zonal_gateways);
  const manifest = checkSchema({
    format: packageFormat,
    version: packageVersion,
    package_id: options.package_id,
    vehicle_id: options.vehicle_id,
    created: options.created,
    key_id: options.signingKey.publicKey.keyId,
    ...options.conditions === undefined ? {} : { conditions: options.conditions },
    zonal_gateways: zones,
  });
  verifyEntries(manifest, limits);
  const blobBytes = blobs.reduce((sum, { length }) => sum + length, 0);
  verifyLayout(manifest, blobBytes);

  const manifestBytes = canonicalJson(manifest);
  const header = { manifestLength: manifestBytes.length, signatureLength: mlDsa65.signature };
  const size = blobsStart(header) + blobBytes;
  if (manifestBytes.length > limits.maxManifest || size > limits.maxFile) {
    throw new PackageFormatError(
      "too_large",
      `expected a manifest of at most ${limits.maxManifest} bytes in a file of at most ${limits.maxFile}, ` +
        `got ${manifestBytes.length} in ${size}`,
    );
  }
  const signature = await sign(options.signingKey, manifestBytes);
  const front = new Uint8Array(blobsStart(header));
  front.set(encodeHeader(header));
  front.set(manifestBytes, front.length - signature.length - manifestBytes.length);
  front.set(signature, front.length - signature.length);

  const { output, signal, onProgress } = options;
  const file = await options.pool.run({ kind: "assemble", front, blobs, output }, results.assemble, {
    signal,
    onProgress,
  });
  return { ...file, etag: `"${file.sha256}"`, manifest, manifestBytes, signature };
}

/** Gives each distinct blob its place, in the order of gateways and ECUs. */
function layOut(parts: readonly PackageZonePart[]): { zones: PackageZone[]; blobs: BlobFile[] } {
  const blobs: BlobFile[] = [];
  const offsets = new Map<string, number>();
  let end = 0;
  const zones = parts.map(({ zonal_gateway_id, ecus }): PackageZone => ({
    zonal_gateway_id,
    ecus: ecus.map(({ ecu_id, ecu_type, hw_version, version, release, depends_on, image, blob }) => {
      let offset = offsets.get(blob.sha256);
      if (offset === undefined) {
        offset = end;
        offsets.set(blob.sha256, offset);
        blobs.push({ path: blob.path, length: blob.length, sha256: blob.sha256 });
        end += blob.length;
      }
      return {
        ecu_id,
        ecu_type,
        hw_version,
        version,
        ...release === undefined ? {} : { release },
        ...depends_on === undefined ? {} : { depends_on },
        image,
        blob: { encoding: "zstd", offset, length: blob.length, sha256: blob.sha256 },
      };
    }),
  }));
  return { zones, blobs };
}
