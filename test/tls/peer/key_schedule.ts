// The key schedule of TLS 1.3 (RFC 8446 section 7) for TLS_AES_128_GCM_SHA256, written from the RFC: the engine's own is not in it.

import { createHash, createHmac } from "node:crypto";

type Bytes = Uint8Array<ArrayBuffer>;

/** Octets of SHA-256's hash. */
const hashLength = 32;

export function sha256(...parts: readonly Uint8Array[]): Bytes {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

function hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Bytes {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return new Uint8Array(mac.digest());
}

/** HKDF-Extract (RFC 5869 section 2.2). */
export function extract(salt: Uint8Array, material: Uint8Array): Bytes {
  return hmac(salt, material);
}

/** HKDF-Expand-Label (RFC 8446 section 7.1). */
export function expandLabel(secret: Uint8Array, label: string, context: Uint8Array, length: number): Bytes {
  const name = new TextEncoder().encode(`tls13 ${label}`);
  const info = Uint8Array.of(length >> 8, length & 0xff, name.length, ...name, context.length, ...context);
  // HKDF-Expand (RFC 5869 section 2.3): one block is enough for everything that is derived here.
  return hmac(secret, info, Uint8Array.of(1)).slice(0, length);
}

/** Derive-Secret (RFC 8446 section 7.1), from the transcript's hash. */
export function deriveSecret(secret: Uint8Array, label: string, transcriptHash: Uint8Array): Bytes {
  return expandLabel(secret, label, transcriptHash, hashLength);
}

const zeros = new Uint8Array(hashLength);

/** The secrets on the way down, without a pre-shared key. */
export interface Secrets {
  readonly early: Bytes;
  readonly handshake: Bytes;
  readonly master: Bytes;
}

/** From what the key exchange came to. */
export function secretsOf(shared: Uint8Array): Secrets {
  const early = extract(zeros, zeros);
  const handshake = extract(deriveSecret(early, "derived", sha256()), shared);
  const master = extract(deriveSecret(handshake, "derived", sha256()), zeros);
  return { early, handshake, master };
}

/** The key and the initialisation vector of one direction (RFC 8446 section 7.3). */
export interface TrafficKey {
  readonly key: Bytes;
  readonly iv: Bytes;
}

export function trafficKey(secret: Uint8Array): TrafficKey {
  const none = new Uint8Array();
  return { key: expandLabel(secret, "key", none, 16), iv: expandLabel(secret, "iv", none, 12) };
}

/** verify_data of Finished (RFC 8446 section 4.4.4). */
export function finishedMac(trafficSecret: Uint8Array, transcriptHash: Uint8Array): Bytes {
  return hmac(expandLabel(trafficSecret, "finished", new Uint8Array(), hashLength), transcriptHash);
}

/** The traffic secret after a key update (RFC 8446 section 7.2). */
export function nextTrafficSecret(secret: Uint8Array): Bytes {
  return expandLabel(secret, "traffic upd", new Uint8Array(), hashLength);
}
