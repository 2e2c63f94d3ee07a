// The names of things on the wire and in files: VIN, gateway, ECU and so on, each with the rule that it must meet.

import { z } from "zod";
import semver from "semver";

/** Vehicle identification number: 17 characters, digits and capital letters without I, O and Q (ISO 3779). */
export const vin = z.string().regex(
  /^[A-HJ-NPR-Z0-9]{17}$/,
  "must be a VIN: 17 characters, digits and capital letters without I, O, Q",
);

const name = (what: string, example: string) =>
  z.string().regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/,
    `must be ${what} such as ${example}: 1 to 64 letters, digits, '_', '-', '.', beginning with a letter or digit`,
  );

/** Vehicle main gateway, e.g. `VMG-001`. It stands in MQTT topics, so it has no `/`, `+`, `#`. */
export const vmgId = name("a gateway id", "VMG-001");
/** A vehicle where either of its two names will do. */
export const vehicleId = name("a VIN or a gateway id", "VMG-001");
/** Zonal gateway, e.g. `ZG_BODY`. */
export const zonalGatewayId = name("a zonal gateway id", "ZG_BODY");
/** CAN adapter of a vehicle, e.g. `CAN_BODY`. */
export const adapterId = name("an adapter id", "CAN_BODY");
/** ECU, e.g. `ECU_001`. */
export const ecuId = name("an ECU id", "ECU_001");
/** What kind of ECU an image is for, e.g. `BODY_CONTROLLER`. */
export const ecuType = name("an ECU type", "BODY_CONTROLLER");

/** A text that came from an ECU or a person: printable, bounded. */
export const label = z.string().max(128, "must be at most 128 characters")
  // deno-lint-ignore no-control-regex -- control characters are what this refuses
  .regex(/^[^\u0000-\u001f\u007f]*$/, "must not contain control characters");

/** Hardware version as the ECU gives it (F193, else F191), compared letter by letter. */
export const hwVersion = label.min(1, "must not be empty");

/** A software version to release: a semantic version (semver.org 2.0.0) such as `1.10.0`. */
export const releaseVersion = z.string().max(64).refine(
  (text) => semver.valid(text) === text,
  "must be a semantic version such as 1.10.0",
);

/** A version as an ECU reports it: it should be a semantic version, but the vehicle says what it says. */
export const reportedVersion = label.min(1, "must not be empty");

/** RFC 9562 identifier. */
export const uuid = z.uuid("must be a UUID");

/** Identifier that the other side chose for a message: bounded, nothing that needs quoting. */
export const messageId = z.string().regex(
  /^[A-Za-z0-9_.:-]{1,64}$/,
  "must be 1 to 64 letters, digits, '_', '-', '.', ':'",
);

/** RFC 3339 date and time with an offset. */
export const timestamp = z.iso.datetime({
  offset: true,
  error: "must be an RFC 3339 date and time such as 2026-01-31T10:00:00Z",
});

/** SHA-256 as 64 lower-case hexadecimal digits. */
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hexadecimal digits");

/** An IPv4 or IPv6 address. */
export const ipAddress = z.union([z.ipv4(), z.ipv6()], "must be an IPv4 or IPv6 address");

/** A whole number of bytes that JSON carries exactly. */
export const byteCount = z.int().min(0);

/** UDS service identifier, e.g. `0x22`. */
export const serviceId = z.string().regex(/^0x[0-9A-Fa-f]{2}$/, "must be a service id such as 0x22")
  .transform((text) => `0x${text.slice(2).toUpperCase()}`);

/** Bytes as hexadecimal digits, two a byte, e.g. `F190`; at most 4,095 bytes, what one request may carry. */
export const hexBytes = z.string().max(8190, "must be at most 4095 bytes (8190 digits)")
  .regex(/^(?:[0-9A-Fa-f]{2})*$/, "must be hexadecimal digits, two a byte, such as F190")
  .transform((text) => text.toUpperCase());

/** An ECU's answer as hexadecimal digits; answers are longer than requests, a gateway's limit is 64 KiB. */
export const hexAnswer = z.string().max(131_072, "must be at most 65536 bytes")
  .regex(/^(?:[0-9A-Fa-f]{2})*$/, "must be hexadecimal digits, two a byte")
  .transform((text) => text.toUpperCase());

/** UDS negative response code, e.g. `0x31`. */
export const negativeResponseCode = z.string().regex(
  /^0x[0-9A-Fa-f]{2}$/,
  "must be a negative response code such as 0x31",
).transform((text) => `0x${text.slice(2).toUpperCase()}`);
