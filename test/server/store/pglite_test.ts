// The embedded database where it stands alone: its directory, kill -9, a worker that hangs or crashes, limits.
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  DatabaseLockedError,
  DatabaseTimeoutError,
  DatabaseUnavailableError,
} from "../../../src/server/store/errors.ts";
import { openStore } from "../../../src/server/store/mod.ts";
import { openPglite } from "../../../src/server/store/pglite.ts";
import { TextLineStream } from "./lines.ts";

let directory = "";

Deno.test.beforeAll(async () => {
  directory = await Deno.makeTempDir({ prefix: "zonebench-embedded-" });
});
Deno.test.afterAll(async () => {
  await Deno.remove(directory, { recursive: true });
});

/** The worker's channel outlives the moment in which a test ends; that it is gone is asserted by reopening. */
const lenient = { sanitizeOps: false, sanitizeResources: false };

Deno.test({
  name: "a first start that was cut off is begun anew, and what is stored is there after a restart",
  ...lenient,
  fn: async () => {
    // What a first start leaves behind that was killed in the middle.
    await Deno.mkdir(join(directory, "pg.new", "base"), { recursive: true });
    await Deno.writeTextFile(join(directory, "pg.new", "PG_VERSION"), "1");
    const store = await openStore({ directory });
    await store.vehicles.register({
      vin: "KMHXX00XXXX000001",
      vmgId: "VMG-001",
      vehicleModel: "Ioniq 5",
      vehicleYear: 2026,
    });
    await store.close();
    const again = await openStore({ directory });
    assert.equal((await again.vehicles.find("VMG-001"))?.vin, "KMHXX00XXXX000001");
    await again.close();
    assert.deepEqual(Array.from(Deno.readDirSync(directory), (entry) => entry.name).sort(), ["lock", "pg"]);
  },
});

Deno.test({
  name: "a lock file of PostgreSQL's own that a full disk left empty does not keep the database shut",
  ...lenient,
  fn: async () => {
    await (await openPglite({ directory })).close();
    await Deno.writeFile(join(directory, "pg", "postmaster.pid"), new Uint8Array());
    const database = await openPglite({ directory });
    assert.deepEqual(await database.query("select 1 as n"), [{ n: 1 }]);
    await database.close();
  },
});

Deno.test({
  name: "a second program on the same directory is refused and told which process has it",
  ...lenient,
  fn: async () => {
    const database = await openPglite({ directory });
    try {
      await assert.rejects(openPglite({ directory }), (error) => {
        assert(error instanceof DatabaseLockedError);
        assert.match(error.message, new RegExp(`in use by another program \\(process ${Deno.pid}\\)`));
        return true;
      });
      assert.deepEqual(await database.query("select 1 as n"), [{ n: 1 }]);
    } finally {
      await database.close();
    }
  },
});

Deno.test({
  name:
    "every acknowledged row is there after kill -9, again and again, and the dead program's lock blocks nobody",
  ...lenient,
  fn: async () => {
    const own = join(directory, "killed");
    let acknowledged = 0;
    for (const rows of [40, 75, 20]) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-lock", new URL("./embedded_child.ts", import.meta.url).pathname, own],
        stdin: "null",
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const before = acknowledged;
      for await (
        const line of child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
      ) {
        if (line !== "ready") acknowledged = Number(line);
        if (acknowledged === before + rows) child.kill("SIGKILL");
      }
      assert.equal((await child.status).signal, "SIGKILL");
      assert(acknowledged >= before + rows);
    }
    const database = await openPglite({ directory: own });
    try {
      const [{ count, least, most }] = await database.query<{ count: number; least: number; most: number }>(
        "select count(*) as count, min(n) as least, max(n) as most from acknowledged where length(filler) = 500",
      );
      // One more may have been stored whose acknowledgement the kill cut off; there is no gap.
      assert(count >= acknowledged, `${acknowledged} were acknowledged, ${count} are there`);
      assert.deepEqual([least, most], [1, count]);
    } finally {
      await database.close();
    }
  },
});

Deno.test({
  name:
    "a statement without end is given up, whoever waits is told, and the database goes on with what it had",
  ...lenient,
  fn: async () => {
    const database = await openPglite({ directory, statementLimit: 1500 });
    try {
      await database.query("create table kept (n integer)");
      await database.query("insert into kept values (1)");
      const endless = database.query("select count(*) from generate_series(1, 100000000000)");
      const behind = database.query("insert into kept values (2)");
      const results = await Promise.allSettled([endless, behind]);
      for (const result of results) {
        assert(result.status === "rejected" && result.reason instanceof DatabaseTimeoutError);
        assert.match(result.reason.message, /a statement took longer than 1500 ms/);
      }
      assert.deepEqual(await database.query("select n from kept"), [{ n: 1 }]);
      await assert.rejects(
        database.transaction(async (tx) => {
          await tx.query("insert into kept values (3)");
          await tx.query("select count(*) from generate_series(1, 100000000000)");
        }, { limit: 1000 }),
        DatabaseTimeoutError,
      );
      assert.deepEqual(await database.query("select n from kept"), [{ n: 1 }]);
    } finally {
      await database.query("drop table kept");
      await database.close();
    }
  },
});

Deno.test({
  name: "a long query does not hold the program's event loop",
  ...lenient,
  fn: async () => {
    const database = await openPglite({ directory });
    try {
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      await database.query("select count(*) from generate_series(1, 2000000)");
      clearInterval(timer);
      // On the event loop itself there could be no tick at all while the query runs.
      assert(ticks > 2, `${ticks} ticks`);
    } finally {
      await database.close();
    }
  },
});

Deno.test({
  name: "too many waiting queries are refused, and closing rejects those that wait",
  ...lenient,
  fn: async () => {
    const database = await openPglite({ directory, maxWaiting: 3 });
    const entered = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const holding = database.transaction(async (tx) => {
      entered.resolve();
      await gate.promise;
      return await tx.query("select 1 as n");
    });
    await entered.promise;
    const waiting = Promise.allSettled(Array.from({ length: 3 }, () => database.query("select 1")));
    await assert.rejects(database.query("select 1"), /the database is busy: 3 queries wait already/);
    const closing = database.close();
    gate.resolve();
    assert.deepEqual(await holding, [{ n: 1 }]);
    await closing;
    for (const result of await waiting) {
      assert(result.status === "rejected" && result.reason instanceof DatabaseUnavailableError);
    }
    await assert.rejects(database.query("select 1"), /the database is closed/);
    await database.close();
  },
});

Deno.test({
  name: "opening can be cancelled, and leaves the directory free",
  ...lenient,
  fn: async () => {
    await assert.rejects(openPglite({ directory, signal: AbortSignal.abort(new Error("stop")) }), /stop/);
    const abort = new AbortController();
    const opening = openPglite({ directory, signal: abort.signal });
    setTimeout(() => abort.abort(new Error("stop now")), 30);
    await assert.rejects(opening, /stop now/);
    const database = await openPglite({ directory });
    await database.close();
  },
});
