// The commands backup and restore on data folders without a server: what they take, refuse, keep and leave.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Program, temporaryFolder } from "../support/program.ts";

const phrase = "a long pass phrase";
const key = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";

interface World extends AsyncDisposable {
  folder: string;
  data: string;
  program: Program;
  /** Runs restore into another folder. */
  restore(to: string, file: string, ...more: string[]): ReturnType<Program["run"]>;
}

/** A data folder with a gateway's state, an image, an authority, and what is no part of a backup. */
async function world(): Promise<World> {
  const temporary = await temporaryFolder();
  const folder = temporary.path;
  const data = join(folder, "data");
  const files: Record<string, string> = {
    // printf image | sha256sum
    "images/6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d.bin": "image",
    "pki/ca.crt": "the certificate",
    "pki/ca.key": key,
    "repo/keys/image-targets": key,
    "vmg/V/link.json": "{}",
    "vmg/V/lock": "",
    "tmp/half.tmp": "half",
    "images/x.tmp": "half",
    "replaced-2026/old": "old",
  };
  for (const [name, content] of Object.entries(files)) {
    await Deno.mkdir(join(data, name, ".."), { recursive: true });
    await Deno.writeTextFile(join(data, name), content);
  }
  await Deno.writeTextFile(join(folder, "pass"), `${phrase}\nnot this line\n`);
  using state = new DatabaseSync(join(data, "vmg/V/vmg.db"));
  state.exec(
    "pragma journal_mode = wal; pragma user_version = 1; create table t (x text); insert into t values ('in')",
  );
  const network = "127.0.101.0/24";
  return {
    folder,
    data,
    program: new Program({ data, network }),
    restore: (to, file, ...more) =>
      new Program({ data: join(folder, to), network }).run(["restore", join(folder, file), ...more]),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

async function tree(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) names.push(...(await tree(join(folder, name))).map((below) => `${name}/${below}`));
    else names.push(name);
  }
  return names.sort();
}

const withoutKeys = [
  "images/6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d.bin",
  "pki/ca.crt",
  "vmg/V/link.json",
  "vmg/V/vmg.db",
];

Deno.test("a backup has files and state, keys only when they are asked for, and is for its owner alone", async () => {
  await using it = await world();
  const plain = await it.program.run(["backup", join(it.folder, "plain"), "--json"]);
  assert.equal(plain.code, 0, plain.stderr);
  assert.deepEqual({ ...JSON.parse(plain.stdout), created: "", size: 0 }, {
    file: join(it.folder, "plain"),
    size: 0,
    created: "",
    database: null,
    files: 4,
    keys: false,
  });
  assert.equal(((await Deno.stat(join(it.folder, "plain"))).mode ?? 0) & 0o777, 0o600);
  const restored = await it.restore("a/b", "plain");
  assert.equal(restored.code, 0, restored.stderr);
  assert.match(restored.stdout, /no private keys/);
  assert.deepEqual(await tree(join(it.folder, "a/b")), withoutKeys);

  const keyed = await it.program.run([
    "backup",
    join(it.folder, "keyed"),
    "--with-keys",
    "--pass-file",
    join(it.folder, "pass"),
  ]);
  assert.equal(keyed.code, 0, keyed.stderr);
  assert.equal((await it.restore("c", "keyed", "--pass-file", join(it.folder, "pass"))).code, 0);
  assert.deepEqual(
    await tree(join(it.folder, "c")),
    [...withoutKeys, "pki/ca.key", "repo/keys/image-targets"].sort(),
  );
  for (const name of ["pki/ca.key", "repo/keys/image-targets"]) {
    assert.equal(await Deno.readTextFile(join(it.folder, "c", name)), key);
    assert.equal(((await Deno.stat(join(it.folder, "c", name))).mode ?? 0) & 0o777, 0o600);
  }
  assert.equal((await it.restore("d", "keyed", "--without-keys")).code, 0);
  assert.deepEqual(await tree(join(it.folder, "d")), withoutKeys);
  assert.deepEqual(await tree(join(it.data, "tmp")), ["half.tmp"], "nothing is left beside the data");
});

Deno.test("a gateway's state is taken as it is at one moment, while the gateway writes", async () => {
  await using it = await world();
  using state = new DatabaseSync(join(it.data, "vmg/V/vmg.db"));
  state.exec("begin immediate; insert into t values ('not yet')");
  assert.equal((await it.program.run(["backup", join(it.folder, "b")])).code, 0);
  state.exec("commit");
  assert.equal((await it.restore("r", "b")).code, 0);
  using copy = new DatabaseSync(join(it.folder, "r/vmg/V/vmg.db"));
  assert.deepEqual(copy.prepare("select x from t").all().map(({ x }) => x), ["in"]);
  assert.equal(copy.prepare("pragma user_version").get()?.user_version, 1);
});

Deno.test("the pass phrase is never an argument, must be long, and must be the right one", async () => {
  await using it = await world();
  const backup = (...more: string[]) => it.program.run(["backup", join(it.folder, "b"), ...more]);
  assert.equal((await backup("--pass-phrase", phrase)).code, 2);
  const none = await backup("--with-keys");
  assert.equal(none.code, 2);
  assert.match(
    none.stderr,
    /no terminal to ask at; give --pass-file FILE or the environment variable BACKUP_PASSPHRASE/,
  );
  await Deno.writeTextFile(join(it.folder, "short"), "too short\n");
  const short = await backup("--with-keys", "--pass-file", join(it.folder, "short"));
  assert.match(short.stderr, /12 characters at least/);
  assert.ok(!short.stderr.includes("too short"));
  assert.equal((await backup("--with-keys", "--pass-file", join(it.folder, "absent"))).code, 1);
  assert.equal((await backup("--pass-file", join(it.folder, "pass"))).code, 2);
  await assert.rejects(Deno.stat(join(it.folder, "b")), Deno.errors.NotFound);

  assert.equal((await backup("--with-keys", "--pass-file", join(it.folder, "pass"))).code, 0);
  await Deno.writeTextFile(join(it.folder, "wrong"), "another pass phrase\n");
  const wrong = await it.restore("r", "b", "--pass-file", join(it.folder, "wrong"));
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /error: the keys do not open: another pass phrase/);
  await assert.rejects(Deno.stat(join(it.folder, "r")), Deno.errors.NotFound);
});

