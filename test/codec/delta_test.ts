import assert from "node:assert/strict";
import { applyDelta, type DeltaBase, makeDelta } from "../../src/codec/delta.ts";
import { DeltaBaseError, PackageContentError } from "../../src/codec/errors.ts";
import { applyImageDelta, makeImageDelta } from "../../src/codec/image_delta.ts";
import type { CompressedFile, CompressedRange } from "../../src/codec/zstd_files.ts";
import { noise, sha256, withWorkbench, type Workbench } from "./support.ts";

const old = noise(500_000, 1);
/** A byte in a hundred is another, and something stands before. */
const target = Uint8Array.from([
  ...noise(100, 2),
  ...old.map((byte, at) => at % 100 === 0 ? byte ^ 1 : byte),
]);

interface Delta {
  base: DeltaBase;
  made: CompressedFile;
  range: CompressedRange;
  back: string;
}

async function withDelta(run: (bench: Workbench, delta: Delta) => Promise<void>): Promise<void> {
  await withWorkbench(async (bench) => {
    const [path, input, output, back] = ["old", "new", "delta", "back"].map((name) =>
      `${bench.directory}/${name}`
    );
    await Deno.writeFile(path, old);
    await Deno.writeFile(input, target);
    const base = { path, sha256: sha256(old), size: old.length };
    const made = await makeDelta(base, input, output, 3);
    const { length, sha256: hash } = made;
    const range = {
      path: output,
      offset: 0,
      length,
      sha256: hash,
      imageSha256: sha256(target),
      imageSize: target.length,
    };
    await run(bench, { base, made, range, back });
    assert.deepEqual(
      [...Deno.readDirSync(bench.directory)].map(({ name }) => name).filter((name) => name.endsWith(".tmp")),
      [],
    );
  });
}

Deno.test("makeDelta() says what it made and from what; applyDelta() gives the target back", async () => {
  await withDelta(async (_, { base, made, range, back }) => {
    assert.deepEqual(made, {
      sha256: sha256(await Deno.readFile(range.path)),
      length: (await Deno.stat(range.path)).size,
      inputSha256: sha256(target),
      inputSize: target.length,
    });
    assert.ok(made.length < 100_000, `${made.length} bytes`);
    await applyDelta(base, range, back);
    assert.equal(sha256(await Deno.readFile(back)), sha256(target));
    await applyDelta(base, range, undefined);
  });
});

Deno.test("a delta may lie anywhere in a file", async () => {
  await withDelta(async ({ directory }, { base, range, back }) => {
    const path = `${directory}/package`;
    await Deno.writeFile(
      path,
      Uint8Array.from([...noise(77, 1), ...await Deno.readFile(range.path), ...noise(99, 2)]),
    );
    await applyDelta(base, { ...range, path, offset: 77 }, back);
    assert.equal(sha256(await Deno.readFile(back)), sha256(target));
  });
});

Deno.test("a base that is not what it is said to be is refused, making and applying", async () => {
  await withDelta(async ({ directory }, { base, range, back }) => {
    const flipped = { ...base, path: `${directory}/flipped` };
    await Deno.writeFile(flipped.path, old.map((byte) => byte ^ 1));
    const wrong = [
      flipped,
      { ...base, size: old.length - 1 },
      { ...base, size: old.length + 1 },
      // The beginning is what it is said to be, but more follows.
      { ...base, size: old.length - 1, sha256: sha256(old.subarray(0, -1)) },
    ];
    for (const other of wrong) {
      await assert.rejects(applyDelta(other, range, back), DeltaBaseError);
      await assert.rejects(makeDelta(other, base.path, back, 3), DeltaBaseError);
    }
    // What gives the target was the right base, whatever it is said to be; a delta is not made of it.
    const unnamed = { ...base, sha256: "0".repeat(64) };
    await assert.rejects(makeDelta(unnamed, base.path, back, 3), DeltaBaseError);
    await assert.rejects(
      applyDelta({ ...base, path: `${directory}/none` }, range, back),
      Deno.errors.NotFound,
    );
    await assert.rejects(Deno.stat(back), Deno.errors.NotFound);
  });
});

