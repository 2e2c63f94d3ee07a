// A database written down and read again, within one kind and from one to the other.
import assert from "node:assert/strict";
import type { Database } from "../../../src/server/store/database.ts";
import { dumpDatabase } from "../../../src/server/store/dump.ts";
import { DumpError, DumpReader, linesOf } from "../../../src/server/store/dump_lines.ts";
import { QueryError, SchemaVersionError } from "../../../src/server/store/errors.ts";
import { DatabaseNotEmptyError, loadDatabase } from "../../../src/server/store/load.ts";
import { migrate } from "../../../src/server/store/migrate.ts";
import type { Migration } from "../../../src/server/store/migrate.ts";
import { migrations } from "../../../src/server/store/migrations/mod.ts";
import { createStore } from "../../../src/server/store/mod.ts";
import { onEachDatabase } from "../../support/stores.ts";
import { addImage, registerVehicle, VIN } from "./cases/sample.ts";

const schema: Migration[] = [{
  version: 1,
  name: "first",
  statements: [
    `create table vehicles (vin text primary key)`,
    // A table that refers to itself, and to one that comes later in the alphabet.
    `create table parts (
      seq bigint generated always as identity primary key,
      parent bigint references parts,
      vehicle text not null references vehicles,
      data bytea, at timestamptz, size double precision, big bigint, name text, free jsonb, is_on boolean,
      twice double precision generated always as (size * 2) stored
    )`,
    // What a migration puts in must not stand there twice after a restore.
    `insert into vehicles values ('made by the migration')`,
  ],
}];

/** Written by hand: what the rows below are in PostgreSQL's text forms. */
const written = [
  '{"format":"zonebench-database","version":1,"migrations":["first"]}',
  '{"table":"parts","columns":["seq","parent","vehicle","data","at","size","big","name","free","is_on"]}',
  '["1",null,"V1","\\\\x00ff0a","2026-11-21 10:00:00.123456+00","0.1","9223372036854775807","a\\tb\\n\\"\\\\","{\\"k\\": 1}","true"]',
  '["2","1","V1",null,null,null,null,null,null,null]',
  '{"table":"vehicles","columns":["vin"]}',
  '["made by the migration"]',
  '["V1"]',
  '{"sequence":"parts_seq_seq","last_value":"2","is_called":true}',
  '{"end":true,"tables":2,"rows":4}',
];

async function emptied(database: Database, run: () => Promise<void>): Promise<void> {
  const empty = async () => {
    await database.query("drop schema public cascade");
    await database.query("create schema public");
  };
  await empty();
  try {
    await run();
  } finally {
    await empty();
  }
}

async function dumped(database: Database): Promise<string[]> {
  let text = "";
  await dumpDatabase(database, { write: (lines) => Promise.resolve(void (text += lines)) });
  return text.trimEnd().split("\n");
}

