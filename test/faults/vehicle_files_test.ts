// The vehicle's disk fails under what it keeps beside the journal: trusted metadata, and images that deltas begin with. What was there
// stays whole, what is new is there whole or not at all, and the second try succeeds.

import assert from "node:assert/strict";
import { CodecPool } from "../../src/codec/pool.ts";
import { StateDatabase } from "../../src/vmg/state/database.ts";
import { ImageStore } from "../../src/vmg/update/image_store.ts";
import { SqliteMetadataStore } from "../../src/vmg/uptane/metadata_store.ts";
import { build, noise, open, part, sha256, withWorkbench } from "../codec/support.ts";
import { type DiskFault, failDisk, reachThreads } from "../support/disk_faults.ts";
import { makeImageDelta } from "../../src/codec/image_delta.ts";

Deno.test("trusted metadata on a full disk stays what it was, at each page that is missing", async () => {
  const directory = await Deno.makeTempDir({ prefix: "vehicle-files-" });
  try {
    using state = StateDatabase.open(directory);
    const store = new SqliteMetadataStore(state);
    const before = new Map([["root.json", new Uint8Array(9_000).fill(1)]]);
    const after = new Map([
      ["root.json", new Uint8Array(20_000).fill(2)],
      ["targets.json", new Uint8Array(50_000).fill(3)],
    ]);
    await store.replace("image", before);
    const limit = (pages: number) => state.sqlite.exec(`PRAGMA max_page_count = ${pages}`);
    const used = Number(state.sqlite.prepare("PRAGMA page_count").get()?.page_count);
    let failed = 0;
    for (let pages = used;; pages++) {
      limit(pages);
      try {
        await store.replace("image", after);
        break;
      } catch (error) {
        assert.match(String(error), /full/);
        failed++;
        assert.deepEqual(await store.load("image"), before);
      }
    }
    assert.ok(failed > 5, `only ${failed} failed`);
    assert.deepEqual(await store.load("image"), after);
    console.log(`metadata: ${failed} writes failed`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

for (const fault of ["ENOSPC", "EIO", "short"] satisfies DiskFault[]) {
  Deno.test(`${fault} at every operation of an image that is made from a delta and kept`, async () => {
    using _threads = reachThreads();
    await withWorkbench(async (bench) => {
      const base = noise(300_000, 1);
      const target = Uint8Array.from([...noise(30_000, 2), ...base.subarray(30_000)]);
      const whole = await part(bench, "ECU_001", target);
      const basePath = `${bench.directory}/base`;
      const deltaPath = `${bench.directory}/delta`;
      await Deno.writeFile(basePath, base);
      const from = { path: basePath, sha256: sha256(base), size: base.length };
      const made = await makeImageDelta(from, `${bench.directory}/ECU_001.image`, deltaPath, {
        pool: bench.pool,
      });
      const blob = { path: deltaPath, length: made.length, sha256: made.sha256, base: from };
      await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [{ ...whole, blob }] }]);
      const opened = await open(bench);
      const [entry] = opened.manifest.zonal_gateways[0].ecus;
      await using pool = new CodecPool();
      const store = new ImageStore({ directory: `${bench.directory}/images`, keep: 2 ** 30, pool });
      const image = { sha256: entry.image.sha256, size: entry.image.size };
      let failed = 0;
      let at = 1;
      for (;; at++) {
        await store.open();
        let operations: number;
        {
          using disk = failDisk(fault, at);
          try {
            await opened.extractImage(entry, store.path(image.sha256), { base: from });
          } catch {
            // What it says is the codec's; here it is what it leaves.
            failed++;
          }
          operations = disk.operations;
        }
        if (await store.has(image)) assert.ok(await store.check(image), `${fault} at operation ${at}`);
        await opened.extractImage(entry, store.path(image.sha256), { base: from });
        assert.ok(await store.check(image), `${fault} at operation ${at}: the second try`);
        await store.trim(new Set());
        assert.deepEqual(Array.from(Deno.readDirSync(store.directory), ({ name }) => name), [
          `${image.sha256}.bin`,
        ]);
        await Deno.remove(store.path(image.sha256));
        if (operations < at) break;
      }
      assert.ok(fault === "short" ? failed === 0 : failed >= 4, `${failed} of ${at - 1} failed`);
      console.log(`${fault}: ${at - 1} operations, ${failed} tries failed`);
    });
  });
}
