// A dump beside a server's work: as of one moment, and the work goes on.
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Database } from "../../../src/server/store/database.ts";
import { dumpBeside } from "../../../src/server/store/dump.ts";
import { openPglite } from "../../../src/server/store/pglite.ts";
import { openPostgres } from "../../../src/server/store/postgres.ts";
import { prepareEmbedded } from "../../support/embedded.ts";
import { requirePostgres, startPostgres } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/program.ts";

/** Dumps while transactions add a row to each of two tables; each must be in the dump with both or with none. */
async function dumpedWhileWorking(database: Database, directory: string): Promise<void> {
  await database.query("create table a (n bigint)");
  await database.query("create table b (n bigint)");
  let n = 0;
  let stopped = false;
  const work = (async () => {
    while (!stopped) {
      await database.transaction(async (tx) => {
        await tx.query("insert into a values ($1)", [++n]);
        await tx.query("insert into b values ($1)", [n]);
      });
    }
  })();
  while (n < 10) await new Promise((resolve) => setTimeout(resolve, 10));
  let text = "";
  let begun = 0;
  await dumpBeside(database, directory, {
    write: async (lines) => {
      begun ||= n;
      text += lines;
      // Between the two tables many transactions pass.
      await new Promise((resolve) => setTimeout(resolve, 100));
    },
  });
  stopped = true;
  await work;
  const [a, b] = text.split('{"table":"b"');
  const rows = (part: string) => part.split("\n").filter((line) => line.startsWith('["'));
  assert.ok(rows(a).length > 0);
  assert.deepEqual(rows(a), rows(b));
  assert.ok(n > begun, "work went on while the dump was written");
}

Deno.test("pglite: a dump has each transaction whole while more of them come, and leaves no copy behind", async () => {
  await using folder = await temporaryFolder();
  await prepareEmbedded(folder.path);
  const database = await openPglite({ directory: folder.path });
  try {
    // What a killed program left goes with the next dump.
    await Deno.mkdir(join(folder.path, "snapshot-left"));
    await dumpedWhileWorking(database, folder.path);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(folder.path))).map(({ name }) => name).sort(), [
      "lock",
      "pg",
    ]);
  } finally {
    await database.close();
  }
});

Deno.test("pglite: a dump whose reader goes away ends and leaves no copy behind", async () => {
  await using folder = await temporaryFolder();
  await prepareEmbedded(folder.path);
  const database = await openPglite({ directory: folder.path });
  try {
    await database.query("create table a (n bigint)");
    const gone = dumpBeside(database, folder.path, { write: () => Promise.reject(new Error("gone")) });
    await assert.rejects(gone, /gone/);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(folder.path))).map(({ name }) => name).sort(), [
      "lock",
      "pg",
    ]);
    await database.query("insert into a values (1)");
  } finally {
    await database.close();
  }
});

Deno.test({
  name: "postgresql: a dump has each transaction whole while more of them come",
  ignore: requirePostgres() === null,
  fn: async () => {
    const server = await startPostgres();
    const database = await openPostgres({ url: server.url });
    try {
      await dumpedWhileWorking(database, "");
    } finally {
      await database.close();
      await server.stop();
    }
  },
});
