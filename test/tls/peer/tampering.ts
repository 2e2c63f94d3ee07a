// What the tests with the hand-made peer have in common: how messages are changed, and how a refusal is looked at.

import assert from "node:assert/strict";
import { TlsError } from "../../../src/tls/errors.ts";
import type { Change } from "./peer.ts";

/** Numbers of alerts (RFC 8446 section 6). */
export const alerts = {
  unexpected_message: 10,
  bad_record_mac: 20,
  record_overflow: 22,
  handshake_failure: 40,
  bad_certificate: 42,
  unsupported_certificate: 43,
  illegal_parameter: 47,
  unknown_ca: 48,
  decode_error: 50,
  decrypt_error: 51,
  protocol_version: 70,
  unsupported_extension: 110,
  certificate_required: 116,
} as const;
export type Alert = keyof typeof alerts;

export type ErrorClass = new (message: string) => TlsError;

/** The error is of that class itself, with that alert, and says which connection it was. */
export function assertTlsError(
  error: unknown,
  expected: ErrorClass,
  alert: Alert | undefined,
  where: string,
): void {
  assert.ok(error instanceof TlsError, `expected ${expected.name}, got ${error}`);
  assert.equal(error.constructor, expected, `expected ${expected.name}, got ${error}`);
  assert.equal(error.alert, alert, String(error));
  assert.ok(error.message.startsWith(where), error.message);
}

/** Flips the last bit of a message of that type. */
export const flip = (wanted: number): Change => (type, made) =>
  type === wanted ? made.map((byte, index) => index === made.length - 1 ? byte ^ 1 : byte) : made;

/** Leaves messages of a type out. */
export const withoutMessage = (wanted: number): Change => (type, made) => type === wanted ? undefined : made;

/** Says a message of that type in another way. */
export const instead = (wanted: number, made: Uint8Array<ArrayBuffer>): Change => (type, good) =>
  type === wanted ? made : good;

/** A certificate with a bit of its serial number flipped: all else, the key above all, is as it was. */
export function withSerialFlipped(der: Uint8Array): Uint8Array {
  const changed = der.slice();
  // Certificate, TBSCertificate (4 octets of header each), version (5), header of the serial number (2).
  changed[4 + 4 + 5 + 2 + 3] ^= 1;
  return changed;
}
