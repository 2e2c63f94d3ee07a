// Delegations as their user meets them: made for a key that is elsewhere, signed there, published into, rotated, listed, removed.

import assert from "node:assert/strict";
import { join } from "node:path";
import { generateSigner } from "../../src/uptane/keys.ts";
import { Program, temporaryFolder } from "../support/program.ts";

interface ListedRole {
  role: string;
  version: number | null;
  threshold: number;
  keyids: string[];
  keys_here: number;
  images: number | null;
  delegation: { paths: string[]; hardware_ids: string[] | null; terminating: boolean } | null;
}

Deno.test("a supplier signs for its images, on a machine of its own, and everybody sees who may what", async (t) => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const repo = join(data, "repo");
  const program = new Program({ data, network: "127.0.200.0/24" });
  const files = async (...args: string[]) =>
    (await program.json(["repo", ...args]) as { file: string; staged: boolean; signatures: number }[])
      .map(({ file, staged, signatures }) => staged ? `${file} staged ${signatures}` : file);
  const list = async () => {
    const { roles, staged } = await program.json(["repo", "list"]) as {
      roles: ListedRole[];
      staged: string[];
    };
    return { roles: new Map(roles.map((it) => [it.role, it])), staged };
  };
  const fails = async (code: number, says: RegExp, ...args: string[]) => {
    const { code: found, stderr } = await program.run(["repo", ...args]);
    assert.equal(found, code, stderr);
    assert.match(stderr, says);
  };
  const image = (role: string | undefined, type: string, hardware: string, version: string) => [
    ...["publish", join(folder.path, "image.bin"), "--format", "binary", "--ecu-type", type],
    ...["--hardware", hardware, "--version", version, ...role === undefined ? [] : ["--role", role]],
  ];
  await Deno.writeTextFile(join(folder.path, "image.bin"), "image");
  const supplier = await generateSigner("ecdsa-p256");
  const key = join(folder.path, "supplier.key");
  const publicKey = join(folder.path, "supplier.pub");
  await Deno.writeTextFile(key, await supplier.exportPem(), { mode: 0o600 });
  await Deno.writeTextFile(publicKey, supplier.key.keyval.public);
  await program.run(["repo", "init", "--role", "all=ecdsa-p256"]);

  await t.step("what is no delegation is wrong usage", async () => {
    for (
      const [says, ...args] of [
        [/expected what the delegation is to be: --path PATTERN/, "supplier"],
        [/must not be the name of a top-level role/, "targets", "--path", "a/*"],
        [/must be the name of an image, with '\*' and '\?'/, "supplier", "--path", "/a"],
        [/must name each hardware once/, "supplier", "--path", "a", "--hardware", "1", "1"],
        [/expected both, or a list of ml-dsa-65/, "supplier", "--path", "a", "--keys", "99"],
        [/expected 1 or more/, "supplier", "--path", "a", "--threshold", "0"],
        [/expected nothing else with it/, "supplier", "--remove", "--terminating"],
        [
          /cannot be used with option '--public-key/,
          "supplier",
          "--path",
          "a",
          "--keys",
          "1",
          "--public-key",
          "x",
        ],
      ] as const
    ) await fails(2, says, "delegate", ...args);
    await fails(1, /paths: expected the names of the images/, "delegate", "supplier", "--terminating");
    await fails(
      1,
      /a private key, which stays where it is/,
      "delegate",
      "s",
      "--path",
      "a",
      "--public-key",
      key,
    );
    await fails(1, /delegate to no role supplier/, "delegate", "supplier", "--remove");
    await fails(1, /delegate to no role supplier/, ...image("supplier", "BRAKE", "1.0", "1.0.0"));
  });

  await t.step("it is staged for the supplier, who signs it, and given out then", async () => {
    const args = ["--path", "BRAKE/*/*", "--hardware", "1.0", "--public-key", publicKey];
    const { code, stdout } = await program.run(["repo", "delegate", "supplier", ...args]);
    assert.equal(code, 0);
    const staged = join(repo, "staged", "image", "1.supplier.json");
    assert.ok(stdout.includes(`Next: zonebench repo sign ${staged} --key FILE`), stdout);
    assert.deepEqual((await list()).staged, ["staged/image/1.supplier.json"]);
    await program.json(["repo", "sign", staged, "--key", key]);
    assert.deepEqual(await files("publish"), [
      "1.supplier.json",
      "2.targets.json",
      "2.snapshot.json",
      "timestamp.json",
    ]);
    const { roles } = await list();
    assert.deepEqual(roles.get("supplier"), {
      repository: "image",
      role: "supplier",
      version: 1,
      expires: roles.get("supplier") && Reflect.get(roles.get("supplier")!, "expires"),
      keyids: [supplier.keyid],
      threshold: 1,
      keys_here: 0,
      images: 0,
      delegation: { paths: ["BRAKE/*/*"], hardware_ids: ["1.0"], terminating: false },
    });
  });

  await t.step("its images wait for its signature, and pass every check with it", async () => {
    await fails(
      1,
      /expected that vehicles find it in supplier/,
      ...image("supplier", "BODY", "1.0", "1.0.0"),
    );
    await fails(1, /for hardware 2\.0: expected that/, ...image("supplier", "BRAKE", "2.0", "1.0.0"));
    assert.deepEqual(await files(...image("supplier", "BRAKE", "1.0", "1.0.0")), [
      "2.supplier.json staged 0",
    ]);
    assert.deepEqual(await files(...image("supplier", "BRAKE", "1.0", "1.1.0")), [
      "2.supplier.json staged 0",
    ]);
    const staged = join(repo, "staged", "image", "2.supplier.json");
    const { signed } = JSON.parse(await Deno.readTextFile(staged));
    assert.deepEqual(Object.keys(signed.targets), ["BRAKE/1.0/1.0.0.bin", "BRAKE/1.0/1.1.0.bin"]);
    await program.json(["repo", "sign", staged, "--key", key]);
    await files("publish");
    const { stdout } = await program.run(["repo", "verify"]);
    assert.match(stdout, /passed {2}5\.4\.4\.6 \(3\) +image supplier 2 is signed by a threshold/);
    assert.match(stdout, /passed {2}5\.4\.3\.4 \(7\) +BRAKE\/1\.0\/1\.1\.0\.bin has every hash/);
    assert.equal((await list()).roles.get("supplier")?.images, 2);
    // Counters go on, whoever signed the one before.
    assert.deepEqual((await files(...image(undefined, "BRAKE", "1.0", "2.0.0")))[0], "3.targets.json");
    const targets = JSON.parse(await Deno.readTextFile(join(repo, "image", "3.targets.json"))).signed.targets;
    const counters = Object.values<{ custom: { must_match: { release_counter: number } } }>(targets)
      .map(({ custom }) => custom.must_match.release_counter);
    const before = Object.values<{ custom: { must_match: { release_counter: number } } }>(signed.targets)
      .map(({ custom }) => custom.must_match.release_counter);
    assert.deepEqual([before, counters], [[1, 1], [2]]);
  });

  await t.step("its metadata is made anew to be good for longer, and its keys are rotated", async () => {
    assert.deepEqual(await files("publish", "--role", "supplier"), ["3.supplier.json staged 0"]);
    await fails(1, /3\.supplier\.json waits for signatures/, "rotate", "supplier");
    await Deno.remove(join(repo, "staged", "image", "3.supplier.json"));
    await fails(2, /the Director has no delegated roles/, "rotate", "supplier", "--repository", "director");
    await fails(1, /delegate to no role other/, "rotate", "other");
    assert.deepEqual(await files("rotate", "supplier", "--keys", "ecdsa-p256,ecdsa-p256:2"), [
      "3.supplier.json",
      "4.targets.json",
      "5.snapshot.json",
      "timestamp.json",
    ]);
    const role = (await list()).roles.get("supplier");
    assert.deepEqual([role?.threshold, role?.keyids.length, role?.keys_here, role?.images], [2, 2, 2, 2]);
    for (const { name } of Deno.readDirSync(join(repo, "keys"))) {
      if (name.startsWith("image-supplier-")) {
        assert.equal(Deno.statSync(join(repo, "keys", name)).mode! & 0o777, 0o600);
      }
    }
  });

  await t.step("others come before it, and one that is removed is found no more", async () => {
    const { stdout } = await program.run([
      ...[
        "repo",
        "delegate",
        "plant",
        "--path",
        "BRAKE/?.0/*",
        "BODY/*/*",
        "--keys",
        "2",
        "--threshold",
        "2",
      ],
      ...["--terminating", "--before", "supplier"],
    ]);
    assert.match(stdout, /Keys of plant are in .*keys: give them to whoever signs for it/);
    const shown = await program.run(["repo", "list"]);
    assert.match(
      shown.stdout,
      /plant may sign BRAKE\/\?\.0\/\*, BODY\/\*\/\* for any hardware; nobody is asked after it\nsupplier may sign BRAKE\/\*\/\* for hardware 1\.0\n/,
    );
    await fails(1, /end their search at plant/, ...image("supplier", "BRAKE", "1.0", "3.0.0"));
    assert.deepEqual((await files("delegate", "supplier", "--remove"))[0], "6.targets.json");
    const { roles } = await list();
    assert.deepEqual([roles.has("plant"), roles.has("supplier")], [true, false]);
    const { passed } = await program.json(["repo", "verify"]) as { passed: boolean };
    assert.equal(passed, true);
  });
});
