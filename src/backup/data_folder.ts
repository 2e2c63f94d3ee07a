// What of a data folder goes into a backup, and as what.

import { join } from "node:path";
import { isReserved } from "./entry_path.ts";
import { BackupError } from "./errors.ts";

/** A file of the data folder. */
export interface DataFile {
  /** Relative to the data folder, with slashes. */
  path: string;
  /** Where it is. */
  absolute: string;
  /** `key`: a private key. `sqlite`: a database that a program may be working on. */
  kind: "file" | "key" | "sqlite";
  size: number;
}

/** Folders of links that lead back to themselves end here. */
const maxDepth = 32;
/** Larger files hold no key. */
const maxKeySize = 256 * 1024;
/** The first bytes of a database file, https://www.sqlite.org/fileformat.html, section 1.3. */
const sqliteMagic = "SQLite format 3\0";

/**
 * The files of a data folder, folder by folder, in the order of their names.
 *
 * @param elsewhere folders that lie apart: their name at the top, and where they are
 */
export async function* dataFiles(
  root: string,
  elsewhere: ReadonlyMap<string, string> = new Map(),
): AsyncGenerator<DataFile, void, void> {
  const names = new Set((await namesIn(root)).filter((name) => !isReserved(name)));
  for (const name of elsewhere.keys()) names.add(name);
  for (const name of [...names].sort()) yield* below(name, elsewhere.get(name) ?? join(root, name), 1);
}

async function* below(path: string, absolute: string, depth: number): AsyncGenerator<DataFile, void, void> {
  const info = await present(Deno.stat(absolute));
  if (info === undefined) return;
  if (info.isDirectory) {
    if (depth === maxDepth) {
      throw new BackupError(`${absolute}: expected ${maxDepth} folders within each other at most`);
    }
    for (const name of await namesIn(absolute)) {
      yield* below(`${path}/${name}`, join(absolute, name), depth + 1);
    }
    return;
  }
  if (!info.isFile || isPassing(path)) return;
  const kind = await present(kindOf(absolute, info.size));
  if (kind !== undefined) yield { path, absolute, kind, size: info.size };
}

async function namesIn(directory: string): Promise<string[]> {
  const names: string[] = [];
  const read = async () => {
    for await (const { name } of Deno.readDir(directory)) names.push(name);
  };
  await present(read());
  return names.sort();
}

/** Locks, what is being written, and what belongs to an open SQLite database. */
function isPassing(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return name === "lock" || name === ".lock" ||
    /\.(?:tmp|tmp\.sorted|new|db-wal|db-shm|db-journal)$/.test(name);
}

async function kindOf(path: string, size: number): Promise<DataFile["kind"]> {
  if (path.endsWith(".key")) return "key";
  using file = await Deno.open(path, { read: true });
  const beginning = new Uint8Array(size <= maxKeySize ? size : sqliteMagic.length);
  for (let at = 0; at < beginning.length;) {
    const got = await file.read(beginning.subarray(at));
    if (got === null) break;
    at += got;
  }
  const text = new TextDecoder("latin1").decode(beginning);
  if (text.startsWith(sqliteMagic)) return "sqlite";
  return size <= maxKeySize && text.includes("PRIVATE KEY-----") ? "key" : "file";
}

/** A file that was there a moment ago may be gone: it was a passing one, or retention has removed it. */
async function present<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
