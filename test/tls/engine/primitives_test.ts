// The primitives against official vectors and against implementations of others: NIST's ACVP, C2SP's CCTV, WebCrypto, noble.

import { ml_dsa44, ml_dsa65, ml_dsa87 } from "@noble/post-quantum/ml-dsa.js";
import { ml_kem1024, ml_kem512, ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Primitives } from "./primitives.ts";
import vectors from "./vectors/fips203_fips204.json" with { type: "json" };

const primitives = new Primitives();
const noRandomness = new Primitives((bytes) => bytes.fill(0));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const hex = (text: string) => Uint8Array.fromHex(text);
const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

const kemStrengths = { "ML-KEM-512": 512, "ML-KEM-768": 768, "ML-KEM-1024": 1024 } as const;
const dsaStrengths = { "ML-DSA-44": 44, "ML-DSA-65": 65, "ML-DSA-87": 87 } as const;
const nobleKem = { 512: ml_kem512, 768: ml_kem768, 1024: ml_kem1024 };

/** RFC 9881 section 6: PKCS#8 of the seed form; the last octet of the OID is the strength's. */
const seedPkcs8 = (oid: number, seed: Uint8Array) =>
  Uint8Array.of(...hex(`3034020100300b06096086480165030403${oid.toString(16)}04228020`), ...seed);
/** RFC 9881 section 4: SubjectPublicKeyInfo. */
const spki = (oid: number, key: Uint8Array) => {
  const length = (value: number) => [0x82, value >> 8, value & 0xff];
  const bits = [0x03, ...length(key.length + 1), 0, ...key];
  const algorithm = hex(`300b06096086480165030403${oid.toString(16)}`);
  return Uint8Array.of(0x30, ...length(algorithm.length + bits.length), ...algorithm, ...bits);
};

/** The ML-DSA parameter sets: last octet of the OID, TLS scheme, noble's implementation. */
const dsaSets = [
  { name: "ML-DSA-44", strength: 44, oid: 0x11, scheme: 0x0904, noble: ml_dsa44 },
  { name: "ML-DSA-65", strength: 65, oid: 0x12, scheme: 0x0905, noble: ml_dsa65 },
  { name: "ML-DSA-87", strength: 87, oid: 0x13, scheme: 0x0906, noble: ml_dsa87 },
] as const;

function lookUp<T extends object>(table: T, key: string): T[keyof T] {
  const found = Object.entries(table).find(([name]) => name === key);
  assert.ok(found, `a parameter set ${key}`);
  return found[1];
}

Deno.test("ML-KEM key generation gives NIST's keys (ACVP, 75 cases)", () => {
  assert.equal(vectors.mlKemKeyGen.length, 75);
  for (const { parameterSet, tcId, d, z, ek_sha256, dk_sha256 } of vectors.mlKemKeyGen) {
    const run = primitives.kem(lookUp(kemStrengths, parameterSet), hex(d + z), random(32));
    assert.equal(sha256(run.encapsulationKey), ek_sha256, `${parameterSet} case ${tcId}`);
    assert.equal(sha256(run.decapsulationKey), dk_sha256, `${parameterSet} case ${tcId}`);
  }
});

Deno.test("ML-KEM encapsulation gives the published ciphertexts and secrets (CCTV)", () => {
  for (const { parameterSet, ek, m, K, c_sha256 } of vectors.mlKemIntermediate) {
    const sealed = primitives.encapsulate(lookUp(kemStrengths, parameterSet), hex(ek), hex(m));
    assert.ok(sealed);
    assert.equal(sha256(sealed[0]), c_sha256, parameterSet);
    assert.equal(sealed[1].toHex(), K, parameterSet);
  }
});

Deno.test("ML-KEM agrees with noble byte for byte, also where a ciphertext was tampered with", () => {
  for (const strength of [512, 768, 1024] as const) {
    const noble = nobleKem[strength];
    for (let round = 0; round < 5; round++) {
      const [seed, m] = [random(64), random(32)];
      const theirs = noble.keygen(seed);
      const run = primitives.kem(strength, seed, m);
      assert.deepEqual(run.encapsulationKey, theirs.publicKey);
      assert.deepEqual(run.decapsulationKey, theirs.secretKey);
      const sealed = noble.encapsulate(theirs.publicKey, m);
      assert.deepEqual(run.ciphertext, sealed.cipherText);
      assert.deepEqual(run.sharedSecret, sealed.sharedSecret);
      const changed = run.ciphertext.slice();
      changed[round * 7] ^= 0x10;
      // Implicit rejection (FIPS 203, algorithm 18): another secret, the same at both.
      assert.deepEqual(
        primitives.decapsulate(strength, seed, changed),
        noble.decapsulate(changed, theirs.secretKey),
      );
    }
  }
});

