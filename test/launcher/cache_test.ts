// The folder that the launcher unpacks into: shared by starts, cleaned, and refused where others may have had a hand in it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { launcherTest, mountTest, namesIn } from "../support/executables.ts";
import { eventually } from "../support/program.ts";

launcherTest("of many starts at once one unpacks, and all of them run", async (bench) => {
  const { path, id } = await bench.make("echo started", {
    files: { data: randomBytes(20_000_000) },
  });
  const results = await Promise.all(Array.from({ length: 8 }, () => bench.start(path)));
  assert.ok(
    results.every(({ code, stdout }) => code === 0 && stdout === "started\n"),
    JSON.stringify(results),
  );
  assert.equal(results.filter(({ stderr }) => stderr.includes("unpacking this version")).length, 1);
  assert.deepEqual(await namesIn(bench.cache), [id, "lock"].sort());
});

launcherTest(
  "a start that was killed while it unpacked is no hindrance, and what it left is removed",
  async (bench) => {
    const { path, id } = await bench.make("echo started", {
      files: { data: randomBytes(60_000_000) },
    });
    const process = bench.spawn(path);
    await eventually(
      "it unpacks",
      async () => (await namesIn(bench.cache)).some((name) => name.startsWith(".new-")) || undefined,
    );
    process.kill("SIGKILL");
    await process.output();
    const left = await namesIn(bench.cache);
    assert.ok(left.some((name) => name.startsWith(".new-")) && !left.includes(id), left.join(" "));

    const { code, stdout } = await bench.start(path);
    assert.deepEqual([code, stdout], [0, "started\n"]);
    assert.deepEqual(await namesIn(bench.cache), [id, "lock"].sort());
  },
);

launcherTest("a start waits while another one has the lock, and says so", async (bench) => {
  const { path } = await bench.make("echo started");
  await Deno.mkdir(bench.cache, { recursive: true });
  await Deno.chmod(bench.cache, 0o700);
  using lock = await Deno.open(join(bench.cache, "lock"), { write: true, create: true });
  await lock.lock(true);
  const process = bench.spawn(path);
  const said = process.stderr.pipeThrough(new TextDecoderStream()).getReader();
  assert.match((await said.read()).value ?? "", /waiting for another one that unpacks into/);
  await lock.unlock();
  assert.match((await said.read()).value ?? "", /unpacking this version/);
  assert.equal((await process.status).code, 0);
  await said.cancel();
  await process.stdout.cancel();
});

launcherTest(
  "files that were changed are unpacked anew, files that were only touched are kept",
  async (bench) => {
    const { path, id } = await bench.make('cat "$(dirname "$0")/data"', {
      files: { data: new TextEncoder().encode("carried") },
    });
    assert.equal((await bench.start(path)).stdout, "carried");
    const data = join(bench.cache, id, "data");
    const { mtime, atime } = await Deno.stat(data);

    const tampers: Record<string, () => Promise<void>> = {
      "the same size and time": async () => {
        await Deno.chmod(data, 0o600);
        await Deno.writeTextFile(data, "changed");
        await Deno.utime(data, atime!, mtime!);
        await Deno.chmod(data, 0o400);
      },
      "another size": async () => {
        await Deno.chmod(data, 0o600);
        await Deno.truncate(data, 3);
        await Deno.chmod(data, 0o400);
      },
      "another mode": () => Deno.chmod(data, 0o600),
      "gone": () => Deno.remove(data),
      "a link": async () => {
        await Deno.remove(data);
        await Deno.writeTextFile(join(bench.folder, "other"), "carried");
        await Deno.symlink(join(bench.folder, "other"), data);
      },
      "no runtime": () => Deno.remove(join(bench.cache, id, "run")),
    };
    for (const [name, tamper] of Object.entries(tampers)) {
      await tamper();
      const { code, stdout, stderr } = await bench.start(path);
      assert.deepEqual([code, stdout], [0, "carried"], `${name}: ${stderr}`);
      assert.match(
        stderr,
        /the files in .+ were changed or damaged\nzonebench: unpacking this version/,
        name,
      );
      assert.deepEqual(await namesIn(bench.cache), [id, "lock"].sort(), name);
      assert.equal((await bench.start(path)).stderr, "", name);
    }

    const { ino } = await Deno.stat(data);
    await Deno.utime(data, new Date(0), new Date(0));
    const stamp = await Deno.readTextFile(join(bench.cache, id, "stamp"));
    const touched = await bench.start(path);
    assert.deepEqual([touched.stdout, touched.stderr], ["carried", ""]);
    assert.equal((await Deno.stat(data)).ino, ino);
    assert.notEqual(
      await Deno.readTextFile(join(bench.cache, id, "stamp")),
      stamp,
      "the full check is noted",
    );
  },
);

