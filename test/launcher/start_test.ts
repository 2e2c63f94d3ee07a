// The launcher: what it hands to the program, where it unpacks, and what it says to files that are not whole.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { launcherTest, mountTest, namesIn } from "../support/executables.ts";
import { rootHome } from "../support/root_home.ts";

launcherTest("the first start unpacks into a private folder, the second does not", async (bench) => {
  const { path, id } = await bench.make('cat "$(dirname "$0")/data"', {
    files: { data: new TextEncoder().encode("carried") },
  });
  const first = await bench.start(path);
  assert.deepEqual([first.code, first.stdout], [0, "carried"]);
  assert.equal(first.stderr, `zonebench: unpacking this version into ${bench.cache}/${id}\n`);
  for (const folder of [bench.cache, join(bench.cache, id)]) {
    assert.equal((await Deno.stat(folder)).mode! & 0o777, 0o700, folder);
  }
  assert.deepEqual(await namesIn(bench.cache), [id, "lock"].sort());

  const before = await Deno.stat(join(bench.cache, id, "data"));
  const second = await bench.start(path);
  assert.deepEqual([second.code, second.stdout, second.stderr], [0, "carried", ""]);
  assert.equal((await Deno.stat(join(bench.cache, id, "data"))).ino, before.ino);
});

launcherTest(
  "arguments and environment come through, but for what would change the runtime",
  async (bench) => {
    const { path, id } = await bench.make('printf "%s\\n" "$@"; env', {
      options: { args: ["run", "{}/main.js"], environment: { DENO_DIR: "{}/deno" } },
    });
    const { stdout, code } = await bench.start(path, {
      args: ["serve", "--data", "two words", "--", ""],
      environment: {
        OWN: "kept",
        DENO_PERMISSION_BROKER_PATH: "/tmp/x",
        DENO_DIR: "/tmp/y",
        NODE_OPTIONS: "--require /tmp/z",
      },
    });
    assert.equal(code, 0);
    const lines = stdout.split("\n");
    const folder = join(bench.cache, id);
    assert.deepEqual(lines.slice(0, 7), [
      "run",
      `${folder}/main.js`,
      "serve",
      "--data",
      "two words",
      "--",
      "",
    ]);
    assert.ok(lines.includes("OWN=kept"));
    assert.deepEqual(lines.filter((line) => /^(DENO_|NODE_OPTIONS)/.test(line)), [`DENO_DIR=${folder}/deno`]);
  },
);

launcherTest("without a PATH the program gets the system's folders", async (bench) => {
  const { path } = await bench.make('echo "$PATH"');
  const system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const [given, expected] of [["", system], ["/nowhere", "/nowhere"]]) {
    const { stdout } = await bench.start(path, { environment: { PATH: given } });
    assert.equal(stdout, `${expected}\n`);
  }
});

launcherTest(
  "the program is the process that was started: exit codes and signals are its own",
  async (bench) => {
    const { path } = await bench.make('[ "$2" = code ] && exit 42; echo $$; exec sleep 60');
    assert.equal((await bench.start(path, { args: ["code"] })).code, 42);

    const process = bench.spawn(path);
    const reader = process.stdout.getReader();
    const { value } = await reader.read();
    assert.equal(new TextDecoder().decode(value).trim(), String(process.pid));
    process.kill("SIGTERM");
    assert.equal((await process.status).signal, "SIGTERM");
    await reader.cancel();
    await process.stderr.cancel();
  },
);

launcherTest(
  "a copy that was cut off says how much of it there is, and leaves nothing behind",
  async (bench) => {
    const { path } = await bench.make("echo started", {
      files: { data: randomBytes(60_000) },
    });
    const bytes = await Deno.readFile(path);
    const { size: image } = await Deno.stat(bench.launcher);
    const copy = join(bench.folder, "copy");
    for (const length of [image, image + 50, image + 100, image + 20_000, bytes.length - 1]) {
      await Deno.writeFile(copy, bytes.subarray(0, length), { mode: 0o755 });
      const { code, stdout, stderr } = await bench.start(copy);
      assert.deepEqual([code, stdout], [1, ""], String(length));
      assert.match(
        stderr,
        length < image + 96
          ? new RegExp(`${copy} is only the beginning of the program: ${length} bytes: copy it again`)
          : new RegExp(`${copy} is incomplete: it has ${length} of ${bytes.length} bytes: copy it again`),
      );
    }
    await Deno.writeFile(copy, new Uint8Array([...bytes, 0]), { mode: 0o755 });
    assert.match((await bench.start(copy)).stderr, /is damaged \(expected \d+ bytes, it has \d+\)/);
    assert.deepEqual(await namesIn(bench.cache), []);
  },
);

