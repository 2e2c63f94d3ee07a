// MQTT topics and what travels on them.

import { z } from "zod";
import { diagnosticAnswer, diagnosticRequest } from "./diagnostics.ts";
import { campaignCommand } from "./campaign.ts";
import * as id from "./identifiers.ts";
import { updateReport } from "./ota.ts";
import { heartbeat, remoteConfig } from "./vehicles.ts";

/** What comes after `vehicle/{id}/`. */
export const channels = [
  "telemetry",
  "diagnostics",
  "ota/status",
  "control",
  "config",
  "status",
  "heartbeat",
  "stored",
  "taken",
] as const;

export type Channel = (typeof channels)[number];

/** Channels on which a vehicle publishes; on the others only the server does. */
export const vehicleChannels: readonly Channel[] = [
  "telemetry",
  "diagnostics",
  "ota/status",
  "status",
  "heartbeat",
  "taken",
];

/** Numbers by name, such as battery_soc, speed and temp; any further ones are taken as well. */
export const telemetry = z.object({
  message_id: id.messageId.optional(),
  /** When it was measured; without it, the time of arrival counts. */
  timestamp: id.timestamp.optional(),
  battery_soc: z.number().min(0).max(100).optional(),
  /** km/h */
  speed: z.number().optional(),
  /** °C */
  temp: z.number().optional(),
}).catchall(z.number("must be a number: telemetry carries numbers only")).refine(
  (values) => Object.keys(values).length <= 130,
  "must carry at most 128 metrics",
).refine(
  (values) => Object.keys(values).every((key) => /^[A-Za-z_][A-Za-z0-9_.]{0,63}$/.test(key)),
  "metric names must be 1 to 64 letters, digits, '_', '.', beginning with a letter or '_'",
);

export const vehicleStatus = z.strictObject({
  message_id: id.messageId.optional(),
  status: z.enum(["online", "offline"]),
  timestamp: id.timestamp.optional(),
  ip: id.ipAddress.optional(),
});

export const heartbeatMessage = heartbeat.extend({ message_id: id.messageId.optional() });

/** Messages by their ids, most in one message. */
const messageIds = z.array(id.messageId).min(1).max(1000);

/**
 * `vehicle/{id}/stored`, only through an external broker: the server has these messages of the vehicle, for good. Such a
 * broker's PUBACK says no more than that the broker has them.
 */
export const storedMessages = z.strictObject({ message_ids: messageIds });

/** `vehicle/{id}/taken`, only through an external broker: the vehicle has these messages of the server on disk. */
export const takenMessages = z.strictObject({
  message_id: id.messageId.optional(),
  message_ids: messageIds,
});

/** `vehicle/{id}/control`: a command with its arguments. */
export const control = z.discriminatedUnion("command", [
  z.strictObject({
    message_id: id.messageId,
    command: z.literal("START_OTA_UPDATE"),
    update_id: id.uuid,
    package_id: id.uuid,
    download_url: z.string().min(1).max(2000),
    target_ecus: z.array(id.ecuId).min(1).max(1000),
    ...campaignCommand,
  }),
  z.strictObject({
    message_id: id.messageId,
    command: z.literal("CANCEL_OTA_UPDATE"),
    update_id: id.uuid,
    /** Why, where nobody asked for it. */
    reason: id.label.min(1).optional(),
  }),
  /** Somebody approved the update at the server. It holds for this update alone. */
  z.strictObject({
    message_id: id.messageId,
    command: z.literal("APPROVE_OTA_UPDATE"),
    update_id: id.uuid,
  }),
  /** Asks for a new report of the vehicle configuration information. */
  z.strictObject({ message_id: id.messageId, command: z.literal("REPORT_VCI") }),
]);

/** `vehicle/{id}/config`, retained. */
export const configMessage = remoteConfig.extend({ message_id: id.messageId.optional() });

export type Telemetry = z.infer<typeof telemetry>;
export type VehicleStatus = z.infer<typeof vehicleStatus>;
export type Control = z.infer<typeof control>;

/** What a vehicle may send, by channel. */
export const fromVehicle = {
  telemetry,
  diagnostics: diagnosticAnswer,
  "ota/status": updateReport,
  status: vehicleStatus,
  heartbeat: heartbeatMessage,
  taken: takenMessages,
} as const;

/** What the server may send, by channel. */
export const fromServer = {
  control,
  diagnostics: diagnosticRequest,
  config: configMessage,
  stored: storedMessages,
} as const;

/** `topicOf("VMG-001", "control")` is `vehicle/VMG-001/control`. */
export function topicOf(vehicle: string, channel: Channel): string {
  return `vehicle/${vehicle}/${channel}`;
}

/** Takes a topic apart; undefined for one that the product does not know. */
export function parseTopic(topic: string): { vehicle: string; channel: Channel } | undefined {
  const match = /^vehicle\/([^/]+)\/(.+)$/.exec(topic);
  if (!match) return undefined;
  const [, vehicle, rest] = match;
  const channel = channels.find((known) => known === rest);
  if (!channel || !id.vehicleId.safeParse(vehicle).success) return undefined;
  return { vehicle, channel };
}

/**
 * Whether a message on `diagnostics` is a request: both sides hear the topic, and an answer is told from a
 * request by its fields.
 */
export function isDiagnosticRequest(payload: unknown): boolean {
  return typeof payload === "object" && payload !== null && "data" in payload &&
    !("response_data" in payload) && !("nrc" in payload) && !("error" in payload);
}

/** MQTT client id of a vehicle, and the common name of its certificate. */
export function vehicleClientId(vin: string): string {
  return `vehicle-${vin}`;
}

/** A command or request that waits for a vehicle, for those that poll. */
export const pendingMessage = z.strictObject({
  message_id: id.messageId,
  topic: z.string(),
  payload: z.json(),
  created: id.timestamp,
  expires: id.timestamp,
});

export const pendingMessages = z.strictObject({ messages: z.array(pendingMessage) });

export const messageAcknowledged = z.strictObject({
  status: z.enum(["acknowledged", "already_acknowledged"]),
});

/** `POST vehicles/{vin}/messages`: what the vehicle would have published, in order. */
export const messageBatch = z.strictObject({
  messages: z.array(z.strictObject({
    message_id: id.messageId,
    topic: z.string().min(1).max(256),
    payload: z.json(),
  })).min(1).max(1000),
});

export const messageBatchAnswer = z.strictObject({
  /** Stored now or before: the vehicle may forget them. */
  accepted: z.array(id.messageId),
  /** Never to be sent again as they are. */
  rejected: z.array(z.strictObject({ message_id: id.messageId, reason: z.string() })),
});
