// Builds an update package: block tables, the manifest, its signature, one file. Blobs are copied in a stream.

import {
  blockSizes,
  type PackageBlob,
  type PackageCondition,
  packageFormat,
  type PackageImage,
  type PackageManifest,
  packageVersion,
  type PackageZone,
} from "../contract/package.ts";
import { mlDsa65, sign, type SigningKey } from "../pqc/signature.ts";
import type { BlobFile, TabledBlob } from "./assemble.ts";
import { sha256 } from "./blocks.ts";
import { canonicalJson } from "./canonical_json.ts";
import { encodeHeader, type PackageLimits, partsStart, resolveLimits } from "./container.ts";
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
  /**
   * The image's payload, compressed by {@linkcode compressImage}, or a delta by {@linkcode makeImageDelta}. ECUs of one zonal
   * gateway that name the same SHA-256 share one blob; each gateway's part has its own.
   */
  blob: PackageBlobFile;
}

/** A blob's file. */
export interface PackageBlobFile extends BlobFile {
  /** The image that the delta begins with. @default none: it is the whole image */
  base?: { sha256: string; size: number };
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
  /**
   * Bytes of a block, a power of two from 4 KiB to 1 MiB: what is fetched again where a byte was corrupted.
   * @default 65536
   */
  blockSize?: number;
  /** Parts and blobs lie in this order. */
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
  const { output, signal, onProgress, pool, blockSize = blockSizes.default } = options;
  const tables = await tabulateAll(options.zonal_gateways, blockSize, { pool, signal });
  const { zones, blobs } = layOut(options.zonal_gateways, tables);
  const manifest = checkSchema({
    format: packageFormat,
    version: packageVersion,
    package_id: options.package_id,
    vehicle_id: options.vehicle_id,
    created: options.created,
    key_id: options.signingKey.publicKey.keyId,
    block_size: blockSize,
    ...options.conditions === undefined ? {} : { conditions: options.conditions },
    zonal_gateways: zones,
  });
  verifyEntries(manifest, limits);
  const partBytes = blobs.reduce((sum, { table, length }) => sum + table.length + length, 0);
  verifyLayout(manifest, partBytes, limits);

  const manifestBytes = canonicalJson(manifest);
  const header = { manifestLength: manifestBytes.length, signatureLength: mlDsa65.signature };
  const size = partsStart(header) + partBytes;
  if (manifestBytes.length > limits.maxManifest || size > limits.maxFile) {
    throw new PackageFormatError(
      "too_large",
      `expected a manifest of at most ${limits.maxManifest} bytes in a file of at most ${limits.maxFile}, ` +
        `got ${manifestBytes.length} in ${size}`,
    );
  }
  const signature = await sign(options.signingKey, manifestBytes);
  const front = new Uint8Array(partsStart(header));
  front.set(encodeHeader(header));
  front.set(manifestBytes, front.length - signature.length - manifestBytes.length);
  front.set(signature, front.length - signature.length);

  const file = await pool.run({ kind: "assemble", front, blobs, output }, results.assemble, {
    signal,
    onProgress,
  });
  return { ...file, etag: `"${file.sha256}"`, manifest, manifestBytes, signature };
}

/** Block tables of all distinct blobs, by SHA-256. */
async function tabulateAll(
  parts: readonly PackageZonePart[],
  blockSize: number,
  { pool, signal }: { pool: CodecPool; signal: AbortSignal | undefined },
): Promise<Map<string, Uint8Array>> {
  // What is not a block size must not reach the threads: checkSchema says what is wrong with it.
  const { lowest, highest } = blockSizes;
  if (!Number.isInteger(blockSize) || blockSize < lowest || blockSize > highest) return new Map();
  const files = new Map(parts.flatMap(({ ecus }) => ecus.map(({ blob }) => [blob.sha256, blob] as const)));
  const tables = new Map<string, Uint8Array>();
  for (const [hash, { path, length, sha256 }] of files) {
    const job = { kind: "tabulate", blob: { path, length, sha256 }, blockSize } as const;
    tables.set(hash, await pool.run(job, results.tabulate, { signal }));
  }
  return tables;
}

const noTable = new Uint8Array();

/** Gives each part, and each distinct blob in it, its place, in the order of gateways and ECUs. */
function layOut(
  parts: readonly PackageZonePart[],
  tables: ReadonlyMap<string, Uint8Array>,
): { zones: PackageZone[]; blobs: TabledBlob[] } {
  const blobs: TabledBlob[] = [];
  let end = 0;
  const zones = parts.map(({ zonal_gateway_id, ecus }): PackageZone => {
    const begin = end;
    const offsets = new Map<string, number>();
    const entries = ecus.map(({ blob: { path, base, ...file }, release, depends_on, ...ecu }) => {
      const table = tables.get(file.sha256) ?? noTable;
      let offset = offsets.get(file.sha256);
      if (offset === undefined) {
        offset = end;
        offsets.set(file.sha256, offset);
        blobs.push({ path, ...file, table });
        end += table.length + file.length;
      }
      const place = { offset, length: file.length, sha256: file.sha256, table_sha256: sha256(table).toHex() };
      const blob: PackageBlob = base === undefined
        ? { encoding: "zstd", ...place }
        : { encoding: "zstd-delta", ...place, base: { sha256: base.sha256, size: base.size } };
      return {
        ...ecu,
        ...release === undefined ? {} : { release },
        ...depends_on === undefined ? {} : { depends_on },
        blob,
      };
    });
    return { zonal_gateway_id, offset: begin, length: end - begin, ecus: entries };
  });
  return { zones, blobs };
}
