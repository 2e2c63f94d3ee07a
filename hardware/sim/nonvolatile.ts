// What a simulated ECU remembers without power, besides its flash: the fingerprint, its DTCs, and wrong keys.
import { Buffer } from "node:buffer";
import type { KeptSecurityLevel } from "../uds/server_security.ts";
import type { KeptDtc } from "./dtc_memory.ts";
import { readState, writeState } from "./state_file.ts";

/** Contents of the non-volatile memory. */
export interface Nonvolatile {
  /** Last fingerprint written, if one was. */
  fingerprint: Uint8Array | undefined;
  /** Code and status of each DTC. */
  dtcs: KeptDtc[];
  /** Security levels that are not as new. */
  security: KeptSecurityLevel[];
}

/** Reads the file. @returns undefined when there is none. @throws {SyntaxError} when it is not what this module writes */
export function readNonvolatile(path: string): Nonvolatile | undefined {
  const value = readState(path);
  if (value === undefined) return undefined;
  if (typeof value !== "object" || value === null || !("dtcs" in value) || !Array.isArray(value.dtcs)) {
    throw new SyntaxError(`${path}: expected an object with dtcs`);
  }
  const dtcs = value.dtcs.map((entry: unknown): KeptDtc => {
    if (!Array.isArray(entry) || !isWithin(entry[0], 0xffffff) || !isWithin(entry[1], 0xff)) {
      throw new SyntaxError(`${path}: expected each of dtcs as [code, status, memory?]`);
    }
    return isWithin(entry[2], 0xff) ? [entry[0], entry[1], entry[2]] : [entry[0], entry[1]];
  });
  const kept: unknown = "security" in value ? value.security : [];
  if (!Array.isArray(kept)) throw new SyntaxError(`${path}: expected security as an array`);
  const security = kept.map((entry: unknown): KeptSecurityLevel => {
    if (!Array.isArray(entry) || !isWithin(entry[0], 0x7d) || !isWithin(entry[1], 0xffff)) {
      throw new SyntaxError(`${path}: expected each of security as [level, wrong keys, delayed]`);
    }
    return { level: entry[0], wrongKeys: entry[1], delayed: entry[2] === true };
  });
  const fingerprint = "fingerprint" in value ? value.fingerprint : undefined;
  if (fingerprint !== undefined && typeof fingerprint !== "string") {
    throw new SyntaxError(`${path}: expected fingerprint as hexadecimal digits`);
  }
  return {
    dtcs,
    security,
    fingerprint: fingerprint === undefined ? undefined : new Uint8Array(Buffer.from(fingerprint, "hex")),
  };
}

/** Replaces the file. */
export function writeNonvolatile(path: string, { fingerprint, dtcs, security }: Nonvolatile): void {
  writeState(path, {
    dtcs,
    security: security.map(({ level, wrongKeys, delayed }) => [level, wrongKeys, delayed]),
    fingerprint: fingerprint === undefined ? undefined : Buffer.from(fingerprint).toString("hex"),
  });
}

function isWithin(value: unknown, max: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max;
}
