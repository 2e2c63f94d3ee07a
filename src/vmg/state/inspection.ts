// Looks at the whole of a state file before anything in it is believed: pages that hold together, the tables and indices that this
// program makes and nothing that would act on them, and whole numbers that can be read as such. A file may be damaged, or somebody else's.

import type { DatabaseSync } from "node:sqlite";
import { StateError } from "../errors.ts";

/** What to do about it, for people. */
export const stateRemedy =
  `restore it from a backup ("zonebench restore"), or move the folder away: the gateway then starts like a new one, reads its ECUs ` +
  `afresh, and knows nothing of an update that was under way`;

/**
 * Inspects the file.
 *
 * @param makeSchema makes the tables in an empty database, as the file's were made
 * @throws {StateError} saying what is wrong and what to do
 */
export function inspectState(
  sqlite: DatabaseSync,
  path: string,
  makeSchema: (empty: DatabaseSync) => void,
  empty: DatabaseSync,
): void {
  const damaged = (what: string) => new StateError(`${path} is damaged: ${what}; ${stateRemedy}`);
  // A byte of its header makes a file one that is only read: what begins says nothing of it, what writes does.
  sqlite.exec("BEGIN IMMEDIATE; CREATE TABLE written (id INTEGER PRIMARY KEY); ROLLBACK");
  // Also the types of columns, for the tables are strict, and whether indices and tables agree.
  const [first] = sqlite.prepare("PRAGMA integrity_check(1)").all();
  if (first?.integrity_check !== "ok") throw damaged(String(first?.integrity_check));
  makeSchema(empty);
  const expected = schemaOf(empty);
  const found = schemaOf(sqlite);
  for (const [name, sql] of found) {
    // A trigger or a view would have this program do what somebody else wrote. A table beside its own does nothing.
    const beside = !expected.has(name) && /^CREATE TABLE /i.test(sql);
    if (!beside && expected.get(name) !== sql) throw damaged(`${name} is not what this program makes`);
  }
  for (const name of expected.keys()) if (!found.has(name)) throw damaged(`${name} is missing`);
  for (const [table, columns] of wholeNumbers(empty)) {
    const outside = columns.map((column) => `${column} NOT BETWEEN -9007199254740991 AND 9007199254740991`);
    if (sqlite.prepare(`SELECT 1 FROM ${table} WHERE ${outside.join(" OR ")} LIMIT 1`).get() !== undefined) {
      throw damaged(`${table} has a number beyond 53 bits`);
    }
  }
}

/** What the schema consists of; how it is written plays no part. */
function schemaOf(sqlite: DatabaseSync): Map<string, string> {
  const rows = sqlite.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema").all();
  return new Map(rows.map(({ type, name, tbl_name, sql }) => [
    `${type} ${name} of ${tbl_name}`,
    String(sql).replaceAll(/--[^\n]*/g, "").replaceAll(/\s+/g, " ").trim(),
  ]));
}

/** Columns of whole numbers, by table. */
function wholeNumbers(sqlite: DatabaseSync): Map<string, string[]> {
  const rows = sqlite.prepare(
    "SELECT m.name AS name, p.name AS column FROM sqlite_schema AS m, pragma_table_info(m.name) AS p " +
      "WHERE m.type = 'table' AND (p.type = 'INTEGER' OR m.name = 'sqlite_sequence' AND p.name = 'seq')",
  ).all();
  const found = new Map<string, string[]>();
  for (const { name, column } of rows) {
    found.set(String(name), [...found.get(String(name)) ?? [], String(column)]);
  }
  return found;
}
