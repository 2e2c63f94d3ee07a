// Migrations on both databases.
import assert from "node:assert/strict";
import { migrate } from "../../../src/server/store/migrate.ts";
import type { Migration } from "../../../src/server/store/migrate.ts";
import type { Database } from "../../../src/server/store/database.ts";
import { QueryError, SchemaVersionError } from "../../../src/server/store/errors.ts";
import { migrations } from "../../../src/server/store/migrations/mod.ts";
import { onEachDatabase } from "../../support/stores.ts";

const first: Migration = { version: 1, name: "first", statements: ["create table one (id integer)"] };
const second: Migration = {
  version: 2,
  name: "second",
  statements: ["create table two (id integer)", "insert into one values (2)"],
};

/** Runs a test in an empty schema. */
async function emptied(database: Database, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } finally {
    await database.query("drop schema public cascade");
    await database.query("create schema public");
  }
}

onEachDatabase([
  {
    name: "what is missing is applied, in order, once",
    run: (database) =>
      emptied(database, async () => {
        assert.deepEqual(await migrate(database, [first]), ["first"]);
        assert.deepEqual(await migrate(database, [first]), []);
        assert.deepEqual(await migrate(database, [first, second]), ["second"]);
        assert.deepEqual(await database.query("select id from one"), [{ id: 2 }]);
        assert.deepEqual(
          await database.query("select version, name from schema_migrations order by version"),
          [
            { version: 1, name: "first" },
            { version: 2, name: "second" },
          ],
        );
      }),
  },
  {
    name: "several servers that start at once apply each migration once",
    run: (database) =>
      emptied(database, async () => {
        const applied = await Promise.all(
          Array.from({ length: 5 }, () => migrate(database, [first, second])),
        );
        assert.deepEqual(applied.flat().sort(), ["first", "second"]);
        assert.deepEqual(await database.query("select id from one"), [{ id: 2 }]);
      }),
  },
  {
    name: "a migration that fails leaves nothing of itself, and those before it stay",
    run: (database) =>
      emptied(database, async () => {
        const broken: Migration = {
          ...second,
          statements: ["create table two (id integer)", "insert into nowhere values (1)"],
        };
        await assert.rejects(migrate(database, [first, broken]), QueryError);
        assert.deepEqual(await database.query("select name from schema_migrations"), [{ name: "first" }]);
        assert.deepEqual(await database.query("select to_regclass('two')::text as two"), [{ two: null }]);
        assert.deepEqual(await migrate(database, [first, second]), ["second"]);
      }),
  },
  {
    name: "a database that is newer than the program is refused and not touched",
    run: (database) =>
      emptied(database, async () => {
        await migrate(database, [first, second]);
        await assert.rejects(migrate(database, [first]), (error) => {
          assert(error instanceof SchemaVersionError);
          assert.deepEqual([error.found, error.known], [2, 1]);
          assert.match(
            error.message,
            /schema version 2, this program knows versions up to 1: start a newer program/,
          );
          return true;
        });
        assert.deepEqual(await database.query("select count(*) as n from schema_migrations"), [{ n: 2 }]);
      }),
  },
  {
    name: "a database with another program's migrations is refused",
    run: (database) =>
      emptied(database, async () => {
        await migrate(database, [{ ...first, name: "somebody else's" }]);
        await assert.rejects(migrate(database, [first, second]), SchemaVersionError);
      }),
  },
  {
    name: "the product's own migrations apply to an empty database",
    run: (database) =>
      emptied(database, async () => {
        assert.deepEqual(await migrate(database, migrations), migrations.map((migration) => migration.name));
      }),
  },
]);

Deno.test("migrate() refuses a list with a gap", async () => {
  const untouched: Database = {
    kind: "pglite",
    query: () => Promise.reject(new Error("not expected")),
    transaction: () => Promise.reject(new Error("not expected")),
    close: () => Promise.resolve(),
  };
  await assert.rejects(migrate(untouched, [second]), /migration second: expected version 1, got 2/);
});
