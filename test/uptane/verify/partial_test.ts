// Partial verification: what a Secondary takes from the Director alone, and what it refuses all the same.

import assert from "node:assert/strict";
import { verifyPartially } from "../../../src/uptane/verify/partial.ts";
import type { VehicleEcu } from "../../../src/uptane/verify/director.ts";
import { Bench, directedTo, ecu, image, inDays, now, refused, signers, vin } from "../fake_repositories.ts";

async function partially(bench: Bench, more: { ecu?: VehicleEcu; time?: Date } = {}) {
  const newest = bench.director.file(`${bench.director.versions.targets}.targets.json`);
  bench.director.files.set("targets.json", newest);
  return await verifyPartially({
    store: bench.store,
    fetcher: bench.fetcher,
    time: more.time ?? now,
    vehicleId: vin,
    ecu: more.ecu ?? ecu("ECU_001"),
    signal: new AbortController().signal,
  });
}

Deno.test("a Secondary takes its image from the Director's root and targets alone", async () => {
  const bench = await Bench.make();
  const found = await partially(bench);
  assert.equal(found?.filename, "body/1.bin");
  assert.equal(found?.length, 9);
  assert.deepEqual(bench.fetched, ["director/2.root.json", "director/targets.json"]);
  assert.equal(await partially(bench, { ecu: ecu("ECU_002") }), undefined);
});

Deno.test("a Secondary follows a rotation of the Director's keys", async () => {
  const bench = await Bench.make();
  bench.director.holders.targets = { signers: await signers(1), threshold: 1 };
  await bench.director.writeRoot();
  await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001") });
  assert.equal((await partially(bench))?.filename, "body/1.bin");
});

Deno.test("a Secondary refuses what is old, expired, foreign, or for others", async () => {
  const bench = await Bench.make();
  const old = bench.director.versions.targets;
  await bench.direct({ "body/2.bin": directedTo(image("version 2", 2), "ECU_001") });
  await partially(bench);
  bench.director.versions.targets = old;
  await refused(partially(bench), "targets_rollback", "rollback");
  bench.director.versions.targets = 2;
  await refused(partially(bench, { time: inDays(91) }), "targets_expiry", "freeze");
  await refused(
    partially(bench, { ecu: ecu("ECU_001", { hardwareId: "2.0" }) }),
    "director_hardware",
    "wrong hardware",
  );
  await bench.direct({ "body/1.bin": directedTo(image("version 1", 1), "ECU_001") });
  await refused(partially(bench), "match_release_counter", "rollback");
  await bench.director.writeTargets({}, { vehicleId: vin, signers: await signers(1) });
  await refused(partially(bench), "targets_signed", "arbitrary software");
  await bench.direct({}, "KMHZB00BENCH00009");
  await refused(partially(bench), "director_vehicle", "wrong vehicle");
});
