// Values between JavaScript and PostgreSQL's text format, for both drivers, so that neither driver's own conversions are
// ever used and the two databases cannot differ.
import type { Param } from "./database.ts";
import { InvalidArgumentError } from "./errors.ts";

/** Type identifiers as in PostgreSQL's pg_type.dat. */
export const oid = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  varchar: 1043,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
} as const;

/** The text form of a parameter. `index` counts from 0 and is for the message only. */
export function encodeParam(value: Param, index: number): string | null {
  switch (typeof value) {
    case "string":
      // PostgreSQL's text has no U+0000 (the driver would cut the statement there).
      if (value.includes("\0")) throw new InvalidArgumentError(`$${index + 1}`, "text without U+0000", value);
      return value;
    case "number":
    case "bigint":
      return String(value);
    case "boolean":
      return value ? "t" : "f";
  }
  if (value === null) return null;
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) {
      throw new InvalidArgumentError(`$${index + 1}`, "a valid Date", "Invalid Date");
    }
    return value.toISOString();
  }
  if (value instanceof Uint8Array) return `\\x${value.toHex()}`;
  throw new InvalidArgumentError(
    `$${index + 1}`,
    "a string, number, boolean, Date, Uint8Array or null",
    typeof value,
  );
}

/** Every parameter in its text form. */
export function encodeParams(params: readonly Param[]): (string | null)[] {
  return params.map(encodeParam);
}

function decodeTimestamp(text: string): Date {
  // The session's time zone is UTC and its DateStyle ISO: "2026-11-21 17:02:49.123456+00".
  return new Date(`${text.replace(" ", "T").replace(/\+00$/, "")}Z`);
}

function decodeInt8(text: string): number | bigint {
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}

/** How each type's text becomes a JavaScript value; a type not named here stays text. */
export const decoders: Readonly<Record<number, (text: string) => unknown>> = {
  [oid.bool]: (text) => text === "t",
  [oid.bytea]: (text) => Uint8Array.fromHex(text.slice(2)),
  [oid.int8]: decodeInt8,
  [oid.int2]: Number,
  [oid.int4]: Number,
  [oid.oid]: Number,
  [oid.float4]: Number,
  [oid.float8]: Number,
  [oid.json]: (text) => JSON.parse(text),
  [oid.jsonb]: (text) => JSON.parse(text),
  [oid.timestamp]: decodeTimestamp,
  [oid.timestamptz]: decodeTimestamp,
};

const camelNames = new Map<string, string>();

/** `last_heartbeat` → `lastHeartbeat`. */
export function camelCase(name: string): string {
  let camel = camelNames.get(name);
  if (camel === undefined) {
    camel = name.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    // Names come from the program's own statements, so they are few; the limit is for a mistake.
    if (camelNames.size < 10_000) camelNames.set(name, camel);
  }
  return camel;
}

/** Rows of already decoded values, in the order of `columns`, as objects with camelCase keys. */
export function toRows(columns: readonly string[], values: readonly (readonly unknown[])[]): unknown[] {
  const keys = columns.map(camelCase);
  return values.map((row) => {
    const object: Record<string, unknown> = {};
    for (let i = 0; i < keys.length; i++) object[keys[i]] = row[i];
    return object;
  });
}
