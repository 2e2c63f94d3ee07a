// docs/package.md: its example is what lies in the file that it names, and is a good package.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { canonicalJson } from "../../src/codec/canonical_json.ts";
import { readPackage } from "../../src/codec/read_package.ts";
import { importVerifyKey } from "../../src/pqc/signature.ts";

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const document = await Deno.readTextFile(at("docs/package.md"));
const file = await Deno.readFile(at("test/fixtures/package/example.otap"));
const key = await importVerifyKey(await Deno.readTextFile(at("test/fixtures/package/example.pub")));
const base = await Deno.readFile(at("test/fixtures/package/door-1.0.0.bin"));

function blocks(language: string): string[] {
  return [...document.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, "g"))].map(([, text]) => text);
}

Deno.test("the bytes in docs/package.md are those of the example", () => {
  let bytes = 0;
  for (const line of blocks("hex").join("").trim().split("\n")) {
    const match = /^([0-9a-f]{8}): ((?:[0-9a-f]{2} ?)+)$/.exec(line);
    assert.ok(match !== null, line);
    const expected = Uint8Array.fromHex(match[2].replaceAll(" ", ""));
    const offset = parseInt(match[1], 16);
    assert.deepEqual(file.subarray(offset, offset + expected.length), expected, line);
    bytes += expected.length;
  }
  // The header, and of the parts all but the end of the last blob.
  assert.equal(bytes, 16 + 146 + 64 + 10);
});

Deno.test("the manifest in docs/package.md is the example's", () => {
  const [text] = blocks("json");
  assert.deepEqual(canonicalJson(JSON.parse(text)), file.slice(16, 16 + 2_035));
});

Deno.test("the example of docs/package.md is a good package", async () => {
  const read = await readPackage([file], {
    verifyKeys: new Map([[key.keyId, key]]),
    expectVehicle: "KMHZB00BENCH00001",
    size: file.length,
    base: ({ sha256, size }) => {
      assert.equal(sha256, createHash("sha256").update(base).digest("hex"));
      return { size, fill: (room) => room.set(base) };
    },
  });
  assert.deepEqual(read.unmade, []);
  assert.equal(read.blobs.length, 3);
});
