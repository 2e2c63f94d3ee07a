// The manifest of an update package: what one vehicle installs, and where in the package each image lies.
// The manifest is signed; everything else in the package is bound to it by hash and length.

import { z } from "zod";
import * as id from "./identifiers.ts";

/** What the manifest says it is. A signature over any other document can therefore not pass for a package's. */
export const packageFormat = "zonebench-package";

/** Version of the container and of the manifest's schema. */
export const packageVersion = 1;

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

/** The image's payload as it lies in the package. */
export const packageBlob = z.strictObject({
  encoding: z.literal("zstd"),
  /** First byte, counted from the first byte behind the signature. */
  offset: id.byteCount,
  /** Bytes of the compressed form. */
  length: id.byteCount.min(1),
  /** Of the compressed form. */
  sha256: id.sha256,
});

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

/** The ECUs behind one zonal gateway. */
export const packageZone = z.strictObject({
  zonal_gateway_id: id.zonalGatewayId,
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
