// The gateway's disk fails at any write of an update - full, broken, or taking a part of the bytes: all ECUs run the old
// software or all the new, and the second try succeeds.

import assert from "node:assert/strict";
import { type DiskFault, failDisk } from "../support/disk_faults.ts";
import { type RunEnd, type Update, UpdateWorld } from "./update_world.ts";

async function convergesAfter(
  world: UpdateWorld,
  update: Update,
  first: RunEnd,
  where: string,
): Promise<string> {
  const { end } = first.end === undefined ? await world.run(update) : first;
  const runs = end?.status === "completed" ? "2.0.0" : "1.0.0";
  await world.assertRuns(runs, `${where}: ${end?.status} ${end?.error ?? ""}`);
  const again = await world.run(world.begin("3.0.0", 3));
  assert.equal(again.end?.status, "completed", `${where}: the second try: ${again.end?.error}`);
  await world.assertRuns("3.0.0", `${where}: the second try`);
  return runs;
}

for (const fault of ["ENOSPC", "EIO", "short"] satisfies DiskFault[]) {
  Deno.test(`${fault} at every write, sync and rename of images and backups`, async () => {
    const ends: Record<string, number> = {};
    let at = 1;
    for (;; at++) {
      await using world = await UpdateWorld.start();
      const update = world.begin("2.0.0", 2);
      let first: RunEnd;
      let operations: number;
      {
        using disk = failDisk(fault, at);
        first = await world.run(update);
        operations = disk.operations;
      }
      const runs = await convergesAfter(world, update, first, `${fault} at operation ${at}`);
      ends[runs] = (ends[runs] ?? 0) + 1;
      if (fault === "short") assert.equal(runs, "2.0.0", "the rest is written after it");
      if (operations < at) {
        assert.equal(runs, "2.0.0");
        break;
      }
    }
    assert.ok(at > (fault === "short" ? 3 : 10), `only ${at - 1} operations`);
    console.log(`${fault}: ${at - 1} operations, all ECUs ran ${JSON.stringify(ends)}`);
  });
}

Deno.test("a journal that cannot be written, at every write of it", async () => {
  const ends: Record<string, number> = {};
  let write = 1;
  for (;; write++) {
    await using world = await UpdateWorld.start();
    const update = world.begin("2.0.0", 2);
    const first = await world.run(update, { failWrite: write });
    const runs = await convergesAfter(world, update, first, `journal write ${write}`);
    ends[runs] = (ends[runs] ?? 0) + 1;
    if (first.writes < write) break;
  }
  assert.ok(write > 15, `only ${write - 1} writes`);
  console.log(`journal: ${write - 1} writes failed, all ECUs ran ${JSON.stringify(ends)}`);
});