Deno.test("ML-KEM refuses keys and ciphertexts that FIPS 203 section 7 refuses", () => {
  for (const strength of [512, 768, 1024] as const) {
    const { encapsulationKey, ciphertext } = primitives.kem(strength, random(64), random(32));
    assert.notEqual(primitives.encapsulate(strength, encapsulationKey, random(32)), undefined);
    // The first coefficient, 12 bits, becomes 3329: not reduced.
    const notReduced = encapsulationKey.slice();
    notReduced[0] = 0x01;
    notReduced[1] = (notReduced[1] & 0xf0) | 0x0d;
    assert.equal(primitives.encapsulate(strength, notReduced, random(32)), undefined);
    assert.equal(primitives.encapsulate(strength, encapsulationKey.subarray(1), random(32)), undefined);
    assert.equal(primitives.decapsulate(strength, random(64), ciphertext.subarray(1)), undefined);
  }
});

Deno.test("ML-DSA key generation gives NIST's keys (ACVP, 75 cases)", () => {
  assert.equal(vectors.mlDsaKeyGen.length, 75);
  for (const { parameterSet, tcId, seed, pk_sha256, sk_sha256 } of vectors.mlDsaKeyGen) {
    const keys = primitives.mlDsaKeys(lookUp(dsaStrengths, parameterSet), hex(seed));
    assert.equal(sha256(keys.publicKey), pk_sha256, `${parameterSet} case ${tcId}`);
    assert.equal(sha256(keys.privateKey), sk_sha256, `${parameterSet} case ${tcId}`);
  }
});

for (const { name, strength, oid, scheme, noble } of dsaSets) {
  Deno.test(`${name} without randomness signs as noble does, byte for byte`, () => {
    for (let round = 0; round < 3; round++) {
      const [seed, message] = [random(32), random(100 + round)];
      const keys = noble.keygen(seed);
      const ours = noRandomness.sign(seedPkcs8(oid, seed), message);
      assert.deepEqual(ours, noble.sign(message, keys.secretKey, { extraEntropy: false }));
    }
  });

  Deno.test(`${name} signatures are good to WebCrypto and the other way, and nothing that differs by a bit is`, async () => {
    const pair = await crypto.subtle.generateKey({ name }, true, ["sign", "verify"]);
    assert.ok("privateKey" in pair);
    const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
    const info = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
    for (let round = 0; round < 4; round++) {
      const message = random(64 * round);
      const ours = primitives.sign(pkcs8, message);
      assert.ok(ours);
      assert.equal(await crypto.subtle.verify({ name }, pair.publicKey, new Uint8Array(ours), message), true);
      const theirs: Uint8Array<ArrayBuffer> = new Uint8Array(
        await crypto.subtle.sign({ name }, pair.privateKey, message),
      );
      assert.equal(primitives.verify(scheme, info, message, theirs), true);
      const changed = theirs.slice();
      changed[round * 500] ^= 1;
      assert.equal(primitives.verify(scheme, info, message, changed), false);
      assert.equal(primitives.verify(scheme, info, random(65), theirs), false);
      assert.equal(primitives.verify(scheme, info, message, theirs.subarray(1)), false);
    }
  });

  Deno.test(`${name} private keys are read in all three forms of RFC 9881, and refused when the two halves differ`, () => {
    const seed = random(32);
    const { publicKey, privateKey } = primitives.mlDsaKeys(strength, seed);
    const message = random(10);
    const octets = (bytes: Uint8Array) =>
      bytes.length < 128
        ? [4, bytes.length, ...bytes]
        : [4, 0x82, bytes.length >> 8, bytes.length & 0xff, ...bytes];
    const wrap = (tag: number, content: ArrayLike<number> & Iterable<number>) => [
      tag,
      0x82,
      content.length >> 8,
      content.length & 0xff,
      ...content,
    ];
    const algorithm = hex(`300b06096086480165030403${oid.toString(16)}`);
    const pkcs8 = (choice: number[]) =>
      Uint8Array.from(wrap(0x30, [2, 1, 0, ...algorithm, ...wrap(4, choice)]));
    const forms = {
      seed: seedPkcs8(oid, seed),
      expandedKey: pkcs8(octets(privateKey)),
      both: pkcs8(wrap(0x30, [...octets(seed), ...octets(privateKey)])),
    };
    for (const [form, key] of Object.entries(forms)) {
      const signature = primitives.sign(key, message);
      assert.ok(signature, form);
      assert.equal(primitives.verify(scheme, spki(oid, publicKey), message, signature), true, form);
    }
    const other = pkcs8(wrap(0x30, [...octets(random(32)), ...octets(privateKey)]));
    assert.equal(primitives.sign(other, message), undefined);
  });
}

