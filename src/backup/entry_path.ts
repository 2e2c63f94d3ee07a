// Names within a backup, and what they may be: a name becomes a path in a data folder, so each is held against this before
// anything is done with it.
//
//   zonebench-backup.json    first: that it is a backup, of which version
//   database/000001.jsonl    the database's dump, in parts whose concatenation it is
//   data/…                   files of the data folder
//   keys.enc                 private keys, encrypted
//   manifest.json            last: size and SHA-256 of every entry before it

import { BackupError, quote } from "./errors.ts";

export const headName = "zonebench-backup.json";
export const manifestName = "manifest.json";
export const keysName = "keys.enc";

/** Where a restore prepares what it is about to put in place. While it is there, the data folder is not whole. */
export const unfinishedName = "restore.unfinished";
/** What a restore puts aside lies in a folder whose name begins so. */
export const replacedPrefix = "replaced-";

/** Whether something at the top of a data folder is no part of a backup, and may not come from one either. */
export function isReserved(name: string): boolean {
  return ["db", "tmp", unfinishedName, "lost+found"].includes(name) || name.startsWith(replacedPrefix);
}

/** What Linux's file systems take: NAME_MAX, in bytes. */
const maxSegment = 255;
const maxPath = 1000;
const maxDepth = 32;

/** What an entry is. */
export type EntryKind = "head" | "database" | "data" | "keys" | "manifest";

const encoder = new TextEncoder();

/** Name of the n-th part of the database's dump, counted from 1. */
export function databasePart(n: number): string {
  return `database/${String(n).padStart(6, "0")}.jsonl`;
}

/** What an entry's name says it is. @throws {BackupError} for a name that a backup does not have */
export function kindOf(path: string): EntryKind {
  if (path === headName) return "head";
  if (path === manifestName) return "manifest";
  if (path === keysName) return "keys";
  if (/^database\/\d{6}\.jsonl$/.test(path)) return "database";
  if (path.startsWith("data/")) {
    checkDataPath(path.slice("data/".length));
    return "data";
  }
  throw new BackupError(`entry ${quote(path)}: expected a name that a backup has`);
}

/**
 * A path relative to a data folder: it stays in there, whatever it is appended to.
 * @throws {BackupError}
 */
export function checkDataPath(path: string): void {
  const wrong = (expected: string) => new BackupError(`entry ${quote(path)}: expected ${expected}`);
  const segments = path.split("/");
  if (!path.isWellFormed() || encoder.encode(path).length > maxPath) {
    throw wrong(`a path of ${maxPath} bytes at most`);
  }
  if (segments.length > maxDepth) throw wrong(`${maxDepth} folders at most`);
  if (isReserved(segments[0])) throw wrong("no name that the program keeps for itself");
  for (const segment of segments) {
    if (segment === "" || segment === "." || segment === "..") throw wrong("a path within the data folder");
    // deno-lint-ignore no-control-regex -- control characters are what this refuses
    if (/[\u0000-\u001f\u007f\\]/.test(segment)) throw wrong("no control characters and no backslash");
    if (encoder.encode(segment).length > maxSegment) throw wrong(`names of ${maxSegment} bytes at most`);
  }
}
