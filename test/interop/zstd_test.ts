// The zstd command reads our blobs, and we read the command's.

import assert from "node:assert/strict";
import { join } from "node:path";
import { compressFile, extractRange } from "../../src/codec/zstd.ts";
import { sha256 } from "../codec/support.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

async function zstd(...args: string[]): Promise<Uint8Array> {
  const { success, stdout, stderr } = await new Deno.Command(peers.zstd.command, { args })
    .output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return stdout;
}

// Longer than the largest window, 8 MiB.
const image = sampleBytes(9_000_001, 3);

interopTest(
  "the zstd command decompresses our blobs and finds their checksum right",
  [peers.zstd],
  async () => {
    await using folder = await temporaryFolder();
    const [input, output] = [join(folder.path, "in"), join(folder.path, "out.zst")];
    await Deno.writeFile(input, image);
    for (const level of [1, 3]) {
      await compressFile(input, output, level);
      await zstd("-q", "-t", output);
      assert.equal(sha256(await zstd("-d", "-c", output)), sha256(image));
      const list = new TextDecoder().decode(await zstd("-lv", output));
      assert.match(list, /Frames: 1\n/);
      assert.match(list, /\(9000001 B\)/);
      assert.match(list, /Check: XXH64/);
    }
  },
);

interopTest(
  "we decompress blobs of the zstd command, with and without size and checksum",
  [peers.zstd],
  async () => {
    await using folder = await temporaryFolder();
    const [input, blob, back] = ["in", "blob", "back"].map((name) => join(folder.path, name));
    await Deno.writeFile(input, image);
    for (const args of [["-1"], ["-3", "--no-check"], ["-15", "--no-content-size"], ["-T2", "-3"]]) {
      await zstd("-q", ...args, "-f", input, "-o", blob);
      const bytes = await Deno.readFile(blob);
      await extractRange(
        {
          path: blob,
          offset: 0,
          length: bytes.length,
          sha256: sha256(bytes),
          imageSha256: sha256(image),
          imageSize: image.length,
        },
        back,
      );
      assert.equal(sha256(await Deno.readFile(back)), sha256(image));
    }
  },
);
