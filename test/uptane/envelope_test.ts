// Metadata files: what their readers take, what they refuse, and signing.

import assert from "node:assert/strict";
import { makeRoot, makeTargets } from "../../src/uptane/author.ts";
import type { JsonObject } from "../../src/uptane/canonical_json.ts";
import { addSignature, EnvelopeError, readMetadata, signEnvelope } from "../../src/uptane/envelope.ts";
import { algorithmOf, generateSigner, importSigner, keyidOf } from "../../src/uptane/keys.ts";
import { countSignatures } from "../../src/uptane/threshold.ts";
import { image, inDays, signers } from "./fake_repositories.ts";

const [signer, other] = await signers(2);
const holders = { keys: [signer.key] };
const root = makeRoot({
  version: 1,
  expires: inDays(1),
  roles: { root: holders, timestamp: holders, snapshot: holders, targets: holders },
});
const targets = makeTargets({ version: 1, expires: inDays(1), targets: { "a/b.bin": image("x") } });

/** The file with one member of what is signed in place of another. */
function file(signed: JsonObject, change: Record<string, unknown> = {}): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ signatures: [], signed: { ...signed, ...change } }));
}

Deno.test("what is read is what was signed, to the byte", async () => {
  const bytes = await signEnvelope(targets, [signer]);
  const metadata = readMetadata("targets", bytes);
  assert.equal(metadata.signed.targets["a/b.bin"].length, 1);
  assert.equal(
    await countSignatures(metadata, {
      keys: { [signer.keyid]: signer.key },
      role: { keyids: [signer.keyid], threshold: 1 },
    }),
    1,
  );
});

