// Delegations made, changed and removed in a folder: what vehicles find afterwards, what waits for signatures, what the snapshot names.

import assert from "node:assert/strict";
import { join } from "node:path";
import { AuthorError } from "../../../src/uptane/author.ts";
import { addSignature, readMetadata } from "../../../src/uptane/envelope.ts";
import type { LocalSigner } from "../../../src/uptane/keys.ts";
import type { Target } from "../../../src/uptane/models.ts";
import { limitsOf } from "../../../src/uptane/store.ts";
import { Checker } from "../../../src/uptane/checks.ts";
import { findImage } from "../../../src/uptane/verify/delegations.ts";
import { TrustedRepository } from "../../../src/uptane/verify/repository.ts";
import { updateRepository } from "../../../src/uptane/verify/update.ts";
import { RepositoryAuthor } from "../../../src/server/uptane/repository_author.ts";
import {
  type RepositoryDirectory,
  RepositoryDirectoryError,
} from "../../../src/server/uptane/repository_directory.ts";
import { renewal } from "../../../src/server/uptane/renewal.ts";
import type { Written } from "../../../src/server/uptane/roles.ts";
import { image, inDays, MemoryStore, now, refused, signers } from "../../uptane/fake_repositories.ts";
import { settings, withRepositories } from "./folder.ts";

const ecdsa = { make: ["ecdsa-p256"] } as const;
const [stranger, other] = await signers(2);

/** A folder with an Image repository, who works in it, and a vehicle that looks at it again and again. */
class Folder {
  readonly store = new MemoryStore();
  readonly author: RepositoryAuthor;

  constructor(readonly directory: RepositoryDirectory) {
    this.author = new RepositoryAuthor(directory, now);
  }

  static async with(run: (folder: Folder) => Promise<void>): Promise<void> {
    await withRepositories(async (directory) => {
      const folder = new Folder(directory);
      await folder.author.found("image", settings);
      const root = await directory.read("image", "1.root.json");
      assert.ok(root);
      folder.store.repositories.set("image", new Map([["root.json", root]]));
      await run(folder);
    });
  }

  /** What a vehicle that has seen all before finds, and in which role. */
  async find(name: string, hardwareId = "1.0", time = now): Promise<{ role: string; target: Target }> {
    const checker = new Checker();
    const limits = limitsOf();
    const repository = await TrustedRepository.open({
      repository: "image",
      store: this.store,
      fetcher: {
        fetch: async ({ fileName }) => {
          const bytes = await this.directory.read("image", fileName);
          return bytes && ReadableStream.from([bytes]);
        },
      },
      time,
      limits,
      signal: new AbortController().signal,
      checker,
    });
    const top = await updateRepository(repository, true);
    const wanted = { name, hardwareIds: [hardwareId] };
    return await findImage(repository, top, wanted, limits.delegations, checker);
  }

  async roleOf(name: string, hardwareId?: string): Promise<string> {
    return (await this.find(name, hardwareId)).role;
  }

  /** Delegates with a key that is here, and shows it. */
  async delegate(wanted: Parameters<RepositoryAuthor["delegate"]>[0]): Promise<string[]> {
    return [
      ...shortly(await this.author.delegate({ keys: ecdsa, ...wanted })),
      ...shortly(await this.author.release()),
    ];
  }

  async publish(role: string, targets: Record<string, Target>): Promise<void> {
    await this.author.publish(targets, { role });
    await this.author.release();
  }

  async sign(file: string, signer: LocalSigner): Promise<void> {
    const path = join(this.directory.path, "staged", "image", file);
    await Deno.writeFile(
      path,
      await addSignature(readMetadata("targets", await Deno.readFile(path)), signer),
    );
  }

  /** Takes the keys of a role off this machine. */
  async takeAway(role: string): Promise<LocalSigner[]> {
    const before = await this.directory.keys();
    const folder = join(this.directory.path, "keys");
    for (const { name } of Deno.readDirSync(folder)) {
      if (name.startsWith(`image-${role}-`)) Deno.removeSync(join(folder, name));
    }
    const after = await this.directory.keys();
    return [...before.values()].filter(({ keyid }) => !after.has(keyid));
  }

  async delegations() {
    return (await this.directory.newest("image", "targets"))?.metadata.signed.delegations?.roles ?? [];
  }
}

const shortly = (written: readonly Written[]) =>
  written.map(({ fileName, staged }) =>
    staged === undefined ? fileName : `${fileName} ${staged.signatures}/${staged.threshold}`
  );

