// Loads a dump (dump_lines.ts) into an empty database, in one transaction: all of it is there afterwards, or nothing.
import type { Database, Sql } from "./database.ts";
import { columnsOf, identifier, namesOf } from "./dump.ts";
import { DumpError, type DumpHeader, DumpReader, type DumpSequence, type DumpTable } from "./dump_lines.ts";
import { SchemaVersionError, StoreError } from "./errors.ts";
import { migrateWithin, type Migration } from "./migrate.ts";

/** The database holds something already. */
export class DatabaseNotEmptyError extends StoreError {
  override name = "DatabaseNotEmptyError";
}

export interface LoadOptions {
  migrations: readonly Migration[];
  /** The last thing before all becomes valid; when it rejects, nothing does. */
  beforeCommit?: () => Promise<void>;
  signal?: AbortSignal;
}

const LOAD_LIMIT = 24 * 3_600_000;
/** Characters of rows in one statement. */
const BATCH_SIZE = 1024 * 1024;

/**
 * The migrations that a dump was made with.
 * @throws {SchemaVersionError} when a newer program made it, or another one
 */
export function migrationsOf({ migrations: names }: DumpHeader, known: readonly Migration[]): Migration[] {
  if (names.length > known.length) {
    throw new SchemaVersionError(
      `the backup's database has schema version ${names.length}, this program knows versions up to ${known.length}: ` +
        `restore it with the program that made it, or a newer one`,
      names.length,
      known.length,
    );
  }
  names.forEach((name, index) => {
    if (name === known[index].name) return;
    throw new SchemaVersionError(
      `the backup's migration ${index + 1} is "${name}", expected "${
        known[index].name
      }": it belongs to another program`,
      names.length,
      known.length,
    );
  });
  return known.slice(0, names.length);
}

/**
 * Makes the dump's schema and loads its rows. The schema stays the one of the dump: the next start brings it forward.
 *
 * @throws {DatabaseNotEmptyError} {@link SchemaVersionError} {@link DumpError} and what the database refuses
 */
export async function loadDatabase(
  database: Database,
  lines: AsyncIterable<string>,
  options: LoadOptions,
): Promise<{ tables: number; rows: number }> {
  return await database.transaction(async (tx) => {
    const found = await namesOf(tx, "r");
    if (found.length > 0) {
      throw new DatabaseNotEmptyError(
        `the database holds ${found.length} table(s) already (${
          found.slice(0, 3).join(", ")
        }…): expected an empty one`,
      );
    }
    const loaded = await load(tx, lines, options);
    await options.beforeCommit?.();
    return loaded;
  }, { limit: LOAD_LIMIT });
}

async function load(tx: Sql, lines: AsyncIterable<string>, options: LoadOptions) {
  const reader = new DumpReader();
  const tables = new Set<string>();
  let references: Reference[] = [];
  let insert: string | undefined;
  let batch: string[] = [];
  let size = 0;
  const flush = async () => {
    if (batch.length === 0 || insert === undefined) return;
    await tx.query(insert, [`[${batch.join(",")}]`]);
    batch = [];
    size = 0;
  };
  for await (const text of lines) {
    options.signal?.throwIfAborted();
    const line = reader.read(text);
    switch (line.kind) {
      case "header":
        await migrateWithin(tx, migrationsOf(line.header, options.migrations));
        references = await takeReferences(tx);
        await empty(tx);
        break;
      case "table":
        await flush();
        insert = await insertion(tx, line.table);
        tables.add(line.table.table);
        break;
      case "row":
        batch.push(line.text);
        size += line.text.length;
        if (size >= BATCH_SIZE) await flush();
        break;
      case "sequence":
        await flush();
        await setSequence(tx, line.sequence);
        break;
      case "end":
        await flush();
        break;
    }
  }
  reader.finish();
  for (const { table, name, definition } of references) {
    await tx.query(`alter table ${identifier(table)} add constraint ${identifier(name)} ${definition}`);
  }
  return { tables: tables.size, rows: reader.rows };
}

interface Reference {
  table: string;
  name: string;
  definition: string;
}

/** Takes the foreign keys off, so that tables may come in any order; they are checked when they are put on again. */
async function takeReferences(tx: Sql): Promise<Reference[]> {
  const references = await tx.query<Reference>(
    `select c.relname::text as table, k.conname::text as name, pg_get_constraintdef(k.oid) as definition
     from pg_constraint k join pg_class c on c.oid = k.conrelid
     where k.contype = 'f' and c.relnamespace = current_schema()::regnamespace order by 1, 2`,
  );
  for (const { table, name } of references) {
    await tx.query(`alter table ${identifier(table)} drop constraint ${identifier(name)}`);
  }
  return references;
}

/** What migrations put into tables stands in the dump too. */
async function empty(tx: Sql): Promise<void> {
  for (const table of await namesOf(tx, "r")) {
    if (table !== "schema_migrations") await tx.query(`delete from ${identifier(table)}`);
  }
}

/** The statement that takes rows of a table as a JSON array of arrays of text. */
async function insertion(tx: Sql, { table, columns }: DumpTable): Promise<string> {
  const tables = await namesOf(tx, "r");
  if (!tables.includes(table) || table === "schema_migrations") {
    throw new DumpError(`the dump has a table ${table}, which its own schema has not`);
  }
  const types = new Map((await columnsOf(tx, table)).map(({ name, type }) => [name, type]));
  const values = columns.map((name, index) => {
    const type = types.get(name);
    if (type === undefined) {
      throw new DumpError(`the dump has a column ${table}.${name}, which its own schema has not`);
    }
    return `(it ->> ${index})::${type}`;
  });
  if (columns.length !== types.size) {
    throw new DumpError(`the dump has ${columns.length} columns of ${table}, its own schema ${types.size}`);
  }
  return `insert into ${identifier(table)} (${columns.map(identifier).join(", ")}) overriding system value ` +
    `select ${values.join(", ")} from json_array_elements($1::json) as it`;
}

async function setSequence(tx: Sql, { sequence, last_value, is_called }: DumpSequence): Promise<void> {
  if (!(await namesOf(tx, "S")).includes(sequence)) {
    throw new DumpError(`the dump has a sequence ${sequence}, which its own schema has not`);
  }
  await tx.query("select setval($1::regclass, $2::bigint, $3::boolean)", [
    identifier(sequence),
    last_value,
    is_called,
  ]);
}
