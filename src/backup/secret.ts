// Encrypts what a backup keeps secret, with a pass phrase: scrypt (RFC 7914) makes the key, AES-256-GCM (NIST SP 800-38D) seals
// chunk after chunk. The nonce of each chunk carries its number and whether it is the last (the STREAM construction of Hoang,
// Reyhanitabar, Rogaway and Vizár, 2015), so that chunks can neither be moved nor left out, at the end neither.
//
//   0  16  "ZONEBENCH-KEYS-1"
//  16   1  log2 of scrypt's N       17  1  r       18  1  p       19  1  0
//  20  16  salt                     36  7  first bytes of every nonce     43  1  0
//  44      chunks: up to 65,536 bytes encrypted, then the tag of 16; all but the last are full
//
// A nonce is those 7 bytes, the chunk's number in 4 from 0, and 1 for the last chunk or 0. The 44 bytes are authenticated with
// every chunk.

import { Buffer } from "node:buffer";
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from "node:crypto";
import { BadBackup, quote, WrongPassPhrase } from "./errors.ts";

const magic = "ZONEBENCH-KEYS-1";
const headerLength = 44;
const chunkLength = 65_536;
const tagLength = 16;
const cipher = "aes-256-gcm";

/** scrypt's cost, RFC 7914 section 2. */
export interface ScryptCost {
  /** log2(N). */
  logN: number;
  r: number;
  p: number;
}

/** 128 MiB and about half a second: OWASP's first choice (Password Storage Cheat Sheet, scrypt). */
const defaultCost: ScryptCost = { logN: 17, r: 8, p: 1 };
/** What a file may ask for: 128 · N · r bytes of memory. */
const limits = { memory: 512 * 2 ** 20, p: 4 } as const;

/** Least characters of a pass phrase: whoever has the file may try as long as they like. */
export const leastPassPhrase = 12;

/** @param cost is for tests @default 128 MiB, half a second */
export async function encryptSecret(
  plain: Uint8Array,
  passPhrase: string,
  cost = defaultCost,
): Promise<Uint8Array> {
  const header = Buffer.alloc(headerLength);
  header.write(magic, "latin1");
  header.set([cost.logN, cost.r, cost.p], 16);
  header.set(randomBytes(16), 20);
  header.set(randomBytes(7), 36);
  const key = await keyOf(passPhrase, header);
  const chunks = Math.max(1, Math.ceil(plain.length / chunkLength));
  const sealed = new Uint8Array(headerLength + plain.length + chunks * tagLength);
  sealed.set(header);
  let at = headerLength;
  for (let n = 0; n < chunks; n++) {
    const seal = createCipheriv(cipher, key, nonceOf(header, n, n === chunks - 1));
    seal.setAAD(header);
    const chunk = seal.update(plain.subarray(n * chunkLength, (n + 1) * chunkLength));
    seal.final();
    sealed.set(chunk, at);
    sealed.set(seal.getAuthTag(), at + chunk.length);
    at += chunk.length + tagLength;
  }
  return sealed;
}

/**
 * @throws {WrongPassPhrase} when it does not open
 * @throws {BadBackup} for what is no such secret
 */
export async function decryptSecret(sealed: Uint8Array, passPhrase: string): Promise<Uint8Array> {
  const header = Buffer.from(sealed.subarray(0, headerLength));
  const body = sealed.subarray(headerLength);
  if (header.length < headerLength || header.toString("latin1", 0, 16) !== magic || body.length < tagLength) {
    throw new BadBackup(`keys: expected ${magic}, got ${quote(header.toString("latin1", 0, 16))}`);
  }
  const rest = body.length % (chunkLength + tagLength);
  // A shorter tag would be easier to hit upon.
  if (rest > 0 && rest < tagLength) {
    throw new BadBackup(`keys: expected a tag of ${tagLength} bytes at the end, got ${rest}`);
  }
  const key = await keyOf(passPhrase, header);
  const chunks = Math.ceil(body.length / (chunkLength + tagLength));
  const plain = new Uint8Array(Math.max(0, body.length - chunks * tagLength));
  let at = 0;
  for (let n = 0; n < chunks; n++) {
    const chunk = body.subarray(n * (chunkLength + tagLength), (n + 1) * (chunkLength + tagLength));
    const open = createDecipheriv(cipher, key, nonceOf(header, n, n === chunks - 1));
    open.setAAD(header);
    open.setAuthTag(chunk.subarray(-tagLength));
    try {
      plain.set(open.update(chunk.subarray(0, -tagLength)), at);
      open.final();
    } catch {
      // What the runtime says of it, "unable to authenticate data", says less.
      throw new WrongPassPhrase(
        "the keys do not open: another pass phrase encrypted them, or they were changed",
      );
    }
    at += chunk.length - tagLength;
  }
  return plain;
}

function nonceOf(header: Uint8Array, number: number, last: boolean): Uint8Array {
  const nonce = new Uint8Array(12);
  nonce.set(header.subarray(36, 43));
  new DataView(nonce.buffer).setUint32(7, number);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

async function keyOf(passPhrase: string, header: Uint8Array): Promise<Uint8Array> {
  const [logN, r, p] = header.subarray(16, 19);
  const memory = 128 * 2 ** logN * r;
  if (logN < 1 || r < 1 || p < 1 || memory > limits.memory || p > limits.p) {
    throw new BadBackup(
      `keys: expected a cost of scrypt of ${limits.memory} bytes at most, got N 2^${logN}, r ${r}, p ${p}`,
    );
  }
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  // The same phrase typed on another system may be other code points.
  scrypt(passPhrase.normalize("NFC"), header.subarray(20, 36), 32, {
    N: 2 ** logN,
    r,
    p,
    maxmem: limits.memory + 2 ** 20,
  }, (error, key) => error ? reject(error) : resolve(key));
  return await promise;
}
