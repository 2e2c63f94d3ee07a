// Full verification: what it takes, and in what order.

import assert from "node:assert/strict";
import { signEnvelope } from "../../../src/uptane/envelope.ts";
import { makeTargets } from "../../../src/uptane/author.ts";
import { Bench, ecu, image, inDays, now, refused, silence } from "../fake_repositories.ts";

Deno.test("what both repositories say of an image is verified, check by check in the standard's order", async () => {
  const bench = await Bench.make("ml-dsa-65");
  const { targets, director, image: versions } = await bench.verify();
  assert.deepEqual(
    targets.map(({ ecuId, filename, length, releaseCounter, imageRole, hardwareId }) => ({
      ecuId,
      filename,
      length,
      releaseCounter,
      imageRole,
      hardwareId,
    })),
    [{
      ecuId: "ECU_001",
      filename: "body/1.bin",
      length: 9,
      releaseCounter: 1,
      imageRole: "targets",
      hardwareId: "1.0",
    }],
  );
  // By sha256sum.
  assert.equal(targets[0].hashes.sha256, "b19f8edae2ee6c225b7278b289c2823ab9accfa225c5d67c4bef270b88ea55f0");
  assert.deepEqual(director, { root: 1, timestamp: 1, snapshot: 1, targets: 1 });
  assert.deepEqual(versions, { root: 1, timestamp: 1, snapshot: 1, targets: 1 });
  assert.ok(bench.seen.every((it) => it.passed));
  const order = bench.seen.filter((it) => /_(?:expiry|signed)$/.test(it.code)).map((it) =>
    `${it.subject} ${it.code}`
  );
  assert.deepEqual(order, [
    "director root 1 root_expiry",
    "director timestamp timestamp_signed",
    "director timestamp timestamp_expiry",
    "director snapshot 1 snapshot_signed",
    "director snapshot 1 snapshot_expiry",
    "director targets 1 targets_signed",
    "director targets 1 targets_expiry",
    "image root 1 root_expiry",
    "image timestamp timestamp_signed",
    "image timestamp timestamp_expiry",
    "image snapshot 1 snapshot_signed",
    "image snapshot 1 snapshot_expiry",
    "image targets 1 targets_signed",
    "image targets 1 targets_expiry",
  ]);
});

Deno.test("what an ECU runs already is not asked of the Image repository", async () => {
  const bench = await Bench.make();
  const installed = image("version 1").hashes.sha256;
  const { targets, image: versions } = await bench.verify({ ecus: [ecu("ECU_001", { installed })] });
  assert.deepEqual(targets, []);
  assert.equal(versions, undefined);
  assert.ok(bench.fetched.every((it) => it.startsWith("director/")));
});

Deno.test("a second look fetches timestamps alone and gives the same plan", async () => {
  const bench = await Bench.make();
  const first = await bench.verify();
  bench.fetched.length = 0;
  assert.deepEqual(await bench.verify(), first);
  assert.deepEqual(bench.fetched, [
    "director/2.root.json",
    "director/timestamp.json",
    "image/2.root.json",
    "image/timestamp.json",
  ]);
});

Deno.test("a signal ends the wait, with its own reason", async () => {
  const bench = await Bench.make();
  const controller = new AbortController();
  bench.intercept = ({ role }) => {
    if (role === "snapshot") controller.abort(new Error("enough"));
    return role === "snapshot" ? silence() : undefined;
  };
  await assert.rejects(bench.verify({ signal: controller.signal }), /enough/);
});

Deno.test("an invalid time and an ECU that stands twice are refused before anything is fetched", async () => {
  const bench = await Bench.make();
  await assert.rejects(bench.verify({ time: new Date(NaN) }), RangeError);
  await assert.rejects(bench.verify({ ecus: [ecu("ECU_001"), ecu("ECU_001")] }), RangeError);
  await assert.rejects(bench.verify({ limits: { root: 0 } }), /limit root: expected .* got 0/);
  assert.deepEqual(bench.fetched, []);
});

Deno.test("a vehicle without roots, or with a damaged store, says so", async () => {
  const bench = await Bench.make();
  const stored = bench.store.repositories.get("director");
  bench.store.repositories.delete("director");
  await assert.rejects(bench.verify(), { name: "StoreError", code: "not_provisioned" });
  bench.store.repositories.set("director", new Map([...stored ?? [], ["timestamp.json", Uint8Array.of(1)]]));
  await assert.rejects(bench.verify(), { name: "StoreError", code: "store_damaged" });
});

Deno.test("unknown members are signed for and ignored", async () => {
  const bench = await Bench.make();
  const { holders } = bench.image;
  const signed = {
    ...makeTargets({ version: 2, expires: inDays(9), targets: { "body/1.bin": image("version 1") } }),
  };
  await bench.image.writeRole(
    "targets",
    { ...signed, "x-note": { "ü": [1, null, true] } },
    2,
    holders.targets.signers,
  );
  await bench.image.release();
  assert.equal((await bench.verify()).targets.length, 1);
  const tampered = await signEnvelope({ ...signed, "x-note": 2 }, []);
  const { signatures } = JSON.parse(new TextDecoder().decode(bench.image.file("2.targets.json")));
  const { signed: other } = JSON.parse(new TextDecoder().decode(tampered));
  const bytes = new TextEncoder().encode(JSON.stringify({ signatures, signed: { ...other, version: 3 } }));
  bench.image.files.set("3.targets.json", bytes);
  bench.image.targets.set("targets", { version: 3, bytes });
  await bench.image.release();
  await refused(bench.verify(), "targets_signed", "arbitrary software");
});

Deno.test("time is measured by the clock that is handed in", async () => {
  const bench = await Bench.make();
  await bench.verify({ time: new Date(now.getTime() - 1e12) });
  await refused(bench.verify({ time: inDays(8) }), "timestamp_expiry", "freeze");
});
