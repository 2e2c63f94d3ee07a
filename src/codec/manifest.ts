// Checks of a package's manifest, apart from all input and output. Each one is named after the attack that it stops.

import {
  type PackageBlob,
  type PackageEcu,
  type PackageManifest,
  packageManifest,
  type PackageZone,
} from "../contract/package.ts";
import { mlDsa65, verify, type VerifyKey } from "../pqc/signature.ts";
import { tableLength } from "./blocks.ts";
import { canonicalJson, CanonicalJsonError } from "./canonical_json.ts";
import type { ResolvedLimits } from "./container.ts";
import {
  PackageContentError,
  PackageFormatError,
  PackageSignatureError,
  PackageTargetError,
} from "./errors.ts";
import { maxDeltaSize } from "./zstd_stream.ts";

/** A blob as it lies in its part, with what must come out of it. */
export interface BlobEntry {
  /** The zonal gateway whose part it lies in. */
  readonly zone: string;
  /** As the manifest has it. */
  readonly blob: PackageBlob;
  /** First byte of the blob itself, behind its table; counted as `blob.offset` is. */
  readonly dataOffset: number;
  /** Bytes of the block table. */
  readonly tableLength: number;
  /** Of the image's payload. */
  readonly imageSha256: string;
  /** Bytes of the image's payload. */
  readonly imageSize: number;
}

/** Who and what a manifest is checked for. */
export interface ManifestExpectations {
  /** Trusted keys by key id. */
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  /** VIN of the vehicle that would install it; undefined: it is only looked at. */
  expectVehicle: string | undefined;
  /** Bytes behind the signature; undefined: they are not known yet. */
  partBytes: number | undefined;
  limits: ResolvedLimits;
}

/**
 * All checks of a manifest in order.
 *
 * @returns The manifest, and its blobs in the order in which they lie.
 * @throws {PackageError}
 */
export async function verifyManifest(
  bytes: Uint8Array,
  signature: Uint8Array,
  expectations: ManifestExpectations,
): Promise<{ manifest: PackageManifest; blobs: BlobEntry[] }> {
  const manifest = parseManifest(bytes);
  await verifySignature(manifest, bytes, signature, expectations.verifyKeys);
  if (expectations.expectVehicle !== undefined) verifyVehicle(manifest, expectations.expectVehicle);
  verifyEntries(manifest, expectations.limits);
  return { manifest, blobs: verifyLayout(manifest, expectations.partBytes, expectations.limits) };
}

/**
 * Parser differences: bytes that another parser would read otherwise (doubled members, a number in another form, escapes)
 * are refused, since only the canonical form of what was read here passes.
 */
export function parseManifest(bytes: Uint8Array): PackageManifest {
  let value: unknown;
  let canonical: Uint8Array;
  try {
    // A byte order mark is kept, and fails: it is not canonical.
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    canonical = canonicalJson(value);
  } catch (cause) {
    if (cause instanceof SyntaxError || cause instanceof TypeError || cause instanceof CanonicalJsonError) {
      throw new PackageFormatError("manifest_not_canonical", `expected canonical JSON: ${cause.message}`, {
        cause,
      });
    }
    throw cause;
  }
  const difference = firstDifference(bytes, canonical);
  if (difference >= 0) {
    throw new PackageFormatError(
      "manifest_not_canonical",
      `expected canonical JSON, got another form of it from byte ${difference} on`,
    );
  }
  return checkSchema(value);
}

/** Confusion of document or version: only a manifest of this schema, without one member more, is taken for one. */
export function checkSchema(value: unknown): PackageManifest {
  const result = packageManifest.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new PackageFormatError(
    "manifest_schema",
    `manifest at ${issue.path.join(".") || "its root"}: ${issue.message}`,
    {
      cause: result.error,
    },
  );
}

