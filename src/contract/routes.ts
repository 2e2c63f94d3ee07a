// The REST interface as one table: the server mounts it, the vehicle and the command line call by it, and the
// OpenAPI document is made from it.

import { z } from "zod";
import * as diagnostics from "./diagnostics.ts";
import * as id from "./identifiers.ts";
import * as mqtt from "./mqtt.ts";
import * as ota from "./ota.ts";
import { packageManifest } from "./package.ts";
import * as uptane from "./uptane.ts";
import * as vehicles from "./vehicles.ts";

/** Whose certificate opens a route. `vehicle`: for its own VIN only. */
export type Caller = "vehicle" | "operator" | "vehicle or operator";

export interface Route {
  /** Name for metrics, logs and OpenAPI. */
  readonly id: string;
  readonly method: "GET" | "POST" | "PUT";
  /** Path with parameters in braces. */
  readonly path: string;
  readonly caller: Caller;
  readonly summary: string;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** Bytes of JSON that the body may have where that is more than the server's limit. */
  readonly maxBody?: number;
  /** The body is a byte stream of any size and not JSON. */
  readonly streamBody?: true;
  /** What a good answer carries; absent for byte streams. */
  readonly answer?: z.ZodType;
  readonly status: 200 | 201 | 202;
}

const paging = {
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  offset: z.coerce.number().int().min(0).max(1_000_000_000).default(0),
};

const base = "/api/v1";

