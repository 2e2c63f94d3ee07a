// Repositories of signed metadata that lie apart from the data folder: backed up with it, and put back whole.

import assert from "node:assert/strict";
import { join } from "node:path";
import { filesElsewhere } from "../../src/commands/backup.ts";
import { RestorePlace } from "../../src/commands/restore_place.ts";
import { placeRepositories } from "../../src/commands/restore_repositories.ts";
import { loadConfig } from "../../src/config/load.ts";

async function folders(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function write(folder: string, files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(join(folder, name, ".."), { recursive: true });
    await Deno.writeTextFile(join(folder, name), text);
  }
}

async function restoring<T>(folder: string, run: (place: RestorePlace) => Promise<T>): Promise<T> {
  await using place = await RestorePlace.open(join(folder, "data"), false);
  return await run(place);
}

const read = (...parts: string[]) => Deno.readTextFile(join(...parts));

Deno.test("restored repositories replace those that are there, whose files do not mix with them", async () => {
  await folders(async (folder) => {
    const [from, to] = [join(folder, "restored"), join(folder, "files", "repo")];
    await write(from, {
      "image/timestamp.json": "old",
      "image/1.targets.json": "1",
      "keys/a.key": "restored",
    });
    await write(to, { "image/timestamp.json": "new", "image/2.targets.json": "2", "keys/b.key": "there" });
    const aside = await restoring(folder, (place) => placeRepositories(from, to, place));
    assert.ok(aside);
    assert.equal(await read(to, "image/timestamp.json"), "old");
    await assert.rejects(read(to, "image/2.targets.json"), Deno.errors.NotFound);
    await assert.rejects(read(to, "keys/b.key"), Deno.errors.NotFound);
    assert.equal((await Deno.stat(join(to, "keys/a.key"))).mode! & 0o777, 0o600);
    assert.equal(await read(aside, "image/2.targets.json"), "2");
  });
});

Deno.test("keys that did not come in the backup stay in use", async () => {
  await folders(async (folder) => {
    const [from, to] = [join(folder, "restored"), join(folder, "repo")];
    await write(from, { "director/1.root.json": "root" });
    await restoring(folder, async (place) => {
      assert.equal(await placeRepositories(from, to, place), undefined);
      await write(to, { "keys/b.key": "there" });
      await placeRepositories(from, to, place);
    });
    assert.equal(await read(to, "keys/b.key"), "there");
    assert.equal(await read(to, "director/1.root.json"), "root");
  });
});

Deno.test("a restore that fails after repositories took their place gives the place back", async () => {
  await folders(async (folder) => {
    const [from, to] = [join(folder, "restored"), join(folder, "files", "repo")];
    await write(from, { "image/timestamp.json": "old" });
    await write(to, { "image/timestamp.json": "new", "keys/b.key": "there" });
    await restoring(folder, async (place) => {
      await placeRepositories(from, to, place);
      assert.equal(await read(to, "image/timestamp.json"), "old");
      await place.undo();
    });
    assert.equal(await read(to, "image/timestamp.json"), "new");
    assert.equal(await read(to, "keys/b.key"), "there");
    assert.deepEqual((await Array.fromAsync(Deno.readDir(join(folder, "files")))).map(({ name }) => name), [
      "repo",
    ]);
  });
});

Deno.test("a backup finds repositories where the settings have them", async () => {
  const elsewhere = async (...set: string[]) =>
    Object.fromEntries(filesElsewhere(await loadConfig({ set, environment: {} }), "/data"));
  assert.deepEqual(await elsewhere(), {});
  assert.deepEqual(await elsewhere("server.uptane.directory=/srv/repo"), { repo: "/srv/repo" });
  assert.deepEqual(await elsewhere("server.files=/srv"), {
    images: "/srv/images",
    packages: "/srv/packages",
    repo: "/srv/repo",
  });
  assert.deepEqual(await elsewhere("server.files=/data"), {});
});
