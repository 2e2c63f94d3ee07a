// Checks of a package's manifest, apart from all input and output. Each one is named after the attack that it stops.

import {
  type PackageBlob,
  type PackageEcu,
  type PackageManifest,
  packageManifest,
} from "../contract/package.ts";
import { mlDsa65, verify, type VerifyKey } from "../pqc/signature.ts";
import { canonicalJson, CanonicalJsonError } from "./canonical_json.ts";
import type { ResolvedLimits } from "./container.ts";
import {
  PackageContentError,
  PackageFormatError,
  PackageSignatureError,
  PackageTargetError,
} from "./errors.ts";

/** A blob with the size that it must have when decompressed. */
export interface BlobEntry extends PackageBlob {
  /** Of the image's payload. */
  readonly imageSha256: string;
  /** Bytes of the image's payload. */
  readonly imageSize: number;
}

/** Who and what a manifest is checked for. */
export interface ManifestExpectations {
  /** Trusted keys by key id. */
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  /** VIN of the vehicle that would install it. */
  expectVehicle: string;
  /** Bytes behind the signature. */
  blobBytes: number;
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
  verifyVehicle(manifest, expectations.expectVehicle);
  verifyEntries(manifest, expectations.limits);
  return { manifest, blobs: verifyLayout(manifest, expectations.blobBytes) };
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

/**
 * Blobs that reach into one another, out of the file, or leave room for bytes that nobody signed: the blobs lie back to
 * back in the order of their first ECU, and end with the file.
 */
export function verifyLayout(manifest: PackageManifest, blobBytes: number): BlobEntry[] {
  const blobs: BlobEntry[] = [];
  const known = new Map<number, BlobEntry>();
  let end = 0;
  for (const ecu of manifest.zonal_gateways.flatMap((zone) => zone.ecus)) {
    const { blob, image } = ecu;
    // Both are below 2^53, their sum is exact enough to exceed the file.
    if (blob.offset + blob.length > blobBytes) {
      throw new PackageContentError(
        "blob_outside",
        `ECU ${ecu.ecu_id}: expected its blob within ${blobBytes} bytes, got ${blob.length} bytes at ${blob.offset}`,
      );
    }
    const same = known.get(blob.offset);
    if (same) {
      if (
        same.length !== blob.length || same.sha256 !== blob.sha256 || same.imageSha256 !== image.sha256 ||
        same.imageSize !== image.size
      ) {
        throw new PackageContentError(
          "blob_overlap",
          `ECU ${ecu.ecu_id}: its blob begins where another blob lies, at ${blob.offset}`,
        );
      }
      continue;
    }
    if (blob.offset !== end) {
      throw new PackageContentError(
        "blob_overlap",
        `ECU ${ecu.ecu_id}: expected its blob at ${end}, behind the one before it, got ${blob.offset}`,
      );
    }
    const entry = { ...blob, imageSha256: image.sha256, imageSize: image.size };
    known.set(blob.offset, entry);
    blobs.push(entry);
    end += blob.length;
  }
  if (end !== blobBytes) {
    throw new PackageFormatError("trailing_bytes", `expected ${end} bytes of blobs, got ${blobBytes}`);
  }
  return blobs;
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