/** Forgery: the bytes are signed by a key that this vehicle trusts. */
export async function verifySignature(
  manifest: PackageManifest,
  bytes: Uint8Array,
  signature: Uint8Array,
  verifyKeys: ReadonlyMap<string, VerifyKey>,
): Promise<void> {
  const key = verifyKeys.get(manifest.key_id);
  if (!key) {
    throw new PackageSignatureError(
      "unknown_key",
      `expected a signature by one of ${verifyKeys.size} trusted keys, got one by ${manifest.key_id}`,
    );
  }
  if (signature.length !== mlDsa65.signature || !(await verify(key, signature, bytes))) {
    throw new PackageSignatureError(
      "bad_signature",
      `expected a signature of the manifest by ${manifest.key_id}, got one that does not verify`,
    );
  }
}

/** Arbitrary software, the cheap way: a package that was signed for another vehicle. */
export function verifyVehicle(manifest: PackageManifest, expectVehicle: string): void {
  if (manifest.vehicle_id !== expectVehicle) {
    throw new PackageTargetError(
      "wrong_vehicle",
      `expected a package for ${expectVehicle}, got one for ${manifest.vehicle_id}`,
    );
  }
}

/** Mix-and-match within a package: one image an ECU, one entry a gateway, segments that add up to the image. */
export function verifyEntries(manifest: PackageManifest, limits: ResolvedLimits): void {
  const gateways = new Set<string>();
  const ecus = new Set<string>();
  for (const zone of manifest.zonal_gateways) {
    if (gateways.has(zone.zonal_gateway_id)) {
      throw inconsistent(`gateway ${zone.zonal_gateway_id} stands twice`);
    }
    gateways.add(zone.zonal_gateway_id);
    for (const ecu of zone.ecus) {
      if (ecus.has(ecu.ecu_id)) throw inconsistent(`ECU ${ecu.ecu_id} stands twice`);
      ecus.add(ecu.ecu_id);
      verifySegments(ecu);
      verifyDelta(ecu);
      // Endless data: what an ECU's image may grow to is known before the first byte is decompressed.
      if (ecu.image.size > limits.maxImage) {
        throw new PackageFormatError(
          "too_large",
          `ECU ${ecu.ecu_id}: expected an image of at most ${limits.maxImage} bytes, got ${ecu.image.size}`,
        );
      }
    }
  }
}

function verifySegments(ecu: PackageEcu): void {
  // Lengths of compressed or encrypted segments are not those in memory.
  const apart = (ecu.image.download?.data_format ?? 0) !== 0;
  let end = -1;
  let size = 0;
  for (const { address, length } of ecu.image.segments) {
    if (address <= end) {
      throw inconsistent(`ECU ${ecu.ecu_id}: segments overlap, touch or descend at ${address}`);
    }
    end = apart ? address : address + length;
    size += length;
    if (address + length > 2 ** 32) {
      throw inconsistent(`ECU ${ecu.ecu_id}: the segment at ${address} ends beyond 32 bits`);
    }
  }
  if (size !== ecu.image.size) {
    throw inconsistent(`ECU ${ecu.ecu_id}: segments hold ${size} bytes, the image ${ecu.image.size}`);
  }
}

/** Endless data: a delta's base and target lie in memory while it is applied. A delta from an image to itself is none. */
function verifyDelta({ ecu_id, blob, image }: PackageEcu): void {
  if (blob.encoding !== "zstd-delta") return;
  for (const [what, size] of [["base", blob.base.size], ["target", image.size]] as const) {
    if (size <= maxDeltaSize) continue;
    throw new PackageFormatError(
      "too_large",
      `ECU ${ecu_id}: expected a delta's ${what} of at most ${maxDeltaSize} bytes, got ${size}`,
    );
  }
  if (blob.base.sha256 === image.sha256) throw inconsistent(`ECU ${ecu_id}: a delta from an image to itself`);
}

/**
 * Parts and blobs that reach into one another, out of the file, or leave room for bytes that nobody signed: parts lie back to
 * back in the manifest's order and end with the file; in each part the blobs lie so in the order of their first ECU. Only ECUs
 * of one part share a blob: each part stands alone.
 *
 * @param partBytes Bytes behind the signature; undefined: the reader sees to it that there are as many as the parts have.
 */
