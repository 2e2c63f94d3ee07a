// The PostgreSQL driver where it stands alone: start-up errors, a server that goes away, limits.
import assert from "node:assert/strict";
import {
  DatabaseTimeoutError,
  DatabaseUnavailableError,
  QueryError,
  StoreError,
} from "../../../src/server/store/errors.ts";
import { migrations } from "../../../src/server/store/migrations/mod.ts";
import { openStore } from "../../../src/server/store/mod.ts";
import { describeUrl, openPostgres } from "../../../src/server/store/postgres.ts";
import { requirePostgres, startPostgres } from "../../support/postgres.ts";
import type { TestPostgres } from "../../support/postgres.ts";

const missing = requirePostgres() === null;
let server: TestPostgres | undefined;

Deno.test.beforeAll(async () => {
  if (!missing) server = await startPostgres();
});
Deno.test.afterAll(async () => {
  await server?.stop();
});

function onServer(name: string, run: (server: TestPostgres) => Promise<void>): void {
  Deno.test({
    name,
    ignore: missing,
    fn: async () => {
      if (server === undefined) throw new Error("no server runs");
      await run(server);
    },
  });
}

/** The error's message and every cause below it, as a log would show it. */
function everything(error: unknown): string {
  return `${Deno.inspect(error, { depth: 10 })} ${
    error instanceof Error ? everything(error.cause ?? "") : ""
  }`;
}

Deno.test("an unreachable server is told with address and cause, without the password", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await assert.rejects(
    openPostgres({ url: `postgresql://bench:s3cret-word@127.0.0.1:${port}/bench` }),
    (error) => {
      assert(error instanceof DatabaseUnavailableError);
      assert.match(error.message, new RegExp(`no PostgreSQL at postgresql://bench@127.0.0.1:${port}/bench`));
      assert.match(error.message, /ECONNREFUSED/);
      assert.match(error.message, /check that PostgreSQL runs there/);
      assert.doesNotMatch(everything(error), /s3cret-word/);
      return true;
    },
  );
});

Deno.test("a server that accepts and says nothing is given up after the limit", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of listener) accepted.push(connection);
  })();
  try {
    await assert.rejects(
      openPostgres({ url: `postgresql://bench:x@127.0.0.1:${listener.addr.port}/bench`, connectLimit: 300 }),
      DatabaseUnavailableError,
    );
  } finally {
    listener.close();
    await accepting;
    for (const connection of accepted) connection.close();
  }
});

Deno.test("something that is no database URL is refused without being shown", () => {
  for (const url of ["mysql://u:s3cret-word@h/d", "s3cret-word", "postgresql//u:s3cret-word@h"]) {
    assert.throws(() => describeUrl(url), (error) => {
      assert(error instanceof StoreError);
      assert.match(error.message, /database\.url: expected postgresql:/);
      assert.doesNotMatch(everything(error), /s3cret-word/);
      return true;
    });
  }
});

Deno.test("the place of a URL is told without password and options", () => {
  assert.equal(
    describeUrl("postgres://bench:s3cret@db.example:5433/zone?sslmode=require&password=s3cret"),
    "postgresql://bench@db.example:5433/zone",
  );
});

onServer("a wrong password and a missing database say what to correct", async ({ url, password }) => {
  await assert.rejects(openPostgres({ url: url.replace(password, "wrong-s3cret") }), (error) => {
    assert(error instanceof DatabaseUnavailableError);
    assert.match(error.message, /28P01.*check the user and password in database\.url/);
    assert.doesNotMatch(everything(error), /wrong-s3cret/);
    return true;
  });
  await assert.rejects(openPostgres({ url: url.replace(/zonebench$/, "nowhere") }), (error) => {
    assert(error instanceof DatabaseUnavailableError);
    assert.match(error.message, /3D000.*create the database/);
    assert(!everything(error).includes(password));
    return true;
  });
});

onServer("a statement that takes too long is cancelled on the server", async ({ url, psql }) => {
  const database = await openPostgres({ url, statementLimit: 200 });
  try {
    await assert.rejects(database.query("select pg_sleep(60)"), DatabaseTimeoutError);
    assert.deepEqual(await database.query("select 1 as n"), [{ n: 1 }]);
    const running =
      "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(60)%'" +
      " and pid <> pg_backend_pid()";
    assert.equal(await psql(running), "0");
  } finally {
    await database.close();
  }
});

onServer("too many queries at once are refused instead of kept", async ({ url }) => {
  const database = await openPostgres({ url, maxWaiting: 5 });
  try {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => database.query("select 1")));
    const refused = results.filter((result) => result.status === "rejected");
    assert.equal(refused.length, 3);
    for (const { reason } of refused) assert(reason instanceof DatabaseUnavailableError);
  } finally {
    await database.close();
  }
});

onServer("a server that crashes fails what waits, and the store goes on when it is back", async (server) => {
  const database = await openPostgres({ url: server.url });
  try {
    await database.query("create table kept (id integer)");
    await database.query("insert into kept values (1)");
    // Waited for at once: a rejection that nobody handles yet would end the test.
    const waiting = assert.rejects(database.query("select pg_sleep(60)"), DatabaseUnavailableError);
    const between = assert.rejects(
      database.transaction(async (tx) => {
        await tx.query("insert into kept values (2)");
        await tx.query("select pg_sleep(60)");
      }),
      DatabaseUnavailableError,
    );
    const active =
      "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
    while (await server.psql(active) !== "2") await new Promise((resolve) => setTimeout(resolve, 20));
    await server.crash();
    await waiting;
    await between;
    await server.restart();
    const rows = await retried(() => database.query("select id from kept"));
    assert.deepEqual(rows, [{ id: 1 }]);
  } finally {
    await database.close();
  }
});

/** The driver waits a little longer after each failed connection: what runs meanwhile is told so and tried again. */
async function retried<T>(run: () => Promise<T>): Promise<T> {
  for (let round = 0; round < 100; round++) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof DatabaseUnavailableError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error("the database did not come back");
}

onServer("a closed database rejects, and closing twice is fine", async ({ url }) => {
  const database = await openPostgres({ url });
  await database.close();
  await database.close();
  await assert.rejects(database.query("select 1"), /the database is closed/);
});

onServer("two stores open one empty PostgreSQL at the same moment", async ({ url, psql }) => {
  const stores = await Promise.all([1, 2, 3].map(() => openStore({ url, directory: "/nonexistent" })));
  try {
    assert.equal(stores[0].kind, "postgresql");
    assert.equal(
      await psql("select string_agg(name, ',' order by version) from schema_migrations"),
      migrations.map(({ name }) => name).join(","),
    );
    // What the program wrote, seen by psql.
    await stores[1].vehicles.register({
      vin: "KMHXX00XXXX000001",
      vmgId: "VMG-001",
      vehicleModel: "Ioniq 5",
      vehicleYear: 2026,
    });
    assert.equal(await psql("select vin, vehicle_year from vehicles"), "KMHXX00XXXX000001|2026");
  } finally {
    for (const store of stores) await store.close();
  }
});

onServer("a constraint's name comes through", async ({ url }) => {
  const database = await openPostgres({ url });
  try {
    await database.query("create table limited (n integer constraint limited_n check (n < 3))");
    await assert.rejects(database.query("insert into limited values (5)"), (error) => {
      assert(error instanceof QueryError);
      assert.deepEqual([error.sqlState, error.constraint], ["23514", "limited_n"]);
      return true;
    });
  } finally {
    await database.close();
  }
});
