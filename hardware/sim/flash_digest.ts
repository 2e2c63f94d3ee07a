// What a simulated ECU reads out of its own flash: checksums over what lies there, and the label that an image begins with.

import { createHash } from "node:crypto";
import { crc16, crc16Start, crc32 } from "../flash/format/crc.ts";
import type { CheckMethod } from "../flash/memory_check.ts";
import type { Run } from "./boot_state.ts";
import type { FlashMemory, FlashRegion } from "./flash_memory.ts";

/** Which bank of a region is looked at. */
export type BankOf = (region: FlashRegion) => number;

/** Bytes in which the label of an image is looked for. */
const longestLabel = 128;

/** The checksum over runs of memory, one after another; empty when one of them does not lie in the flash. */
export async function flashDigest(
  memory: FlashMemory,
  runs: readonly Run[],
  bankOf: BankOf,
  method: Exclude<CheckMethod, "none">,
): Promise<Uint8Array> {
  const hash = createHash("sha256");
  let crc = method === "crc16" ? crc16Start : 0;
  for (const { address, length } of runs) {
    const region = memory.regionOf(address, length);
    // A record from a bench whose memory was laid out differently is not whole here.
    if (region === undefined) return new Uint8Array();
    for await (const piece of memory.pieces(bankOf(region), address, length)) {
      if (method === "sha256") hash.update(piece);
      else crc = method === "crc32" ? crc32(piece, crc) : crc16(piece, crc);
    }
  }
  if (method === "sha256") return new Uint8Array(hash.digest());
  const value = new DataView(new ArrayBuffer(4));
  value.setUint32(0, crc);
  return new Uint8Array(value.buffer, method === "crc32" ? 0 : 2);
}

/** The SHA-256 over runs of memory, hexadecimal; empty for runs that do not lie in the flash. */
export async function flashHash(memory: FlashMemory, runs: readonly Run[], bankOf: BankOf): Promise<string> {
  return (await flashDigest(memory, runs, bankOf, "sha256")).toHex();
}

/** The version in the label at the beginning of an image, `TYPE HARDWARE VERSION` and 00, as `factoryImage()` writes it. */
export async function labelledVersion(
  memory: FlashMemory,
  { address, length }: Run,
  bankOf: BankOf,
): Promise<string | undefined> {
  const region = memory.regionOf(address, length);
  if (region === undefined) return undefined;
  for await (const piece of memory.pieces(bankOf(region), address, length)) {
    const label = new TextDecoder("latin1").decode(piece.subarray(0, longestLabel));
    return /^[\x21-\x7e]+ [\x21-\x7e]+ ([\x21-\x7e]{1,32})\0/.exec(label)?.[1];
  }
  return undefined;
}
