// Runs the same tests on every database that the store knows. One database of each kind is opened for a test file, and its
// tables are emptied before each test.
import type { Database } from "../../src/server/store/database.ts";
import { migrate } from "../../src/server/store/migrate.ts";
import { migrations } from "../../src/server/store/migrations/mod.ts";
import { createStore } from "../../src/server/store/mod.ts";
import type { Store } from "../../src/server/store/mod.ts";
import { openPglite } from "../../src/server/store/pglite.ts";
import { openPostgres } from "../../src/server/store/postgres.ts";
import { prepareEmbedded } from "./embedded.ts";
import { requirePostgres, startPostgres } from "./postgres.ts";
import type { TestPostgres } from "./postgres.ts";

/** A clock that stands until a test moves it. */
export class TestClock {
  #time = Date.UTC(2026, 0, 1, 12, 0, 0);
  now = (): Date => new Date(this.#time);
  /** Moves it by `ms`. */
  advance(ms: number): void {
    this.#time += ms;
  }
  /** `ms` from where it stands. */
  in(ms: number): Date {
    return new Date(this.#time + ms);
  }
}

interface Opened {
  database: Database;
  end(): Promise<void>;
}

const openers: Record<Database["kind"], () => Promise<Opened>> = {
  pglite: async () => {
    const directory = await Deno.makeTempDir({ prefix: "zonebench-pglite-" });
    await prepareEmbedded(directory);
    const database = await openPglite({ directory });
    return {
      database,
      end: async () => {
        await database.close();
        await Deno.remove(directory, { recursive: true });
      },
    };
  },
  postgresql: async () => {
    const server: TestPostgres = await startPostgres();
    const database = await openPostgres({ url: server.url });
    return {
      database,
      end: async () => {
        await database.close();
        await server.stop();
      },
    };
  },
};

export type DatabaseTest = (database: Database) => void | Promise<void>;

/** Runs the registered tests on both databases; call it once a file. The databases are empty, without a schema. */
export function onEachDatabase(tests: readonly { name: string; run: DatabaseTest }[]): void {
  const opened = new Map<Database["kind"], Opened>();
  const kinds: Database["kind"][] = ["pglite", "postgresql"];
  const missing = requirePostgres() === null;
  Deno.test.beforeAll(async () => {
    for (const kind of kinds) {
      if (kind === "postgresql" && missing) continue;
      opened.set(kind, await openers[kind]());
    }
  });
  Deno.test.afterAll(async () => {
    for (const { end } of opened.values()) await end();
  });
  for (const kind of kinds) {
    for (const { name, run } of tests) {
      Deno.test({
        name: `${kind}: ${name}`,
        ignore: kind === "postgresql" && missing,
        // The databases outlive a test on purpose: opening one for each would take seconds.
        sanitizeOps: false,
        sanitizeResources: false,
        fn: async () => {
          const database = opened.get(kind)?.database;
          if (database === undefined) throw new Error(`no ${kind} database is open`);
          await run(database);
        },
      });
    }
  }
}

export interface StoreTestContext {
  store: Store;
  database: Database;
  clock: TestClock;
}

export interface StoreTest {
  name: string;
  run(context: StoreTestContext): Promise<void>;
}

/** Runs store tests on both databases, each on empty tables. Call it once a file. */
export function onEachStore(tests: readonly StoreTest[]): void {
  onEachDatabase(tests.map(({ name, run }) => ({
    name,
    run: async (database) => {
      await migrate(database, migrations);
      await emptyTables(database);
      const clock = new TestClock();
      await run({ database, clock, store: createStore(database, { now: clock.now }) });
    },
  })));
}

/** Empties the tables that have rows: emptying all of them takes longer than most tests. */
async function emptyTables(database: Database): Promise<void> {
  const tables = await database.query<{ tablename: string }>(
    "select tablename from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'",
  );
  const looks = tables.map(({ tablename }) =>
    `select '${tablename}' as tablename where exists (select from ${tablename})`
  );
  const filled = await database.query<{ tablename: string }>(looks.join(" union all "));
  if (filled.length === 0) return;
  const names = filled.map(({ tablename }) => tablename).join(", ");
  await database.query(`truncate ${names} restart identity cascade`);
}