Deno.test("a delegation comes with its role's first metadata, and vehicles find what the role signs", () =>
  Folder.with(async (folder) => {
    await folder.publish("targets", { "b/1.bin": image("own") });
    assert.deepEqual(await folder.delegate({ name: "supplier", paths: ["a/*"] }), [
      "1.supplier.json",
      "3.targets.json",
      "3.snapshot.json",
      "timestamp.json",
    ]);
    await refused(folder.find("a/1.bin"), "delegation_resolved", "arbitrary software");
    await folder.publish("supplier", { "a/1.bin": image("supplied") });
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    assert.equal(await folder.roleOf("b/1.bin"), "targets");
    const { keyids } = (await folder.delegations())[0];
    const names = [...Deno.readDirSync(join(folder.directory.path, "keys"))].map(({ name }) => name);
    assert.ok(names.includes(`image-supplier-${keyids[0].slice(0, 16)}.key`));
  }));

Deno.test("an image that no vehicle would find in the role is not published into it", () =>
  Folder.with(async (folder) => {
    const publish = (role: string, name: string, hardware = ["1.0"]) =>
      folder.author.publish({ [name]: image("x", 1, hardware) }, { role });
    await assert.rejects(publish("supplier", "a/1.bin"), /delegate to no role supplier/);
    await folder.delegate({ name: "supplier", paths: ["a/*"], hardwareIds: ["1.0"] });
    await folder.delegate({ name: "second", paths: ["*/*"] });
    for (
      const [role, name, hardware, says] of [
        ["supplier", "b/1.bin", ["1.0"], /find it in supplier, they do not look there/],
        ["supplier", "a/b/1.bin", ["1.0"], /do not look there/],
        ["supplier", "a/1.bin", ["1.0", "2.0"], /for hardware 2\.0: .*do not look there/],
      ] as const
    ) await assert.rejects(publish(role, name, [...hardware]), says);
    await folder.publish("supplier", { "a/1.bin": image("supplied") });
    await assert.rejects(publish("second", "a/1.bin"), /find it in supplier, which is asked first/);
    await folder.publish("targets", { "a/9.bin": image("own") });
    await assert.rejects(publish("supplier", "a/9.bin"), /find it in targets, which is asked first/);
    await folder.delegate({ name: "supplier", terminating: true, keys: undefined });
    await assert.rejects(publish("second", "a/2.bin"), /end their search at supplier/);
    await folder.publish("second", { "b/2.bin": image("y") });
    assert.equal(await folder.roleOf("b/2.bin"), "second");
  }));

Deno.test("where a role's keys are elsewhere its delegation waits until it has signed", () =>
  Folder.with(async (folder) => {
    const { author } = folder;
    const made = await author.delegate({
      name: "supplier",
      paths: ["a/*"],
      keys: { public: [stranger.key, other.key] },
      threshold: 2,
    });
    assert.deepEqual(shortly(made), ["1.supplier.json 0/2"]);
    assert.deepEqual(await folder.delegations(), []);
    await assert.rejects(
      author.delegate({ name: "supplier", paths: ["b/*"] }),
      /the delegation to supplier waits for signatures .*"repo delegate supplier --remove"/,
    );
    // Others are not kept waiting.
    await folder.publish("targets", { "b/1.bin": image("own") });
    assert.equal(await folder.roleOf("b/1.bin"), "targets");
    // Images come into what waits, until others have signed that.
    assert.deepEqual(
      shortly(
        [await author.publish({ "a/1.bin": image("supplied") }, { role: "supplier" })].flatMap((it) =>
          it ?? []
        ),
      ),
      ["1.supplier.json 0/2"],
    );
    await folder.sign("1.supplier.json", stranger);
    assert.deepEqual(shortly(await author.settle()), ["1.supplier.json 1/2"]);
    await assert.rejects(
      author.publish({ "a/2.bin": image("more") }, { role: "supplier" }),
      /1\.supplier\.json waits for signatures/,
    );
    await folder.sign("1.supplier.json", other);
    assert.deepEqual(shortly(await author.settle()), ["1.supplier.json", "3.targets.json"]);
    await author.release();
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    assert.deepEqual(shortly(await author.settle()), []);
    assert.equal((await folder.directory.pendingDelegations()).size, 0);
  }));

