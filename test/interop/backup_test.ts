// tar, zstd and sha256sum read our backups, and what they say is what the manifest says.

import assert from "node:assert/strict";
import { join } from "node:path";
import { tarEntries } from "../../src/backup/tar_reader.ts";
import { backupOf, text } from "../backup/support.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

const decoder = new TextDecoder();
const longName = `repo/image/targets/${"a_long_folder/".repeat(15)}${"ä".repeat(60)}.bin`;
const files = {
  "empty": new Uint8Array(),
  "images/a.bin": sampleBytes(5_000_001, 7),
  [longName]: text("long"),
};

async function run(command: string, args: string[], cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args,
    cwd,
    env: { LC_ALL: "C.UTF-8" },
  })
    .output();
  assert.ok(success, `${command}: ${decoder.decode(stderr)}`);
  assert.equal(decoder.decode(stderr), "", `${command} warns of nothing`);
  return decoder.decode(stdout);
}

interopTest("zstd finds a backup's checksums right, and tar takes its files out", [peers.zstd], async () => {
  await using folder = await temporaryFolder();
  const { path } = folder;
  await Deno.writeFile(join(path, "backup.tar.zst"), await backupOf(files));
  await run("zstd", ["-q", "-t", "backup.tar.zst"], path);
  const names = (await run("tar", ["--zstd", "--quoting-style=literal", "-tf", "backup.tar.zst"], path))
    .trim();
  assert.deepEqual(names.split("\n"), [
    "zonebench-backup.json",
    ...Object.keys(files).map((name) => `data/${name}`),
    "manifest.json",
  ]);
  await run("tar", ["--zstd", "-xf", "backup.tar.zst"], path);
  for (const [name, bytes] of Object.entries(files)) {
    assert.deepEqual(await Deno.readFile(join(path, "data", name)), bytes, name);
  }
  const { entries } = JSON.parse(await Deno.readTextFile(join(path, "manifest.json")));
  await Deno.writeTextFile(
    join(path, "sums"),
    entries.map((it: { path: string; sha256: string }) => `${it.sha256}  ${it.path}\n`).join(""),
  );
  await run("sha256sum", ["--quiet", "--strict", "-c", "sums"], path);
});

interopTest(
  "archives of GNU tar are read, with names and sizes of each of its forms",
  [peers.zstd],
  async () => {
    await using folder = await temporaryFolder();
    const { path } = folder;
    for (const [name, bytes] of Object.entries(files)) {
      await Deno.mkdir(join(path, name, ".."), { recursive: true });
      await Deno.writeFile(join(path, name), bytes);
    }
    for (const format of ["ustar", "pax"]) {
      const names = Object.keys(files).filter((name) => format === "pax" || name.length < 250);
      // GNU tar's pax headers hold times besides, unless they are left out.
      const args = [
        "--format",
        format,
        ...format === "pax" ? ["--pax-option=delete=atime,delete=ctime,delete=mtime"] : [],
      ];
      await run("tar", [...args, "-cf", "archive.tar", ...names], path);
      const found: Record<string, number> = {};
      for await (
        const { path: name, body } of tarEntries((await Deno.open(join(path, "archive.tar"))).readable)
      ) {
        found[name] = (await Array.fromAsync(body)).reduce((sum, part) => sum + part.length, 0);
      }
      assert.deepEqual(found, Object.fromEntries(names.map((name) => [name, files[name].length])));
    }
  },
);
