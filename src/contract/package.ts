// The manifest of an update package: what one vehicle installs, and where in the package each image lies.
// The manifest is signed; everything else in the package is bound to it by hash and length.

import { z } from "zod";
import * as id from "./identifiers.ts";

/** What the manifest says it is. A signature over any other document can therefore not pass for a package's. */
export const packageFormat = "zonebench-package";

/** Version of the container and of the manifest's schema. */
export const packageVersion = 2;

/** Sizes that blocks may have: powers of two. Bounds both what a reader holds and how much is hashed for one. */
export const blockSizes = { lowest: 2 ** 12, highest: 2 ** 20, default: 2 ** 16 } as const;

/** Addresses of an ECU are 32 bits wide. */
const addressSpace = 2 ** 32;

/** A run of consecutive bytes in the ECU's address space. */
export const packageSegment = z.strictObject({
  address: z.int().min(0).max(addressSpace - 1),
  length: z.int().min(1).max(addressSpace),
});

/** What the firmware file says of its own download; it goes before the ECU type's settings. */
export const packageDownload = z.strictObject({
  /** dataFormatIdentifier; not 0: the payload is compressed or encrypted, and the ECU undoes it. */
  data_format: z.int().min(0).max(0xff).optional(),
  /** Ranges to be erased. Without it: the segments. */
  erase: z.array(packageSegment).max(4096).optional(),
  /** Address that is called once the payload is in memory. */
  call: z.int().min(0).max(addressSpace - 1).optional(),
});

/** An image as the ECU gets it. Its payload is the bytes of all segments, one after another. */
export const packageImage = z.strictObject({
  image_id: id.uuid,
  /** Of the payload. */
  sha256: id.sha256,
  /** Bytes of the payload. */
  size: id.byteCount.min(1),
  /** In ascending order; they neither overlap nor touch. Those of a compressed or encrypted payload only ascend. */
  segments: z.array(packageSegment).min(1),
  download: packageDownload.optional(),
});

/** Where a blob lies and what it is. Its block table lies right before it. */
const blobForm = {
  /** First byte of the block table, counted from the first byte behind the signature. */
  offset: id.byteCount,
  /** Bytes of the blob, without its block table. */
  length: id.byteCount.min(1),
  /** Of the blob. */
  sha256: id.sha256,
  /** Of the block table. */
  table_sha256: id.sha256,
};

/** The image's payload as it lies in the package. */
export const packageBlob = z.discriminatedUnion("encoding", [
  /** One Zstandard frame of the payload. */
  z.strictObject({ encoding: z.literal("zstd"), ...blobForm }),
  /** One Zstandard frame of what the payload has beyond another one, as `zstd --patch-from` makes it. */
  z.strictObject({
    encoding: z.literal("zstd-delta"),
    ...blobForm,
    /** The payload that the delta begins with. */
    base: z.strictObject({ sha256: id.sha256, size: id.byteCount.min(1) }),
  }),
]);

/** What must hold before ECUs are changed: a measured value within limits. */
export const packageCondition = z.strictObject({
  /** Name as in telemetry, e.g. `speed`. */
  signal: z.string().min(1).max(64),
  min: z.number().optional(),
  max: z.number().optional(),
}).refine(({ min, max }) => min !== undefined || max !== undefined, "must have min or max");

/** What one ECU gets. */
export const packageEcu = z.strictObject({
  ecu_id: id.ecuId,
  ecu_type: id.ecuType,
  hw_version: id.hwVersion,
  version: id.releaseVersion,
  /** Release counter: an ECU that counts refuses one below what it has committed. */
  release: z.int().min(0).max(0xffff_ffff).optional(),
  /** ECUs that are activated before this one. */
  depends_on: z.array(id.ecuId).max(1000).optional(),
  image: packageImage,
  blob: packageBlob,
});

/** The ECUs behind one zonal gateway, and their part of the package: all that they need, in one range of bytes. */
export const packageZone = z.strictObject({
  zonal_gateway_id: id.zonalGatewayId,
  /** First byte of the part, counted from the first byte behind the signature. */
  offset: id.byteCount,
  /** Bytes of the part: block tables and blobs. */
  length: id.byteCount.min(1),
  ecus: z.array(packageEcu).min(1),
});

/** What is signed. */
export const packageManifest = z.strictObject({
  format: z.literal(packageFormat),
  version: z.literal(packageVersion),
  package_id: id.uuid,
  /** The vehicle's VIN: no other vehicle installs this package. */
  vehicle_id: id.vin,
  created: id.timestamp,
  /** SHA-256 of the signing key's SubjectPublicKeyInfo. */
  key_id: id.sha256,
  /** Bytes of a block; a blob's last one may have fewer. */
  block_size: z.int().min(blockSizes.lowest).max(blockSizes.highest).refine(
    (size) => (size & (size - 1)) === 0,
    "must be a power of two",
  ),
  /** Conditions of the vehicle, beside its own settings. */
  conditions: z.array(packageCondition).max(32).optional(),
  zonal_gateways: z.array(packageZone).min(1),
});

export type PackageSegment = z.infer<typeof packageSegment>;
export type PackageDownload = z.infer<typeof packageDownload>;
export type PackageImage = z.infer<typeof packageImage>;
export type PackageBlob = z.infer<typeof packageBlob>;
export type PackageCondition = z.infer<typeof packageCondition>;
export type PackageEcu = z.infer<typeof packageEcu>;
export type PackageZone = z.infer<typeof packageZone>;
export type PackageManifest = z.infer<typeof packageManifest>;
