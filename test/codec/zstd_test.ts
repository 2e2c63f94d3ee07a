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
    for (const size of [1, 32_755, 32_768, 131_071, 131_072, 131_073, 262_144, 262_145, 1_000_000]) {
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

Deno.test("decompression is called off in the middle of a piece that gives much", async () => {
  await withDirectory(async (directory) => {
    // 1 GiB of zeros in 32 KiB by hand (RFC 8878, section 3.1.1): blocks that each repeat one byte 131,072 times.
    const blocks = 8192;
    const frame = new Uint8Array(6 + 4 * blocks);
    frame.set([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
    for (let block = 0; block < blocks; block++) frame.set([0x02, 0x00, 0x10, 0x00], 6 + 4 * block);
    frame[frame.length - 4] |= 1;
    await Deno.writeFile(`${directory}/blob`, frame);
    const range = {
      path: `${directory}/blob`,
      offset: 0,
      length: frame.length,
      sha256: sha256(frame),
      imageSha256: "0".repeat(64),
      imageSize: blocks * 131_072,
    };
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new Error("called off")), 60);
    await assert.rejects(extractRange(range, undefined, { signal: controller.signal }), /called off/);
    clearTimeout(timer);
  });
});

Deno.test("a file that grows or shrinks while it is compressed is an error and leaves nothing behind", async () => {
  await withDirectory(async (directory) => {
    for (const size of [999_999, 1_000_001]) {
      await Deno.writeFile(`${directory}/in`, noise(1_000_000, 6));
      let changed = false;
      const onProgress = () => {
        if (!changed) Deno.truncateSync(`${directory}/in`, size);
        changed = true;
      };
      await assert.rejects(
        compressFile(`${directory}/in`, `${directory}/out`, 3, { onProgress }),
        /in: expected 1000000 bytes, got (?:999999|more)$/,
      );
      assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["in"]);
    }
  });
});
