// tuf-js reads the Image repository's metadata. It knows ECDSA keys; ML-DSA ones, of TUF's TAP 21, it does not know yet.

import assert from "node:assert/strict";
import { Metadata, MetadataKind } from "@tufjs/models";
import { Bench, image, signers } from "../uptane/fake_repositories.ts";

const text = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes));

Deno.test("tuf-js reads the Image repository with ECDSA keys and finds every signature good", async () => {
  const bench = await Bench.make("ecdsa-p256");
  const supplier = await signers(2);
  const side = bench.image;
  side.holders.root = { signers: await signers(3), threshold: 2 };
  await side.writeRoot();
  await side.writeDelegated("supplier", supplier, { "supplier/u.bin": image("supplied") });
  await bench.publish({ "body/1.bin": image("version 1") }, [{
    name: "supplier",
    paths: ["supplier/*"],
    hardwareIds: ["1.0"],
    keys: supplier.map(({ key }) => key),
    threshold: 2,
  }]);
  const first = Metadata.fromJSON(MetadataKind.Root, text(side.file("1.root.json")));
  const root = Metadata.fromJSON(MetadataKind.Root, text(side.file("2.root.json")));
  first.verifyDelegate("root", first);
  first.verifyDelegate("root", root);
  root.verifyDelegate("root", root);
  const timestamp = Metadata.fromJSON(MetadataKind.Timestamp, text(side.file("timestamp.json")));
  root.verifyDelegate("timestamp", timestamp);
  const snapshot = Metadata.fromJSON(MetadataKind.Snapshot, text(side.file("2.snapshot.json")));
  root.verifyDelegate("snapshot", snapshot);
  timestamp.signed.snapshotMeta.verify(Buffer.from(side.file("2.snapshot.json")));
  const targets = Metadata.fromJSON(MetadataKind.Targets, text(side.file("2.targets.json")));
  root.verifyDelegate("targets", targets);
  snapshot.signed.meta["targets.json"].verify(Buffer.from(side.file("2.targets.json")));
  const delegated = Metadata.fromJSON(MetadataKind.Targets, text(side.file("1.supplier.json")));
  targets.verifyDelegate("supplier", delegated);
  assert.equal(targets.signed.targets["body/1.bin"].length, 9);
  assert.equal(delegated.signed.targets["supplier/u.bin"].length, 8);
  assert.deepEqual([...targets.signed.delegations?.rolesForTarget("supplier/u.bin") ?? []], [
    { role: "supplier", terminating: false },
  ]);
  // And it sees a signature that is not good.
  side.holders.timestamp.signers = await signers(1);
  await side.writeTimestamp();
  const forged = Metadata.fromJSON(MetadataKind.Timestamp, text(side.file("timestamp.json")));
  assert.throws(() => root.verifyDelegate("timestamp", forged), /0\/1 keys/);
});

Deno.test("tuf-js parses metadata with ML-DSA-65 keys, but has no way to verify with them", async () => {
  const bench = await Bench.make("ml-dsa-65");
  const root = Metadata.fromJSON(MetadataKind.Root, text(bench.image.file("1.root.json")));
  const [key] = Object.values(root.signed.keys);
  assert.throws(() => key.verifySignature(root), /Unsupported key type: ml-dsa/);
});

Deno.test("tuf-js reads the Director's root, its role that attests the time included", async () => {
  const bench = await Bench.make("ecdsa-p256");
  const root = Metadata.fromJSON(MetadataKind.Root, text(bench.director.file("1.root.json")));
  root.verifyDelegate("root", root);
});
