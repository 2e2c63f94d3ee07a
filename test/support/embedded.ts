// A made embedded database for tests. Making one takes seconds, so it is made once for a machine, version and schema, and copied; the
// product itself finds it as if an earlier run had left it.
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { tmpdir } from "node:os";
import { exists } from "../../src/commands/files.ts";
import { migrate } from "../../src/server/store/migrate.ts";
import { migrations } from "../../src/server/store/migrations/mod.ts";
import { openPglite } from "../../src/server/store/pglite.ts";
import { turnFile } from "./turns.ts";

/** What a database that is made before has: nothing at all, or this program's tables without rows. */
export type MadeSchema = "none" | "newest";

/** The library's version decides the format of its files. */
async function templatePath(schema: MadeSchema): Promise<string> {
  const manifest = await Deno.readTextFile(new URL("../../deno.json", import.meta.url));
  const version = /npm:@electric-sql\/pglite@([0-9.]+)/.exec(manifest)?.[1];
  if (version === undefined) throw new Error("deno.json does not name a version of @electric-sql/pglite");
  const tables = createHash("sha256").update(JSON.stringify(migrations)).digest("hex").slice(0, 16);
  const name = `zonebench-test-pglite-${version}-uid${Deno.uid() ?? 0}`;
  return join(tmpdir(), schema === "none" ? name : `${name}-${tables}`);
}

/** Puts a database into `directory` (a data directory's `db`), which is made when absent. One that is there stays as it is. */
export async function prepareEmbedded(directory: string, schema: MadeSchema = "none"): Promise<void> {
  if (await exists(join(directory, "pg"))) return;
  const template = await templatePath(schema);
  if (!await exists(template)) await makeTemplate(template, schema);
  await Deno.mkdir(directory, { recursive: true });
  await copyTree(template, join(directory, "pg"));
}

async function makeTemplate(template: string, schema: MadeSchema): Promise<void> {
  using turn = turnFile(`pglite-${schema}`);
  await turn.lock(true);
  // Another test file was first.
  if (await exists(template)) return;
  // Beside the template, so that it can be renamed into place: it is there whole or not at all.
  const draft = await Deno.makeTempDir({ dir: dirname(template), prefix: "zonebench-test-pglite-" });
  try {
    if (schema === "newest") await prepareEmbedded(draft);
    const database = await openPglite({ directory: draft });
    try {
      if (schema === "newest") await migrate(database, migrations);
    } finally {
      await database.close();
    }
    await Deno.rename(join(draft, "pg"), template);
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
