// Keys of roles and of ECUs: their form in metadata, their names, signing and verifying with them. ML-DSA-65 is used as TUF's
// TAP 21 has it: what is signed is "tuf", the version 1 and the SHA-512 of the payload.

import { createHash } from "node:crypto";
import {
  exportSigningKey,
  exportVerifyKey,
  generateSigningKey,
  importSigningKey,
  importVerifyKey,
  sign,
  SignatureError,
  type SigningKey,
  verify,
  type VerifyKey,
} from "../pqc/signature.ts";
import { canonicalJson } from "./canonical_json.ts";
import { ecdsaKey, ecdsaSign, ecdsaVerify } from "./ecdsa.ts";
import type { KeyModel } from "./models.ts";
import { signatureAlgorithms } from "../contract/uptane.ts";

/** How roles and ECUs sign. */
export type SignatureAlgorithm = typeof signatureAlgorithms[number];

/** `keytype` and `scheme` of a key in metadata: TAP 21, and TUF specification 1.0, section 4.2.1. */
const schemes: Record<SignatureAlgorithm, { keytype: string; scheme: string }> = {
  "ml-dsa-65": { keytype: "ml-dsa", scheme: "ml-dsa-65/1" },
  "ecdsa-p256": { keytype: "ecdsa", scheme: "ecdsa-sha2-nistp256" },
};

/** Another name of ECDSA keys that repositories use. */
const ecdsaKeyTypes = new Set(["ecdsa", "ecdsa-sha2-nistp256"]);

/** TAP 21, "Signature generation": domain and version before the hash. */
const mlDsaPrefix = Uint8Array.of(0x74, 0x75, 0x66, 0x01);

/** Signs with one key. A key that is kept in a device of its own is another one of these. */
export interface Signer {
  readonly algorithm: SignatureAlgorithm;
  /** The public half as it stands in metadata. */
  readonly key: KeyModel;
  readonly keyid: string;
  /** @returns {Promise<Uint8Array>} the signature as it stands in metadata, before hexadecimal digits are made of it */
  sign(payload: Uint8Array): Promise<Uint8Array>;
}

/** A signer whose private key is here. */
export interface LocalSigner extends Signer {
  /** The private key as PKCS#8 PEM. Whoever writes it to a file gives that file mode 0600. */
  exportPem(): Promise<string>;
}

/** A key that is not one, or not of an algorithm that is known here. */
export class KeyError extends Error {
  override readonly name = "KeyError";
}

/** The algorithm of a key in metadata; undefined for one that is not known here: its signatures count nothing. */
export function algorithmOf({ keytype, scheme }: KeyModel): SignatureAlgorithm | undefined {
  if (scheme === schemes["ml-dsa-65"].scheme && keytype === schemes["ml-dsa-65"].keytype) return "ml-dsa-65";
  return scheme === schemes["ecdsa-p256"].scheme && ecdsaKeyTypes.has(keytype) ? "ecdsa-p256" : undefined;
}

/** A key's identifier: SHA-256 of the canonical form of type, scheme and value (Uptane Standard 2.1, section 5.2.1). */
export function keyidOf({ keytype, scheme, keyval }: KeyModel): string {
  const form = canonicalJson({ keytype, scheme, keyval: { ...keyval } });
  return createHash("sha256").update(form).digest("hex");
}

/** Makes a key. */
export async function generateSigner(algorithm: SignatureAlgorithm = "ml-dsa-65"): Promise<LocalSigner> {
  if (algorithm === "ml-dsa-65") return mlDsaSigner(await generateSigningKey());
  const pair = await crypto.subtle.generateKey(ecdsaKey, true, ["sign", "verify"]);
  return await ecdsaSigner(pair.privateKey);
}

/**
 * Reads a private key from PKCS#8 PEM.
 *
 * @throws {KeyError} If the text is no ML-DSA-65 and no ECDSA P-256 private key.
 */
export async function importSigner(pem: string): Promise<LocalSigner> {
  const der = pemBytes(pem, "PRIVATE KEY");
  try {
    const key = await crypto.subtle.importKey("pkcs8", der, ecdsaKey, true, ["sign"]);
    return await ecdsaSigner(key);
  } catch {
    // Not ECDSA: what it is else is seen below.
  }
  try {
    return mlDsaSigner(await importSigningKey(pem));
  } catch (cause) {
    if (!(cause instanceof SignatureError)) throw cause;
    throw new KeyError("expected an ML-DSA-65 or ECDSA P-256 private key as PKCS#8 PEM, got something else", {
      cause,
    });
  }
}

function mlDsaSigner(signing: SigningKey): LocalSigner {
  const key: KeyModel = {
    ...schemes["ml-dsa-65"],
    keyval: { public: exportVerifyKey(signing.publicKey) },
  };
  return {
    algorithm: "ml-dsa-65",
    key,
    keyid: keyidOf(key),
    sign: async (payload) => await sign(signing, mlDsaMessage(payload)),
    exportPem: async () => await exportSigningKey(signing),
  };
}

