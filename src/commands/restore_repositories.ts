// Puts restored repositories of signed metadata where they belong when that is not in the data folder. Unlike images, which are
// named by their hash, their files replace each other: what is there is put aside whole.

import { dirname, join } from "node:path";
import { privateMode } from "../pqc/files.ts";

/**
 * Moves repositories into place.
 *
 * @param from what was restored; it is copied, and stays
 * @param folder where they belong; what is there goes to a folder beside it, but private keys that did not come stay in use
 * @returns {Promise} where what was there is now; undefined when there was nothing
 */
export async function placeRepositories(from: string, folder: string): Promise<string | undefined> {
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const draft = `${folder}.${crypto.randomUUID()}.tmp`;
  await Deno.mkdir(dirname(folder), { recursive: true });
  await copyTree(from, draft);
  const aside = `${folder}.replaced-${stamp}`;
  const replaced = await exists(folder);
  if (replaced && !await exists(join(draft, "keys")) && await exists(join(folder, "keys"))) {
    await copyTree(join(folder, "keys"), join(draft, "keys"));
  }
  if (replaced) await Deno.rename(folder, aside);
  await Deno.rename(draft, folder);
  return replaced ? aside : undefined;
}

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true, mode: 0o700 });
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if (isDirectory) await copyTree(join(from, name), join(to, name));
    else if (isFile) {
      await Deno.copyFile(join(from, name), join(to, name));
      if (name.endsWith(".key")) await Deno.chmod(join(to, name), privateMode);
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