launcherTest("a folder that is a link, or open to others, is refused", async (bench) => {
  const { path } = await bench.make("echo started from $0");
  const wrong: Record<string, { make: () => Promise<void>; says: RegExp }> = {
    "a link": {
      make: async () => {
        await Deno.mkdir(join(bench.folder, "elsewhere"), { mode: 0o700 });
        await Deno.symlink(join(bench.folder, "elsewhere"), bench.cache);
      },
      says: /a symbolic link, expected a folder/,
    },
    "open to all": {
      make: async () => {
        await Deno.mkdir(bench.cache);
        await Deno.chmod(bench.cache, 0o777);
      },
      says: /open to other users \(mode 777, expected 700\)/,
    },
    "a file": {
      make: () => Deno.writeTextFile(bench.cache, ""),
      says: /expected a folder, got something else/,
    },
    "in a folder that is open to all": {
      make: () => Deno.chmod(join(bench.home, ".cache"), 0o777),
      says: /anybody may replace what is in it/,
    },
  };
  await Deno.mkdir(join(bench.home, ".cache"));
  for (const [name, { make, says }] of Object.entries(wrong)) {
    await make();
    const { code, stdout, stderr } = await bench.start(path);
    assert.equal(code, 0, name);
    assert.ok(stdout.startsWith(`started from ${bench.fallback}/`), name);
    assert.match(stderr, says, name);
    if (name.startsWith("in ")) continue;
    await Deno.remove(bench.cache, { recursive: true });
  }
  await Deno.chmod(bench.fallback, 0o755);
  const nowhere = await bench.start(path);
  assert.deepEqual([nowhere.code, nowhere.stdout], [1, ""]);
  assert.match(nowhere.stderr, /mode 755, expected 700/);
  assert.deepEqual(
    await namesIn(join(bench.folder, "elsewhere")),
    [],
    "nothing was put where the link points",
  );
});

mountTest("a folder that belongs to somebody else is refused, the unpacked one too", async (bench) => {
  const { path, id } = await bench.make("echo started from $0");
  await Deno.mkdir(bench.cache, { recursive: true });
  await Deno.chmod(bench.cache, 0o700);
  await Deno.chown(bench.cache, 65534, 65534);
  const outer = await bench.start(path);
  assert.ok(outer.stdout.startsWith(`started from ${bench.fallback}/`));
  assert.match(outer.stderr, /belongs to user 65534, expected 0/);

  await Deno.chown(join(bench.fallback, id), 65534, 65534);
  const inner = await bench.start(path);
  assert.deepEqual([inner.code, inner.stdout], [1, ""]);
  assert.match(inner.stderr, new RegExp(`${id}: belongs to user 65534, expected 0`));
});

launcherTest(
  "two versions are kept besides the one that starts, and one that runs is never removed",
  async (bench) => {
    const versions: { path: string; id: string }[] = [];
    for (let number = 0; number < 6; number++) {
      versions.push(
        await bench.make(`[ "$2" = stay ] && { echo here; exec sleep 60; }; echo version ${number}`),
      );
    }
    const [first, ...others] = versions;
    const running = bench.spawn(first.path, { args: ["stay"] });
    const output = running.stdout.getReader();
    await output.read();
    try {
      for (const [number, { path }] of others.entries()) {
        assert.equal((await bench.start(path)).stdout, `version ${number + 1}\n`);
      }
      const kept = (await namesIn(bench.cache)).filter((name) => name !== "lock");
      assert.deepEqual(kept, [first, ...others.slice(-3)].map(({ id }) => id).sort());
    } finally {
      running.kill("SIGKILL");
      await output.cancel();
      await running.stderr.cancel();
      await running.status;
    }
    // Its turn to go comes when nobody runs it any more.
    const last = await bench.make("echo version 6");
    assert.equal((await bench.start(last.path)).code, 0);
    const kept = (await namesIn(bench.cache)).filter((name) => name !== "lock");
    assert.deepEqual(kept, [last, ...others.slice(-2)].map(({ id }) => id).sort());
  },
);
