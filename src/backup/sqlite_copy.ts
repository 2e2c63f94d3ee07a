// A copy of a SQLite database as it is at one moment, while another program works on it.

import { backup, DatabaseSync } from "node:sqlite";

/** Longest wait for a program that is writing, ms. */
const busyLimit = 10_000;

/**
 * Writes a copy to `target`, which must not exist.
 * @returns {Promise<number>} the version of its schema, PRAGMA user_version
 */
export async function copySqlite(source: string, target: string): Promise<number> {
  const database = new DatabaseSync(source, { readOnly: true, timeout: busyLimit });
  try {
    // All pages in one step: in several, a program that writes meanwhile would let it begin anew each time. (VACUUM INTO attaches
    // its target, which the runtime allows to a program with all permissions only.)
    await backup(database, target, { rate: -1 });
  } finally {
    database.close();
  }
  const copy = new DatabaseSync(target);
  try {
    // One file, without a write-ahead log beside it.
    copy.exec("PRAGMA journal_mode = DELETE");
    return Number(copy.prepare("PRAGMA user_version").get()?.user_version);
  } finally {
    copy.close();
  }
}