Deno.test("a backup does not replace a file unless told to, and does not lie in its own data folder", async () => {
  await using it = await world();
  await Deno.writeTextFile(join(it.folder, "b"), "precious");
  assert.match(
    (await it.program.run(["backup", join(it.folder, "b")])).stderr,
    /is there already; --force replaces it/,
  );
  assert.equal(await Deno.readTextFile(join(it.folder, "b")), "precious");
  assert.equal((await it.program.run(["backup", join(it.folder, "b"), "--force"])).code, 0);
  assert.match(
    (await it.program.run(["backup", join(it.data, "images/b")])).stderr,
    /does not lie in the data folder/,
  );
  assert.match((await it.program.run(["backup", join(it.folder, "no/b")])).stderr, /no such folder/);
  const nothing = await new Program({ data: join(it.folder, "nothing"), network: "127.0.101.0/24" })
    .run(["backup", join(it.folder, "c")]);
  assert.match(nothing.stderr, /there is no data folder to back up/);
  assert.deepEqual((await tree(it.folder)).filter((name) => !name.startsWith("data/")), ["b", "pass"]);
});

Deno.test("a restore goes into an empty folder, or puts aside what is there", async () => {
  await using it = await world();
  await it.program.run(["backup", join(it.folder, "b")]);
  const full = await it.restore("data", "b");
  assert.equal(full.code, 1);
  assert.match(full.stderr, /is not empty; choose another --data folder, or --replace/);

  const before = await tree(it.data);
  await Deno.writeTextFile(join(it.data, "vmg/V/link.json"), "changed");
  const replaced = await it.restore("data", "b", "--replace", "--json");
  assert.equal(replaced.code, 0, replaced.stderr);
  const aside = JSON.parse(replaced.stdout).replaced as string;
  assert.deepEqual(await tree(aside), before.filter((name) => !name.startsWith("replaced-")));
  assert.equal(await Deno.readTextFile(join(aside, "vmg/V/link.json")), "changed");
  assert.equal(await Deno.readTextFile(join(it.data, "vmg/V/link.json")), "{}");
  // The backup has no keys: those that were there go on.
  assert.equal(await Deno.readTextFile(join(it.data, "pki/ca.key")), key);
  assert.equal(await Deno.readTextFile(join(it.data, "repo/keys/image-targets")), key);
});

Deno.test("a folder that a program works on is not replaced", async () => {
  await using it = await world();
  await it.program.run(["backup", join(it.folder, "b")]);
  const before = await tree(it.data);
  using lock = await Deno.open(join(it.data, "vmg/V/lock"), { read: true, write: true });
  await lock.lock(true);
  await lock.write(new TextEncoder().encode("4711\n"));
  const refused = await it.restore("data", "b", "--replace");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /vmg\/V is in use by process 4711: stop it/);
  assert.deepEqual(await tree(it.data), before);
});

Deno.test("a damaged backup leaves nothing behind, and nothing starts on a restore that has not ended", async () => {
  await using it = await world();
  await it.program.run(["backup", join(it.folder, "b")]);
  const bytes = await Deno.readFile(join(it.folder, "b"));
  await Deno.writeFile(join(it.folder, "cut"), bytes.subarray(0, bytes.length - 100));
  const cut = await it.restore("r", "cut");
  assert.equal(cut.code, 1);
  assert.match(cut.stderr, /cut: the file is cut off/);
  await Deno.writeFile(join(it.folder, "other"), new TextEncoder().encode("no backup"));
  assert.match(
    (await it.restore("r", "other")).stderr,
    /other: expected a backup of zonebench, got another kind of file/,
  );
  await assert.rejects(Deno.stat(join(it.folder, "r")), Deno.errors.NotFound);

  // As kill -9 leaves it.
  await Deno.mkdir(join(it.folder, "r/restore.unfinished/images"), { recursive: true });
  await Deno.mkdir(join(it.folder, "r/pki"));
  const serve = await new Program({ data: join(it.folder, "r"), network: "127.0.101.0/24" }).run(["serve"]);
  assert.equal(serve.code, 1);
  assert.match(serve.stderr, /a restore into it runs, or was broken off/);
  assert.match(
    (await it.restore("r", "b")).stderr,
    /has not ended; when none is running, --replace begins anew/,
  );
  assert.equal((await it.restore("r", "b", "--replace")).code, 0);
  assert.deepEqual(
    (await tree(join(it.folder, "r"))).filter((name) => !name.startsWith("replaced-")),
    withoutKeys,
  );
});

Deno.test("a gateway's state that a newer program wrote is not restored", async () => {
  await using it = await world();
  {
    using state = new DatabaseSync(join(it.data, "vmg/V/vmg.db"));
    state.exec("pragma user_version = 99");
  }
  await it.program.run(["backup", join(it.folder, "b")]);
  const newer = await it.restore("r", "b");
  assert.equal(newer.code, 1);
  assert.match(
    newer.stderr,
    /vmg\/V\/vmg\.db has schema version 99, this program knows versions up to \d+.*newer/,
  );
  await assert.rejects(Deno.stat(join(it.folder, "r")), Deno.errors.NotFound);
});
