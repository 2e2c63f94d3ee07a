// Packages against a reader in Python that follows docs/package.md alone, the zstd command, and OpenSSL 3.5's ML-DSA.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { compressImage } from "../../src/codec/compress_image.ts";
import { makeImageDelta } from "../../src/codec/image_delta.ts";
import { exportVerifyKey } from "../../src/pqc/signature.ts";
import { build, noise, part, sha256, signingKey, withWorkbench } from "../codec/support.ts";
import { interopTest, type Peer, peers } from "../support/peers.ts";
import { openssl } from "./tls_openssl_process.ts";

const python: Peer = {
  command: "/usr/bin/python3",
  probe: ["-c", "import hashlib"],
  install: "apt-get install python3",
};
const fixtures = fileURLToPath(new URL("../fixtures/package", import.meta.url));

interface Answer {
  manifest: { key_id: string };
  signed: string;
  signature: string;
}

async function run(
  command: string,
  args: string[],
): Promise<{ success: boolean; text: string; errors: string }> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  const [text, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { success, text, errors };
}

async function read(path: string, output: string, ...bases: string[]): Promise<Answer> {
  const script = fileURLToPath(new URL("./package_peer.py", import.meta.url));
  const { success, text, errors } = await run(python.command, [script, path, output, ...bases]);
  assert.ok(success, errors);
  return JSON.parse(text);
}

/** Whether OpenSSL verifies the signature, and that the key is the one that the manifest names. */
async function verified({ manifest, signed, signature }: Answer, pem: string): Promise<boolean> {
  const der = pem.replaceAll(/-----[^-]+-----|\s/g, "");
  assert.equal(createHash("sha256").update(Uint8Array.fromBase64(der)).digest("hex"), manifest.key_id);
  const code = "const [key, data, signature] = process.argv.slice(1);" +
    "console.log(crypto.verify(null, Buffer.from(data, 'base64'), key, Buffer.from(signature, 'base64')))";
  const { success, text, errors } = await run(openssl.command, ["-e", code, "--", pem, signed, signature]);
  assert.ok(success, errors);
  return text.trim() === "true";
}

interopTest(
  "the documented example is read by a reader of the document",
  [python, peers.zstd, openssl],
  async () => {
    const output = await Deno.makeTempDir();
    try {
      const answer = await read(`${fixtures}/example.otap`, output, `${fixtures}/door-1.0.0.bin`);
      assert.equal(await verified(answer, await Deno.readTextFile(`${fixtures}/example.pub`)), true);
      assert.equal(await Deno.readTextFile(`${output}/ECU_005`), "Body controller, version 1.2.0\n");
      const old = await Deno.readFile(`${fixtures}/door-1.0.0.bin`);
      assert.deepEqual(await Deno.readFile(`${output}/ECU_008`), old);
      old.set(new TextEncoder().encode("version 2.0.0"), 100);
      assert.deepEqual(await Deno.readFile(`${output}/ECU_006`), old);
    } finally {
      await Deno.remove(output, { recursive: true });
    }
  },
);

interopTest(
  "what is built here is read by a reader of the document",
  [python, peers.zstd, openssl],
  async () => {
    await withWorkbench(async (bench) => {
      const { directory, pool } = bench;
      const first = noise(700_000, 1);
      const second = Uint8Array.from([...noise(50_000, 2), ...first]);
      const a = await part(bench, "ECU_001", first);
      await Deno.writeFile(`${directory}/second`, second);
      const base = { sha256: sha256(first), size: first.length };
      const delta = await makeImageDelta(
        { path: `${directory}/ECU_001.image`, ...base },
        `${directory}/second`,
        `${directory}/delta`,
        { pool, level: 9 },
      );
      const whole = await compressImage(`${directory}/second`, `${directory}/whole`, { pool, level: 19 });
      const image = {
        ...a.image,
        sha256: sha256(second),
        size: second.length,
        segments: [{ address: 0, length: second.length }],
      };
      await build(bench, [
        { zonal_gateway_id: "ZG_BODY", ecus: [a, { ...a, ecu_id: "ECU_002" }] },
        {
          zonal_gateway_id: "ZG_REAR",
          ecus: [
            { ...a, ecu_id: "ECU_003" },
            {
              ...a,
              ecu_id: "ECU_004",
              image,
              blob: { path: `${directory}/delta`, length: delta.length, sha256: delta.sha256, base },
            },
            {
              ...a,
              ecu_id: "ECU_005",
              image,
              blob: { path: `${directory}/whole`, length: whole.length, sha256: whole.sha256 },
            },
          ],
        },
      ], { blockSize: 8_192 });
      const output = `${directory}/out`;
      await Deno.mkdir(output);
      const answer = await read(`${directory}/package.otap`, output, `${directory}/ECU_001.image`);
      const pem = exportVerifyKey(signingKey.publicKey);
      assert.equal(await verified(answer, pem), true);
      const signature = Uint8Array.fromBase64(answer.signature);
      signature[17] ^= 1;
      assert.equal(await verified({ ...answer, signature: signature.toBase64() }, pem), false);
      for (const ecu of ["ECU_001", "ECU_002", "ECU_003"]) {
        assert.deepEqual(await Deno.readFile(`${output}/${ecu}`), first, ecu);
      }
      for (const ecu of ["ECU_004", "ECU_005"]) {
        assert.deepEqual(await Deno.readFile(`${output}/${ecu}`), second, ecu);
      }
    });
  },
);
