// Brings a database to the program's schema: each migration once, in order, each in a transaction of its own, one server at
// a time.
import type { Database, Sql } from "./database.ts";
import { SchemaVersionError } from "./errors.ts";

/** One step of the schema. What was released never changes: a correction is a new migration. */
export interface Migration {
  /** Counts from 1 without gaps. */
  version: number;
  name: string;
  /** Run in order, without parameters, in one transaction. */
  statements: readonly string[];
}

/** Names this product's advisory lock among others on the same PostgreSQL: "zbench" as a number. */
const LOCK_KEY = 0x7a62656e6368;

/** A migration may rewrite a large table. */
const MIGRATION_LIMIT = 10 * 60_000;

interface AppliedRow {
  version: number;
  name: string;
}

/**
 * Applies what is missing and gives the names of what it applied.
 * @throws SchemaVersionError when the database is newer than `migrations`, or its history is another one
 */
export async function migrate(
  database: Database,
  migrations: readonly Migration[],
  signal?: AbortSignal,
): Promise<string[]> {
  checkOrder(migrations);
  const applied: string[] = [];
  for (;;) {
    signal?.throwIfAborted();
    const name = await database.transaction((tx) => applyNext(tx, migrations), { limit: MIGRATION_LIMIT });
    if (name === null) return applied;
    applied.push(name);
  }
}

/**
 * As {@link migrate}, within a transaction that is open already: what is missing becomes valid with whatever else is done in
 * it.
 */
export async function migrateWithin(tx: Sql, migrations: readonly Migration[]): Promise<void> {
  checkOrder(migrations);
  while (await applyNext(tx, migrations) !== null);
}

function checkOrder(migrations: readonly Migration[]): void {
  migrations.forEach((migration, index) => {
    if (migration.version !== index + 1) {
      throw new RangeError(
        `migration ${migration.name}: expected version ${index + 1}, got ${migration.version}`,
      );
    }
  });
}

async function applyNext(tx: Sql, migrations: readonly Migration[]): Promise<string | null> {
  // Several servers may start on one PostgreSQL at once: the others wait here and then find the work done.
  await tx.query("select pg_advisory_xact_lock($1)", [LOCK_KEY]);
  await tx.query(`create table if not exists schema_migrations (
    version integer primary key,
    name text not null,
    applied timestamptz not null default now()
  )`);
  const rows = await tx.query<AppliedRow>("select version, name from schema_migrations order by version");
  checkHistory(rows, migrations);
  const next = migrations[rows.length];
  if (next === undefined) return null;
  for (const statement of next.statements) await tx.query(statement);
  await tx.query("insert into schema_migrations (version, name) values ($1, $2)", [next.version, next.name]);
  return next.name;
}

function checkHistory(rows: readonly AppliedRow[], migrations: readonly Migration[]): void {
  const known = migrations.length;
  const found = rows.at(-1)?.version ?? 0;
  if (found > known) {
    throw new SchemaVersionError(
      `the database has schema version ${found}, this program knows versions up to ${known}: start a newer program, or use another database`,
      found,
      known,
    );
  }
  rows.forEach((row, index) => {
    if (row.version === index + 1 && row.name === migrations[index].name) return;
    throw new SchemaVersionError(
      `the database's migration ${row.version} is "${row.name}", expected ${index + 1} "${
        migrations[index].name
      }": ` +
        `it belongs to another program`,
      found,
      known,
    );
  });
}
