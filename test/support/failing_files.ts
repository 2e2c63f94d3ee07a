// Puts operations that may fail in the place of Deno's, and of node:fs's, which the embedded database writes with.

import fs from "node:fs";
import { type DiskControl, failure } from "./disk_control.ts";

const deno = Deno as { -readonly [Name in keyof typeof Deno]: (typeof Deno)[Name] };

/** Has Deno's files fail as `disk` says. @returns what ends that */
export function failFiles(disk: DiskControl): () => void {
  const { write, writeSync, sync, syncData } = Deno.FsFile.prototype;
  const { rename, open, mkdir, link, copyFile } = Deno;
  /** A part of what is to be written; undefined: all of it. */
  const part = (bytes: Uint8Array): Uint8Array | undefined => {
    const fault = disk.meets("files", true);
    if (fault === undefined) return undefined;
    if (fault !== "short") throw failure(fault);
    return bytes.length > 1 ? bytes.subarray(0, 1) : undefined;
  };
  // They are asynchronous so that what is thrown is their promise's.
  // deno-lint-ignore require-await
  Deno.FsFile.prototype.write = async function (bytes) {
    return write.call(this, part(bytes) ?? bytes);
  };
  Deno.FsFile.prototype.writeSync = function (bytes) {
    return writeSync.call(this, part(bytes) ?? bytes);
  };
  const checked = <A extends unknown[], T>(operation: (...args: A) => Promise<T>) =>
    function (this: unknown, ...args: A): Promise<T> {
      try {
        disk.check("files");
      } catch (error) {
        return Promise.reject(error);
      }
      return operation.apply(this, args);
    };
  Deno.FsFile.prototype.sync = checked(sync);
  Deno.FsFile.prototype.syncData = checked(syncData);
  deno.rename = checked(rename);
  deno.mkdir = checked(mkdir);
  deno.link = checked(link);
  deno.copyFile = checked(copyFile);
  const openChecked = checked(open);
  deno.open = (path, options) =>
    options?.create || options?.createNew ? openChecked(path, options) : open(path, options);
  return () => {
    Object.assign(Deno.FsFile.prototype, { write, writeSync, sync, syncData });
    Object.assign(deno, { rename, open, mkdir, link, copyFile });
  };
}

/** Has node:fs's files fail as `disk` says, for as long as the thread lives. */
export function failDatabaseFiles(disk: DiskControl): void {
  const { writeSync, openSync, ftruncateSync, truncateSync, renameSync, mkdirSync } = fs;
  const writePart = (file: number, bytes: Uint8Array, offset: number, length: number, position: number) => {
    const fault = disk.meets("database", true);
    if (fault === undefined) return writeSync(file, bytes, offset, length, position);
    if (fault !== "short") throw failure(fault);
    return writeSync(file, bytes, offset, Math.min(length, 1), position);
  };
  const checked = <A extends unknown[], T>(operation: (...args: A) => T) => (...args: A): T => {
    disk.check("database");
    return operation(...args);
  };
  const creating = fs.constants.O_CREAT;
  const openChecked = checked(openSync);
  Object.assign(fs, {
    writeSync: writePart,
    openSync: (path: fs.PathLike, flags: fs.OpenMode, mode?: fs.Mode) =>
      typeof flags === "number" && (flags & creating) !== 0
        ? openChecked(path, flags, mode)
        : openSync(path, flags, mode),
    ftruncateSync: checked(ftruncateSync),
    truncateSync: checked(truncateSync),
    renameSync: checked(renameSync),
    mkdirSync: checked(mkdirSync),
  });
}
