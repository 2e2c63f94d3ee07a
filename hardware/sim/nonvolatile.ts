// What a simulated ECU remembers without power, besides its flash: the fingerprint and its DTCs.
import { Buffer } from "node:buffer";
import { readState, writeState } from "./state_file.ts";

/** Contents of the non-volatile memory. */
export interface Nonvolatile {
  /** Last fingerprint written, if one was. */
  fingerprint: Uint8Array | undefined;
  /** Code and status of each DTC. */
  dtcs: [number, number][];
}

/** Reads the file. @returns undefined when there is none. @throws {SyntaxError} when it is not what this module writes */
export function readNonvolatile(path: string): Nonvolatile | undefined {
  const value = readState(path);
  if (value === undefined) return undefined;
  if (typeof value !== "object" || value === null || !("dtcs" in value) || !Array.isArray(value.dtcs)) {
    throw new SyntaxError(`${path}: expected an object with dtcs`);
  }
  const dtcs = value.dtcs.map((entry: unknown): [number, number] => {
    if (!Array.isArray(entry) || !isWithin(entry[0], 0xffffff) || !isWithin(entry[1], 0xff)) {
      throw new SyntaxError(`${path}: expected each of dtcs as [code, status]`);
    }
    return [entry[0], entry[1]];
  });
  const fingerprint = "fingerprint" in value ? value.fingerprint : undefined;
  if (fingerprint !== undefined && typeof fingerprint !== "string") {
    throw new SyntaxError(`${path}: expected fingerprint as hexadecimal digits`);
  }
  return {
    dtcs,
    fingerprint: fingerprint === undefined ? undefined : new Uint8Array(Buffer.from(fingerprint, "hex")),
  };
}

/** Replaces the file. */
export function writeNonvolatile(path: string, { fingerprint, dtcs }: Nonvolatile): void {
  writeState(path, {
    dtcs,
    fingerprint: fingerprint === undefined ? undefined : Buffer.from(fingerprint).toString("hex"),
  });
}

function isWithin(value: unknown, max: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max;
}