async function ecdsaSigner(privateKey: CryptoKey): Promise<LocalSigner> {
  // The public half, by way of the form that has both.
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await crypto.subtle.importKey("jwk", { kty, crv, x, y }, ecdsaKey, true, ["verify"]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
  const key: KeyModel = { ...schemes["ecdsa-p256"], keyval: { public: pemText(spki, "PUBLIC KEY") } };
  return {
    algorithm: "ecdsa-p256",
    key,
    keyid: keyidOf(key),
    sign: async (payload) => await ecdsaSign(privateKey, Uint8Array.from(payload)),
    exportPem: async () =>
      pemText(new Uint8Array(await crypto.subtle.exportKey("pkcs8", privateKey)), "PRIVATE KEY"),
  };
}

/**
 * Reads a public key from PEM of its SubjectPublicKeyInfo.
 *
 * @returns {Promise<KeyModel>} the key as it stands in metadata: one key has one text, and so one identifier
 * @throws {KeyError} If the text is no ML-DSA-65 and no ECDSA P-256 public key.
 */
export async function importPublicKey(pem: string): Promise<KeyModel> {
  const spki = pemBytes(pem, "PUBLIC KEY");
  for (const algorithm of signatureAlgorithms) {
    const key: KeyModel = { ...schemes[algorithm], keyval: { public: pemText(spki, "PUBLIC KEY") } };
    if (await verifierOf(key) !== undefined) return key;
  }
  throw new KeyError("expected an ML-DSA-65 or ECDSA P-256 public key as PEM, got something else");
}

/** A public key, ready to verify with. */
export interface Verifier {
  /** What tells one key from another, whatever its text in metadata: SubjectPublicKeyInfo, as hexadecimal digits. */
  readonly identity: string;
  verify(signature: Uint8Array, payload: Uint8Array): Promise<boolean>;
}

/** Keys that were read, by their models: a root's keys are needed again with each file. */
const verifiers = new WeakMap<KeyModel, Promise<Verifier | undefined>>();

/** The verifier of a key in metadata; undefined if the algorithm is not known here, or the value is no such key. */
export function verifierOf(model: KeyModel): Promise<Verifier | undefined> {
  let verifier = verifiers.get(model);
  if (verifier === undefined) {
    verifier = readVerifier(model);
    verifiers.set(model, verifier);
  }
  return verifier;
}

async function readVerifier(model: KeyModel): Promise<Verifier | undefined> {
  const algorithm = algorithmOf(model);
  if (algorithm === undefined) return undefined;
  try {
    return algorithm === "ml-dsa-65"
      ? mlDsaVerifier(await importVerifyKey(model.keyval.public))
      : await ecdsaVerifier(model.keyval.public);
  } catch (error) {
    // A key that is none signs nothing: the threshold tells. Anything else is a fault here.
    if (error instanceof KeyError || error instanceof SignatureError || error instanceof DOMException) {
      return undefined;
    }
    throw error;
  }
}

function mlDsaVerifier(key: VerifyKey): Verifier {
  return {
    identity: key.spki.toHex(),
    verify: async (signature, payload) => await verify(key, signature, mlDsaMessage(payload)),
  };
}

async function ecdsaVerifier(pem: string): Promise<Verifier> {
  const key = await crypto.subtle.importKey("spki", pemBytes(pem, "PUBLIC KEY"), ecdsaKey, true, ["verify"]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", key));
  return {
    identity: spki.toHex(),
    verify: async (signature, payload) => await ecdsaVerify(key, signature, Uint8Array.from(payload)),
  };
}

function mlDsaMessage(payload: Uint8Array): Uint8Array {
  const digest = createHash("sha512").update(payload).digest();
  const message = new Uint8Array(mlDsaPrefix.length + digest.length);
  message.set(mlDsaPrefix);
  message.set(digest, mlDsaPrefix.length);
  return message;
}

/** DER as a PEM text (RFC 7468). */
function pemText(der: Uint8Array, label: string): string {
  const lines = der.toBase64().replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

function pemBytes(text: string, label: string): Uint8Array<ArrayBuffer> {
  const block = new RegExp(`^\\s*-----BEGIN ${label}-----\\s([A-Za-z0-9+/=\\s]*)-----END ${label}-----\\s*$`)
    .exec(text);
  // The text itself may be a private key: it is not repeated.
  if (!block) throw new KeyError(`expected one PEM block ${label}, got something else`);
  try {
    return Uint8Array.fromBase64(block[1]);
  } catch (cause) {
    throw new KeyError(`expected base64 in the PEM block ${label}`, { cause });
  }
}
