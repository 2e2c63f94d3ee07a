// Going from root to root: rotation, revocation, a rotation that is cut off, and recovery from versions that were driven up.

import assert from "node:assert/strict";
import { provision } from "../../../src/uptane/verify/provision.ts";
import { Bench, directedTo, image, MemoryStore, refused, signers } from "../fake_repositories.ts";

Deno.test("roots are followed one by one, each signed by the keys before and its own", async () => {
  const bench = await Bench.make();
  for (const algorithm of ["ml-dsa-65", "ecdsa-p256", "ml-dsa-65"] as const) {
    bench.image.holders.root = { signers: await signers(2, algorithm), threshold: 2 };
    await bench.image.writeRoot();
  }
  const { image: versions } = await bench.verify();
  assert.equal(versions?.root, 4);
  assert.deepEqual(bench.fetched.filter((it) => /image.*root/.test(it)), [
    "image/2.root.json",
    "image/3.root.json",
    "image/4.root.json",
    "image/5.root.json",
  ]);
});

Deno.test("a root that the keys before did not sign is refused", async () => {
  const bench = await Bench.make();
  bench.image.holders.root = { signers: await signers(1), threshold: 1 };
  await bench.image.writeRoot(bench.image.holders.root.signers);
  await refused(bench.verify(), "root_signed_by_previous", "arbitrary software");
});

Deno.test("a root that its own keys did not sign is refused", async () => {
  const bench = await Bench.make();
  const before = bench.image.holders.root.signers;
  bench.image.holders.root = { signers: await signers(1), threshold: 1 };
  await bench.image.writeRoot(before);
  await refused(bench.verify(), "root_signed_by_itself", "arbitrary software");
});

Deno.test("a root with another version than the next is refused", async () => {
  for (const version of [1, 3]) {
    const bench = await Bench.make();
    await bench.image.writeRoot(undefined, version);
    await refused(bench.verify(), "root_version", "rollback");
  }
});

Deno.test("a revoked key signs nothing any more", async () => {
  const bench = await Bench.make();
  const stolen = bench.image.holders.targets.signers;
  bench.image.holders.targets = { signers: await signers(1), threshold: 1 };
  await bench.image.writeRoot();
  await bench.publish({ "body/1.bin": image("version 1") });
  await bench.verify();
  await bench.image.writeTargets({ "body/1.bin": image("version 1") }, { signers: stolen });
  await bench.image.release();
  await refused(bench.verify(), "targets_signed", "arbitrary software");
});

for (const role of ["timestamp", "snapshot", "targets"] as const) {
  Deno.test(`fast forward: after a rotation of the ${role} keys the role begins anew`, async () => {
    const bench = await Bench.make();
    const side = bench.image;
    const highest = Number.MAX_SAFE_INTEGER;
    if (role === "targets") {
      await side.writeTargets({ "body/1.bin": image("version 1") }, { version: highest });
      await side.release();
    } else {
      await side.writeSnapshot({ version: role === "snapshot" ? highest : undefined });
      await side.writeTimestamp({ version: role === "timestamp" ? highest : undefined });
    }
    await bench.verify();
    // The owner cannot go higher; new keys are what is left.
    side.versions[role] = 1;
    side.versions.timestamp = role === "timestamp" ? 1 : side.versions.timestamp;
    side.holders[role] = { signers: await signers(1), threshold: 1 };
    // Targets are listed in the snapshot with their version: its keys are rotated with them.
    if (role === "targets") side.holders.snapshot = { signers: await signers(1), threshold: 1 };
    await side.writeRoot();
    await side.writeTargets({ "body/1.bin": image("version 1") });
    await side.release();
    const { image: versions } = await bench.verify();
    assert.equal(versions?.root, 2);
    assert.ok(versions[role] < 10, String(versions[role]));
  });
}

Deno.test("a rotation that is cut off at any change of the store goes on where it was", async () => {
  let cuts = 0;
  for (let changes = 0;; changes++) {
    const bench = await Bench.make();
    await bench.verify();
    for (const side of [bench.director, bench.image]) {
      for (let rotation = 0; rotation < 3; rotation++) {
        for (const role of ["root", "timestamp", "snapshot", "targets"] as const) {
          side.holders[role] = { signers: await signers(1), threshold: 1 };
        }
        await side.writeRoot();
      }
    }
    await bench.publish({ "body/2.bin": image("version 2", 2) });
    await bench.direct({ "body/2.bin": directedTo(image("version 2", 2), "ECU_001") });
    bench.store.changesUntilCut = changes;
    try {
      await bench.verify();
      break;
    } catch (error) {
      assert.match(String(error), /power cut/);
      cuts++;
    }
    bench.store.changesUntilCut = Infinity;
    const { targets, director, image: versions } = await bench.verify();
    assert.deepEqual(targets.map(({ filename }) => filename), ["body/2.bin"]);
    assert.equal(director.root, 4);
    assert.equal(versions?.root, 4);
  }
  // Three roots, timestamp and snapshot of both repositories, and the targets of each.
  assert.equal(cuts, 12);
});

Deno.test("first roots are taken once, and only if they are signed", async () => {
  const bench = await Bench.make();
  const store = new MemoryStore();
  const roots = { director: bench.director.file("1.root.json"), image: bench.image.file("1.root.json") };
  const unsigned = await bench.image.writeRoot([]);
  await refused(
    provision(store, { ...roots, image: unsigned }),
    "root_signed_by_itself",
    "arbitrary software",
  );
  await refused(
    provision(store, { ...roots, image: Uint8Array.of(0x7b) }),
    "metadata_form",
    "malformed data",
  );
  assert.equal(store.repositories.size, 0);
  assert.deepEqual(await provision(store, roots), ["director", "image"]);
  const other = await Bench.make();
  const others = { director: other.director.file("1.root.json"), image: other.image.file("1.root.json") };
  assert.deepEqual(await provision(store, others), []);
  assert.deepEqual(store.repositories.get("image")?.get("root.json"), roots.image);
});
