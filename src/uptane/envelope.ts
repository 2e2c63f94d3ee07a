// The envelope of everything that is signed here, {signed, signatures}: reading it with all its limits, writing it, signing.

import { createHash } from "node:crypto";
import type { z } from "zod";
import { canonicalJson, isArray, type JsonObject, type JsonValue } from "./canonical_json.ts";
import { JsonReadError, readJson } from "./json_reader.ts";
import { algorithmOf, keyidOf, type Signer } from "./keys.ts";
import {
  type KeyModel,
  rootSchema,
  type Signature,
  signaturesSchema,
  type SignedByRole,
  snapshotSchema,
  targetsSchema,
  timestampSchema,
  type TopLevelRole,
} from "./models.ts";

/** A signed file that was read. Nothing is said yet of whether its signatures are good. */
export interface Envelope<T> {
  /** What is signed, as far as it is known here. */
  readonly signed: T;
  /** What is signed, with all its members. */
  readonly raw: JsonObject;
  readonly signatures: readonly Signature[];
  /** The bytes that are signed: the canonical form of `raw`. */
  readonly payload: Uint8Array;
  /** The file. */
  readonly bytes: Uint8Array;
}

/** A file that is no envelope of its kind. */
export class EnvelopeError extends Error {
  override readonly name = "EnvelopeError";
}

/**
 * Reads an envelope.
 *
 * @param bytes At most what the caller allows: reading takes time and memory in proportion.
 * @throws {EnvelopeError}
 */
export function readEnvelope<T>(schema: z.ZodType<T>, bytes: Uint8Array): Envelope<T> {
  let document: JsonValue;
  try {
    document = readJson(bytes);
  } catch (cause) {
    if (!(cause instanceof JsonReadError)) throw cause;
    throw new EnvelopeError(cause.message, { cause });
  }
  return openEnvelope(schema, document, bytes);
}

/**
 * Reads an envelope that stands within another document.
 *
 * @param bytes The file that it stands in.
 * @throws {EnvelopeError}
 */
export function openEnvelope<T>(schema: z.ZodType<T>, document: JsonValue, bytes: Uint8Array): Envelope<T> {
  const raw = isObject(document) ? document.signed : undefined;
  if (!isObject(document) || !isObject(raw)) {
    throw new EnvelopeError("expected an object with the members signed and signatures");
  }
  return {
    signed: checked(schema, raw, "signed"),
    raw,
    signatures: checked(signaturesSchema, document.signatures, "signatures"),
    payload: canonicalJson(raw),
    bytes,
  };
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !isArray(value);
}

function checked<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const [{ path, message }] = error.issues;
  throw new EnvelopeError(`${[where, ...path].join(".").slice(0, 200)}: ${message}`);
}

const schemas: { readonly [Role in TopLevelRole]: z.ZodType<SignedByRole[Role]> } = {
  root: rootSchema,
  timestamp: timestampSchema,
  snapshot: snapshotSchema,
  targets: targetsSchema,
};

/** Metadata of a role. */
export type Metadata<Role extends TopLevelRole> = Envelope<SignedByRole[Role]>;

/**
 * Reads the metadata of a role; delegated roles have the form of `targets`.
 *
 * @throws {EnvelopeError} for anything else, metadata of another role among it, and for a key whose identifier is not its own.
 */
export function readMetadata<Role extends TopLevelRole>(role: Role, bytes: Uint8Array): Metadata<Role> {
  const metadata = readEnvelope<SignedByRole[Role]>(schemas[role], bytes);
  for (const keys of keysOf(metadata.signed)) checkKeyids(keys);
  return metadata;
}

function keysOf(signed: SignedByRole[TopLevelRole]): Readonly<Record<string, KeyModel>>[] {
  if (signed._type === "root") return [signed.keys];
  return signed._type === "targets" && signed.delegations !== undefined ? [signed.delegations.keys] : [];
}

/** Keys of algorithms that are not known here may be named in another way: they count nothing. */
function checkKeyids(keys: Readonly<Record<string, KeyModel>>): void {
  for (const [keyid, key] of Object.entries(keys)) {
    if (algorithmOf(key) === undefined) continue;
    const expected = keyidOf(key);
    if (keyid !== expected) {
      throw new EnvelopeError(`signed.keys.${keyid}: expected the key's identifier ${expected}`);
    }
  }
}

/**
 * Signs.
 *
 * @param signers Each key once; none makes a file that is signed later.
 * @returns {Promise<Uint8Array>} the file
 * @throws {RangeError} for what has no canonical form.
 */
export async function signEnvelope(
  signed: JsonObject,
  signers: readonly Signer[],
): Promise<Uint8Array<ArrayBuffer>> {
  const payload = canonicalJson(signed);
  const signatures: Signature[] = [];
  for (const signer of signers) signatures.push(await signature(signer, payload));
  return envelopeBytes({ signed, signatures });
}

/** An envelope whose signatures say their algorithm and a hash of what they sign (Uptane Standard 2.1, section 5.4.2.1). */
export async function signReport(
  signed: JsonObject,
  signers: readonly Signer[],
): Promise<{ readonly signed: JsonObject; readonly signatures: readonly Required<Signature>[] }> {
  const payload = canonicalJson(signed);
  const signatures: Required<Signature>[] = [];
  for (const signer of signers) {
    signatures.push({
      ...await signature(signer, payload),
      method: signer.key.scheme,
      hash_function: "sha256",
      hash: createHash("sha256").update(payload).digest("hex"),
    });
  }
  return { signed, signatures };
}

/** Puts a signature into a file, in the place of one that the key made before. */
export async function addSignature(
  envelope: Envelope<unknown>,
  signer: Signer,
): Promise<Uint8Array<ArrayBuffer>> {
  const others = envelope.signatures.filter((it) => it.keyid !== signer.keyid);
  return envelopeBytes({
    signed: envelope.raw,
    signatures: [...others, await signature(signer, envelope.payload)],
  });
}

async function signature(signer: Signer, payload: Uint8Array): Promise<{ keyid: string; sig: string }> {
  return { keyid: signer.keyid, sig: (await signer.sign(payload)).toHex() };
}

/** An envelope as a file. */
export function envelopeBytes(
  envelope: { readonly signed: JsonObject; readonly signatures: readonly Signature[] },
): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${JSON.stringify(envelope)}\n`);
}
