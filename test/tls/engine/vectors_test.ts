// The engine's primitives against all that others have published to break such: NIST's ACVP, C2SP's Wycheproof.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Primitives } from "./primitives.ts";
import ecdsa from "./vectors/wycheproof_ecdsa.json" with { type: "json" };
import mlDsa from "./vectors/wycheproof_ml_dsa.json" with { type: "json" };
import mlKem from "./vectors/ml_kem.json" with { type: "json" };

const primitives = new Primitives();
/** What the engine gets for randomness: zeros make signing deterministic (FIPS 204 section 3.4). */
let randomness = new Uint8Array(32);
const ruled = new Primitives((bytes) => bytes.set(randomness));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const hex = (text: string) => Uint8Array.fromHex(text);
const base64 = (text: string) => Uint8Array.fromBase64(text);

const kemStrengths = new Map<string, 512 | 768 | 1024>([
  ["ML-KEM-512", 512],
  ["ML-KEM-768", 768],
  ["ML-KEM-1024", 1024],
]);
/** Last octet of the OID (RFC 9881 section 2), TLS scheme. */
const dsaSets = new Map([
  ["ML-DSA-44", { oid: 0x11, scheme: 0x0904 }],
  ["ML-DSA-65", { oid: 0x12, scheme: 0x0905 }],
  ["ML-DSA-87", { oid: 0x13, scheme: 0x0906 }],
]);

function lookUp<T>(table: ReadonlyMap<string, T>, name: string): T {
  const found = table.get(name);
  assert.ok(found !== undefined, `a parameter set ${name}`);
  return found;
}

Deno.test("ML-KEM encapsulation gives NIST's ciphertexts and secrets (ACVP, 75 cases)", () => {
  assert.equal(mlKem.encapsulation.length, 75);
  for (const { set, id, ek, m, c_sha256, k } of mlKem.encapsulation) {
    const sealed = primitives.encapsulate(lookUp(kemStrengths, set), base64(ek), hex(m));
    assert.ok(sealed, `${set} case ${id}`);
    assert.equal(sha256(sealed[0]), c_sha256, `${set} case ${id}`);
    assert.equal(sealed[1].toHex(), k, `${set} case ${id}`);
  }
});

Deno.test("ML-KEM decapsulation gives the published secrets, implicit rejection too, and refuses other lengths (Wycheproof)", () => {
  for (const { set, id, seed, c, valid, k } of mlKem.decapsulation) {
    // Seeds of another length cannot come to the engine, which makes its own.
    if (seed.length !== 128) continue;
    const secret = primitives.decapsulate(lookUp(kemStrengths, set), hex(seed), base64(c));
    assert.equal(secret?.toHex(), valid ? k : undefined, `${set} case ${id}`);
  }
});

Deno.test("ML-KEM encapsulation refuses keys that are not reduced or of another length (Wycheproof)", () => {
  for (const { set, id, ek } of mlKem.refused) {
    const sealed = primitives.encapsulate(lookUp(kemStrengths, set), base64(ek), new Uint8Array(32));
    assert.equal(sealed, undefined, `${set} case ${id}`);
  }
});

Deno.test("ML-DSA gives the published signatures, without randomness and with that which is given (Wycheproof)", () => {
  for (const { set, id, seed, msg, rnd, sig_sha256 } of mlDsa.sign) {
    const { oid } = lookUp(dsaSets, set);
    // RFC 9881 section 6: PKCS#8 of the seed form.
    const pkcs8 = hex(`3034020100300b06096086480165030403${oid.toString(16)}04228020${seed}`);
    randomness = hex(rnd);
    const signature = ruled.sign(pkcs8, hex(msg));
    assert.ok(signature, `${set} case ${id}`);
    assert.equal(sha256(signature), sig_sha256, `${set} case ${id}`);
  }
});

/** RFC 9881 section 4: SubjectPublicKeyInfo. */
function mlDsaSpki(oid: number, key: Uint8Array): Uint8Array {
  const length = (value: number) => [0x82, value >> 8, value & 0xff];
  const bits = [0x03, ...length(key.length + 1), 0, ...key];
  const algorithm = hex(`300b06096086480165030403${oid.toString(16)}`);
  return Uint8Array.of(0x30, ...length(algorithm.length + bits.length), ...algorithm, ...bits);
}

Deno.test("ML-DSA verification takes and refuses what it should (Wycheproof)", () => {
  for (const { set, id, pk, msg, sig, valid, comment } of mlDsa.verify) {
    const { oid, scheme } = lookUp(dsaSets, set);
    const good = primitives.verify(scheme, mlDsaSpki(oid, base64(pk)), hex(msg), base64(sig));
    assert.equal(good, valid, `${set} case ${id}: ${comment}`);
  }
});

for (
  const [curve, scheme, keys, cases] of [
    ["P-256", 0x0403, ecdsa.p256Keys, ecdsa.p256],
    ["P-384", 0x0503, ecdsa.p384Keys, ecdsa.p384],
  ] as const
) {
  Deno.test(`ECDSA ${curve} verification takes and refuses what it should (Wycheproof, ${cases.length} cases)`, () => {
    for (const { id, key, msg, sig, valid, comment } of cases) {
      const good = primitives.verify(scheme, base64(keys[key]), base64(msg), base64(sig));
      assert.equal(good, valid, `case ${id}: ${comment}`);
    }
  });
}
