import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ml_dsa65 } from "@noble/post-quantum/ml-dsa.js";
import {
  exportSigningKey,
  exportVerifyKey,
  generateSigningKey,
  importSigningKey,
  importVerifyKey,
  sign,
  SignatureError,
  verify,
} from "../../src/pqc/signature.ts";

const message = new TextEncoder().encode("what is signed");

/** The public key's own bytes: SubjectPublicKeyInfo's last 1,952. */
const rawPublic = (spki: Uint8Array) => spki.subarray(spki.length - 1952);
/** The seed: PKCS#8's last 32 bytes (RFC 9881, the seed form). */
const seedOf = (pem: string) =>
  Uint8Array.fromBase64(pem.split("\n")[1] + pem.split("\n")[2].replace(/-.*/, "")).slice(-32);

Deno.test("verify() accepts what sign() made, and nothing that differs by one bit", async () => {
  const key = await generateSigningKey();
  const signature = await sign(key, message);
  assert.equal(signature.length, 3309);
  assert.equal(await verify(key.publicKey, signature, message), true);
  for (const at of [0, 31, 32, 1000, 3000, 3308]) {
    const changed = signature.slice();
    changed[at] ^= 1;
    assert.equal(await verify(key.publicKey, changed, message), false, `byte ${at}`);
  }
  const otherMessage = message.slice();
  otherMessage[0] ^= 1;
  assert.equal(await verify(key.publicKey, signature, otherMessage), false);
  assert.equal(await verify((await generateSigningKey()).publicKey, signature, message), false);
  assert.equal(await verify(key.publicKey, signature.subarray(1), message), false);
  assert.equal(await verify(key.publicKey, new Uint8Array(0), message), false);
});

Deno.test("@noble/post-quantum verifies our signatures and we verify its", async () => {
  const key = await generateSigningKey();
  const noble = ml_dsa65.keygen(seedOf(await exportSigningKey(key)));
  // Key for key: noble's public key from our seed is ours.
  assert.deepEqual(noble.publicKey, rawPublic(key.publicKey.spki).slice());
  assert.equal(ml_dsa65.verify(await sign(key, message), message, noble.publicKey), true);
  assert.equal(await verify(key.publicKey, ml_dsa65.sign(message, noble.secretKey), message), true);
});

Deno.test("keys come back from PEM as they were", async () => {
  const key = await generateSigningKey();
  const privatePem = await exportSigningKey(key);
  const publicPem = exportVerifyKey(key.publicKey);
  assert.match(privatePem, /^-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END PRIVATE KEY-----\n$/);
  assert.ok(publicPem.split("\n").every((line) => line.length <= 64));
  const read = await importSigningKey(privatePem.replaceAll("\n", "\r\n"));
  assert.equal(read.publicKey.keyId, key.publicKey.keyId);
  assert.deepEqual(read.publicKey.spki, key.publicKey.spki);
  const signature = await sign(read, message);
  assert.equal(await verify(await importVerifyKey(publicPem), signature, message), true);
});

Deno.test("a key id is the SHA-256 of the key's SubjectPublicKeyInfo", async () => {
  const { publicKey } = await generateSigningKey();
  assert.equal(publicKey.spki.length, 1974);
  assert.equal(publicKey.keyId, createHash("sha256").update(publicKey.spki).digest("hex"));
});

Deno.test("what is no key of ML-DSA-65 is refused, and the text is not repeated", async () => {
  const key = await generateSigningKey();
  const privatePem = await exportSigningKey(key);
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, [
    "sign",
    "verify",
  ]);
  const { privateKey, publicKey } = pair;
  const base64 = async (format: "pkcs8" | "spki", other: CryptoKey) =>
    new Uint8Array(await crypto.subtle.exportKey(format, other)).toBase64();
  const pem = (label: string, body: string) => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
  for (
    const text of [
      "",
      "secret",
      exportVerifyKey(key.publicKey),
      privatePem + privatePem,
      privatePem.slice(0, -20),
      pem("PRIVATE KEY", "====secret"),
      pem("PRIVATE KEY", "AAAA"),
      pem("PRIVATE KEY", await base64("pkcs8", privateKey)),
    ]
  ) {
    await assert.rejects(importSigningKey(text), (error) => {
      assert.ok(error instanceof SignatureError);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  }
  for (
    const text of [
      "",
      privatePem,
      pem("PUBLIC KEY", await base64("spki", publicKey)),
      pem("PUBLIC KEY", "AAAA"),
    ]
  ) {
    await assert.rejects(importVerifyKey(text), SignatureError);
  }
});
