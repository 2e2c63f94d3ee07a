// Databases that earlier programs wrote are brought forward with all their rows; those of newer programs are left alone.
//
// fixtures/database_schema_5.jsonl is the dump of a bench on which the program with schema version 5 carried out an update and
// a diagnosis. What older schemas had of it is put into each of them.
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Database } from "../../../src/server/store/database.ts";
import { columnsOf, identifier, namesOf } from "../../../src/server/store/dump.ts";
import { loadDatabase } from "../../../src/server/store/load.ts";
import { migrate } from "../../../src/server/store/migrate.ts";
import { migrations } from "../../../src/server/store/migrations/mod.ts";
import { createStore } from "../../../src/server/store/mod.ts";
import { openPglite } from "../../../src/server/store/pglite.ts";
import { prepareEmbedded } from "../../support/embedded.ts";
import { Program, temporaryFolder } from "../../support/program.ts";
import { onEachDatabase } from "../../support/stores.ts";

const released = 5;
const vin = "KMHZB00BENCH00001";

interface Table {
  columns: string[];
  rows: (string | null)[][];
}

/** The fixture's tables. */
async function fixture(): Promise<Map<string, Table>> {
  const text = await Deno.readTextFile(new URL("../../fixtures/database_schema_5.jsonl", import.meta.url));
  const tables = new Map<string, Table>();
  let table: Table = { columns: [], rows: [] };
  for (const line of text.trimEnd().split("\n")) {
    const value = JSON.parse(line);
    if (Array.isArray(value)) table.rows.push(value);
    else if (value.table !== undefined) tables.set(value.table, table = { columns: value.columns, rows: [] });
  }
  return tables;
}

/** What a schema has of the fixture, as its dump, and the tables of it. */
async function dumpAt(
  database: Database,
  level: number,
): Promise<{ lines: string[]; tables: Map<string, Table> }> {
  const tables = new Map<string, Table>();
  const names = await namesOf(database, "r");
  for (const [name, { columns, rows }] of await fixture()) {
    if (!names.includes(name)) continue;
    const known = (await columnsOf(database, name)).map((column) => column.name);
    const kept = columns.filter((column) => known.includes(column));
    assert.deepEqual(kept.toSorted(), known.toSorted(), `${name} at ${level}`);
    tables.set(name, {
      columns: kept,
      rows: rows.map((row) => kept.map((column) => row[columns.indexOf(column)])),
    });
  }
  const count = [...tables.values()].reduce((sum, { rows }) => sum + rows.length, 0);
  const lines = [
    {
      format: "zonebench-database",
      version: 1,
      migrations: migrations.slice(0, level).map(({ name }) => name),
    },
    ...[...tables].flatMap(([table, { columns, rows }]) => [{ table, columns }, ...rows]),
    { end: true, tables: tables.size, rows: count },
  ];
  return { lines: lines.map((line) => JSON.stringify(line)), tables };
}

async function* each(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

async function emptied(database: Database): Promise<void> {
  await database.query("drop schema public cascade");
  await database.query("create schema public");
}

onEachDatabase(Array.from({ length: released }, (_, index) => ({
  name: `a database of schema version ${index + 1} with rows is brought forward with all of them`,
  run: async (database: Database) => {
    const level = index + 1;
    try {
      await emptied(database);
      await migrate(database, migrations.slice(0, level));
      const { lines, tables } = await dumpAt(database, level);
      await emptied(database);
      await loadDatabase(database, each(lines), { migrations });

      const applied = await migrate(database, migrations);
      assert.deepEqual(applied, migrations.slice(level).map(({ name }) => name));
      for (const [table, { columns, rows }] of tables) {
        const values = columns.map((column, at) => `${identifier(column)}::text as c${at}`).join(", ");
        const found = await database.query<Record<string, string | null>>(
          `select ${values} from ${identifier(table)}`,
        );
        const texts = (all: unknown[][]) => all.map((row) => JSON.stringify(row)).sort();
        assert.deepEqual(
          texts(found.map((row) => columns.map((_, at) => row[`c${at}`]))),
          texts(rows),
          table,
        );
      }
      // The program's own queries find it.
      const store = createStore(database);
      assert.equal((await store.vehicles.get(vin)).vmgId, "VMG-001");
      assert.deepEqual((await store.updates.list({ limit: 10 })).items.map(({ status }) => status), [
        "completed",
      ]);
      assert.equal((await store.images.list({ limit: 10 })).items.length, 1);
    } finally {
      await emptied(database);
    }
  },
})));

Deno.test("serve refuses a database of a newer program, says so, and changes nothing", async () => {
  await using folder = await temporaryFolder();
  const directory = join(folder.path, "data/db");
  await prepareEmbedded(directory);
  const newer = [...migrations, {
    version: migrations.length + 1,
    name: "from the future",
    statements: ["create table new (n int)"],
  }];
  const edit = await openPglite({ directory });
  await migrate(edit, newer);
  await edit.close();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.77.0/24" });
  const { code, stderr } = await program.run(["serve", "--only", "server"]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    new RegExp(
      `error: the database has schema version ${newer.length}, this program knows versions up to ${migrations.length}: start a newer program`,
    ),
  );
  const look = await openPglite({ directory });
  assert.equal((await look.query("select from schema_migrations")).length, newer.length);
  await look.close();
});

Deno.test("a migration that is killed at any moment leaves the old schema or the new one", async () => {
  await using folder = await temporaryFolder();
  await prepareEmbedded(folder.path);
  const script = new URL("./migrate_child.ts", import.meta.url).pathname;
  const seen = new Set<string>();
  // Early, in the middle, and when it may be done.
  for (const wait of [0, 30, 150, 600, 2500]) {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "-A", script, folder.path],
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assert.match((await reader.read()).value ?? "", /^migrating/);
    await new Promise((resolve) => setTimeout(resolve, wait));
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();

    const database = await openPglite({ directory: folder.path });
    const done = await database.query<{ name: string }>(
      "select name from schema_migrations order by version",
    );
    const columns = (await columnsOf(database, "numbers")).map(({ name }) => name);
    const [{ count, sum }] = await database.query<{ count: number; sum: number }>(
      `select count(*), sum(${columns.includes("twice") ? "twice / 2" : "n"})::bigint as sum from numbers`,
    );
    assert.deepEqual([count, sum], [100_000, 5_000_050_000]);
    const state = `${done.map(({ name }) => name).join(" ")}: ${columns.join(" ")}`;
    assert.ok(["first: n", "first second: n twice"].includes(state), state);
    seen.add(state);
    await database.close();
  }
  assert.ok(seen.has("first: n"), "it was killed before its end at least once");
});
