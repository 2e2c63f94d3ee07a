// Calls the engine's primitives by themselves.

import { Instance } from "../../../src/tls/engine/instance.ts";
import { Reader, Writer } from "../../../src/tls/engine/wire.ts";

/** What ML-KEM comes to from given randomness. */
export interface KemRun {
  encapsulationKey: Uint8Array;
  decapsulationKey: Uint8Array;
  ciphertext: Uint8Array;
  sharedSecret: Uint8Array;
  agreed: Uint8Array;
}

/** The primitives of one instance; `random` stands in for the host's generator. */
export class Primitives {
  readonly #instance: Instance;

  constructor(random: (bytes: Uint8Array<ArrayBuffer>) => void = (bytes) => crypto.getRandomValues(bytes)) {
    this.#instance = new Instance({ random, now: Date.now });
  }

  #run(operation: number, input: Writer): Uint8Array<ArrayBuffer> | undefined {
    const bytes = input.done();
    this.#instance.give(bytes);
    const length = this.#instance.call("primitive", operation, bytes.length);
    return length === 0 ? undefined : this.#instance.reply(length);
  }

  /** Key generation from d ‖ z, encapsulation with m, decapsulation (FIPS 203, algorithms 16 to 18). */
  kem(strength: 512 | 768 | 1024, seed: Uint8Array, m: Uint8Array): KemRun {
    const reply = this.#run(1, new Writer().u16(strength).bytes(seed).bytes(m));
    if (reply === undefined) throw new Error("the engine refused the input");
    const reader = new Reader(reply);
    return {
      encapsulationKey: reader.bytes(),
      decapsulationKey: reader.bytes(),
      ciphertext: reader.bytes(),
      sharedSecret: reader.bytes(),
      agreed: reader.bytes(),
    };
  }

  /** Encapsulation; undefined when the key is refused (FIPS 203 section 7.2). */
  encapsulate(
    strength: 512 | 768 | 1024,
    key: Uint8Array,
    m: Uint8Array,
  ): [Uint8Array, Uint8Array] | undefined {
    const reply = this.#run(2, new Writer().u16(strength).bytes(key).bytes(m));
    if (reply === undefined) return undefined;
    const reader = new Reader(reply);
    return [reader.bytes(), reader.bytes()];
  }

  /** Decapsulation; undefined when the ciphertext's length is refused. */
  decapsulate(strength: 512 | 768 | 1024, seed: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
    const reply = this.#run(3, new Writer().u16(strength).bytes(seed).bytes(ciphertext));
    return reply === undefined ? undefined : new Reader(reply).bytes();
  }

  /** A signature; undefined when the key is refused. */
  sign(pkcs8: Uint8Array, message: Uint8Array): Uint8Array | undefined {
    const reply = this.#run(4, new Writer().bytes(pkcs8).bytes(message));
    return reply === undefined ? undefined : new Reader(reply).bytes();
  }

  /** Whether the signature is the key's. `scheme` is its IANA number. */
  verify(scheme: number, spki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const reply = this.#run(5, new Writer().u16(scheme).bytes(spki).bytes(message).bytes(signature));
    return reply?.[0] === 1;
  }

  /** ML-DSA's keys of a seed (FIPS 204, algorithm 6). */
  mlDsaKeys(strength: 44 | 65 | 87, seed: Uint8Array): { publicKey: Uint8Array; privateKey: Uint8Array } {
    const reply = this.#run(6, new Writer().u16(strength).bytes(seed));
    if (reply === undefined) throw new Error("the engine refused the input");
    const reader = new Reader(reply);
    return { publicKey: reader.bytes(), privateKey: reader.bytes() };
  }
}
