// What must hold before an ECU is programmed: routines that succeed, identifiers whose values lie within limits.
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { UdsProtocolError } from "../uds/errors.ts";
import { hex } from "../uds/services.ts";

/** A routine that must end well. */
export interface RoutinePrecondition {
  /** Routine identifier. */
  routine: number;
  /** Option record. @default empty */
  option?: Uint8Array;
}

/** An identifier whose value must be the one expected, or lie within limits. */
export interface DidPrecondition {
  /** Data identifier. */
  did: number;
  /** Name for messages. @default the identifier */
  name?: string;
  /** First byte of the value in the record. @default 0 */
  offset?: number;
  /** Bytes of the value, 1 … 6, big-endian. @default 1 */
  length?: number;
  /** Whether the value is a two's complement. @default false */
  signed?: boolean;
  /** What the number is multiplied by before it is compared. @default 1 */
  scale?: number;
  /** Least value. @default none */
  min?: number;
  /** Greatest value. @default none */
  max?: number;
  /** The record from `offset` on begins with these bytes. @default not compared */
  equals?: Uint8Array;
}

/** One precondition. */
export type Precondition = RoutinePrecondition | DidPrecondition;

/** Checks what a plan says. @throws {RangeError} quoting what cannot be */
export function checkPreconditions(preconditions: readonly Precondition[]): void {
  preconditions.forEach((it, index) => {
    const where = `flash plan preconditions[${index}]`;
    const identifier = "routine" in it ? it.routine : it.did;
    if (!Number.isInteger(identifier) || identifier < 0 || identifier > 0xffff) {
      throw new RangeError(`${where}: expected an identifier 0x0000 … 0xFFFF, got ${identifier}`);
    }
    if ("routine" in it) return;
    const { offset = 0, length = 1, min, max, equals } = it;
    if (!Number.isInteger(offset) || offset < 0 || offset > 4_095) {
      throw new RangeError(`${where} offset: expected 0 … 4095, got ${offset}`);
    }
    if (!Number.isInteger(length) || length < 1 || length > 6) {
      throw new RangeError(`${where} length: expected 1 … 6, got ${length}`);
    }
    if (min === undefined && max === undefined && equals === undefined) {
      throw new RangeError(`${where}: expected min, max or equals, got none`);
    }
  });
}

/** Reads an identifier and compares it. @throws {UdsProtocolError} when it is not as it must be */
export async function checkDid(
  client: UdsClient,
  precondition: DidPrecondition,
  request: RequestOptions,
): Promise<void> {
  const { did, name, offset = 0, length = 1, signed = false, scale = 1, min, max, equals } = precondition;
  const what = `precondition ${name === undefined ? hex(did, 4) : `${name} (${hex(did, 4)})`}`;
  const record = await client.readDataByIdentifier(did, request);
  if (equals !== undefined) {
    const found = record.subarray(offset, offset + equals.length);
    if (found.length !== equals.length || found.some((byte, at) => byte !== equals[at])) {
      throw new UdsProtocolError(`${what}: expected ${digits(equals)}, got ${digits(found) || "nothing"}`);
    }
  }
  if (min === undefined && max === undefined) return;
  if (record.length < offset + length) {
    throw new UdsProtocolError(
      `${what}: expected ${length} byte(s) at ${offset}, got a record of ${record.length}`,
    );
  }
  let number = 0;
  for (let at = 0; at < length; at++) number = number * 256 + record[offset + at];
  if (signed && record[offset] >= 0x80) number -= 256 ** length;
  const value = number * scale;
  if (min !== undefined && value < min) {
    throw new UdsProtocolError(`${what}: expected at least ${min}, got ${value}`);
  }
  if (max !== undefined && value > max) {
    throw new UdsProtocolError(`${what}: expected at most ${max}, got ${value}`);
  }
}

function digits(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => hex(byte, 2).slice(2)).join(" ");
}