const ecdsaSets = [
  { curve: "P-256", hash: "SHA-256", scheme: 0x0403, size: 32 },
  { curve: "P-384", hash: "SHA-384", scheme: 0x0503, size: 48 },
] as const;

/** The two integers of an ECDSA signature, as WebCrypto writes them, in DER. */
function derSignature(raw: Uint8Array): Uint8Array {
  const integer = (bytes: Uint8Array) => {
    const start = bytes.findIndex((byte) => byte !== 0);
    const digits = [...bytes.subarray(start)];
    if (digits[0] >= 0x80) digits.unshift(0);
    return [2, digits.length, ...digits];
  };
  const half = raw.length / 2;
  const content = [...integer(raw.subarray(0, half)), ...integer(raw.subarray(half))];
  return Uint8Array.of(0x30, content.length, ...content);
}

for (const { curve, hash, scheme, size } of ecdsaSets) {
  Deno.test(`ECDSA ${curve} agrees with WebCrypto, and refuses what Wycheproof tries`, async () => {
    const algorithm = { name: "ECDSA", namedCurve: curve, hash };
    const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
    const info = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
    const message = random(50);
    const ours = primitives.sign(pkcs8, message);
    assert.ok(ours);
    assert.equal(primitives.verify(scheme, info, message, ours), true);
    const raw = new Uint8Array(await crypto.subtle.sign(algorithm, pair.privateKey, message));
    const good = derSignature(raw);
    assert.equal(primitives.verify(scheme, info, message, good), true);

    const zero = new Uint8Array(size);
    const refused: Record<string, Uint8Array> = {
      "r and s of 0": Uint8Array.of(0x30, 6, 2, 1, 0, 2, 1, 0),
      "s of 0": Uint8Array.of(0x30, size + 6, 2, size + 1, 0, ...raw.subarray(0, size), 2, 1, 0),
      "r and s of 1": Uint8Array.of(0x30, 6, 2, 1, 1, 2, 1, 1),
      "r beyond the order": derSignature(Uint8Array.of(...zero.map(() => 0xff), ...raw.subarray(size))),
      "trailing bytes": Uint8Array.of(...good, 0),
      "a length that is not the shortest": Uint8Array.of(0x30, 0x81, ...good.subarray(1)),
      "an indefinite length": Uint8Array.of(0x30, 0x80, ...good.subarray(2), 0, 0),
      "negative integers": Uint8Array.of(0x30, 6, 2, 1, 0xff, 2, 1, 0xff),
      "the raw form": raw,
      "nothing": new Uint8Array(),
      "a bit flipped": good.map((byte, index) => index === good.length - 1 ? byte ^ 1 : byte),
    };
    for (const [what, signature] of Object.entries(refused)) {
      assert.equal(primitives.verify(scheme, info, message, signature), false, what);
    }
    // A public key that is not on the curve, and one that is of the other curve's length.
    const offCurve = info.map((byte, index) => index === info.length - 1 ? byte ^ 1 : byte);
    assert.equal(primitives.verify(scheme, offCurve, message, good), false);
    assert.equal(primitives.verify(scheme, info.subarray(0, -1), message, good), false);
    assert.equal(primitives.verify(scheme === 0x0403 ? 0x0503 : 0x0403, info, message, good), false);
  });
}

Deno.test("Ed25519 agrees with WebCrypto, and refuses a bit that is flipped", async () => {
  const pair = await crypto.subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
  assert.ok("privateKey" in pair);
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  const info = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
  const message = random(50);
  const expected = new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, pair.privateKey, message));
  assert.deepEqual(primitives.sign(pkcs8, message), expected);
  assert.equal(primitives.verify(0x0807, info, message, expected), true);
  assert.equal(
    primitives.verify(0x0807, info, message, expected.map((byte, index) => index === 3 ? byte ^ 1 : byte)),
    false,
  );
});