Deno.test("targets whose keys are elsewhere are staged with the delegation, several in one file", () =>
  Folder.with(async (folder) => {
    const [key] = await folder.takeAway("targets");
    const { author } = folder;
    assert.deepEqual(shortly(await author.delegate({ name: "a", paths: ["a/*"], keys: ecdsa })), [
      "1.a.json",
      "2.targets.json 0/1",
    ]);
    assert.deepEqual(shortly(await author.delegate({ name: "b", paths: ["b/*"], keys: ecdsa })), [
      "1.b.json",
      "2.targets.json 0/1",
    ]);
    await author.publish({ "a/1.bin": image("supplied") }, { role: "a" });
    // Nothing of it is shown yet.
    await author.release();
    await refused(folder.find("a/1.bin"), "delegation_resolved", "arbitrary software");
    await folder.sign("2.targets.json", key);
    await assert.rejects(
      author.delegate({ name: "c", paths: ["c/*"], keys: ecdsa }),
      /2\.targets\.json waits for signatures/,
    );
    assert.deepEqual(shortly(await author.settle()), ["2.targets.json"]);
    await author.release();
    assert.equal(await folder.roleOf("a/1.bin"), "a");
    assert.deepEqual((await folder.delegations()).map(({ name }) => name), ["a", "b"]);
  }));

Deno.test("a delegation waits for targets that others are signing just now", () =>
  Folder.with(async (folder) => {
    const two = { algorithms: ["ecdsa-p256", "ecdsa-p256"], threshold: 2 } as const;
    const { author } = folder;
    await author.rotate("image", "targets", two);
    await author.release();
    const { roles } = (await folder.directory.root("image")).signed;
    const [first, second] = (await folder.takeAway("targets")).filter(({ keyid }) =>
      roles.targets.keyids.includes(keyid)
    );
    await author.publish({ "b/1.bin": image("own") });
    await author.delegate({ name: "supplier", paths: ["a/*"], keys: { public: [stranger.key] } });
    const [waits] = (await folder.directory.staged()).filter(({ role }) => role === "targets");
    await folder.sign(waits.fileName, first);
    await folder.sign("1.supplier.json", stranger);
    assert.deepEqual((await author.settle()).map(({ fileName, staged }) => [fileName, staged?.awaits]), [
      [waits.fileName, undefined],
      ["1.supplier.json", waits.fileName],
    ]);
    await folder.sign(waits.fileName, second);
    const next = `${waits.version + 1}.targets.json`;
    assert.deepEqual(shortly(await author.settle()), [waits.fileName, "1.supplier.json", `${next} 0/2`]);
  }));

Deno.test("new keys of a role sign what it said before, and vehicles that have seen the old ones go on", () =>
  Folder.with(async (folder) => {
    const { author } = folder;
    await folder.delegate({ name: "supplier", paths: ["a/*"] });
    await folder.publish("supplier", { "a/1.bin": image("supplied") });
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    const [old] = await folder.takeAway("supplier");
    assert.deepEqual(shortly(await author.rotateDelegated("supplier")), [
      "3.supplier.json",
      "3.targets.json",
    ]);
    await author.release();
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    const [{ keyids }] = await folder.delegations();
    assert.ok(!keyids.includes(old.keyid));
    // Keys that are elsewhere: the old ones stay good until the new ones have signed.
    await author.delegate({ name: "supplier", keys: { public: [stranger.key] } });
    await author.release();
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    await folder.sign("4.supplier.json", stranger);
    assert.deepEqual(shortly(await author.settle()), ["4.supplier.json", "4.targets.json"]);
    await author.release();
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    assert.deepEqual((await folder.delegations())[0].keyids, [stranger.keyid]);
  }));

Deno.test("while targets with a role's new keys wait, what the role signs is good before and after", () =>
  Folder.with(async (folder) => {
    const { author } = folder;
    await folder.delegate({ name: "supplier", paths: ["a/*"] });
    await folder.publish("supplier", { "a/1.bin": image("supplied") });
    const [key] = await folder.takeAway("targets");
    assert.deepEqual(shortly(await author.rotateDelegated("supplier")), [
      "3.supplier.json",
      "3.targets.json 0/1",
    ]);
    // A snapshot of now shows what the old keys signed.
    await author.release();
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    await folder.publish("supplier", { "a/2.bin": image("more") });
    assert.equal(await folder.roleOf("a/2.bin"), "supplier");
    await folder.sign("3.targets.json", key);
    await author.settle();
    await author.release();
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    assert.equal(await folder.roleOf("a/2.bin"), "supplier");
  }));

