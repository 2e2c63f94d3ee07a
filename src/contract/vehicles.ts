// What vehicles and the server say to each other about the vehicle itself: registration, configuration, life signs.

import { z } from "zod";
import * as id from "./identifiers.ts";
import { signedDocument } from "./uptane.ts";

export const registration = z.strictObject({
  vin: id.vin,
  vehicle_model: id.label.min(1),
  vehicle_year: z.int().min(1980).max(2100),
  vmg_id: id.vmgId,
});

export const registrationAnswer = z.strictObject({
  status: z.enum(["registered", "already_registered"]),
  vehicle_id: id.vin,
  message: z.string(),
  /**
   * Who acknowledges what the vehicle publishes over MQTT: with an external broker the server does, on
   * `vehicle/{id}/stored`. Absent: the broker's PUBACK is the server's.
   */
  acknowledged_by: z.literal("server").optional(),
});

/** One ECU in a vehicle's report. What the ECU did not give is absent: it is never made up. */
export const vciEcu = z.strictObject({
  ecu_id: id.ecuId,
  ecu_type: id.ecuType,
  zonal_gateway_id: id.zonalGatewayId,
  sw_version: id.reportedVersion.optional(),
  hw_version: id.hwVersion.optional(),
  serial_number: id.label.optional(),
  part_number: id.label.optional(),
  supplier: id.label.optional(),
  /** SHA-256 of a payload that the gateway keeps a copy of for this ECU: the next image may come as a delta to it. */
  base_sha256: id.sha256.optional(),
  /**
   * `unreachable`: the ECU did not answer; `error` says how that was seen. With `ok`, `error` says why there is no report of its
   * version in `version_manifest`: nothing bears out what stands here.
   */
  status: z.enum(["ok", "unreachable"]).default("ok"),
  error: id.label.optional(),
});

/** Vehicle configuration information: which ECU runs which version. */
export const vci = z.strictObject({
  device_id: id.vmgId,
  vin: id.vin,
  timestamp: id.timestamp,
  trigger: id.label,
  ecus: z.array(vciEcu).max(1000, "must name at most 1000 ECUs").refine(
    (ecus) => new Set(ecus.map((ecu) => ecu.ecu_id)).size === ecus.length,
    "must name each ECU once",
  ),
  /** The vehicle version manifest: reports of the ECUs, signed by their keys and by the gateway's. */
  version_manifest: signedDocument.optional(),
});

export const outdatedEcu = z.strictObject({
  ecu_id: id.ecuId,
  current: id.reportedVersion,
  latest: id.releaseVersion,
  priority: z.enum(["low", "normal", "high", "critical"]),
});

export const vciAnswer = z.strictObject({
  status: z.literal("stored"),
  outdated_ecus: z.array(outdatedEcu),
  update_available: z.boolean(),
  /** Whether the ECUs' keys bear out the report. */
  verified: z.boolean().optional(),
});

const counter = z.int().min(0);

/** How the gateway's link has fared since the gateway started; times in milliseconds. */
export const linkReport = z.strictObject({
  mode: z.enum(["mqtt", "https"]),
  total_connections: counter,
  failed_connections: counter,
  reconnections: counter,
  address_changes: counter,
  messages_sent: counter,
  messages_received: counter,
  messages_dropped: counter,
  queued: counter,
  offline_time: counter,
  last_connection_time: id.timestamp.nullable(),
  local_address: id.ipAddress.nullable(),
});

export const heartbeat = z.strictObject({
  /** Some gateways repeat it in the body; it must be the VIN of the path or topic then. */
  vin: id.vin.optional(),
  ip: id.ipAddress,
  status: z.enum(["online", "offline"]),
  timestamp: id.timestamp,
  /** WGS 84 degrees. */
  location: z.strictObject({
    latitude: z.number().min(-90).max(90),
    longitude: z.number().min(-180).max(180),
  }).optional(),
  /** State of charge of the vehicle's battery, per cent. */
  battery: z.number().min(0).max(100).optional(),
  /** What the gateway says of its link. */
  link: linkReport.optional(),
});

export const accepted = z.strictObject({ status: z.literal("accepted") });

/** Free JSON about a vehicle or for it: an object of bounded depth; its size is bounded by the body limit. */
export const freeObject = z.record(z.string().min(1).max(128), z.json());

export const remoteConfig = z.strictObject({
  /** Goes up by one with each change; 0 means that nothing was ever set. */
  version: z.int().min(0),
  config: freeObject,
});

/** What the server knows about the link that a vehicle came in on, from the handshake; `unknown` where it cannot tell. */
export const link = z.strictObject({
  listener: z.enum(["https", "mqtt"]),
  protocol: z.string(),
  group: z.string(),
  cipher_suite: z.string(),
  signature_scheme: z.string(),
  since: id.timestamp,
});

export const vehicle = z.strictObject({
  vin: id.vin,
  vmg_id: id.vmgId,
  vehicle_model: z.string(),
  vehicle_year: z.int(),
  status: z.enum(["online", "offline"]),
  current_ip: z.string().nullable(),
  last_heartbeat: id.timestamp.nullable(),
  location: z.json().nullable(),
  battery: z.number().nullable(),
  registered: id.timestamp,
  /** Whether the ECUs' keys bear out the newest report. */
  verified: z.boolean(),
  /** The newest link on each listener. */
  links: z.array(link),
});

export const vehicleDetail = vehicle.extend({
  metadata: freeObject,
  /** The newest report, `null` before the first. */
  vci: vci.nullable(),
  /** Why the newest report is not verified. */
  unverified_reason: z.string().nullable(),
  /** When the last verified report was read, by the vehicle's clock: updates follow it where the ECUs have keys. */
  last_verified: id.timestamp.nullable(),
  /** ECUs that sign nothing themselves: their reports bear the gateway's signature. */
  signed_by_gateway: z.array(id.ecuId),
  outdated_ecus: z.array(outdatedEcu),
  addresses: z.array(z.strictObject({ ip: z.string(), since: id.timestamp })),
});

export const vehicleList = z.strictObject({ vehicles: z.array(vehicle), total: z.int() });

export type Registration = z.infer<typeof registration>;
export type Vci = z.infer<typeof vci>;
export type VciEcu = z.infer<typeof vciEcu>;
export type OutdatedEcu = z.infer<typeof outdatedEcu>;
export type LinkReport = z.infer<typeof linkReport>;
export type Heartbeat = z.infer<typeof heartbeat>;
export type Vehicle = z.infer<typeof vehicle>;
export type VehicleDetail = z.infer<typeof vehicleDetail>;