Deno.test("a delta on another base than its own gives no image, though the base is what it is said to be", async () => {
  await withDelta(async ({ directory }, { range, back }) => {
    const other = noise(500_000, 9);
    const path = `${directory}/other`;
    await Deno.writeFile(path, other);
    const base = { path, sha256: sha256(other), size: other.length };
    await assert.rejects(applyDelta(base, range, back), {
      name: "PackageContentError",
      code: "blob_not_zstd",
    });
    await assert.rejects(Deno.stat(back), Deno.errors.NotFound);
  });
});

Deno.test("a delta that is not what the manifest says is refused", async () => {
  await withDelta(async (_, { base, range, back }) => {
    const refused: [Partial<CompressedRange>, string][] = [
      [{ sha256: "0".repeat(64) }, "blob_hash"],
      [{ length: range.length - 1 }, "blob_hash"],
      [{ imageSha256: "0".repeat(64) }, "image_hash"],
      [{ imageSize: range.imageSize - 1 }, "image_too_long"],
      [{ imageSize: range.imageSize + 1 }, "image_too_short"],
    ];
    for (const [change, code] of refused) {
      await assert.rejects(applyDelta(base, { ...range, ...change }, back), { code });
    }
    await assert.rejects(Deno.stat(back), Deno.errors.NotFound);
  });
});

Deno.test("a delta that wants more memory than its target is refused", async () => {
  await withDelta(async (_, { base, range, back }) => {
    // A frame without content size and with a window of 128 MiB, for an image of a byte.
    const frame = Uint8Array.fromHex("28b52ffd008809000041");
    await Deno.writeFile(range.path, frame);
    const small = { ...range, length: frame.length, sha256: sha256(frame), imageSize: 1 };
    await assert.rejects(applyDelta(base, small, back), { code: "blob_window" });
  });
});

Deno.test("sizes and levels that no delta has are refused", async () => {
  await withDelta(async ({ pool }, { base, range, back }) => {
    for (const size of [0, 2 ** 28 + 1]) {
      await assert.rejects(applyImageDelta({ ...base, size }, range, back, { pool }), RangeError);
      await assert.rejects(applyImageDelta(base, { ...range, imageSize: size }, back, { pool }), RangeError);
      await assert.rejects(makeImageDelta({ ...base, size }, range.path, back, { pool }), RangeError);
      await assert.rejects(applyDelta({ ...base, size }, range, back), RangeError);
      await assert.rejects(applyDelta(base, { ...range, imageSize: size }, back), RangeError);
    }
    await assert.rejects(makeImageDelta(base, range.path, back, { pool, level: 23 }), RangeError);
  });
});

Deno.test("threads make and apply deltas, say how far they are, and give errors in their class", async () => {
  await withDelta(async ({ directory, pool }, { base, made, range, back }) => {
    let bytes = 0;
    const onProgress = (more: number) => void (bytes += more);
    const output = `${directory}/delta2`;
    assert.deepEqual(await makeImageDelta(base, `${directory}/new`, output, { pool, onProgress }), made);
    assert.equal(bytes, target.length);
    bytes = 0;
    await applyImageDelta(base, range, back, { pool, onProgress });
    assert.equal(bytes, range.length);
    assert.equal(sha256(await Deno.readFile(back)), sha256(target));
    const wrong = { ...base, path: `${directory}/wrong` };
    await Deno.writeFile(wrong.path, old.map((byte) => byte ^ 1));
    await assert.rejects(applyImageDelta(wrong, range, back, { pool }), DeltaBaseError);
    const damaged = { ...range, imageSha256: "0".repeat(64) };
    await assert.rejects(applyImageDelta(base, damaged, back, { pool }), PackageContentError);
  });
});

Deno.test("a delta that is called off leaves nothing behind", async () => {
  await withDelta(async ({ directory }, { base, range, back }) => {
    const signal = AbortSignal.abort(new Error("called off"));
    await assert.rejects(makeDelta(base, `${directory}/new`, `${directory}/x`, 3, { signal }), /called off/);
    await assert.rejects(applyDelta(base, range, back, { signal }), /called off/);
    await assert.rejects(Deno.stat(`${directory}/x`), Deno.errors.NotFound);
    await assert.rejects(Deno.stat(back), Deno.errors.NotFound);
  });
});