Deno.test("a removed delegation leaves its role in the snapshot: vehicles would take a gap for a rollback", () =>
  Folder.with(async (folder) => {
    const { author, directory } = folder;
    await folder.delegate({ name: "supplier", paths: ["a/*"] });
    await folder.publish("supplier", { "a/1.bin": image("supplied") });
    assert.equal(await folder.roleOf("a/1.bin"), "supplier");
    assert.deepEqual(shortly(await author.undelegate("supplier")), ["3.targets.json"]);
    await author.release();
    await refused(folder.find("a/1.bin"), "delegation_resolved", "arbitrary software");
    const meta = (await directory.shown("image"))?.signed.meta ?? {};
    assert.deepEqual(Object.keys(meta).sort(), ["supplier.json", "targets.json"]);
    assert.equal((await directory.newest("image", "targets"))?.metadata.signed.delegations, undefined);
    await assert.rejects(author.undelegate("supplier"), AuthorError);
    // Once more by that name: versions go on, and nothing of what was signed before comes back.
    assert.deepEqual((await folder.delegate({ name: "supplier", paths: ["a/*"] })).slice(0, 2), [
      "3.supplier.json",
      "4.targets.json",
    ]);
    await refused(folder.find("a/1.bin"), "delegation_resolved", "arbitrary software");
    // One that waits is given up without a trace.
    await author.delegate({ name: "other", paths: ["b/*"], keys: { public: [stranger.key] } });
    assert.deepEqual(await author.undelegate("other"), []);
    assert.deepEqual([await directory.staged(), (await directory.pendingDelegations()).size], [[], 0]);
  }));

Deno.test("what is not said of a delegation stays as it is, and its place too", () =>
  Folder.with(async (folder) => {
    await folder.delegate({ name: "a", paths: ["a/*"], hardwareIds: ["1.0"], terminating: true });
    await folder.delegate({ name: "b", paths: ["b/*"] });
    await folder.delegate({ name: "c", paths: ["c/*"], before: "b" });
    const told = async () =>
      (await folder.delegations()).map((it) =>
        [it.name, it.paths.join(), it.hardware_ids?.join() ?? "any", it.terminating].join(" ")
      );
    assert.deepEqual(await told(), ["a a/* 1.0 true", "c c/* any false", "b b/* any false"]);
    const before = (await folder.delegations())[0].keyids;
    await folder.delegate({ name: "a", paths: ["x/*", "y/*"], keys: undefined });
    await folder.delegate({ name: "a", hardwareIds: "any", terminating: false, keys: undefined });
    assert.deepEqual(await told(), ["a x/*,y/* any false", "c c/* any false", "b b/* any false"]);
    assert.deepEqual((await folder.delegations())[0].keyids, before);
    assert.equal(
      (await folder.directory.newest("image", "targets", "a"))?.version,
      1,
      "it had nothing to sign",
    );
  }));

Deno.test("what is no delegation is refused before a key of it is made", () =>
  Folder.with(async (folder) => {
    const { author, directory } = folder;
    await folder.delegate({ name: "a", paths: ["a/*"] });
    const keys = (await directory.keys()).size;
    for (
      const [wanted, says] of [
        [{ name: "b" }, /paths: expected the names of the images that b may sign, got none/],
        [{ name: "b", paths: ["/etc"] }, /paths\.0: must be the name of an image/],
        [{ name: "snapshot", paths: ["*"] }, /name: must not be the name of a top-level role, got snapshot/],
        [{ name: "../b", paths: ["*"] }, /name: must be 1 to 64 letters/],
        [{ name: "A", paths: ["*"] }, /must name each role once/],
        [{ name: "b", paths: ["*"], threshold: 2 }, /threshold: must have a key for each signature/],
        [{ name: "b", paths: ["*"], hardwareIds: ["1", "1"] }, /hardware_ids: must name each hardware once/],
        [{ name: "b", paths: ["*"], before: "z" }, /before: expected the name of another delegation, got z/],
      ] as const
    ) await assert.rejects(author.delegate({ keys: ecdsa, ...wanted } as never), says);
    await assert.rejects(author.rotateDelegated("b"), /delegate to no role b/);
    assert.equal((await directory.keys()).size, keys);
    assert.equal((await directory.newest("image", "targets"))?.version, 2);
  }));

