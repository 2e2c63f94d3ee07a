// Writes a whole database down as lines (dump_lines.ts), as it was at one moment, while the server goes on.
import { join } from "node:path";
import type { Database, Sql } from "./database.ts";
import { dumpVersion } from "./dump_lines.ts";
import { openPglite } from "./pglite.ts";

export interface DumpOptions {
  /** Takes lines, each with its end; the next come when it resolves. */
  write(lines: string): Promise<void>;
  signal?: AbortSignal;
}

/** A large database takes as long as its reader does. */
const DUMP_LIMIT = 24 * 3_600_000;
/** Longest time that the embedded database's files are held still for a copy. */
const COPY_LIMIT = 10 * 60_000;
/** Bytes that are aimed at with one fetch. */
const BATCH_BYTES = 1024 * 1024;
const MAX_BATCH_ROWS = 2000;

/** Names that start so lie in the embedded database's directory while it is being dumped. */
const SNAPSHOT = "snapshot-";

/**
 * Dumps a database that others work on. A PostgreSQL server gives a snapshot; the embedded database has a single
 * connection, which a long dump would take away from the server: its files are copied while no statement runs, which
 * takes milliseconds, and the copy is read.
 *
 * @param directory where the embedded database lives
 */
export async function dumpBeside(database: Database, directory: string, options: DumpOptions): Promise<void> {
  if (database.kind === "postgresql") return await dumpDatabase(database, options);
  await removeSnapshots(directory);
  await using copy = await database.transaction(async (tx) => {
    // Less is left to be replayed when the copy is opened.
    await tx.query("checkpoint");
    return await copySnapshot(directory);
  }, { limit: COPY_LIMIT });
  const opened = await openPglite({ directory: copy.path, signal: options.signal });
  try {
    await dumpDatabase(opened, options);
  } finally {
    await opened.close();
  }
}

/**
 * Copies the embedded database's files to where they can be opened beside it; the copy is gone when it is disposed of.
 * Whoever calls sees to it that no statement runs meanwhile.
 */
export async function copySnapshot(directory: string): Promise<{ path: string } & AsyncDisposable> {
  const path = join(directory, SNAPSHOT + crypto.randomUUID());
  const remove = () => Deno.remove(path, { recursive: true });
  await Deno.mkdir(path, { mode: 0o700 });
  try {
    await copyTree(join(directory, "pg"), join(path, "pg"));
  } catch (error) {
    await remove();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: remove };
}

/** What a program that was killed in mid-dump left. Whoever calls holds the directory's lock. */
async function removeSnapshots(directory: string): Promise<void> {
  for await (const { name } of Deno.readDir(directory)) {
    if (name.startsWith(SNAPSHOT)) await Deno.remove(join(directory, name), { recursive: true });
  }
}

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { mode: 0o700 });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyTree(join(from, name), join(to, name));
    else await Deno.copyFile(join(from, name), join(to, name));
  }
}

/**
 * Dumps a database in one transaction: every table and sequence of its schema, as the catalogue has them.
 * @throws {StoreError} and what `write` rejects with
 */
export async function dumpDatabase(database: Database, options: DumpOptions): Promise<void> {
  const { write, signal } = options;
  await database.transaction(async (tx) => {
    await tx.query("set transaction isolation level repeatable read, read only");
    const writeLine = (value: unknown) => write(`${JSON.stringify(value)}\n`);
    const tables = await namesOf(tx, "r");
    const history = tables.includes("schema_migrations")
      ? await tx.query<{ name: string }>("select name from schema_migrations order by version")
      : [];
    await writeLine({
      format: "zonebench-database",
      version: dumpVersion,
      migrations: history.map(({ name }) => name),
    });
    // The history stands in the first line.
    const dumped = tables.filter((name) => name !== "schema_migrations");
    let rows = 0;
    for (const table of dumped) {
      const columns = (await columnsOf(tx, table)).map(({ name }) => name);
      await writeLine({ table, columns });
      rows += await dumpRows(tx, table, columns, write, signal);
    }
    for (const sequence of await namesOf(tx, "S")) {
      const [{ value, called }] = await tx.query<{ value: string; called: boolean }>(
        `select last_value::text as value, is_called as called from ${identifier(sequence)}`,
      );
      await writeLine({ sequence, last_value: value, is_called: called });
    }
    await writeLine({ end: true, tables: dumped.length, rows });
  }, { limit: DUMP_LIMIT });
}

async function dumpRows(
  tx: Sql,
  table: string,
  columns: readonly string[],
  write: DumpOptions["write"],
  signal: AbortSignal | undefined,
): Promise<number> {
  const values = columns.map((name) => `${identifier(name)}::text`).join(", ");
  await tx.query(
    `declare dump no scroll cursor for select array_to_json(array[${values}])::text as line from ${
      identifier(table)
    }`,
  );
  let rows = 0;
  // Rows may be large: the first few say how many are fetched at a time.
  for (let size = 20;;) {
    signal?.throwIfAborted();
    const fetched = await tx.query<{ line: string }>(`fetch forward ${size} from dump`);
    if (fetched.length > 0) {
      const lines = fetched.map(({ line }) => `${line}\n`).join("");
      await write(lines);
      rows += fetched.length;
      const wanted = Math.floor(BATCH_BYTES / (lines.length / fetched.length));
      size = Math.min(MAX_BATCH_ROWS, size * 10, Math.max(1, wanted));
    } else {
      await tx.query("close dump");
      return rows;
    }
  }
}

/** Names of the schema's tables (`r`) or sequences (`S`), but those that an extension brought. */
export async function namesOf(sql: Sql, kind: "r" | "S"): Promise<string[]> {
  const rows = await sql.query<{ name: string }>(
    `select c.relname::text as name from pg_class c
     where c.relnamespace = current_schema()::regnamespace and c.relkind = $1::"char"
       and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
     order by c.relname`,
    [kind],
  );
  return rows.map(({ name }) => name);
}

/** Columns that hold values of their own, with their types as SQL writes them. */
export function columnsOf(sql: Sql, table: string): Promise<{ name: string; type: string }[]> {
  return sql.query(
    `select attname::text as name, format_type(atttypid, atttypmod) as type from pg_attribute
     where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''
     order by attnum`,
    [identifier(table)],
  );
}

/** A name as SQL takes it, whatever is in it. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
