// Blobs of correctly signed packages that are not what the manifest says: bombs, huge windows, cut ones, another image.

import assert from "node:assert/strict";
import zlib from "node:zlib";
import { PackageError } from "../../src/codec/errors.ts";
import { noise, open, read, sha256, withWorkbench } from "./support.ts";
import { blob, craft, goodImage, manifestText, tabled } from "./crafted.ts";

/** What a blob that is signed as it is ends with, when its image is said to be `size` bytes with this hash. */
async function blobEnd(bytes: Uint8Array, size: number, hash: string): Promise<PackageError> {
  let found: unknown;
  const { part, entry } = tabled(bytes);
  await withWorkbench(async (bench) => {
    await craft(
      bench,
      manifestText([{
        id: "ZG_BODY",
        length: part.length,
        ecus: [{
          ecu_id: "ECU_001",
          image: { sha256: hash, size, segments: [{ address: 0, length: size }] },
          blob: entry,
        }],
      }]),
      part,
    );
    const opened = await open(bench);
    const [ecu] = opened.manifest.zonal_gateways[0].ecus;
    const codes = new Set<unknown>();
    for (
      const attempt of [
        () => opened.extractImage(ecu, undefined),
        () => opened.extractImage(ecu, `${bench.directory}/out`),
        () => read(bench),
      ]
    ) {
      try {
        await attempt();
        found = undefined;
      } catch (error) {
        found = error;
      }
      codes.add(found instanceof PackageError ? found.code : found);
    }
    assert.equal(codes.size, 1, `all readers say the same: ${[...codes].join(", ")}`);
    assert.deepEqual([...Deno.readDirSync(bench.directory)].map(({ name }) => name), ["package.otap"]);
  });
  assert.ok(found instanceof PackageError, String(found));
  assert.equal(found.name, "PackageContentError");
  return found;
}

Deno.test("a zstd bomb is stopped at the size that was declared", async () => {
  // 2 GiB of zeros in 64 KiB, made by hand (RFC 8878, section 3.1.1): magic, descriptor without content size, window of
  // 128 KiB, then 16,384 blocks that each repeat one byte 131,072 times; the last one says so.
  const blocks = 16_384;
  const frame = new Uint8Array(6 + 4 * blocks);
  frame.set([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
  for (let block = 0; block < blocks; block++) frame.set([0x02, 0x00, 0x10, 0x00], 6 + 4 * block);
  frame[frame.length - 4] |= 1;
  const before = Deno.memoryUsage().rss;
  assert.equal((await blobEnd(frame, 1000, "0".repeat(64))).code, "image_too_long");
  // A quarter of it at most: other test files run in this process too, and take of its memory.
  assert.ok(Deno.memoryUsage().rss - before < 2 ** 29, "memory stayed small");
});

Deno.test("blobs that are no frame, are cut, want a huge window or hold another image are refused", async () => {
  assert.equal((await blobEnd(noise(500, 10), 1000, goodImage.sha256)).code, "blob_not_zstd");
  assert.equal((await blobEnd(blob.subarray(0, 900), 1000, goodImage.sha256)).code, "image_too_short");
  assert.equal((await blobEnd(blob, 1001, goodImage.sha256)).code, "image_too_short");
  assert.equal((await blobEnd(blob, 999, goodImage.sha256)).code, "image_too_long");
  assert.equal((await blobEnd(blob, 1000, "0".repeat(64))).code, "image_hash");
  const zeros = new Uint8Array(2 ** 24);
  const wide = zlib.zstdCompressSync(new Uint8Array(2 ** 24 + 1), {
    params: { [zlib.constants.ZSTD_c_windowLog]: 24, [zlib.constants.ZSTD_c_contentSizeFlag]: 0 },
  });
  assert.equal(
    (await blobEnd(wide, zeros.length + 1, sha256(new Uint8Array(2 ** 24 + 1)))).code,
    "blob_window",
  );
});