Deno.test("a delegated role gets old like targets: renewed where its keys are, named where they are not", () =>
  Folder.with(async (folder) => {
    const { directory } = folder;
    const validity = { root: 4000, targets: 60, snapshot: 4000, timestamp: 4000 };
    const author = new RepositoryAuthor(directory, now, validity);
    await author.found("director", settings);
    await author.delegate({ name: "near", paths: ["a/*"], keys: ecdsa });
    await author.delegate({ name: "far", paths: ["b/*"], keys: ecdsa });
    await author.release();
    await author.publish({ "a/1.bin": image("supplied") }, { role: "near" });
    await author.release();
    await folder.takeAway("far");
    const { written, lacking } = await renewal(directory, validity, inDays(50));
    assert.deepEqual(
      written.filter(({ fileName }) => /targets|near|far/.test(fileName)).map((it) => it.fileName),
      [
        "4.targets.json",
        "3.near.json",
      ],
    );
    assert.deepEqual(lacking, [
      "The image repository's delegated role far is good until 2026-04-30T12:00:00Z, and its keys are not here: " +
      `"zonebench repo publish --role far" makes the next one for them to sign`,
    ]);
    assert.equal((await folder.find("a/1.bin", "1.0", inDays(70))).role, "near");
    await refused(folder.find("b/1.bin", "1.0", inDays(70)), "targets_expiry", "freeze");
    // Nothing more is to be done, and what was written and not shown is shown.
    assert.deepEqual((await renewal(directory, validity, inDays(50))).written, []);
    const later = new RepositoryAuthor(directory, inDays(50), validity);
    await later.publish({ "a/2.bin": image("more") }, { role: "near" });
    assert.deepEqual(shortly((await renewal(directory, validity, inDays(50))).written), [
      "5.snapshot.json",
      "timestamp.json",
    ]);
  }));

Deno.test("a cut between two files of a delegation leaves one that is finished later", () =>
  Folder.with(async (folder) => {
    const { author, directory } = folder;
    await author.delegate({ name: "supplier", paths: ["a/*"], keys: { public: [stranger.key] } });
    await folder.sign("1.supplier.json", stranger);
    const staged = join(directory.path, "staged", "image", "1.supplier.json");
    const signed = await Deno.readFile(staged);
    // Given out, and the power was cut before the staged file was removed.
    await directory.write("image", "1.supplier.json", signed);
    await author.release();
    await refused(folder.find("a/1.bin"), "delegation_resolved", "arbitrary software");
    assert.deepEqual(shortly(await author.settle()), ["1.supplier.json", "2.targets.json"]);
    await author.release();
    await author.delegate({ name: "other", paths: ["b/*"], keys: { public: [other.key] } });
    await folder.sign("1.other.json", other);
    // Cut after it was removed: the delegation is still there, and comes into the targets.
    const path = join(directory.path, "staged", "image", "1.other.json");
    await directory.write("image", "1.other.json", await Deno.readFile(path));
    await Deno.remove(path);
    assert.deepEqual(shortly(await author.settle()), ["3.targets.json"]);
    await author.release();
    await refused(folder.find("b/1.bin"), "delegation_resolved", "arbitrary software");
  }));

Deno.test("what was signed too late is not given out", () =>
  Folder.with(async (folder) => {
    const { author, directory } = folder;
    await author.delegate({ name: "supplier", paths: ["a/*"], keys: { public: [stranger.key] } });
    await folder.sign("1.supplier.json", stranger);
    const late = new RepositoryAuthor(directory, inDays(365));
    await assert.rejects(late.settle(), /1\.supplier\.json: good until 2027-03-01T12:00:00Z and no longer/);
    assert.deepEqual(await folder.delegations(), []);
  }));

Deno.test("files below staged that are none of a delegation's are named", () =>
  Folder.with(async (folder) => {
    const { author, directory } = folder;
    await author.delegate({ name: "supplier", paths: ["a/*"], keys: { public: [stranger.key] } });
    await Deno.writeTextFile(join(directory.path, "staged", "image", "supplier.delegation"), "{}");
    await assert.rejects(author.settle(), (error) => {
      assert.ok(error instanceof RepositoryDirectoryError);
      assert.match(error.message, /supplier\.delegation: expected a delegation, got something else/);
      return true;
    });
    await directory.dropDelegation("supplier");
    await assert.rejects(author.settle(), /the Image repository's targets delegate to no role supplier/);
  }));
