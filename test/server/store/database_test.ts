// What the store relies on, the same on both databases: types, errors, transactions, the end.
import assert from "node:assert/strict";
import { json } from "../../../src/server/store/database.ts";
import type { Param, Sql } from "../../../src/server/store/database.ts";
import {
  DatabaseTimeoutError,
  InvalidArgumentError,
  QueryError,
  StoreError,
} from "../../../src/server/store/errors.ts";
import { onEachDatabase } from "../../support/stores.ts";

async function one(sql: Sql, text: string, params?: Param[]): Promise<Record<string, unknown>> {
  const [row] = await sql.query<Record<string, unknown>>(text, params);
  return row;
}

onEachDatabase([
  {
    name: "each SQL type has one JavaScript type",
    run: async (database) => {
      const row = await one(
        database,
        `select true as yes, false as no, 7::smallint as small, -8::integer as whole, 9007199254740991::bigint as safe,
          9007199254740992::bigint as big, 1.5::double precision as double, 0.5::real as single, 'NaN'::float8 as nan,
          12.340::numeric as exact, 'text'::text as words, '2026-02-03 04:05:06.789+02'::timestamptz as moment,
          '2026-02-03 04:05:06'::timestamp as local, '{"a": [1, null, "x"]}'::jsonb as object, '"text"'::json as inner_text,
          '\\x00ff10'::bytea as raw_bytes, 'c0ffee00-0000-4000-8000-000000000000'::uuid as id, null::bigint as nothing,
          'null'::jsonb as json_null, '2026-02-03'::date as day, sum(x) as total, count(*) as counted
         from generate_series(1, 3) as x`,
      );
      assert.deepEqual(row, {
        yes: true,
        no: false,
        small: 7,
        whole: -8,
        safe: 9007199254740991,
        big: 9007199254740992n,
        double: 1.5,
        single: 0.5,
        nan: NaN,
        exact: "12.340",
        words: "text",
        moment: new Date("2026-02-03T02:05:06.789Z"),
        local: new Date("2026-02-03T04:05:06.000Z"),
        object: { a: [1, null, "x"] },
        innerText: "text",
        rawBytes: Uint8Array.of(0, 255, 16),
        id: "c0ffee00-0000-4000-8000-000000000000",
        nothing: null,
        jsonNull: null,
        day: "2026-02-03",
        total: 6,
        counted: 3,
      });
      assert.equal(Object.getPrototypeOf(row.rawBytes), Uint8Array.prototype);
    },
  },
  {
    name: "parameters come back as they went in",
    run: async (database) => {
      const moment = new Date("2026-05-06T07:08:09.012Z");
      const row = await one(
        database,
        `select $1::text as a, $2::bigint as b, $3::boolean as c, $4::boolean as d, $5::timestamptz as e, $6::bytea as f,
          $7::jsonb as g, $8::jsonb as h, $9::double precision as i, $10::integer as j, $11::bigint as k, $12::text as l`,
        [
          'it\'s "quoted" \\ é 🚗',
          -5,
          true,
          false,
          moment,
          Uint8Array.of(1, 2, 254),
          json({ nested: [{ text: "x" }] }),
          json("just text"),
          0.1,
          null,
          9007199254740993n,
          "",
        ],
      );
      assert.deepEqual(row, {
        a: 'it\'s "quoted" \\ é 🚗',
        b: -5,
        c: true,
        d: false,
        e: moment,
        f: Uint8Array.of(1, 2, 254),
        g: { nested: [{ text: "x" }] },
        h: "just text",
        i: 0.1,
        j: null,
        k: 9007199254740993n,
        l: "",
      });
    },
  },
  {
    name: "JSON with characters that PostgreSQL refuses is stored with U+FFFD in their place",
    run: async (database) => {
      const row = await one(database, "select $1::jsonb as value", [
        json({ a: "x\0y", b: "\ud800", c: "\\u0000", d: "🚗", e: "\\\0" }),
      ]);
      assert.deepEqual(row.value, { a: "x\ufffdy", b: "\ufffd", c: "\\u0000", d: "🚗", e: "\\\ufffd" });
    },
  },
  {
    name: "a parameter that no text can carry is refused with its number",
    run: async (database) => {
      await assert.rejects(database.query("select $1::text, $2::text", ["a", "b\0"]), (error) => {
        assert(error instanceof InvalidArgumentError);
        assert.equal(error.argument, "$2");
        return true;
      });
      await assert.rejects(database.query("select $1::timestamptz", [new Date(NaN)]), InvalidArgumentError);
    },
  },
  {
    name: "a refused statement says its SQLSTATE and constraint",
    run: async (database) => {
      await database.query("create table things (id integer constraint things_pk primary key)");
      try {
        await database.query("insert into things values (1)");
        await assert.rejects(database.query("insert into things values ($1)", [1]), (error) => {
          assert(error instanceof QueryError);
          assert.equal(error.sqlState, "23505");
          assert.equal(error.constraint, "things_pk");
          return true;
        });
        await assert.rejects(database.query("select nonsense"), (error) => {
          assert(error instanceof QueryError);
          assert.equal(error.sqlState, "42703");
          return true;
        });
        assert.deepEqual(await database.query("select id from things"), [{ id: 1 }]);
      } finally {
        await database.query("drop table things");
      }
    },
  },
  {
    name: "a transaction is committed whole or not at all",
    run: async (database) => {
      await database.query("create table things (id integer primary key)");
      try {
        const value = await database.transaction(async (tx) => {
          await tx.query("insert into things values (1)");
          await tx.query("insert into things values (2)");
          return "done";
        });
        assert.equal(value, "done");
        const reason = new Error("the caller's own");
        await assert.rejects(
          database.transaction(async (tx) => {
            await tx.query("insert into things values (3)");
            throw reason;
          }),
          (error) => error === reason,
        );
        assert.deepEqual(await database.query("select id from things order by id"), [{ id: 1 }, { id: 2 }]);
      } finally {
        await database.query("drop table things");
      }
    },
  },
  {
    name:
      "a transaction in which a statement failed is not reported as committed, even when its error was swallowed",
    run: async (database) => {
      await database.query("create table things (id integer primary key)");
      try {
        await assert.rejects(
          database.transaction(async (tx) => {
            await tx.query("insert into things values (1)");
            await tx.query("insert into things values (1)").catch(() => {});
          }),
          QueryError,
        );
        assert.deepEqual(await database.query("select id from things"), []);
      } finally {
        await database.query("drop table things");
      }
    },
  },
  {
    name: "transactions that run at once do not mix, and single statements go on between them",
    run: async (database) => {
      await database.query("create table counter (n integer)");
      await database.query("insert into counter values (0)");
      try {
        const add = () =>
          database.transaction(async (tx) => {
            const [{ n }] = await tx.query<{ n: number }>("select n from counter for update");
            await tx.query("select 1");
            await tx.query("update counter set n = $1", [n + 1]);
          });
        const reads = Array.from(
          { length: 20 },
          () => database.query<{ n: number }>("select n from counter"),
        );
        await Promise.all([...Array.from({ length: 20 }, add), ...reads]);
        assert.deepEqual(await database.query("select n from counter"), [{ n: 20 }]);
      } finally {
        await database.query("drop table counter");
      }
    },
  },
  {
    name: "a transaction that exceeds its limit is rolled back and leaves the database usable",
    run: async (database) => {
      await database.query("create table things (id integer primary key)");
      try {
        let late: Promise<unknown> | undefined;
        const gate = Promise.withResolvers<void>();
        await assert.rejects(
          database.transaction(async (tx) => {
            await tx.query("insert into things values (1)");
            await gate.promise;
            late = tx.query("insert into things values (2)");
            await late;
          }, { limit: 50 }),
          DatabaseTimeoutError,
        );
        gate.resolve();
        await new Promise((resolve) => setTimeout(resolve, 0));
        await assert.rejects(late ?? Promise.resolve(), StoreError);
        assert.deepEqual(await database.query("select id from things"), []);
      } finally {
        await database.query("drop table things");
      }
    },
  },
  {
    name: "a transaction's handle is dead after its end",
    run: async (database) => {
      let kept: Sql | undefined;
      await database.transaction(async (tx) => {
        kept = tx;
        await tx.query("select 1");
      });
      await assert.rejects(kept?.query("select 1") ?? Promise.resolve(), /the transaction has ended/);
    },
  },
  {
    name: "a thousand queries at once are all answered",
    run: async (database) => {
      const answers = await Promise.all(
        Array.from({ length: 1000 }, (_, n) => database.query<{ n: number }>("select $1::integer as n", [n])),
      );
      assert.deepEqual(answers.map(([row]) => row.n), Array.from({ length: 1000 }, (_, n) => n));
    },
  },
]);
