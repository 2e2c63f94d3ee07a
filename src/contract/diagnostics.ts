// Remote diagnosis: what an operator asks, what the vehicle is sent, what came back.

import { z } from "zod";
import * as id from "./identifiers.ts";

export const diagnosticSend = z.strictObject({
  vin: id.vehicleId,
  zonal_gateway_id: id.zonalGatewayId.optional(),
  ecu_id: id.ecuId,
  service_id: id.serviceId,
  /** What follows the service id, e.g. `F190`; a sub-function is its first byte. */
  data: id.hexBytes.default(""),
});

export const diagnosticSent = z.strictObject({
  status: z.literal("sent"),
  request_id: id.uuid,
  polling_url: z.string(),
});

/** The same request to every ECU behind one zonal gateway. */
export const diagnosticBroadcast = z.strictObject({
  vin: id.vehicleId,
  zonal_gateway_id: id.zonalGatewayId,
  service_id: id.serviceId,
  data: id.hexBytes.default(""),
});

export const diagnosticBroadcastSent = z.strictObject({
  status: z.literal("sent"),
  requests: z.array(z.strictObject({ ecu_id: id.ecuId, request_id: id.uuid, polling_url: z.string() })),
});

export const diagnosticStatus = z.enum(["pending", "completed", "failed", "timeout"]);

export const diagnosticResult = z.strictObject({
  request_id: id.uuid,
  vin: id.vin,
  zonal_gateway_id: id.zonalGatewayId.nullable(),
  ecu_id: id.ecuId,
  service_id: id.serviceId,
  data: id.hexBytes,
  status: diagnosticStatus,
  /** The whole answer with its service id, as hexadecimal digits. */
  response_data: z.string().nullable(),
  nrc: z.string().optional(),
  error: z.string().optional(),
  /** The answer in words, for the services that are known; `null` for others. */
  decoded: z.json(),
  created: id.timestamp,
  answered: id.timestamp.nullable(),
});

export const diagnosticResults = z.strictObject({ results: z.array(diagnosticResult), total: z.int() });

/** Server → vehicle on `vehicle/{id}/diagnostics`. */
export const diagnosticRequest = z.strictObject({
  message_id: id.messageId,
  request_id: id.uuid,
  zonal_gateway_id: id.zonalGatewayId.optional(),
  ecu_id: id.ecuId,
  service_id: id.serviceId,
  data: id.hexBytes,
});

/** Vehicle → server on the same topic: an answer, a negative one, or why there is none. */
export const diagnosticAnswer = z.strictObject({
  message_id: id.messageId.optional(),
  request_id: id.uuid,
  ecu_id: id.ecuId,
  service_id: id.serviceId,
  response_data: id.hexAnswer.optional(),
  nrc: id.negativeResponseCode.optional(),
  error: z.string().min(1).max(2000).optional(),
  timestamp: id.timestamp.optional(),
}).refine(
  (answer) => answer.response_data !== undefined || answer.nrc !== undefined || answer.error !== undefined,
  "must carry response_data, nrc or error",
);

export type DiagnosticSend = z.infer<typeof diagnosticSend>;
export type DiagnosticBroadcast = z.infer<typeof diagnosticBroadcast>;
export type DiagnosticRequest = z.infer<typeof diagnosticRequest>;
export type DiagnosticAnswer = z.infer<typeof diagnosticAnswer>;
export type DiagnosticResult = z.infer<typeof diagnosticResult>;
