// What lets an update begin, how long it may take, and how often it is tried.

import { z } from "zod";
import * as id from "./identifiers.ts";

/**
 * `forced`: as soon as it is there and the conditions of vehicle and package hold. `when-parked`: the vehicle is parked as
 * well. `approve`: as `when-parked`, once somebody has approved it. None of them overrides a condition.
 */
export const updateMode = z.enum(["forced", "when-parked", "approve"]);

/** Who approved an update: an operator at the server, or somebody at the vehicle. */
export const approver = z.enum(["operator", "vehicle"]);

/** What a vehicle waits for. `conditions`: those of its settings and of the package. */
export const vehicleWait = z.enum(["approval", "parked", "conditions"]);

/** What an update waits for: what its vehicle does, or the `vehicle` itself, or its next attempt. */
export const updateWait = z.enum([...vehicleWait.options, "vehicle", "retry"]);

const detail = z.string().min(1).max(500)
  // deno-lint-ignore no-control-regex -- control characters are what this refuses
  .regex(/^[^\u0000-\u001f\u007f]*$/, "must not contain control characters");

/** In a report: what the vehicle waits for, e.g. `speed: expected 0, it is 32`. */
export const reportedWait = z.strictObject({ for: vehicleWait, detail });

/** In an answer: what the update waits for. */
export const shownWait = z.strictObject({
  for: updateWait,
  detail,
  /** When it goes on by itself, where that is known. */
  until: id.timestamp.nullable(),
});

/** Most attempts of one update. */
export const maxAttempts = 11;

export const attempt = z.int().min(1).max(maxAttempts);

/** What an update is started with. */
export const campaignStart = {
  mode: updateMode.default("forced"),
  /** How often it is tried again after a failure that another try may mend. */
  retries: z.int().min(0).max(maxAttempts - 1).default(0),
  /** Seconds from now in which it must have been activated, all attempts together. @default no limit */
  timeout: z.int().min(1).max(31_536_000).optional(),
};

/** What START_OTA_UPDATE says of it; a server that says nothing means `forced`, once, without an end. */
export const campaignCommand = {
  mode: updateMode.default("forced"),
  attempt: attempt.default(1),
  attempts: attempt.default(1),
  /** Whether it was approved before, at an earlier attempt. */
  approved: z.boolean().default(false),
  /** When the command was made, and when the update must have been activated, both by the server's clock. */
  issued: id.timestamp.optional(),
  deadline: id.timestamp.optional(),
};

export type UpdateMode = z.infer<typeof updateMode>;
export type Approver = z.infer<typeof approver>;
export type VehicleWait = z.infer<typeof vehicleWait>;
export type ReportedWait = z.infer<typeof reportedWait>;
export type ShownWait = z.infer<typeof shownWait>;
