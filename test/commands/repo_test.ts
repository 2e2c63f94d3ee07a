// `zonebench repo` as its user meets it: repositories founded, signed on two machines, rotated, published and checked.

import assert from "node:assert/strict";
import { join } from "node:path";
import { makeDirectorBundle } from "../../src/uptane/author.ts";
import { readMetadata } from "../../src/uptane/envelope.ts";
import { RepositoryDirectory } from "../../src/server/uptane/repository_directory.ts";
import { Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

interface Bench extends AsyncDisposable {
  program: Program;
  folder: string;
  repo: string;
}

async function bench(): Promise<Bench> {
  const folder = await temporaryFolder();
  const data = join(folder.path, "data");
  return {
    program: new Program({ data, network: "127.0.97.0/24" }),
    folder: folder.path,
    repo: join(data, "repo"),
    [Symbol.asyncDispose]: async () => await folder[Symbol.asyncDispose](),
  };
}

interface File {
  repository: string;
  file: string;
  staged: boolean;
  signatures?: number;
  threshold?: number;
}

async function files(program: Program, args: string[]): Promise<string[]> {
  const found = await program.json(["repo", ...args]) as File[];
  return found.map(({ repository, file, staged, signatures, threshold }) =>
    `${repository}/${file}${staged ? ` staged ${signatures}/${threshold}` : ""}`
  );
}

async function firmware(folder: string, text: string): Promise<string> {
  const path = join(folder, "body.bin");
  await Deno.writeTextFile(path, text);
  return path;
}

const image = ["--ecu-type", "BODY_CONTROLLER", "--hardware", "1.0", "--format", "binary"];

Deno.test("repositories are founded once, with keys for their owner alone, and pass every check", async () => {
  await using it = await bench();
  const missing = await it.program.run(["repo", "verify"]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /1\.root\.json: not there; "repo init" makes repositories/);
  assert.deepEqual(
    await files(it.program, ["init", "--role", "all=ecdsa-p256", "--role", "image.targets=both"]),
    [
      "director/1.root.json",
      "image/1.root.json",
      "image/1.targets.json",
      "image/1.snapshot.json",
      "image/timestamp.json",
    ],
  );
  for (const { name } of Deno.readDirSync(join(it.repo, "keys"))) {
    assert.equal(Deno.statSync(join(it.repo, "keys", name)).mode! & 0o777, 0o600, name);
  }
  const { signed } = readMetadata("root", await Deno.readFile(join(it.repo, "image", "1.root.json")));
  assert.deepEqual(
    Object.entries(signed.roles).map(([role, keys]) => [role, keys?.threshold, keys?.keyids.length]),
    [["root", 1, 1], ["timestamp", 1, 1], ["snapshot", 1, 1], ["targets", 2, 2]],
  );
  assert.deepEqual(signed.roles.targets.keyids.map((keyid) => signed.keys[keyid].scheme).sort(), [
    "ecdsa-sha2-nistp256",
    "ml-dsa-65/1",
  ]);
  assert.deepEqual(await files(it.program, ["init"]), []);
  const { passed, checks } = await it.program.json(["repo", "verify"]) as {
    passed: boolean;
    checks: unknown[];
  };
  assert.equal(passed, true);
  assert.ok(checks.length > 10);
});

Deno.test("an image is published, given to a vehicle, and refused once a byte of it is another", async () => {
  await using it = await bench();
  await it.program.run(["repo", "init"]);
  const path = await firmware(it.folder, "version 1");
  assert.deepEqual(await files(it.program, ["publish", path, ...image, "--version", "1.0.0"]), [
    "image/2.targets.json",
    "image/2.snapshot.json",
    "image/timestamp.json",
  ]);
  await firmware(it.folder, "version 2");
  await files(it.program, ["publish", path, ...image, "--version", "2.0.0"]);
  const directory = new RepositoryDirectory(it.repo);
  const targets = (await directory.newest("image", "targets"))?.metadata.signed.targets;
  assert.deepEqual(Object.keys(targets ?? {}), [
    "BODY_CONTROLLER/1.0/1.0.0.bin",
    "BODY_CONTROLLER/1.0/2.0.0.bin",
  ]);
  const second = targets?.["BODY_CONTROLLER/1.0/2.0.0.bin"];
  assert.ok(second);
  assert.deepEqual(second.custom?.must_match, {
    hardware_ids: ["1.0"],
    ecu_types: ["BODY_CONTROLLER"],
    version: "2.0.0",
    release_counter: 2,
    // SHA-256 of {"download":null,"segments":[{"address":0,"length":9}]}
    layout_sha256: "3f171d51fb1d5ffb27c79a2a97fa442e46baa6c2c25788d461e6b12c6f673ba7",
  });
  // What the Director does for a vehicle.
  const keys = await directory.keys();
  const root = (await directory.newest("director", "root"))?.metadata.signed;
  const signers = (role: "targets" | "snapshot" | "timestamp") =>
    (root?.roles[role].keyids ?? []).map((keyid) => keys.get(keyid)).filter((key) => key !== undefined);
  const expires = new Date(Date.now() + 3_600_000);
  const bundle = await makeDirectorBundle({
    vehicleId: vin,
    version: 1,
    images: [{
      filename: "BODY_CONTROLLER/1.0/2.0.0.bin",
      target: second,
      ecus: [{ ecuId: "ECU_005", hardwareId: "1.0" }],
    }],
    expires: { targets: expires, snapshot: expires, timestamp: expires },
    signers: { targets: signers("targets"), snapshot: signers("snapshot"), timestamp: signers("timestamp") },
  });
  for (const [name, bytes] of bundle) await directory.write("director", join(vin, name), bytes);
  const asVehicle = ["repo", "verify", "--vin", vin, "--ecu", "ECU_005=1.0"];
  const good = await it.program.run(asVehicle);
  assert.equal(good.code, 0, good.stderr);
  assert.match(
    good.stdout,
    /passed {2}5\.4\.4\.2 \(10\.2\.1\) +BODY_CONTROLLER\/1\.0\/2\.0\.0\.bin for ECU_005 has one length/,
  );
  assert.match(good.stdout, /All \d+ checks passed/);
  const wrong = await it.program.run(["repo", "verify", "--vin", vin, "--ecu", "ECU_005=9.9"]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stdout, /FAILED {2}5\.4\.3\.4 \(3\) +director targets 1/);
  assert.match(
    wrong.stderr,
    /wrong hardware: director targets 1: expected hardware 9\.9 for ECU_005, got 1\.0/,
  );
  const expired = await it.program.run(["repo", "verify", "--time", "2099-01-01T00:00:00Z"]);
  assert.equal(expired.code, 1);
  assert.match(expired.stderr, /freeze: director root 1/);
  const stored = directory.imagePath("BODY_CONTROLLER/1.0/2.0.0.bin", second.hashes.sha256);
  await Deno.writeTextFile(stored, "version 3");
  const damaged = await it.program.run(["repo", "verify"]);
  assert.equal(damaged.code, 1);
  assert.match(damaged.stderr, /arbitrary software: BODY_CONTROLLER\/1\.0\/2\.0\.0\.bin: expected sha256/);
});

Deno.test("a root that needs two keys is signed on two machines, and given out when both have signed", async () => {
  await using it = await bench();
  await it.program.run(["repo", "init", "--role", "root=ml-dsa-65,ecdsa-p256:2"]);
  const stick = join(it.folder, "stick");
  await Deno.mkdir(stick);
  const away: string[] = [];
  for (const { name } of Deno.readDirSync(join(it.repo, "keys"))) {
    if (!name.startsWith("image-root-")) continue;
    await Deno.rename(join(it.repo, "keys", name), join(stick, name));
    away.push(join(stick, name));
  }
  assert.equal(away.length, 2);
  assert.deepEqual(await files(it.program, ["rotate", "targets", "--repository", "image"]), [
    "image/2.root.json staged 0/2",
  ]);
  const again = await it.program.run(["repo", "rotate", "targets", "--repository", "image"]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /2\.root\.json waits for signatures/);
  const staged = join(it.repo, "staged", "image", "2.root.json");
  await it.program.json(["repo", "sign", staged, "--key", away[0]]);
  assert.deepEqual((await files(it.program, ["publish"]))[0], "image/2.root.json staged 1/2");
  const { signatures } = await it.program.json(["repo", "sign", staged, "--key", away[1]]) as {
    signatures: string[];
  };
  assert.equal(signatures.length, 2);
  assert.deepEqual(await files(it.program, ["publish"]), [
    "image/2.root.json",
    "image/2.targets.json",
    "image/3.snapshot.json",
    "image/timestamp.json",
  ]);
  const { passed } = await it.program.json(["repo", "verify"]) as { passed: boolean };
  assert.equal(passed, true);
});

Deno.test("each role is rotated, and what the old keys sign afterwards is refused", async () => {
  await using it = await bench();
  await it.program.run(["repo", "init", "--role", "all=ecdsa-p256"]);
  const old = await new RepositoryDirectory(it.repo).keys();
  for (const role of ["root", "timestamp", "snapshot", "targets"]) {
    await files(it.program, ["rotate", role, "--repository", "image", "--keys", "ml-dsa-65"]);
  }
  await files(it.program, ["rotate", "time", "--repository", "director"]);
  const { passed } = await it.program.json(["repo", "verify"]) as { passed: boolean };
  assert.equal(passed, true);
  const root = (await new RepositoryDirectory(it.repo).newest("image", "root"))?.metadata.signed;
  assert.equal(root?.version, 5);
  assert.ok(Object.keys(root.keys).every((keyid) => !old.has(keyid)));
  const before = await Deno.readFile(join(it.repo, "image", "1.snapshot.json"));
  await Deno.writeFile(join(it.repo, "image", "timestamp.json"), before);
  const { code, stderr } = await it.program.run(["repo", "verify"]);
  assert.equal(code, 1);
  assert.match(stderr, /malformed data: image timestamp: signed\._type/);
});

Deno.test("wrong usage of repo ends with 2, files that are none with 1", async () => {
  await using it = await bench();
  for (
    const [args, code, says] of [
      [["init", "--role", "other=both"], 2, /expected root, timestamp, snapshot, targets, time or all/],
      [["init", "--role", "image.time=both"], 2, /expected root/],
      [["init", "--role", "root=rsa"], 2, /expected both, or a list/],
      [["init", "--role", "root=ml-dsa-65:2"], 2, /expected both, or a list/],
      [["init", "--expires", "time=1"], 2, /expected root, timestamp, snapshot or targets/],
      [["rotate", "targets"], 2, /required option '--repository/],
      [["rotate", "targets", "--repository", "image"], 1, /"repo init" makes one/],
      [
        ["publish", "x.bin", "--hardware", "1", "--version", "1.0.0"],
        2,
        /--ecu-type: must be given with FILE/,
      ],
      [
        ["publish", "x.bin", "--ecu-type", "B", "--hardware", "1", "--version", "1"],
        2,
        /--version: must be a semantic/,
      ],
      [
        ["publish", "/nowhere.bin", ...image, "--version", "1.0.0"],
        1,
        /no root of the image repository there/,
      ],
      [["sign", "/nowhere.json", "--key", "x"], 1, /\/nowhere\.json: cannot be read/],
      [["verify", "--vin", "VIN"], 2, /must be a VIN/],
      [["verify", "--ecu", "ECU_001=1"], 2, /expected --vin with it/],
    ] as const
  ) {
    const result = await it.program.run(["repo", ...args]);
    assert.equal(result.code, code, `${args.join(" ")}: ${result.stderr}`);
    assert.match(result.stderr, says);
  }
  const text = join(it.folder, "text");
  await Deno.writeTextFile(text, "{}");
  const { code, stderr } = await it.program.run(["repo", "sign", text, "--key", text]);
  assert.equal(code, 1);
  assert.match(stderr, /expected an object with the members signed and signatures/);
});