export const routes = {
  registerVehicle: {
    id: "registerVehicle",
    method: "POST",
    path: `${base}/vehicles/register`,
    caller: "vehicle",
    summary: "Registers a vehicle, or brings its registration up to date.",
    body: vehicles.registration,
    answer: vehicles.registrationAnswer,
    status: 200,
  },
  listVehicles: {
    id: "listVehicles",
    method: "GET",
    path: `${base}/vehicles`,
    caller: "operator",
    summary: "The registry.",
    query: z.strictObject({ ...paging, status: z.enum(["online", "offline"]).optional() }),
    answer: vehicles.vehicleList,
    status: 200,
  },
  getVehicle: {
    id: "getVehicle",
    method: "GET",
    path: `${base}/vehicles/{vin}`,
    caller: "operator",
    summary: "One vehicle with its last report, what is outdated, and its links.",
    answer: vehicles.vehicleDetail,
    status: 200,
  },
  submitVci: {
    id: "submitVci",
    method: "POST",
    path: `${base}/vehicles/{vin}/vci`,
    caller: "vehicle",
    summary: "Takes the vehicle configuration information and answers which ECUs are outdated.",
    body: vehicles.vci,
    // A manifest of 1,000 ECUs whose reports bear signatures of ML-DSA-65, and what the report says besides.
    maxBody: 17_825_792,
    answer: vehicles.vciAnswer,
    status: 200,
  },
  heartbeat: {
    id: "heartbeat",
    method: "POST",
    path: `${base}/vehicles/{vin}/heartbeat`,
    caller: "vehicle",
    summary: "A sign of life with the vehicle's current address.",
    body: vehicles.heartbeat,
    answer: vehicles.accepted,
    status: 200,
  },
  pendingMessages: {
    id: "pendingMessages",
    method: "GET",
    path: `${base}/vehicles/{vin}/pending-messages`,
    caller: "vehicle",
    summary: "Commands and requests that the vehicle has not acknowledged, oldest first.",
    query: z.strictObject({ limit: paging.limit }),
    answer: mqtt.pendingMessages,
    status: 200,
  },
  acknowledgeMessage: {
    id: "acknowledgeMessage",
    method: "POST",
    path: `${base}/vehicles/{vin}/pending-messages/{message_id}/ack`,
    caller: "vehicle",
    summary: "Says that the vehicle has taken a message over.",
    answer: mqtt.messageAcknowledged,
    status: 200,
  },
  sendMessages: {
    id: "sendMessages",
    method: "POST",
    path: `${base}/vehicles/{vin}/messages`,
    caller: "vehicle",
    summary: "What the vehicle would have published over MQTT, in order; each message is stored once.",
    body: mqtt.messageBatch,
    answer: mqtt.messageBatchAnswer,
    status: 200,
  },
  putMetadata: {
    id: "putMetadata",
    method: "POST",
    path: `${base}/vehicles/{vin}/metadata`,
    caller: "vehicle",
    summary: "Replaces the vehicle's free metadata.",
    body: vehicles.freeObject,
    answer: vehicles.accepted,
    status: 200,
  },
  getConfig: {
    id: "getConfig",
    method: "GET",
    path: `${base}/vehicles/{vin}/config`,
    caller: "vehicle or operator",
    summary: "The vehicle's remote configuration.",
    answer: vehicles.remoteConfig,
    status: 200,
  },
  putConfig: {
    id: "putConfig",
    method: "PUT",
    path: `${base}/vehicles/{vin}/config`,
    caller: "operator",
    summary: "Sets the vehicle's remote configuration and publishes it.",
    body: vehicles.freeObject,
    answer: vehicles.remoteConfig,
    status: 200,
  },
  listTelemetry: {
    id: "listTelemetry",
    method: "GET",
    path: `${base}/vehicles/{vin}/telemetry`,
    caller: "operator",
    summary: "Stored telemetry, newest first.",
    query: z.strictObject({ ...paging, since: id.timestamp.optional(), until: id.timestamp.optional() }),
    answer: z.strictObject({
      telemetry: z.array(z.strictObject({
        timestamp: id.timestamp,
        received: id.timestamp,
        metrics: z.record(z.string(), z.number()),
      })),
    }),
    status: 200,
  },
  listAnomalies: {
    id: "listAnomalies",
    method: "GET",
    path: `${base}/vehicles/{vin}/anomalies`,
    caller: "operator",
    summary: "Anomalies found in the vehicle's telemetry, newest first.",
    query: z.strictObject(paging),
    answer: z.strictObject({
      anomalies: z.array(z.strictObject({
        timestamp: id.timestamp,
        metric: z.string(),
        rule: z.enum(["limit", "rate", "deviation", "attack"]),
        value: z.number(),
        message: z.string(),
      })),
    }),
    status: 200,
  },
  checkUpdate: {
    id: "checkUpdate",
    method: "POST",
    path: `${base}/ota/check`,
    caller: "vehicle or operator",
    summary: "Which ECUs are outdated: by the report in the body, else by the last one stored.",
    body: ota.updateCheck,
    answer: ota.updateCheckAnswer,
    status: 200,
  },
  requestPackage: {
    id: "requestPackage",
    method: "POST",
    path: `${base}/ota/package`,
    caller: "vehicle",
    summary: "Builds and signs the package for what is outdated.",
    body: ota.packageRequest,
    answer: ota.packageAnswer,
    status: 201,
  },
  downloadPackage: {
    id: "downloadPackage",
    method: "GET",
    path: `${base}/ota/package/{id}`,
    caller: "vehicle or operator",
    summary: "The package's bytes; Range, If-Range and HEAD as in RFC 9110.",
    status: 200,
  },
  getManifest: {
    id: "getManifest",
    method: "GET",
    path: `${base}/ota/package/{id}/manifest`,
    caller: "vehicle or operator",
    summary: "The package's manifest with its signature.",
    answer: z.strictObject({ manifest: packageManifest, signature: z.string() }),
    status: 200,
  },
  reportUpdate: {
    id: "reportUpdate",
    method: "POST",
    path: `${base}/ota/status`,
    caller: "vehicle",
    summary: "A report on an update, the twin of the MQTT topic.",
    body: ota.updateReportOverHttps,
    answer: vehicles.accepted,
    status: 200,
  },
  startUpdate: {
    id: "startUpdate",
    method: "POST",
    path: `${base}/ota/updates`,
    caller: "operator",
    summary: "Starts an update: builds the package and sends START_OTA_UPDATE.",
    body: ota.updateStart,
    answer: ota.updateStarted,
    status: 201,
  },
  listUpdates: {
    id: "listUpdates",
    method: "GET",
    path: `${base}/ota/updates`,
    caller: "operator",
    summary: "Updates, newest first.",
    query: z.strictObject({ ...paging, vin: id.vehicleId.optional(), status: ota.updateStatus.optional() }),
    answer: ota.updateList,
    status: 200,
  },
  getUpdate: {
    id: "getUpdate",
    method: "GET",
    path: `${base}/ota/updates/{id}`,
    caller: "operator",
    summary: "One update with each ECU's progress.",
    answer: ota.update,
    status: 200,
  },
  cancelUpdate: {
    id: "cancelUpdate",
    method: "POST",
    path: `${base}/ota/updates/{id}/cancel`,
    caller: "operator",
    summary: "Asks the vehicle to stop an update.",
    answer: ota.updateCancelled,
    status: 202,
  },
  approveUpdate: {
    id: "approveUpdate",
    method: "POST",
    path: `${base}/ota/updates/{id}/approve`,
    caller: "operator",
    summary: "Approves an update that waits for it: sends APPROVE_OTA_UPDATE.",
    answer: ota.updateApproved,
    status: 202,
  },
  addFirmware: {
    id: "addFirmware",
    method: "POST",
    path: `${base}/firmware`,
    caller: "operator",
    summary: "Streams an Intel HEX, S-record or raw binary file into the catalogue.",
    query: ota.firmwareUpload,
    streamBody: true,
    answer: ota.firmware,
    status: 201,
  },
  listFirmware: {
    id: "listFirmware",
    method: "GET",
    path: `${base}/firmware`,
    caller: "operator",
    summary: "The catalogue.",
    query: z.strictObject({ ...paging, ecu_type: id.ecuType.optional() }),
    answer: ota.firmwareList,
    status: 200,
  },
  sendDiagnostic: {
    id: "sendDiagnostic",
    method: "POST",
    path: `${base}/diagnostics/send`,
    caller: "operator",
    summary: "Sends a UDS request to one ECU.",
    body: diagnostics.diagnosticSend,
    answer: diagnostics.diagnosticSent,
    status: 202,
  },
  broadcastDiagnostic: {
    id: "broadcastDiagnostic",
    method: "POST",
    path: `${base}/diagnostics/broadcast`,
    caller: "operator",
    summary: "Sends a UDS request to every ECU behind a zonal gateway.",
    body: diagnostics.diagnosticBroadcast,
    answer: diagnostics.diagnosticBroadcastSent,
    status: 202,
  },
  listDiagnostics: {
    id: "listDiagnostics",
    method: "GET",
    path: `${base}/diagnostics/results`,
    caller: "operator",
    summary: "Diagnostic requests and their results, newest first.",
    query: z.strictObject({
      ...paging,
      vin: id.vehicleId.optional(),
      ecu_id: id.ecuId.optional(),
      status: diagnostics.diagnosticStatus.optional(),
    }),
    answer: diagnostics.diagnosticResults,
    status: 200,
  },
  getDiagnostic: {
    id: "getDiagnostic",
    method: "GET",
    path: `${base}/diagnostics/results/{request_id}`,
    caller: "operator",
    summary: "One diagnostic request and its result.",
    answer: diagnostics.diagnosticResult,
    status: 200,
  },
  dumpDatabase: {
    id: "dumpDatabase",
    method: "GET",
    path: `${base}/database/dump`,
    caller: "operator",
    summary: "The whole database as it is at one moment, as JSON lines; zonebench backup takes them.",
    status: 200,
  },
  getDirectorFile: {
    id: "getDirectorFile",
    method: "GET",
    path: `${base}/uptane/director/{vin}/{director_file}`,
    caller: "vehicle or operator",
    summary: "A metadata file of the Director for one vehicle; its roots are the same for all.",
    status: 200,
  },
  getImageFile: {
    id: "getImageFile",
    method: "GET",
    path: `${base}/uptane/image/{image_file}`,
    caller: "vehicle or operator",
    summary: "A metadata file of the Image repository.",
    status: 200,
  },
  attestTime: {
    id: "attestTime",
    method: "POST",
    path: `${base}/uptane/time`,
    caller: "vehicle or operator",
    summary: "Signs the time with the nonces of the vehicle and its ECUs.",
    body: uptane.timeRequest,
    answer: uptane.signedDocument,
    status: 200,
  },
  listInventory: {
    id: "listInventory",
    method: "GET",
    path: `${base}/uptane/inventory`,
    caller: "operator",
    summary: "Public keys of vehicles' ECUs.",
    query: z.strictObject({ ...paging, vin: id.vin.optional() }),
    answer: uptane.inventoryList,
    status: 200,
  },
  addToInventory: {
    id: "addToInventory",
    method: "POST",
    path: `${base}/uptane/inventory`,
    caller: "operator",
    summary: "Enters an ECU's public keys, in place of those that it had.",
    body: uptane.inventoryEntry,
    answer: uptane.inventoryEcu,
    status: 201,
  },
  removeFromInventory: {
    id: "removeFromInventory",
    method: "POST",
    path: `${base}/uptane/inventory/remove`,
    caller: "operator",
    summary: "Removes an ECU's public keys.",
    body: uptane.inventoryRemoval,
    answer: uptane.inventoryRemoved,
    status: 200,
  },
} as const satisfies Record<string, Route>;

export type Routes = typeof routes;

/** Fills a route's path: each parameter is percent-encoded. @throws when one is missing or too many. */
export function pathOf(route: Route, parameters: Record<string, string> = {}): string {
  const unused = new Set(Object.keys(parameters));
  const path = route.path.replaceAll(/\{([a-z_]+)\}/g, (_, name: string) => {
    const value = parameters[name];
    if (value === undefined) throw new TypeError(`${route.id}: path parameter "${name}" is missing`);
    unused.delete(name);
    return encodeURIComponent(value);
  });
  if (unused.size > 0) {
    throw new TypeError(`${route.id}: no path parameter "${[...unused][0]}" in ${route.path}`);
  }
  return path;
}
