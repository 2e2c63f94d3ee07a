// What a simulated ECU has when its configuration does not say: memory, security, factory image.
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type {
  FlashRegionOptions,
  SimulatedDataIdentifier,
  SimulatedEcuOptions,
  SimulatedSecurityOptions,
} from "./options.ts";

/** Main flash, a small configuration area beside it as microcontrollers have, and program flash up high. */
export const defaultMemory: readonly FlashRegionOptions[] = [
  { name: "main", address: 0x0000_0000, size: 2 << 20 },
  { name: "config", address: 0x1000_1000, size: 4_096, sectorSize: 1_024, eraseTime: 10 },
  { name: "pflash", address: 0x8000_0000, size: 4 << 20 },
];

/** Memory that 0x3D writes and 0x23 reads; it is lost with the power. */
export const ram = { address: 0x2000_0000, size: 4_096 } as const;

/** Something that moves by itself, to be read periodically, and something to control. */
export const defaultDataIdentifiers: readonly SimulatedDataIdentifier[] = [
  // Unsigned, four bytes (Annex C.2: 04).
  { did: 0xf201, data: "00000000", counting: true, scaling: "04" },
  // Unsigned, two bytes.
  { did: 0x0100, data: "0000", controllable: true, writable: true, scaling: "02" },
];

/** HMAC-SHA-256 with a key that follows from the ECU type: the same on every bench, and no secret. */
export function defaultSecurity(ecuType: string): SimulatedSecurityOptions {
  const key = createHash("sha256").update(`simulated ${ecuType}`).digest("hex");
  return { seedKey: { algorithm: "hmac-sha256", key } };
}

/** The image that an ECU of this type leaves the factory with: its name in ASCII, then noise that follows from it. */
export function factoryImage(
  { ecuType, hwVersion, swVersion }: Pick<SimulatedEcuOptions, "ecuType" | "hwVersion" | "swVersion">,
  size: number,
): Uint8Array {
  const image = new Uint8Array(size);
  const label = `${ecuType} ${hwVersion} ${swVersion}\0`;
  const seed = createHash("sha256").update(label).digest();
  // xorshift32: noise is all that is asked of it.
  let state = seed.readUInt32LE(0) | 1;
  for (let at = 0; at < size; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    image[at] = state;
  }
  image.set(Buffer.from(label, "latin1").subarray(0, size));
  return image;
}
