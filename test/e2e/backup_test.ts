// A bench is backed up while it works and goes on elsewhere: in a fresh folder, in PostgreSQL, and back again.

import assert from "node:assert/strict";
import { join } from "node:path";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { requirePostgres, startPostgres } from "../support/postgres.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";
const network = "127.0.76.0/24";

/** Reports, an image, and an update that has been carried out. */
async function worked(program: Program, folder: string, version: string): Promise<string> {
  await eventually(
    "the vehicle is online",
    async () => (await program.run(["vci", vin])).stdout.includes(", online") ? true : undefined,
  );
  const file = join(folder, `body-${version}.hex`);
  await Deno.writeTextFile(file, intelHex([{ address: 0, bytes: sampleBytes(20_000, version.length) }]));
  const args = ["--ecu-type", "BODY_CONTROLLER", "--hardware", "1.0", "--version", version];
  await program.json(["firmware", "add", file, ...args]);
  const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
  const watch = await program.run(["update", "watch", update_id, "--json", "--timeout", "60"]);
  assert.equal(watch.code, 0, watch.stderr);
  return update_id;
}

async function updates(program: Program): Promise<[string, string][]> {
  const list = await program.json(["update", "list"]) as { update_id: string; status: string }[];
  return list.map(({ update_id, status }): [string, string] => [update_id, status]).sort();
}

async function ok(program: Program, args: string[]): Promise<void> {
  const { code, stdout, stderr } = await program.run(args);
  assert.equal(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
}

Deno.test("a backup of a working bench is restored into a fresh folder, and the bench goes on there", async () => {
  await using folder = await temporaryFolder();
  const { path } = folder;
  const [backup, pass] = [join(path, "bench.tar.zst"), join(path, "pass")];
  await Deno.writeTextFile(pass, "a pass phrase for tests\n");
  const settings = ["vmg.telemetry_interval=0.2"];
  const first = new Program({ data: join(path, "first"), network, settings });
  let done: string;
  {
    await using serving = await first.serve();
    done = await worked(first, path, "1.1.0");
    await ok(first, ["backup", backup, "--with-keys", "--pass-file", pass]);
    assert.equal(await serving.stop(), 0, serving.log);
    assert.ok(!/ERROR/.test(serving.log), serving.log);
  }

  const second = new Program({ data: join(path, "second"), network, settings });
  await ok(second, ["restore", backup, "--pass-file", pass]);
  {
    await using serving = await second.serve();
    assert.deepEqual(await updates(second), [[done, "completed"]]);
    const f189 = await second.json(["diag", "ECU_005", "0x22", "F189"]) as { response: string };
    assert.equal(f189.response, "62F189312E312E30", "the ECU runs 1.1.0");
    // Certificates, keys, database and files belong together: the next update goes all the way.
    const next = await worked(second, path, "1.2.0");
    assert.deepEqual(await updates(second), [[done, "completed"], [next, "completed"]].sort());
    assert.equal(await serving.stop(), 0, serving.log);
  }
});

Deno.test({
  name: "what was in the embedded database goes on in PostgreSQL and comes back from there",
  ignore: requirePostgres() === null,
  fn: async () => {
    await using folder = await temporaryFolder();
    const { path } = folder;
    const postgres = await startPostgres();
    try {
      const [there, back] = [join(path, "there.tar.zst"), join(path, "back.tar.zst")];
      const pass = join(path, "pass");
      await Deno.writeTextFile(pass, "a pass phrase for tests\n");
      const keys = ["--pass-file", pass];
      const embedded = new Program({ data: join(path, "embedded"), network });
      let done: string;
      {
        await using serving = await embedded.serve();
        done = await worked(embedded, path, "1.1.0");
        assert.equal(await serving.stop(), 0, serving.log);
      }
      await ok(embedded, ["backup", there, "--with-keys", ...keys]);

      const settings = [`database.url=${postgres.url}`];
      const central = new Program({ data: join(path, "central"), network, settings, freshDatabase: true });
      await ok(central, ["restore", there, ...keys]);
      const again = await new Program({ data: join(path, "other"), network, settings }).run([
        "restore",
        there,
        ...keys,
      ]);
      assert.equal(again.code, 1);
      assert.match(again.stderr, /the database holds \d+ table\(s\) already.*createdb/);
      await assert.rejects(Deno.stat(join(path, "other")), Deno.errors.NotFound);
      assert.equal(await postgres.psql("select status from updates"), "completed");
      {
        await using serving = await central.serve();
        assert.deepEqual(await updates(central), [[done, "completed"]]);
        const next = await worked(central, path, "1.2.0");
        await ok(central, ["backup", back, "--with-keys", ...keys]);
        assert.equal(await serving.stop(), 0, serving.log);
        done = next;
      }

      const home = new Program({ data: join(path, "home"), network, freshDatabase: true });
      await ok(home, ["restore", back, ...keys]);
      await using serving = await home.serve();
      assert.equal((await updates(home)).find(([id]) => id === done)?.[1], "completed");
      assert.equal(await serving.stop(), 0, serving.log);
    } finally {
      await postgres.stop();
    }
  },
});

Deno.test("a restore that is killed is never taken for a data folder, and one more puts it right", async () => {
  await using folder = await temporaryFolder();
  const { path } = folder;
  const backup = join(path, "bench.tar.zst");
  const first = new Program({ data: join(path, "first"), network });
  {
    await using serving = await first.serve();
    assert.equal(await serving.stop(), 0);
  }
  await ok(first, ["backup", backup]);
  const restored = new Program({ data: join(path, "restored"), network, freshDatabase: true });
  const process = restored.start(["restore", backup]);
  await eventually(
    "the restore has begun",
    () => Deno.stat(join(path, "restored/restore.unfinished/db")).then(() => true, () => undefined),
  );
  process.kill("SIGKILL");
  await process.ended;
  const serve = await restored.run(["serve"]);
  assert.equal(serve.code, 1);
  assert.match(serve.stderr, /a restore into it runs, or was broken off/);
  await ok(restored, ["restore", backup, "--replace"]);
  await Deno.stat(join(path, "restored/db/pg/PG_VERSION"));
  await assert.rejects(Deno.stat(join(path, "restored/restore.unfinished")), Deno.errors.NotFound);
});
