import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileImage } from "../../../../hardware/flash/format/file_image.ts";
import { memoryImage } from "../../../../hardware/flash/format/memory_image.ts";
import type { FirmwareImage, Segment } from "../../../../hardware/flash/image.ts";

const payload = Uint8Array.from({ length: 700_000 }, (_, at) => at * 7 + (at >> 8) & 0xff);
const sha256 = createHash("sha256").update(payload).digest();
const segments: Segment[] = [{ address: 0, length: 300_000 }, { address: 0x10000000, length: 400_000 }];

async function withBoth(run: (image: FirmwareImage) => Promise<void>): Promise<void> {
  await run(memoryImage(segments, payload));
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, payload);
    await run(fileImage(path, segments, sha256));
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("an image reads any range: small, larger than what is read ahead, backwards, at the end", async () => {
  await withBoth(async (image) => {
    assert.equal(image.size, 700_000);
    assert.deepEqual(new Uint8Array(image.sha256), new Uint8Array(sha256));
    await using reader = await image.open();
    for (
      const [offset, length] of [[0, 1], [1, 4093], [699_999, 1], [250_000, 20_000], [10, 600_000], [5, 5], [
        0,
        700_000,
      ], [
        700_000,
        0,
      ]]
    ) {
      const into = new Uint8Array(length);
      await reader.read(offset, into);
      assert.deepEqual(into, payload.slice(offset, offset + length));
    }
  });
});

Deno.test("reads that run at the same time, on one reader and on several, do not mix", async () => {
  await withBoth(async (image) => {
    await using one = await image.open();
    await using other = await image.open();
    await Promise.all(Array.from({ length: 200 }, async (_, turn) => {
      const offset = (turn * 104_729) % 690_000;
      const into = new Uint8Array(9_999);
      await (turn % 2 ? one : other).read(offset, into);
      assert.deepEqual(into, payload.slice(offset, offset + 9_999));
    }));
  });
});

Deno.test("a range past the end is refused", async () => {
  await withBoth(async (image) => {
    await using reader = await image.open();
    await assert.rejects(reader.read(699_999, new Uint8Array(2)), RangeError);
    await assert.rejects(reader.read(-1, new Uint8Array(1)), RangeError);
    await assert.rejects(reader.read(0.5, new Uint8Array(1)), RangeError);
  });
});

Deno.test("segments that are no image are refused", () => {
  for (
    const wrong of [
      [],
      [{ address: 0, length: 0 }],
      [{ address: 0, length: 4 }, { address: 4, length: 4 }],
      [{ address: 8, length: 4 }, { address: 0, length: 4 }],
      [{ address: 0xffffffff, length: 2 }],
      [{ address: -1, length: 2 }],
    ]
  ) assert.throws(() => fileImage("unused", wrong, sha256), RangeError);
  assert.throws(() => fileImage("unused", segments, new Uint8Array(31)), RangeError);
  assert.throws(() => memoryImage([{ address: 0, length: 2 }], new Uint8Array(3)), RangeError);
});

Deno.test("fileImage() refuses a file of another size", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, payload.subarray(1));
    await assert.rejects(
      fileImage(path, segments, sha256).open(),
      /expected a payload of 700000 bytes .* found 699999/,
    );
  } finally {
    await Deno.remove(path);
  }
});
