// Updates: what is outdated, the package, the run of an update and the reports on it.

import { z } from "zod";
import { approver, attempt, campaignStart, reportedWait, shownWait, updateMode } from "./campaign.ts";
import * as id from "./identifiers.ts";
import { packageDownload } from "./package.ts";
import {
  conditionList,
  dependencyList,
  imageConditions,
  imageDependencies,
  releaseCounter,
} from "./requirements.ts";
import { targetState } from "./uptane.ts";
import { outdatedEcu, vci } from "./vehicles.ts";

/** Stages of an update, in the order in which a good one passes them; the last three end it. */
export const updateStatus = z.enum([
  /** Written down, command not yet taken by the vehicle. */
  "pending",
  /** The vehicle took the command. */
  "accepted",
  "downloading",
  "verifying",
  "installing",
  "completed",
  "failed",
  "cancelled",
]);

export const ecuUpdateStatus = z.enum([
  "pending",
  "installing",
  "completed",
  /** It does not run the new software, and the old one was not brought back. */
  "failed",
  /** It was not touched. */
  "cancelled",
  /** It was touched and runs the old software again. */
  "rolled_back",
]);

const progress = z.number().min(0).max(100);
const reason = z.string().min(1).max(2000);

export const updateCheck = z.strictObject({ vehicle_id: id.vehicleId, vci: vci.optional() });

export const updateCheckAnswer = z.strictObject({
  updates_available: z.boolean(),
  outdated_ecus: z.array(outdatedEcu),
});

export const packageRequest = z.strictObject({
  vehicle_id: id.vehicleId,
  /** Only these ECUs; each must be outdated. Without it: all that are. */
  target_ecus: z.array(id.ecuId).min(1).max(1000).optional(),
  /** Blobs in the order of zonal gateways, so that each gateway's part lies together. */
  zonal_gateway_optimization: z.boolean().default(true),
  /** Deltas where the vehicle's last report names a base; false: whole images alone. */
  deltas: z.boolean().default(true),
  /** An update under way that is to get another package, for the same images: where a delta could not be applied. */
  update_id: id.uuid.optional(),
});

export const packageAnswer = z.strictObject({
  status: z.literal("ready"),
  package_id: id.uuid,
  /** Reference relative to the server, e.g. `/api/v1/ota/package/{package_id}`. */
  download_url: z.string(),
  /** The update that this package belongs to: the vehicle's reports name it. */
  update_id: id.uuid,
  size: id.byteCount,
  sha256: id.sha256,
});

/** One ECU in a report on an update. */
export const ecuReport = z.strictObject({
  ecu_id: id.ecuId,
  status: ecuUpdateStatus,
  progress,
  /** Step of the flash sequence, e.g. `transferData`. */
  step: z.string().max(64).optional(),
  /** Bytes of the image that the step is through with. */
  bytes: id.byteCount.optional(),
  /** Bytes per second. */
  speed: z.number().min(0).optional(),
  /** Seconds until the image is in the ECU. */
  time_left: z.number().min(0).optional(),
  /** Why it failed: the step, the ECU and the code. */
  error: reason.optional(),
});

const reportStatus = updateStatus.exclude(["pending"]);

/** MQTT `vehicle/{id}/ota/status`. */
export const updateReport = z.strictObject({
  message_id: id.messageId.optional(),
  update_id: id.uuid,
  status: reportStatus,
  progress,
  ecus: z.array(ecuReport).max(1000).default([]),
  error: reason.optional(),
  /** What the vehicle waits for; without it, it waits for nothing. */
  waiting: reportedWait.optional(),
  /** Who approved the update, as far as the vehicle knows. */
  approved_by: approver.optional(),
  /** Of an update that failed: whether another try may mend it. Without it: where no ECU failed to come back, it may. */
  retryable: z.boolean().optional(),
  timestamp: id.timestamp.optional(),
});

/** The HTTPS twin of the topic: `POST ota/status`. */
export const updateReportOverHttps = updateReport.extend({
  vehicle_id: id.vehicleId,
  completed_ecus: z.array(id.ecuId).max(1000).default([]),
});

export const updateStart = z.strictObject({
  vin: id.vehicleId,
  target_ecus: z.array(id.ecuId).min(1).max(1000).optional(),
  ...campaignStart,
});

export const updateStarted = z.strictObject({
  status: updateStatus,
  update_id: id.uuid,
  package_id: id.uuid,
});

