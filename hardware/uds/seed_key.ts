// Keys for SecurityAccess (0x27) and the named algorithms that compute them from a seed.
import { Buffer } from "node:buffer";
import { createHmac, timingSafeEqual } from "node:crypto";
import { createModuleSeedKey, type SeedKeyModuleOptions } from "./seed_key_module.ts";

/**
 * Computes the key for a seed.
 *
 * @param seed as the ECU sent it
 * @param level the odd sub-function that the seed was asked with, 0x01 … 0x41, 0x61
 * @param ecu how messages name the ECU, where the caller knows it
 */
export type SeedKey = (seed: Uint8Array, level: number, ecu?: string) => Uint8Array | Promise<Uint8Array>;

/** A named algorithm with its parameters, as configuration holds it. */
export type SeedKeyOptions =
  /** HMAC-SHA-256 over the level byte and the seed, keyed, truncated. */
  | {
    algorithm: "hmac-sha256";
    /** Key, hexadecimal, at least 16 bytes. */
    key: string;
    /** Bytes of the result that are sent, 4 … 32. @default 16 */
    length?: number;
  }
  /** The seed with a constant exclusive-ored over it, repeated as needed. */
  | {
    algorithm: "xor";
    /** Constant, hexadecimal, at least 1 byte. */
    constant: string;
  }
  /** key = seed × multiplier + addend, modulo 2^32, for seeds of four bytes, big-endian. */
  | {
    algorithm: "linear";
    /** 0 … 0xFFFFFFFF. */
    multiplier: number;
    /** 0 … 0xFFFFFFFF. */
    addend: number;
  }
  /** What a file of the operator's computes: see seed_key_module.ts. */
  | ({ algorithm: "module" } & SeedKeyModuleOptions);

/**
 * Builds the named algorithm.
 * @throws {RangeError} when a parameter is not what it must be; a secret is not quoted
 */
export function createSeedKey(options: SeedKeyOptions): SeedKey {
  switch (options.algorithm) {
    case "hmac-sha256": {
      const key = bytesOfHex(options.key, "seed-key hmac-sha256 key");
      if (key.length < 16) {
        throw new RangeError(`seed-key hmac-sha256 key: expected at least 16 bytes, got ${key.length}`);
      }
      const length = options.length ?? 16;
      if (!Number.isInteger(length) || length < 4 || length > 32) {
        throw new RangeError(`seed-key hmac-sha256 length: expected 4 … 32, got ${length}`);
      }
      return function hmacSha256Key(seed, level) {
        const mac = createHmac("sha256", key).update(Uint8Array.of(level)).update(seed).digest();
        return new Uint8Array(mac.subarray(0, length));
      };
    }
    case "xor": {
      const constant = bytesOfHex(options.constant, "seed-key xor constant");
      if (constant.length === 0) {
        throw new RangeError("seed-key xor constant: expected at least 1 byte, got 0");
      }
      return function xorKey(seed) {
        return seed.map((byte, index) => byte ^ constant[index % constant.length]);
      };
    }
    case "linear": {
      const multiplier = word(options.multiplier, "seed-key linear multiplier");
      const addend = word(options.addend, "seed-key linear addend");
      return function linearKey(seed) {
        if (seed.length !== 4) {
          throw new RangeError(`seed-key linear: expected a seed of 4 bytes, got ${seed.length}`);
        }
        const value = new DataView(seed.buffer, seed.byteOffset, 4).getUint32(0);
        const key = new Uint8Array(4);
        new DataView(key.buffer).setUint32(0, (Math.imul(value, multiplier) + addend) >>> 0);
        return key;
      };
    }
    case "module":
      return createModuleSeedKey(options);
    default: {
      // Only the algorithm is quoted: what stands beside it may be a secret.
      const { algorithm }: { algorithm?: unknown } = options;
      throw new RangeError(
        `seed-key algorithm: expected hmac-sha256, xor, linear or module, got ${algorithm}`,
      );
    }
  }
}

/** Whether two keys are equal, in time that does not tell where they differ. */
export function keysEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function bytesOfHex(text: string, what: string): Uint8Array {
  if (!/^([0-9a-fA-F]{2})*$/.test(text)) {
    throw new RangeError(
      `${what}: expected pairs of hexadecimal digits, got ${text.length} characters that are not`,
    );
  }
  return new Uint8Array(Buffer.from(text, "hex"));
}

function word(value: number, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw new RangeError(`${what}: expected 0 … 0xFFFFFFFF, got ${value}`);
  }
  return value;
}
