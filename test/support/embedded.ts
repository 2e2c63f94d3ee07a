// A made embedded database for tests. Making one takes seconds, so it is made once for a machine and version and copied; the
// product itself finds it as if an earlier run had left it.
import { dirname, join } from "node:path";
import { tmpdir } from "node:os";
import { openPglite } from "../../src/server/store/pglite.ts";

/** The library's version decides the format of its files. */
async function templatePath(): Promise<string> {
  const manifest = await Deno.readTextFile(new URL("../../deno.json", import.meta.url));
  const version = /npm:@electric-sql\/pglite@([0-9.]+)/.exec(manifest)?.[1];
  if (version === undefined) throw new Error("deno.json does not name a version of @electric-sql/pglite");
  return join(tmpdir(), `zonebench-test-pglite-${version}-uid${Deno.uid() ?? 0}`);
}

/** Puts an empty database into `directory` (a data directory's `db`), which is made when absent. */
export async function prepareEmbedded(directory: string): Promise<void> {
  const template = await templatePath();
  if (!await exists(template)) await makeTemplate(template);
  await Deno.mkdir(directory, { recursive: true });
  await copyTree(template, join(directory, "pg"));
}

async function makeTemplate(template: string): Promise<void> {
  // Beside the template, so that it can be renamed into place: test files that run at once see it whole or not at all.
  const draft = await Deno.makeTempDir({ dir: dirname(template), prefix: "zonebench-test-pglite-" });
  try {
    const database = await openPglite({ directory: draft });
    await database.close();
    try {
      await Deno.rename(join(draft, "pg"), template);
    } catch (error) {
      // Another test file was first.
      if (!await exists(template)) throw error;
    }
  } finally {
    await Deno.remove(draft, { recursive: true });
  }
}

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { mode: 0o700 });
  for await (const entry of Deno.readDir(from)) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory) await copyTree(source, target);
    else await Deno.copyFile(source, target);
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
