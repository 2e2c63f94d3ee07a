import assert from "node:assert/strict";
import zlib from "node:zlib";
import { compressFile, extractRange } from "../../src/codec/zstd.ts";
import { noise, sha256 } from "./support.ts";

async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("compressFile() and extractRange() give back what went in, for every size around their buffers", async () => {
  await withDirectory(async (directory) => {
    const [input, output, back] = ["in", "out", "back"].map((name) => `${directory}/${name}`);
    for (const size of [1, 131_071, 131_072, 131_073, 262_144, 262_145, 1_000_000]) {
      for (const payload of [noise(size, size), new Uint8Array(size)]) {
        await Deno.writeFile(input, payload);
        const compressed = await compressFile(input, output, 3);
        const bytes = await Deno.readFile(output);
        assert.deepEqual(compressed, {
          sha256: sha256(bytes),
          length: bytes.length,
          inputSha256: sha256(payload),
          inputSize: size,
        });
        // node:zlib's own decoder as second opinion.
        assert.equal(sha256(zlib.zstdDecompressSync(bytes)), sha256(payload));
        await extractRange(
          {
            path: output,
            offset: 0,
            length: bytes.length,
            sha256: sha256(bytes),
            imageSha256: sha256(payload),
            imageSize: size,
          },
          back,
        );
        assert.equal(sha256(await Deno.readFile(back)), sha256(payload));
      }
    }
  });
});

Deno.test("compressFile() takes every level of zstd and no other", async () => {
  await withDirectory(async (directory) => {
    await Deno.writeFile(`${directory}/in`, noise(10_000, 1));
    for (const level of [1, 19, 22]) {
      const { length } = await compressFile(`${directory}/in`, `${directory}/out`, level);
      assert.ok(length > 0);
    }
    for (const level of [0, 23, 1.5, -1]) {
      await assert.rejects(compressFile(`${directory}/in`, `${directory}/other`, level), RangeError);
    }
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name).sort(), ["in", "out"]);
  });
});

Deno.test("extractRange() refuses bytes behind the frame, though the hash vouches for them", async () => {
  await withDirectory(async (directory) => {
    const payload = noise(1000, 2);
    const frame = zlib.zstdCompressSync(payload);
    for (const behind of [frame, Uint8Array.of(0), noise(300_000, 3)]) {
      const bytes = Uint8Array.from([...frame, ...behind]);
      await Deno.writeFile(`${directory}/blob`, bytes);
      const range = {
        path: `${directory}/blob`,
        offset: 0,
        length: bytes.length,
        sha256: sha256(bytes),
        imageSha256: sha256(payload),
        imageSize: 1000,
      };
      await assert.rejects(extractRange(range, undefined), { code: "blob_not_zstd" });
    }
  });
});

Deno.test("work that is called off leaves nothing behind", async () => {
  await withDirectory(async (directory) => {
    await Deno.writeFile(`${directory}/in`, noise(1_000_000, 4));
    const controller = new AbortController();
    const onProgress = () => controller.abort(new Error("called off"));
    await assert.rejects(
      compressFile(`${directory}/in`, `${directory}/out`, 3, { signal: controller.signal, onProgress }),
      /called off/,
    );
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["in"]);
  });
});

Deno.test("what the highest level makes of more than a window, extractRange() still takes", async () => {
  await withDirectory(async (directory) => {
    const payload = new Uint8Array(9_000_000);
    await Deno.writeFile(`${directory}/in`, payload);
    const { sha256: hash, length, inputSha256 } = await compressFile(
      `${directory}/in`,
      `${directory}/out`,
      22,
    );
    await extractRange(
      {
        path: `${directory}/out`,
        offset: 0,
        length,
        sha256: hash,
        imageSha256: inputSha256,
        imageSize: payload.length,
      },
      undefined,
    );
  });
});
