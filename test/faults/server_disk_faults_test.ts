// The server's disk fails at any write of an update - full, broken, or taking a part of the bytes, once or until somebody sees
// to it: nothing half written is given out, no request ends in anything but an answer that says what is wrong, and the second try
// succeeds. ZONEBENCH_FULL_SWEEP=1 fails every operation; without it a part of them. The embedded database may stand still where
// its log cannot be written: what it was asked waits 30 s for the end of its limit then, and the second try for the database,
// which takes the full sweep its time.

import assert from "node:assert/strict";
import type { DiskFault, FailDiskOptions } from "../support/disk_faults.ts";
import { ServerDiskWorld } from "./server_disk_world.ts";

const full = Deno.env.get("ZONEBENCH_FULL_SWEEP") === "1";

/** What the server answers where its disk fails. */
const answers: Record<DiskFault, readonly string[]> = {
  ENOSPC: ["507 disk_full", "503 database_unavailable"],
  EIO: ["503 disk_failed", "503 database_unavailable"],
  short: [],
};

interface Sweep {
  name: string;
  faults: readonly DiskFault[];
  options: FailDiskOptions;
  /** The first operation that fails, unless all do; with the next fault it is the next operation. */
  first: number;
  /** Operations from one that fails to the next, unless all do; Infinity: one alone. */
  stride: number;
}

const sweeps: readonly Sweep[] = [
  {
    name: "a fault at each operation of its files",
    faults: ["ENOSPC", "EIO", "short"],
    options: { scope: "files" },
    first: 2,
    stride: 11,
  },
  {
    name: "files that fail from one operation on",
    faults: ["ENOSPC", "EIO"],
    options: { scope: "files", stays: true },
    first: 2,
    stride: 19,
  },
  {
    name: "a fault at each operation of the embedded database",
    faults: ["ENOSPC", "EIO", "short"],
    options: { scope: "database" },
    first: 1,
    stride: Infinity,
  },
  {
    name: "an embedded database whose files fail from one operation on",
    faults: ["ENOSPC", "EIO"],
    options: { scope: "database", stays: true },
    first: 1,
    stride: Infinity,
  },
];

async function sweep(world: ServerDiskWorld, { faults, options, first, stride }: Sweep): Promise<void> {
  for (const [index, fault] of faults.entries()) {
    const dry = await world.attempt(fault, Infinity, options);
    assert.equal(dry.failed, undefined);
    await world.converge();
    const ends: Record<string, number> = {};
    let injected = 0;
    for (let at = full ? 1 : first + index;; at += full ? 1 : stride) {
      const where = `${fault} at operation ${at}`;
      const tried = await world.attempt(fault, at, options);
      injected += tried.injected;
      if (tried.failed !== undefined) {
        const { step, status, code } = tried.failed;
        assert.ok(answers[fault].includes(`${status} ${code}`), `${where}: ${step}: ${status} ${code}`);
      }
      const end = tried.failed === undefined ? "done" : `${tried.failed.step} ${tried.failed.code}`;
      ends[end] = (ends[end] ?? 0) + 1;
      try {
        await world.answering();
        await world.assertWhole();
        await world.converge();
        await world.assertWhole();
        assert.deepEqual(await world.leftOvers(), []);
      } catch (cause) {
        throw new Error(`${where}, first try ${end}`, { cause });
      }
      if (tried.operations < at || !full && stride === Infinity) break;
    }
    assert.ok(injected > 0);
    console.log(`${fault}: ${dry.operations} operations, ${injected} failed: ${JSON.stringify(ends)}`);
  }
}

for (const [scope, hostname] of [["files", "127.0.94.1"], ["database", "127.0.94.2"]] as const) {
  Deno.test(`a server whose disk fails under its ${scope} converges with the second try`, async (test) => {
    await using world = await ServerDiskWorld.start(hostname);
    for (const one of sweeps.filter(({ options }) => options.scope === scope)) {
      await test.step(one.name, () => sweep(world, one));
    }
  });
}