launcherTest("a file with one wrong bit does not start, wherever the bit is", async (bench) => {
  const data = randomBytes(60_000);
  const { path } = await bench.make("echo started", { files: { data } });
  const bytes = await Deno.readFile(path);
  const { size: image } = await Deno.stat(bench.launcher);
  const index = image + 96;
  const indexLength = Number(new DataView(bytes.buffer).getBigUint64(image + 24, true));
  const places = {
    magic: image,
    length: image + 16,
    "index's length": image + 24,
    "index's hash": image + 40,
    "header's hash": image + 70,
    index: index + 30,
    "index's end": index + indexLength - 2,
    "frame's header": index + indexLength,
    contents: index + indexLength + 30_000,
    "contents' end": bytes.length - 8,
  };
  const copy = join(bench.folder, "copy");
  for (const [name, at] of Object.entries(places)) {
    const changed = bytes.slice();
    changed[at] ^= 1;
    await Deno.writeFile(copy, changed, { mode: 0o755 });
    const { code, stdout, stderr } = await bench.start(copy);
    assert.deepEqual([code, stdout], [1, ""], name);
    assert.match(stderr, new RegExp(`${copy} is damaged \\(.+\\): copy it again\n$`), name);
    assert.deepEqual((await namesIn(bench.cache)).filter((it) => it !== "lock"), [], name);
  }
});

launcherTest("without a home folder that it may write to it unpacks into $TMPDIR", async (bench) => {
  const { path, id } = await bench.make("echo started");
  // Not even root can make a folder below a file.
  const home = join(bench.folder, "no-home");
  await Deno.writeTextFile(home, "");
  for (const [name, value] of [["HOME", home], ["XDG_CACHE_HOME", join(home, "cache")]]) {
    const { code, stdout, stderr } = await bench.start(path, { environment: { [name]: value } });
    assert.deepEqual([code, stdout], [0, "started\n"], stderr);
  }
  assert.deepEqual(await namesIn(bench.fallback), [id, "lock"].sort());
  assert.equal((await Deno.stat(bench.fallback)).mode! & 0o777, 0o700);
});

launcherTest("where no folder can be used it says why for each, and what to do", async (bench) => {
  const { path } = await bench.make("echo started");
  const file = join(bench.folder, "file");
  await Deno.writeTextFile(file, "");
  const { code, stdout, stderr } = await bench.start(path, { environment: { HOME: file, TMPDIR: file } });
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(
    stderr,
    new RegExp(
      `^zonebench: found no folder to unpack the program into:\n  ${file}/.cache: cannot make it: .+\n  ${file}.*: .+\n` +
        "Let XDG_CACHE_HOME or TMPDIR name a folder of yours with 1 MB free.\n$",
    ),
  );
});

mountTest("a read-only home, and one from which nothing may run, are passed over", async (bench) => {
  const { path, id } = await bench.make("echo started");
  for (const mode of ["ro", "noexec"]) {
    const { code, stdout, stderr } = await bench.start(path, {
      mounting: `mount -t tmpfs -o ${mode} tmpfs "$HOME"`,
    });
    assert.deepEqual([code, stdout], [0, "started\n"], `${mode}: ${stderr}`);
  }
  assert.deepEqual(await namesIn(bench.fallback), [id, "lock"].sort());
});

mountTest("an empty environment is enough: the home folder stands in /etc/passwd", async (bench) => {
  const { path, id } = await bench.make("echo started from $0");
  const { code, stdout } = await bench.start(path, {
    mounting: `mount -t tmpfs tmpfs ${rootHome} && set -- env -i "$0" "$@" && exec "$@"`,
  });
  assert.deepEqual([code, stdout], [0, `started from ${rootHome}/.cache/zonebench/${id}/run\n`]);
});

mountTest(
  "on a full disk it says how much is needed, leaves nothing, and takes another disk",
  async (bench) => {
    const { path } = await bench.make("echo started", {
      files: { data: randomBytes(3_000_000) },
    });
    const small = 'mount -t tmpfs -o size=1m tmpfs "$HOME"';
    const both = `${small} && mount -t tmpfs -o size=1m tmpfs "$TMPDIR"`;
    const full = await bench.start(path, {
      // What is left is looked at before the namespace ends.
      mounting: `${both}\n"$0"; code=$?; find "$HOME" "$TMPDIR" -type f ! -name lock; exit $code`,
    });
    assert.deepEqual([full.code, full.stdout], [1, ""]);
    assert.match(full.stderr, /No space left on device: 4 MB are needed, \d MB were left/);
    assert.match(full.stderr, /Let XDG_CACHE_HOME or TMPDIR name a folder of yours with 4 MB free/);

    const other = await bench.start(path, { mounting: small });
    assert.deepEqual([other.code, other.stdout], [0, "started\n"], other.stderr);
  },
);
