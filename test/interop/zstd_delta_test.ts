// Deltas: the zstd command applies ours, and we apply the command's.

import assert from "node:assert/strict";
import { join } from "node:path";
import { applyDelta, makeDelta } from "../../src/codec/delta.ts";
import { sha256 } from "../codec/support.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

/** Two versions of an image as two builds are: code moved, addresses changed throughout, a part new, a part gone. */
function twoVersions(length: number): [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] {
  const old = sampleBytes(length, 11);
  const changed = old.map((byte, at) => at % 997 === 0 ? byte + 16 : byte);
  const third = Math.floor(length / 3);
  const parts = [changed.subarray(third), sampleBytes(5000, 12), changed.subarray(100, third - 3000)];
  const next = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    next.set(part, at);
    at += part.length;
  }
  return [old, next];
}

interface Pair {
  oldPath: string;
  newPath: string;
  deltaPath: string;
  backPath: string;
  old: Uint8Array<ArrayBuffer>;
  next: Uint8Array<ArrayBuffer>;
}

/** Smaller than a block, within a window of every level, and beyond the 8 MiB of plain blobs. */
const lengths = [1000, 300_000, 9_000_001];

async function forEachPair(run: (pair: Pair) => Promise<void>): Promise<void> {
  for (const length of lengths) {
    await using folder = await temporaryFolder();
    const [oldPath, newPath, deltaPath, backPath] = ["old", "new", "delta", "back"]
      .map((name) => join(folder.path, name));
    const [old, next] = twoVersions(length + 4000);
    await Deno.writeFile(oldPath, old);
    await Deno.writeFile(newPath, next);
    await run({ oldPath, newPath, deltaPath, backPath, old, next });
  }
}

const baseOf = ({ oldPath, old }: Pair) => ({ path: oldPath, size: old.length, sha256: sha256(old) });

async function zstd(...args: string[]): Promise<{ success: boolean; text: string }> {
  const { success, stderr } = await new Deno.Command(peers.zstd.command, { args }).output();
  return { success, text: new TextDecoder().decode(stderr) };
}

interopTest("the zstd command applies our deltas with --patch-from", [peers.zstd], async () => {
  await forEachPair(async (pair) => {
    for (const level of [1, 3, 9]) {
      await makeDelta(baseOf(pair), pair.newPath, pair.deltaPath, level);
      const { success, text } = await zstd(
        "-d",
        "-q",
        "-f",
        "--patch-from",
        pair.oldPath,
        pair.deltaPath,
        "-o",
        pair.backPath,
      );
      assert.ok(success, text);
      assert.equal(sha256(await Deno.readFile(pair.backPath)), sha256(pair.next));
    }
  });
});

interopTest("the zstd command finds our deltas wrong on another base", [peers.zstd], async () => {
  await forEachPair(async (pair) => {
    await makeDelta(baseOf(pair), pair.newPath, pair.deltaPath, 3);
    await Deno.writeFile(pair.oldPath, sampleBytes(pair.old.length, 99));
    const { success } = await zstd(
      "-d",
      "-f",
      "--patch-from",
      pair.oldPath,
      pair.deltaPath,
      "-o",
      pair.backPath,
    );
    assert.equal(success, false);
  });
});

interopTest("we apply deltas of the zstd command, of every kind that it makes", [peers.zstd], async () => {
  await forEachPair(async (pair) => {
    for (
      const options of [["-1"], ["-3"], ["-9"], ["-3", "--long=27"], ["-3", "--no-check"], ["-3", "-T2"]]
    ) {
      const { success, text } = await zstd(
        ...["-q", "-f", ...options, "--patch-from", pair.oldPath, pair.newPath, "-o", pair.deltaPath],
      );
      assert.ok(success, text);
      const delta = await Deno.readFile(pair.deltaPath);
      const range = {
        path: pair.deltaPath,
        offset: 0,
        length: delta.length,
        sha256: sha256(delta),
        imageSha256: sha256(pair.next),
        imageSize: pair.next.length,
      };
      await applyDelta(baseOf(pair), range, pair.backPath);
      assert.equal(sha256(await Deno.readFile(pair.backPath)), sha256(pair.next), options.join(" "));
    }
  });
});

interopTest("our deltas are at most a tenth larger than the zstd command's", [peers.zstd], async () => {
  await forEachPair(async (pair) => {
    if (pair.next.length < 100_000) return;
    for (const level of [1, 3, 9]) {
      const { length } = await makeDelta(baseOf(pair), pair.newPath, pair.deltaPath, level);
      await zstd("-q", "-f", `-${level}`, "--patch-from", pair.oldPath, pair.newPath, "-o", pair.deltaPath);
      const { size } = await Deno.stat(pair.deltaPath);
      assert.ok(length <= 1.1 * size, `level ${level}: ${length} bytes, the command's has ${size}`);
    }
  });
});
