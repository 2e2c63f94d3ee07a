// The rules for what simulated ECUs have beside their memory, and for what goes wrong in them: fault memory, data
// identifiers, files, faults.

import { z } from "zod";

const byte = z.int().min(0).max(0xff);
const address16 = z.int().min(0).max(0xffff);
const recordNumber = z.int().min(1).max(0xfe);
const hexBytes = z.string().regex(/^(?:[0-9A-Fa-f]{2})+$/, "must be hexadecimal digits, two a byte");
const occurrence = z.int().min(1).max(0xffff_ffff);

/** What was stored when a DTC occurred: identifiers with their data. */
const snapshot = z.strictObject({
  record: recordNumber,
  values: z.array(z.strictObject({ did: address16, data: hexBytes })).min(1).max(255),
});

/** Diagnostic trouble codes that are stored when the bench starts: `P0562`-like codes as three bytes with their status. */
export const dtcs = z.array(z.strictObject({
  code: z.int().min(0).max(0xff_ffff),
  status: byte,
  snapshots: z.array(snapshot).max(254).optional(),
  extended_data: z.array(z.strictObject({ record: recordNumber, data: hexBytes })).max(254).optional(),
  severity: byte.optional(),
  functional_unit: byte.optional(),
  functional_group: byte.optional(),
  /** Number of the user-defined memory that it is in, instead of the primary one. */
  memory: byte.optional(),
  permanent: z.boolean().optional(),
  /** Fault detection counter. */
  counter: z.int().min(-128).max(127).optional(),
})).max(255);

/** Data identifiers beside those by which an ECU identifies itself. */
export const dataIdentifiers = z.array(z.strictObject({
  did: address16,
  /** What it is at first; its length is the identifier's. */
  data: hexBytes,
  counting: z.boolean().optional(),
  writable: z.boolean().optional(),
  controllable: z.boolean().optional(),
  scaling: hexBytes.optional(),
})).max(1_000);

/** Files for 0x38: path to contents. */
export const files = z.record(
  z.string().regex(/^\/?[^/\\]+(?:\/[^/\\]+)*$/, "must be a path without a slash at its end"),
  z.string().regex(/^(?:[0-9A-Fa-f]{2})*$/, "must be hexadecimal digits, two a byte"),
);

const ofService = { service: byte, occurrence };

/** What a simulated ECU does wrong; counting begins at 1 when the bench starts. */
const ecuFault = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("negative_response"), ...ofService, nrc: byte.min(1) }),
  z.strictObject({ kind: z.literal("silence"), ...ofService }),
  z.strictObject({ kind: z.literal("lost_answer"), ...ofService }),
  z.strictObject({
    kind: z.literal("late_answer"),
    ...ofService,
    delay: z.number().min(0).max(3_600_000),
  }),
  z.strictObject({ kind: z.literal("close_connection"), ...ofService }),
  z.strictObject({ kind: z.literal("wrong_block_counter"), occurrence }),
  z.strictObject({ kind: z.literal("power_cut"), operation: occurrence }),
]);

/** Faults of one ECU. */
export const ecuFaults = z.array(ecuFault).max(1_000);

export type SimulatedDtc = z.infer<typeof dtcs>[number];
