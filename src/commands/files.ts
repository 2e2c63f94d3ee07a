// Files and folders as commands meet them: whether they are there, opened to be read, copied.

import { dirname, join, resolve } from "node:path";
import { privateMode } from "../pqc/files.ts";
import { CommandFailed } from "./output.ts";

/** Whether something is there. What keeps it from being looked at is an error. */
export async function exists(path: string | URL): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The folder, or the nearest above it that is there: what is made below it lies on the same disk. */
export async function nearest(folder: string): Promise<string> {
  for (let at = resolve(folder);; at = dirname(at)) {
    if (dirname(at) === at || await exists(at)) return at;
  }
}

/**
 * Opens a file to be read.
 * @param streamed it is read once, from its begin to its end: a pipe will do as well
 * @throws {CommandFailed} when it cannot be, or is something else than a file
 */
export async function openFile(path: string, streamed = false): Promise<Deno.FsFile> {
  try {
    const file = await Deno.open(path, { read: true });
    const { isFile, isDirectory } = await file.stat();
    if (isFile || streamed && !isDirectory) return file;
    file.close();
  } catch (cause) {
    throw new CommandFailed(`${path}: cannot be read: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  throw new CommandFailed(`${path}: expected a file`);
}

/** Copies a file with its mode, a private key readable by its owner alone, and has it on the disk when it resolves. */
export async function copyFile(from: string, to: string): Promise<void> {
  await Deno.copyFile(from, to);
  if (from.endsWith(".key")) await Deno.chmod(to, privateMode);
  await sync(to);
}

/** Copies the files of a folder and of those in it as {@link copyFile} does, into folders of their owner. Links are left out. */
export async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true, mode: 0o700 });
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(join(from, name), join(to, name));
    else if (isFile) await copyFile(join(from, name), join(to, name));
  }
  await sync(to);
}

/** Has a file's content, or a folder's names, on the disk when it resolves. */
export async function sync(path: string): Promise<void> {
  using opened = await Deno.open(path, { read: true });
  await opened.sync();
}
