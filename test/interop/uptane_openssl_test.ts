// Signatures of metadata, verified by OpenSSL 3.5 (Node.js 24) and by noble, and theirs by us.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { ml_dsa65 } from "@noble/post-quantum/ml-dsa.js";
import { readMetadata, signEnvelope } from "../../src/uptane/envelope.ts";
import { generateSigner, importSigner, keyidOf } from "../../src/uptane/keys.ts";
import type { KeyModel } from "../../src/uptane/models.ts";
import { makeTargets } from "../../src/uptane/author.ts";
import { countSignatures } from "../../src/uptane/threshold.ts";
import { interopTest } from "../support/peers.ts";
import { image, inDays } from "../uptane/fake_repositories.ts";
import { openssl } from "./tls_openssl_process.ts";

interface Answer {
  verified: boolean[][];
  made: { key: KeyModel; privateKey: string; sig: string }[];
}

async function ask(question: unknown): Promise<Answer> {
  const process = new Deno.Command(openssl.command, {
    args: [fileURLToPath(new URL("./uptane_openssl_peer.cjs", import.meta.url))],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(question)));
  await writer.close();
  return JSON.parse(new TextDecoder().decode((await process.output()).stdout));
}

const targets = {
  ...makeTargets({ version: 1, expires: inDays(1), targets: { "body/1.bin": image("version 1") } }),
  note: 'line\nend, "quotes", \\ and ü€😀',
  zero: [0, -1, null, true, { b: 1, a: 2, B: 3 }],
};

interopTest(
  "OpenSSL 3.5 verifies our signatures, and we its, with keys of both sides",
  [openssl],
  async () => {
    const signers = [await generateSigner("ml-dsa-65"), await generateSigner("ecdsa-p256")];
    const good = JSON.parse(new TextDecoder().decode(await signEnvelope(targets, signers)));
    const changed = { ...good, signed: { ...good.signed, version: 2 } };
    const keys = Object.fromEntries(signers.map(({ keyid, key }) => [keyid, key]));
    const { verified, made } = await ask({ files: [good, changed], keys, sign: targets });
    assert.deepEqual(verified, [[true, true], [false, false]]);
    for (const { key, privateKey, sig } of made) {
      const keyid = keyidOf(key);
      const authority = { keys: { [keyid]: key }, role: { keyids: [keyid], threshold: 1 } };
      const bytes = new TextEncoder().encode(
        JSON.stringify({ signed: targets, signatures: [{ keyid, sig }] }),
      );
      assert.equal(await countSignatures(readMetadata("targets", bytes), authority), 1, key.scheme);
      // And we sign with a private key that OpenSSL made.
      const ours = readMetadata("targets", await signEnvelope(targets, [await importSigner(privateKey)]));
      assert.equal(await countSignatures(ours, authority), 1, key.scheme);
    }
  },
);

Deno.test("noble verifies our ML-DSA-65 signatures, and we its", async () => {
  const { secretKey, publicKey } = ml_dsa65.keygen();
  // RFC 9881: SubjectPublicKeyInfo of ML-DSA-65 up to the key.
  const spki = Uint8Array.from([
    ...Uint8Array.fromHex("308207b2300b0609608648016503040312038207a100"),
    ...publicKey,
  ]);
  const pem = `-----BEGIN PUBLIC KEY-----\n${spki.toBase64()}\n-----END PUBLIC KEY-----\n`;
  const key = { keytype: "ml-dsa", scheme: "ml-dsa-65/1", keyval: { public: pem } };
  const keyid = keyidOf(key);
  const signer = await generateSigner("ml-dsa-65");
  const ours = readMetadata("targets", await signEnvelope(targets, [signer]));
  const message = Uint8Array.from([
    ...new TextEncoder().encode("tuf"),
    1,
    ...createHash("sha512").update(ours.payload).digest(),
  ]);
  const ourKey = Uint8Array.fromBase64(
    signer.key.keyval.public.replaceAll(/-----[A-Z ]+-----/g, "").replaceAll("\n", ""),
  )
    .subarray(22);
  assert.ok(ml_dsa65.verify(Uint8Array.fromHex(ours.signatures[0].sig), message, ourKey));
  const sig = ml_dsa65.sign(message, secretKey).toHex();
  const authority = { keys: { [keyid]: key }, role: { keyids: [keyid], threshold: 1 } };
  assert.equal(await countSignatures({ payload: ours.payload, signatures: [{ keyid, sig }] }, authority), 1);
});