export function verifyLayout(
  manifest: PackageManifest,
  partBytes: number | undefined,
  limits: ResolvedLimits,
): BlobEntry[] {
  const blobs: BlobEntry[] = [];
  let end = 0;
  for (const zone of manifest.zonal_gateways) {
    // Both are below 2^53, their sum is exact enough to exceed the file.
    if (zone.offset + zone.length > (partBytes ?? limits.maxFile)) {
      throw new PackageContentError(
        "blob_outside",
        `${zone.zonal_gateway_id}: expected its part within ${partBytes ?? limits.maxFile} bytes, ` +
          `got ${zone.length} bytes at ${zone.offset}`,
      );
    }
    if (zone.offset !== end) {
      throw new PackageContentError(
        "part_layout",
        `${zone.zonal_gateway_id}: expected its part at ${end}, behind the one before it, got ${zone.offset}`,
      );
    }
    blobs.push(...verifyPart(zone, manifest.block_size, limits));
    end += zone.length;
  }
  if (partBytes !== undefined && end !== partBytes) {
    throw new PackageFormatError("trailing_bytes", `expected ${end} bytes of parts, got ${partBytes}`);
  }
  return blobs;
}

function verifyPart(zone: PackageZone, blockSize: number, limits: ResolvedLimits): BlobEntry[] {
  const blobs = new Map<number, BlobEntry>();
  const partEnd = zone.offset + zone.length;
  let end = zone.offset;
  for (const { ecu_id, blob, image } of zone.ecus) {
    const table = tableLength(blob.length, blockSize);
    const at = `ECU ${ecu_id}`;
    if (blob.offset + table + blob.length > partEnd) {
      throw new PackageContentError(
        "blob_outside",
        `${at}: expected its blob within its gateway's part, which ends at ${partEnd}, ` +
          `got ${blob.length} bytes and a table of ${table} at ${blob.offset}`,
      );
    }
    // Endless data: the table is held as a whole.
    if (table > limits.maxTable) {
      throw new PackageFormatError(
        "too_large",
        `${at}: expected a block table of at most ${limits.maxTable} bytes, got ${table}`,
      );
    }
    const entry = {
      zone: zone.zonal_gateway_id,
      blob,
      dataOffset: blob.offset + table,
      tableLength: table,
      imageSha256: image.sha256,
      imageSize: image.size,
    };
    const same = blobs.get(blob.offset);
    if (same) {
      if (!isSameBlob(same, entry)) {
        throw new PackageContentError(
          "blob_overlap",
          `${at}: its blob begins where another blob lies, at ${blob.offset}`,
        );
      }
      continue;
    }
    if (blob.offset !== end) {
      throw new PackageContentError(
        "blob_overlap",
        `${at}: expected its blob at ${end}, behind the one before it, got ${blob.offset}`,
      );
    }
    blobs.set(blob.offset, entry);
    end += table + blob.length;
  }
  if (end !== partEnd) {
    throw new PackageContentError(
      "part_layout",
      `${zone.zonal_gateway_id}: expected its part to end with its last blob, at ${end}, got ${partEnd}`,
    );
  }
  return [...blobs.values()];
}

function isSameBlob(a: BlobEntry, b: BlobEntry): boolean {
  const [base, other] = [a, b].map(({ blob }) => blob.encoding === "zstd-delta" ? blob.base : undefined);
  return a.blob.encoding === b.blob.encoding && a.blob.length === b.blob.length &&
    a.blob.sha256 === b.blob.sha256 && a.blob.table_sha256 === b.blob.table_sha256 &&
    a.imageSha256 === b.imageSha256 && a.imageSize === b.imageSize &&
    base?.sha256 === other?.sha256 && base?.size === other?.size;
}

function inconsistent(what: string): PackageFormatError {
  return new PackageFormatError(
    "manifest_inconsistent",
    `expected a manifest that agrees with itself: ${what}`,
  );
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) if (a[at] !== b[at]) return at;
  return a.length === b.length ? -1 : length;
}