export const update = z.strictObject({
  update_id: id.uuid,
  vin: id.vin,
  /** `null` once the package of an ended update is no longer kept. */
  package_id: id.uuid.nullable(),
  initiator: z.enum(["operator", "vehicle"]),
  status: updateStatus,
  progress,
  error: z.string().nullable(),
  cancel_requested: z.boolean(),
  mode: updateMode,
  /** Which attempt this is, and how many there may be. */
  attempt,
  attempts: attempt,
  /** The attempt before, and the one after. */
  retry_of: id.uuid.nullable(),
  retried_by: id.uuid.nullable(),
  /** When it must have been activated. */
  deadline: id.timestamp.nullable(),
  approved: z.strictObject({ by: approver, at: id.timestamp }).nullable(),
  /** What it waits for; of an attempt that failed: for the next one. */
  waiting: shownWait.nullable(),
  created: id.timestamp,
  last_report: id.timestamp.nullable(),
  ended: id.timestamp.nullable(),
  ecus: z.array(z.strictObject({
    ecu_id: id.ecuId,
    zonal_gateway_id: id.zonalGatewayId,
    from_version: z.string(),
    to_version: z.string(),
    status: ecuUpdateStatus,
    progress,
    step: z.string().nullable(),
    bytes: id.byteCount.nullable(),
    speed: z.number().nullable(),
    time_left: z.number().nullable(),
    error: z.string().nullable(),
  })),
});

export const updateList = z.strictObject({ updates: z.array(update), total: z.int() });

export const updateCancelled = z.strictObject({
  update_id: id.uuid,
  status: updateStatus,
  message: z.string(),
});

export const updateApproved = updateCancelled;

/** Query of `POST firmware`; the body is the file as it is. */
export const firmwareUpload = z.strictObject({
  ecu_type: id.ecuType,
  hw_version: id.hwVersion,
  version: id.releaseVersion,
  format: z.enum(["auto", "intel-hex", "s-record", "vbf", "binary"]).default("auto"),
  /** First address of a raw binary; HEX and S-record files carry theirs. */
  base_address: z.coerce.number().int().min(0).max(0xffff_ffff).optional(),
  priority: z.enum(["low", "normal", "high", "critical"]).default("normal"),
  file_name: id.label.optional(),
  /** Release counter: not below that of an older version. Without it the image counts as release 0. */
  release: z.coerce.number().pipe(releaseCounter).optional(),
  /** ECUs that it needs, `ECU_TYPE` or `ECU_TYPE@VERSION` with commas between. */
  depends_on: dependencyList.optional(),
  /** What must hold before it is installed, such as `speed<=0,battery_soc>=30`. */
  conditions: conditionList.optional(),
});

export const firmware = z.strictObject({
  image_id: id.uuid,
  ecu_type: id.ecuType,
  hw_version: id.hwVersion,
  version: id.releaseVersion,
  format: z.enum(["intel-hex", "s-record", "vbf", "binary"]),
  priority: z.enum(["low", "normal", "high", "critical"]),
  file_name: z.string().nullable(),
  /** Of the file as it came. */
  sha256: id.sha256,
  size: id.byteCount,
  /** Of the bytes that go into the ECU, in address order. */
  payload_sha256: id.sha256,
  payload_size: id.byteCount,
  segments: z.array(z.strictObject({ address: z.int(), length: z.int() })),
  /** What the file says of its own download; only VBF does. */
  download: packageDownload.optional(),
  /** Release counter; null: none was given, it counts as 0. */
  release: releaseCounter.nullable(),
  depends_on: imageDependencies,
  conditions: imageConditions,
  created: id.timestamp,
  /** Where the image stands with the Image repository: vehicles get what is published. */
  target: targetState,
  /** What waits for signatures, within the folder of the repositories. */
  staged_file: z.string().optional(),
});

export const firmwareList = z.strictObject({ images: z.array(firmware), total: z.int() });

export type UpdateStatus = z.infer<typeof updateStatus>;
export type UpdateReport = z.infer<typeof updateReport>;
export type EcuReport = z.infer<typeof ecuReport>;
export type Update = z.infer<typeof update>;
export type Firmware = z.infer<typeof firmware>;
export type FirmwareUpload = z.infer<typeof firmwareUpload>;
export type PackageAnswer = z.infer<typeof packageAnswer>;

/** Whether nothing comes after this status. */
export function isFinal(status: UpdateStatus): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}
