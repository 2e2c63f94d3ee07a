// Work on repositories in a folder: founding that was cut off, files that wait for signatures, delegated roles in the snapshot.

import assert from "node:assert/strict";
import { join } from "node:path";
import { makeDelegations, makeTargets } from "../../../src/uptane/author.ts";
import { readMetadata, signEnvelope } from "../../../src/uptane/envelope.ts";
import { generateSigner } from "../../../src/uptane/keys.ts";
import { RepositoryAuthor } from "../../../src/server/uptane/repository_author.ts";
import {
  type RepositoryDirectory,
  RepositoryDirectoryError,
} from "../../../src/server/uptane/repository_directory.ts";
import { image, inDays, now } from "../../uptane/fake_repositories.ts";
import { settings, withRepositories } from "./folder.ts";

const withAuthor = (run: (author: RepositoryAuthor, directory: RepositoryDirectory) => Promise<void>) =>
  withRepositories((directory) => run(new RepositoryAuthor(directory, now), directory));

Deno.test("a founding that was cut off before its root is done anew, and its versions go on", async () => {
  await withAuthor(async (author, directory) => {
    await author.found("image", settings);
    await Deno.remove(join(directory.path, "image", "1.root.json"));
    await assert.rejects(directory.root("image"), /"repo init" makes one/);
    const written = await author.found("image", settings);
    assert.deepEqual(written.map(({ fileName }) => fileName), [
      "1.root.json",
      "1.targets.json",
      "2.snapshot.json",
      "timestamp.json",
    ]);
    assert.equal((await directory.timestamp("image"))?.signed.version, 2);
  });
});

Deno.test("metadata is good for the days that were asked for", async () => {
  await withAuthor(async (_, directory) => {
    const author = new RepositoryAuthor(directory, now, { root: 1, targets: 2, snapshot: 3, timestamp: 4 });
    await author.found("image", settings);
    const expires = async (role: "root" | "targets" | "snapshot") =>
      (await directory.newest("image", role))?.metadata.signed.expires;
    assert.equal(await expires("root"), "2026-03-02T12:00:00Z");
    assert.equal(await expires("targets"), "2026-03-03T12:00:00Z");
    assert.equal(await expires("snapshot"), "2026-03-04T12:00:00Z");
    assert.equal((await directory.timestamp("image"))?.signed.expires, "2026-03-05T12:00:00Z");
  });
});

Deno.test("without the keys of snapshot and timestamp nothing is shown, and it is said which are missing", async () => {
  await withAuthor(async (author, directory) => {
    await author.found("image", settings);
    for (const { name } of Deno.readDirSync(join(directory.path, "keys"))) {
      if (name.includes("timestamp")) await Deno.remove(join(directory.path, "keys", name));
    }
    await author.publish({ "a.bin": image("x") });
    await assert.rejects(author.release(), /image timestamp: expected 1 of the role's keys in .*keys, got 0/);
    assert.equal(await directory.read("image", "2.snapshot.json"), undefined);
  });
});

Deno.test("a staged file with the wrong version, or of a role that nobody stages, is refused", async () => {
  await withAuthor(async (author, directory) => {
    await author.found("image", settings);
    const targets = await signEnvelope(makeTargets({ version: 5, expires: inDays(1), targets: {} }), []);
    const path = await directory.stage("image", "5.targets.json", targets);
    await assert.rejects(author.settle(), /5\.targets\.json: expected version 2, got 5/);
    await Deno.remove(path);
    await directory.stage("image", "2.snapshot.json", targets);
    await assert.rejects(author.settle(), RepositoryDirectoryError);
  });
});

Deno.test("a snapshot names the delegated roles that are there, those of delegated roles too", async () => {
  await withAuthor(async (author, directory) => {
    await author.found("image", settings);
    const supplier = await generateSigner("ecdsa-p256");
    const to = (name: string) => makeDelegations([{ name, paths: ["*"], keys: [supplier.key] }]);
    const common = { version: 2, expires: inDays(9), targets: {} };
    const keys = [...(await directory.keys()).values()];
    const { signed: root } = await directory.root("image");
    const holders = keys.filter(({ keyid }) => root.roles.targets.keyids.includes(keyid));
    const write = async (name: string, signed: ReturnType<typeof makeTargets>, signers: typeof keys) =>
      await directory.write("image", name, await signEnvelope(signed, signers));
    await write("2.targets.json", makeTargets({ ...common, delegations: to("supplier") }), holders);
    await write("2.supplier.json", makeTargets({ ...common, delegations: to("plant") }), [supplier]);
    await write("2.plant.json", makeTargets({ ...common, delegations: to("absent") }), [supplier]);
    await author.release();
    const snapshot = await directory.newest("image", "snapshot");
    assert.deepEqual(Object.keys(snapshot?.metadata.signed.meta ?? {}), [
      "targets.json",
      "supplier.json",
      "plant.json",
    ]);
  });
});

Deno.test("a file in the folder that is no metadata, or no key, is named", async () => {
  await withAuthor(async (author, directory) => {
    await author.found("image", settings);
    await Deno.writeTextFile(join(directory.path, "image", "7.root.json"), "{}");
    await assert.rejects(directory.root("image"), /image\/7\.root\.json: expected an object/);
    await Deno.writeTextFile(join(directory.path, "keys", "x.key"), "secret");
    await assert.rejects(directory.keys(), (error) => {
      assert.ok(error instanceof RepositoryDirectoryError);
      assert.match(error.message, /x\.key: expected one PEM block/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
    const bytes = await directory.read("image", "1.targets.json");
    assert.ok(bytes);
    assert.equal(readMetadata("targets", bytes).signed.version, 1);
  });
});