async function* each(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

/** What the first database's dump of the product's own schema was, for the other one to load. */
let own: string[] | undefined;

onEachDatabase([
  {
    name: "a dump has every value as it is written by hand",
    run: (database) =>
      emptied(database, async () => {
        await migrate(database, schema);
        await database.query("insert into vehicles values ('V1')");
        await database.query(
          `insert into parts (vehicle, data, at, size, big, name, free, is_on) values
           ('V1', '\\x00ff0a', '2026-11-21 11:00:00.123456+01', 0.1, 9223372036854775807, $1, '{"k":1}', true)`,
          ['a\tb\n"\\'],
        );
        await database.query("insert into parts (parent, vehicle) values (1, 'V1')");
        assert.deepEqual(await dumped(database), written);
      }),
  },
  {
    name: "what was dumped is there after loading, and numbering goes on where it was",
    run: (database) =>
      emptied(database, async () => {
        assert.deepEqual(await loadDatabase(database, each(written), { migrations: schema }), {
          tables: 2,
          rows: 4,
        });
        assert.deepEqual(await dumped(database), written);
        assert.deepEqual(
          await database.query("insert into parts (vehicle, size) values ('V1', 2) returning seq, twice"),
          [{ seq: 3, twice: 4 }],
        );
        await assert.rejects(database.query("insert into parts (vehicle) values ('nobody')"), QueryError);
      }),
  },
  {
    name: "a load that fails, also at its very last step, leaves nothing",
    run: (database) =>
      emptied(database, async () => {
        const tables = () => database.query("select from pg_tables where schemaname = 'public'");
        const late = { migrations: schema, beforeCommit: () => Promise.reject(new Error("no room")) };
        await assert.rejects(loadDatabase(database, each(written), late), /no room/);
        assert.equal((await tables()).length, 0);
        // A row whose vehicle is missing: found when the references are put on again.
        const torn = written.filter((line) => line !== '["V1"]').with(-1, '{"end":true,"tables":2,"rows":3}');
        await assert.rejects(
          loadDatabase(database, each(torn), { migrations: schema }),
          /violates foreign key/,
        );
        assert.equal((await tables()).length, 0);
        await assert.rejects(
          loadDatabase(database, each(written.slice(0, -1)), { migrations: schema }),
          DumpError,
        );
        assert.equal((await tables()).length, 0);
      }),
  },
  {
    name: "a database that holds something is not loaded into",
    run: (database) =>
      emptied(database, async () => {
        await database.query("create table precious (id integer)");
        await assert.rejects(
          loadDatabase(database, each(written), { migrations: schema }),
          (error) => error instanceof DatabaseNotEmptyError && /precious/.test(error.message),
        );
      }),
  },
  {
    name: "a dump of a newer program is refused before anything is made",
    run: (database) =>
      emptied(database, async () => {
        const newer = written.with(
          0,
          '{"format":"zonebench-database","version":1,"migrations":["first","second"]}',
        );
        await assert.rejects(
          loadDatabase(database, each(newer), { migrations: schema }),
          (error) =>
            error instanceof SchemaVersionError && /schema version 2.*up to 1.*newer/s.test(error.message),
        );
        const foreign = written.with(
          0,
          '{"format":"zonebench-database","version":1,"migrations":["theirs"]}',
        );
        await assert.rejects(
          loadDatabase(database, each(foreign), { migrations: schema }),
          /migration 1 is "theirs", expected "first"/,
        );
      }),
  },
  {
    name: "tables and columns that the schema has not are refused by name",
    run: (database) =>
      emptied(database, async () => {
        const load = (lines: string[]) => loadDatabase(database, each(lines), { migrations: schema });
        await assert.rejects(
          load(written.with(4, '{"table":"pg_authid","columns":["rolname"]}')),
          /pg_authid/,
        );
        await assert.rejects(
          load(written.with(4, '{"table":"vehicles","columns":["vim"]}')),
          /vehicles\.vim/,
        );
        await assert.rejects(
          load(written.with(7, written[7].replace("parts_seq", "other_seq"))),
          /other_seq_seq/,
        );
      }),
  },
  {
    name: "the product's own schema survives the way to the other kind of database",
    run: (database) =>
      emptied(database, async () => {
        if (own === undefined) {
          await migrate(database, migrations);
          const store = createStore(database);
          await registerVehicle(store);
          await addImage(store);
          await store.telemetry.add([
            { vin: VIN, timestamp: new Date(0), metrics: { speed: 0.1, odd: 1e-300 }, messageId: "m" },
          ]);
          own = await dumped(database);
        } else {
          await loadDatabase(database, each(own), { migrations });
          assert.deepEqual(await dumped(database), own);
          await migrate(database, migrations);
          assert.equal((await createStore(database).vehicles.get(VIN))?.vin, VIN);
        }
      }),
  },
]);

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield new TextEncoder().encode(text);
}

Deno.test("lines are put together across chunks, and one without an end is refused", async () => {
  assert.deepEqual(await Array.fromAsync(linesOf(chunks("a", "b\ncä", "\n\nd\n"))), ["ab", "cä", "", "d"]);
  await assert.rejects(Array.fromAsync(linesOf(chunks("a\nb"))), /cut off in mid-line/);
});

Deno.test("a dump whose lines are not what they should be is refused with the line's number", () => {
  const refused = (lines: string[], message: RegExp) => {
    const reader = new DumpReader();
    assert.throws(() => {
      for (const line of lines) reader.read(line);
      reader.finish();
    }, (error) => error instanceof DumpError && message.test(error.message));
  };
  const [header, table, row] = written;
  refused(['{"format":"zonebench-database","version":2,"migrations":[]}'], /line 1.*version/s);
  refused(["[]"], /line 1/);
  refused([header, row], /line 2: expected a table before its rows/);
  refused([header, table, '["1"]'], /line 3: expected 10 values/);
  refused([header, table, row.replace('"1"', "1")], /line 3: expected text or null/);
  refused([header, table, table], /line 3: expected each table once/);
  refused([header, '{"table":"a\\"b","columns":["c"]}'], /line 2: expected a table/);
  refused([header, table, row], /cut off after line 3/);
  refused([header, table, row, '{"end":true,"tables":1,"rows":2}'], /line 4: expected 1 tables and 1 rows/);
  refused([header, "{"], /line 2: expected JSON/);
});
