// The files of the authority: written whole or not at all, keys readable by their owner alone, one writer at a time.

import { dirname, join } from "node:path";
import { PkiLocked } from "./errors.ts";

/** Mode of a file that holds a private key. */
export const privateMode = 0o600;
/** Mode of a certificate or a public key. */
export const publicMode = 0o644;

/** Name of the lock file within the directory. */
const lockName = ".lock";
/** Between two tries to get the lock, ms. */
const lockPause = 50;

/** Makes the directory, for its owner alone. */
export async function makePrivateDirectory(directory: string): Promise<void> {
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const { mode } = await Deno.stat(directory);
  // It may have been there before, open to others. Windows knows no modes.
  if (mode !== null && Deno.build.os !== "windows" && (mode & 0o077) !== 0) {
    await Deno.chmod(directory, 0o700);
  }
}

/**
 * Writes a file whole or not at all: a power cut leaves the old content or the new.
 *
 * @param mode {@link privateMode} or {@link publicMode}; the content never stands in a file that is open wider.
 */
export async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  await writeAllWhole([{ path, text }], mode);
}

/** As {@link writeWhole}, for files of one directory that belong together: none takes its place before all are written. */
export async function writeAllWhole(
  files: readonly { path: string; text: string }[],
  mode: number,
): Promise<void> {
  const drafts = files.map(({ path, text }) => ({ path, text, draft: `${path}.${crypto.randomUUID()}.tmp` }));
  try {
    for (const { text, draft } of drafts) {
      using file = await Deno.open(draft, { write: true, createNew: true, mode });
      const bytes = new TextEncoder().encode(text);
      let written = 0;
      while (written < bytes.length) written += await file.write(bytes.subarray(written));
      await file.sync();
    }
    for (const { path, draft } of drafts) await Deno.rename(draft, path);
  } catch (error) {
    // The first error is the one that counts.
    for (const { draft } of drafts) await Deno.remove(draft).catch(() => {});
    throw error;
  }
  if (Deno.build.os === "windows") return; // A directory cannot be opened there.
  for (const path of new Set(files.map((file) => dirname(file.path)))) {
    using directory = await Deno.open(path, { read: true });
    await directory.sync();
  }
}

/** A file's text; undefined when there is no such file. */
export async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Runs `work` while no other program, and nothing else in this one, does so for the same directory. The system frees
 * the lock of a program that dies.
 *
 * @param limit Longest wait for the lock, ms.
 * @throws {PkiLocked} when it is not free in time.
 */
export async function withLock<T>(directory: string, limit: number, work: () => Promise<T>): Promise<T> {
  const path = join(directory, lockName);
  using file = await Deno.open(path, { write: true, create: true, mode: privateMode });
  for (let waited = 0; !await file.tryLock(true); waited += lockPause) {
    if (waited >= limit) {
      throw new PkiLocked(`${path}: another program has held the lock for ${limit} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, lockPause));
  }
  try {
    return await work();
  } finally {
    await file.unlock();
  }
}
