// An image's bytes as they stream by: whole and right, or refused.

import assert from "node:assert/strict";
import { checkedImage, type CheckedImageOptions } from "../../../src/uptane/verify/image.ts";
import { inParts, refused } from "../fake_repositories.ts";

// By sha256sum and sha512sum of "version 1".
const signed = {
  filename: "body/1.bin",
  length: 9,
  hashes: {
    sha256: "b19f8edae2ee6c225b7278b289c2823ab9accfa225c5d67c4bef270b88ea55f0",
    sha512:
      "c454617a1012da19c3d9ac94d14904c6918a9ac6ebedb4e807befe43d1ca9aa4927b577cc149c734e0afa2a744e6ecd741f37b084760e8956452a95b76c2c807",
  },
};

async function read(text: string, image = signed, options?: CheckedImageOptions): Promise<string> {
  let got = "";
  for await (const part of checkedImage(inParts(new TextEncoder().encode(text), 4), image, options)) {
    got += new TextDecoder().decode(part);
  }
  return got;
}

Deno.test("the bytes that were signed pass", async () => {
  assert.equal(await read("version 1"), "version 1");
});

Deno.test("more, fewer and other bytes are refused, and every hash counts", async () => {
  await refused(read("version 1 and more"), "image_length", "endless data");
  await refused(read("version"), "image_short", "arbitrary software");
  await refused(read("version 2"), "image_hash", "arbitrary software");
  const { hashes } = signed;
  await refused(
    read("version 1", { ...signed, hashes: { ...hashes, sha512: "0".repeat(128) } }),
    "image_hash",
    "arbitrary software",
  );
});

Deno.test("an image that comes too slowly is given up; one that is fast enough over time is not", async () => {
  let time = 0;
  const now = () => time += 1000;
  await refused(
    read("version 1", signed, { minimumRate: 100, patience: 2000, now }),
    "image_speed",
    "slow retrieval",
  );
  assert.equal(await read("version 1", signed, { minimumRate: 2, patience: 2000, now }), "version 1");
});

Deno.test("options are checked", async () => {
  await assert.rejects(
    read("version 1", signed, { minimumRate: -1 }),
    /minimumRate: expected 0 or more, got -1/,
  );
  await assert.rejects(
    read("version 1", signed, { patience: 0 }),
    /patience: expected more than 0 ms, got 0/,
  );
});
