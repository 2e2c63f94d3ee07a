// ML-DSA-65 signatures (FIPS 204) by WebCrypto: making, storing and naming keys, signing, verifying.
// Signatures are pure ML-DSA with an empty context, because Deno's WebCrypto refuses any other: what is signed
// must therefore say itself what it is, as a package's manifest does with its `format`.

import { createHash } from "node:crypto";

/** FIPS 204, table 2: ML-DSA-65's sizes in bytes. */
export const mlDsa65 = { publicKey: 1952, signature: 3309 } as const;

const algorithm = { name: "ML-DSA-65" } as const;

/**
 * SubjectPublicKeyInfo up to the key itself (RFC 9881): SEQUENCE { SEQUENCE { OID 2.16.840.1.101.3.4.3.18 },
 * BIT STRING of 1,953 bytes, no unused bits }.
 */
const spkiPrefix = Uint8Array.fromHex("308207b2300b0609608648016503040312038207a100");

/** A private key that signs, with the name of its public half. */
export interface SigningKey {
  readonly privateKey: CryptoKey;
  readonly publicKey: VerifyKey;
}

/** A public key that verifies. */
export interface VerifyKey {
  readonly key: CryptoKey;
  /** SHA-256 of the key's SubjectPublicKeyInfo (DER), as 64 hexadecimal digits. */
  readonly keyId: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array<ArrayBuffer>;
}

/** A key or a signature that is not what it should be. */
export class SignatureError extends Error {
  override readonly name = "SignatureError";
}

/** Makes a signing key. */
export async function generateSigningKey(): Promise<SigningKey> {
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  if (!("privateKey" in pair)) {
    throw new SignatureError("expected a key pair from WebCrypto, got a single key");
  }
  return { privateKey: pair.privateKey, publicKey: await named(pair.publicKey) };
}

/**
 * Signs `message`.
 *
 * @returns {Promise<Uint8Array>} 3,309 bytes.
 */
export async function sign(key: SigningKey, message: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.sign(algorithm, key.privateKey, Uint8Array.from(message)));
}

/** Whether `signature` is the key's over `message`. A signature of the wrong length is none. */
export async function verify(key: VerifyKey, signature: Uint8Array, message: Uint8Array): Promise<boolean> {
  if (signature.length !== mlDsa65.signature) return false;
  return await crypto.subtle.verify(
    algorithm,
    key.key,
    Uint8Array.from(signature),
    Uint8Array.from(message),
  );
}

/** The private key as PKCS#8 PEM. Whoever writes it to a file gives that file mode 0600. */
export async function exportSigningKey(key: SigningKey): Promise<string> {
  return pem("PRIVATE KEY", new Uint8Array(await crypto.subtle.exportKey("pkcs8", key.privateKey)));
}

/**
 * Reads a private key from PKCS#8 PEM, as {@linkcode exportSigningKey} writes it.
 *
 * @throws {SignatureError} If the text is not one PEM block of an ML-DSA-65 private key.
 */
export async function importSigningKey(text: string): Promise<SigningKey> {
  const der = unpem("PRIVATE KEY", text);
  const privateKey = await imported(
    "PKCS#8",
    () => crypto.subtle.importKey("pkcs8", der, algorithm, true, ["sign"]),
  );
  // The public half is in the private key's JWK form: PKCS#8 holds the seed alone.
  const jwk = await crypto.subtle.exportKey("jwk", privateKey);
  const raw = "pub" in jwk && typeof jwk.pub === "string"
    ? Uint8Array.fromBase64(jwk.pub, { alphabet: "base64url" })
    : undefined;
  if (raw?.length !== mlDsa65.publicKey) {
    throw new SignatureError(
      `expected a public key of ${mlDsa65.publicKey} bytes with the private one, got ${raw?.length}`,
    );
  }
  const spki = new Uint8Array(spkiPrefix.length + raw.length);
  spki.set(spkiPrefix);
  spki.set(raw, spkiPrefix.length);
  return { privateKey, publicKey: await importSpki(spki) };
}

/**
 * Reads a public key from SubjectPublicKeyInfo PEM.
 *
 * @throws {SignatureError} If the text is not one PEM block of an ML-DSA-65 public key.
 */
export async function importVerifyKey(text: string): Promise<VerifyKey> {
  return await importSpki(unpem("PUBLIC KEY", text));
}

/** The public key as SubjectPublicKeyInfo PEM. */
export function exportVerifyKey(key: VerifyKey): string {
  return pem("PUBLIC KEY", key.spki);
}

async function importSpki(der: Uint8Array<ArrayBuffer>): Promise<VerifyKey> {
  return await named(
    await imported(
      "SubjectPublicKeyInfo",
      () => crypto.subtle.importKey("spki", der, algorithm, true, ["verify"]),
    ),
  );
}

async function imported(form: string, read: () => Promise<CryptoKey>): Promise<CryptoKey> {
  try {
    return await read();
  } catch (cause) {
    throw new SignatureError(`expected an ML-DSA-65 key as ${form}, got something else`, { cause });
  }
}

async function named(key: CryptoKey): Promise<VerifyKey> {
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", key));
  return { key, spki, keyId: createHash("sha256").update(spki).digest("hex") };
}

function pem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

function unpem(label: string, text: string): Uint8Array<ArrayBuffer> {
  const block = new RegExp(`^\\s*-----BEGIN ${label}-----\\s([A-Za-z0-9+/=\\s]*)-----END ${label}-----\\s*$`)
    .exec(text);
  if (!block) {
    const found = /-----BEGIN ([A-Z0-9 ]{1,40})-----/.exec(text)?.[1] ?? "no PEM block";
    // The text itself may be a private key: only its label is repeated.
    throw new SignatureError(`expected one PEM block ${label}, got ${found}`);
  }
  try {
    return Uint8Array.fromBase64(block[1]);
  } catch (cause) {
    throw new SignatureError(`expected base64 in the PEM block ${label}`, { cause });
  }
}
