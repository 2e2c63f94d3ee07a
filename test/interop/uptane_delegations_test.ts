// An Image repository with delegations as `zonebench repo delegate` makes them, read by others: tuf-js, whose keys are ECDSA, and
// python-tuf, which knows ML-DSA-65 as well.

import assert from "node:assert/strict";
import { join } from "node:path";
import { Metadata, MetadataKind } from "@tufjs/models";
import { RepositoryAuthor } from "../../src/server/uptane/repository_author.ts";
import { RepositoryDirectory } from "../../src/server/uptane/repository_directory.ts";
import type { SignatureAlgorithm } from "../../src/uptane/keys.ts";
import { interopTest } from "../support/peers.ts";
import { image } from "../uptane/fake_repositories.ts";
import { pythonTuf, runPythonTuf } from "./uptane_python_tuf.ts";

/** A repository with a delegation to two keys, both of which must sign, one after it, and one that was removed. */
async function withRepository(
  algorithm: SignatureAlgorithm,
  run: (directory: RepositoryDirectory, author: RepositoryAuthor) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    const directory = new RepositoryDirectory(path);
    await directory.locked(async () => {
      // They go by the system's clock.
      const author = new RepositoryAuthor(directory, new Date());
      const one = { algorithms: [algorithm], threshold: 1 };
      await author.found("image", { root: one, timestamp: one, snapshot: one, targets: one, time: one });
      await author.publish({ "body/1.bin": image("version 1") });
      const keys = { make: [algorithm, algorithm] };
      await author.delegate({
        name: "supplier",
        paths: ["supplier/*"],
        keys,
        threshold: 2,
        hardwareIds: ["1.0"],
      });
      await author.delegate({
        name: "plant",
        paths: ["*/*"],
        keys: { make: [algorithm] },
        terminating: true,
      });
      await author.delegate({ name: "gone", paths: ["gone/*"], keys: { make: [algorithm] } });
      await author.publish({ "supplier/1.bin": image("supplied") }, { role: "supplier" });
      await author.publish({ "plant/1.bin": image("planted") }, { role: "plant" });
      await author.release();
      await author.undelegate("gone");
      await author.rotateDelegated("supplier");
      await author.release();
      await run(directory, author);
    });
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

Deno.test("tuf-js finds delegated roles good, and what they may sign, their keys being ECDSA", async () => {
  await withRepository("ecdsa-p256", async (directory) => {
    const text = async (name: string) =>
      JSON.parse(await Deno.readTextFile(join(directory.path, "image", name)));
    const root = Metadata.fromJSON(MetadataKind.Root, await text("1.root.json"));
    const timestamp = Metadata.fromJSON(MetadataKind.Timestamp, await text("timestamp.json"));
    root.verifyDelegate("timestamp", timestamp);
    const { version } = timestamp.signed.snapshotMeta;
    const snapshot = Metadata.fromJSON(MetadataKind.Snapshot, await text(`${version}.snapshot.json`));
    root.verifyDelegate("snapshot", snapshot);
    const shown = async (role: string) => {
      const name = `${snapshot.signed.meta[`${role}.json`].version}.${role}.json`;
      const bytes = await Deno.readFile(join(directory.path, "image", name));
      snapshot.signed.meta[`${role}.json`].verify(Buffer.from(bytes));
      return Metadata.fromJSON(MetadataKind.Targets, await text(name));
    };
    const targets = await shown("targets");
    root.verifyDelegate("targets", targets);
    const supplier = await shown("supplier");
    targets.verifyDelegate("supplier", supplier);
    const plant = await shown("plant");
    targets.verifyDelegate("plant", plant);
    assert.deepEqual(Object.keys(snapshot.signed.meta).sort(), [
      "gone.json",
      "plant.json",
      "supplier.json",
      "targets.json",
    ]);
    assert.deepEqual([...targets.signed.delegations?.rolesForTarget("supplier/1.bin") ?? []], [
      { role: "supplier", terminating: false },
      { role: "plant", terminating: true },
    ]);
    assert.equal(supplier.signed.targets["supplier/1.bin"].length, 8);
    // One role's keys are not another's.
    assert.throws(() => targets.verifyDelegate("supplier", plant), /0\/2 keys/);
  });
});

for (const algorithm of ["ml-dsa-65", "ecdsa-p256"] as const) {
  interopTest(`python-tuf finds images in delegated roles with ${algorithm} keys`, [pythonTuf], async () => {
    await withRepository(algorithm, async (directory, author) => {
      const names = ["body/1.bin", "supplier/1.bin", "plant/1.bin", "gone/1.bin"];
      const look = async () =>
        JSON.parse(await runPythonTuf(["client", join(directory.path, "image")], JSON.stringify(names)));
      const found = await look();
      // printf supplied | sha256sum
      assert.equal(
        found["supplier/1.bin"].hashes.sha256,
        "98b2be5d5090d7ce964911a8bbbf1d02fd81072a5e4950d28b7ad08ca324687c",
      );
      assert.deepEqual(names.map((name) => found[name]?.length ?? null), [9, 8, 7, null]);
      // What a terminating delegation keeps a vehicle from finding, it keeps python-tuf from too.
      await author.delegate({ name: "gate", paths: ["supplier/*"], terminating: true, before: "supplier" });
      await author.release();
      assert.equal((await look())["supplier/1.bin"], null);
    });
  });
}