Deno.test("members of metadata that break their rule are refused with their place", () => {
  const role = { keyids: [signer.keyid], threshold: 1 };
  const roles = { root: role, timestamp: role, snapshot: role, targets: role };
  const bad: [JsonObject, Record<string, unknown>, RegExp][] = [
    [root, { _type: "targets" }, /^signed\._type/],
    [root, { version: 0 }, /^signed\.version/],
    [root, { version: "1" }, /^signed\.version/],
    [root, { spec_version: "2.0.0" }, /^signed\.spec_version/],
    [root, { expires: "2026-02-30T00:00:00Z" }, /^signed\.expires/],
    [root, { expires: "2026-03-01T00:00:00+01:00" }, /^signed\.expires/],
    [root, { expires: "+020260-03-01T00:00:00Z" }, /^signed\.expires/],
    [root, { roles: { ...roles, targets: undefined } }, /^signed\.roles\.targets/],
    [root, { roles: { ...roles, targets: { ...role, threshold: 0 } } }, /^signed\.roles\.targets\.threshold/],
    [root, { roles: { ...roles, targets: { ...role, threshold: 2 } } }, /must have a key for each signature/],
    [
      root,
      { roles: { ...roles, targets: { keyids: [signer.keyid, signer.keyid], threshold: 2 } } },
      /name each key once/,
    ],
    [root, { roles: { ...roles, targets: { keyids: [], threshold: 1 } } }, /keyids/],
    [root, { keys: {} }, /must have the key of each keyid/],
    [root, { keys: { [signer.keyid]: other.key } }, /expected the key's identifier/],
    [targets, { targets: { "../a": image("x") } }, /targets/],
    [targets, { targets: { "a//b": image("x") } }, /targets/],
    [targets, { targets: { "/a": image("x") } }, /targets/],
    [targets, { targets: { ".a": image("x") } }, /targets/],
    [targets, { targets: { a: { ...image("x"), length: 0 } } }, /length/],
    [targets, { targets: { a: { ...image("x"), hashes: { sha512: "0".repeat(128) } } } }, /hashes\.sha256/],
    [
      targets,
      { targets: { a: { ...image("x"), custom: { must_match: { hardware_ids: [] } } } } },
      /hardware_ids/,
    ],
    [targets, {
      targets: { a: { ...image("x"), custom: { must_match: { hardware_ids: ["1"], release_counter: -1 } } } },
    }, /release_counter/],
    [targets, { vehicle_id: "VIN" }, /vehicle_id/],
    [targets, {
      delegations: {
        keys: {},
        roles: [{ name: "x", keyids: [signer.keyid], threshold: 1, terminating: false, paths: [] }],
      },
    }, /must have the key/],
    ...["root", "Targets", "time", "a/b", ".x"].map((name): [JsonObject, Record<string, unknown>, RegExp] => [
      targets,
      {
        delegations: {
          keys: { [signer.keyid]: signer.key },
          roles: [{ name, keyids: [signer.keyid], threshold: 1, terminating: false, paths: [] }],
        },
      },
      /delegations\.roles\.0\.name/,
    ]),
  ];
  for (const [signed, change, says] of bad) {
    assert.throws(
      () => readMetadata(signed === root ? "root" : "targets", file(signed, change)),
      (error) => error instanceof EnvelopeError && says.test(error.message),
      JSON.stringify(change).slice(0, 200),
    );
  }
});

Deno.test("envelopes that are none are refused", () => {
  const sig = { keyid: signer.keyid, sig: "00" };
  for (
    const document of [
      null,
      [],
      {},
      { signed: targets },
      { signed: [], signatures: [] },
      { signed: targets, signatures: {} },
      { signed: targets, signatures: [{ keyid: "x", sig: "00" }] },
      { signed: targets, signatures: [{ ...sig, sig: "0" }] },
      { signed: targets, signatures: [sig, { ...sig, sig: "01" }] },
      {
        signed: targets,
        signatures: Array.from(
          { length: 65 },
          (_, at) => ({ ...sig, keyid: at.toString(16).padStart(64, "0") }),
        ),
      },
    ]
  ) {
    assert.throws(
      () => readMetadata("targets", new TextEncoder().encode(JSON.stringify(document))),
      EnvelopeError,
    );
  }
});

Deno.test("keys of other algorithms are taken and count nothing", async () => {
  const foreign = { keytype: "ed25519", scheme: "ed25519", keyval: { public: "00".repeat(32) } };
  const keyid = "ab".repeat(32);
  assert.equal(algorithmOf(foreign), undefined);
  const bytes = file(root, { keys: { [signer.keyid]: signer.key, [keyid]: foreign } });
  const { signed } = readMetadata("root", bytes);
  const envelope = { payload: new Uint8Array(), signatures: [{ keyid, sig: "00".repeat(64) }] };
  assert.equal(
    await countSignatures(envelope, { keys: signed.keys, role: { keyids: [keyid], threshold: 1 } }),
    0,
  );
});

Deno.test("a signature is added on another machine, and made again in its place", async () => {
  const one = await signEnvelope(targets, [signer]);
  const two = await addSignature(readMetadata("targets", one), other);
  const again = readMetadata("targets", await addSignature(readMetadata("targets", two), other));
  assert.deepEqual(again.signatures.map(({ keyid }) => keyid), [signer.keyid, other.keyid]);
  const keys = { [signer.keyid]: signer.key, [other.keyid]: other.key };
  assert.equal(
    await countSignatures(again, { keys, role: { keyids: [signer.keyid, other.keyid], threshold: 2 } }),
    2,
  );
  assert.equal(await countSignatures(again, { keys, role: { keyids: [other.keyid], threshold: 1 } }), 1);
});

Deno.test("a changed signature, or a signature over other bytes, counts nothing", async () => {
  for (const algorithm of ["ml-dsa-65", "ecdsa-p256"] as const) {
    const [key] = await signers(1, algorithm);
    const authority = { keys: { [key.keyid]: key.key }, role: { keyids: [key.keyid], threshold: 1 } };
    const payload = new TextEncoder().encode("payload");
    const good = (await key.sign(payload)).toHex();
    const count = (sig: string, over = payload) =>
      countSignatures({ payload: over, signatures: [{ keyid: key.keyid, sig }] }, authority);
    assert.equal(await count(good), 1);
    assert.equal(await count(good, new TextEncoder().encode("payloae")), 0);
    assert.equal(await count(""), 0);
    assert.equal(await count(`${good}00`), 0);
    assert.equal(await count(good.slice(2)), 0);
    for (const at of [0, 2, 6, good.length - 2]) {
      const digit = good[at] === "f" ? "0" : "f";
      assert.equal(
        await count(good.slice(0, at) + digit + good.slice(at + 1)),
        0,
        `${algorithm} digit ${at}`,
      );
    }
  }
});

Deno.test("an ECDSA signature has one form: longer and negative numbers are none", async () => {
  const [key] = await signers(1);
  const payload = new TextEncoder().encode("payload");
  const authority = { keys: { [key.keyid]: key.key }, role: { keyids: [key.keyid], threshold: 1 } };
  for (let tries = 0; tries < 20; tries++) {
    const der = await key.sign(payload);
    const rLength = der[3];
    // One more zero before r: BER, not DER.
    const padded = Uint8Array.from([0x30, der[1] + 1, 0x02, rLength + 1, 0, ...der.subarray(4)]);
    const variants = [padded];
    if (der[4] === 0) {
      variants.push(Uint8Array.from([0x30, der[1] - 1, 0x02, rLength - 1, ...der.subarray(5)]));
    }
    for (const sig of variants) {
      assert.equal(
        await countSignatures({ payload, signatures: [{ keyid: key.keyid, sig: sig.toHex() }] }, authority),
        0,
      );
    }
    assert.equal(
      await countSignatures({ payload, signatures: [{ keyid: key.keyid, sig: der.toHex() }] }, authority),
      1,
    );
  }
});

Deno.test("keys go to PEM and back, and anything else is refused without being repeated", async () => {
  for (const algorithm of ["ml-dsa-65", "ecdsa-p256"] as const) {
    const made = await generateSigner(algorithm);
    const read = await importSigner(await made.exportPem());
    assert.equal(read.keyid, made.keyid);
    assert.equal(read.algorithm, algorithm);
    assert.equal(keyidOf(read.key), made.keyid);
  }
  for (const text of ["", "secret", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]) {
    await assert.rejects(
      importSigner(text),
      (error) => error instanceof Error && error.name === "KeyError" && !error.message.includes("secret"),
    );
  }
});
