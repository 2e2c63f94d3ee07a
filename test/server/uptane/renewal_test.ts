// Metadata gets old: what has less than half of its days left is made anew where its keys are, and said where they are not.

import assert from "node:assert/strict";
import { join } from "node:path";
import { renewal } from "../../../src/server/uptane/renewal.ts";
import { RepositoryAuthor } from "../../../src/server/uptane/repository_author.ts";
import type { RepositoryDirectory } from "../../../src/server/uptane/repository_directory.ts";
import { verifyRepository } from "../../../src/uptane/verify/image_repository.ts";
import { image, MemoryStore, now } from "../../uptane/fake_repositories.ts";
import { settings, withRepositories } from "./folder.ts";

const validity = { root: 100, targets: 60, snapshot: 20, timestamp: 4 };
const day = 86_400_000;
const inDays = (days: number) => new Date(now.getTime() + days * day);

const withFolder = (run: (directory: RepositoryDirectory) => Promise<void>) =>
  withRepositories(async (directory) => {
    const author = new RepositoryAuthor(directory, now, validity);
    await author.found("director", settings);
    await author.found("image", settings);
    await run(directory);
  });

const renewed = async (directory: RepositoryDirectory, days: number) => {
  const { written, lacking, due } = await renewal(directory, validity, inDays(days));
  return {
    files: written.map(({ repository, fileName }) => `${repository}/${fileName}`),
    lacking,
    due: (due - now.getTime()) / day,
  };
};

Deno.test("each role is renewed when half of its days are over, and not before", async () => {
  await withFolder(async (directory) => {
    assert.deepEqual(await renewed(directory, 1.9), { files: [], lacking: [], due: 2 });
    assert.deepEqual(await renewed(directory, 2.1), {
      files: ["image/2.snapshot.json", "image/timestamp.json"],
      lacking: [],
      due: 4.1,
    });
    assert.deepEqual(await renewed(directory, 2.2), { files: [], lacking: [], due: 4.1 });
    // After a long time away everything is.
    assert.deepEqual((await renewed(directory, 99)).files, [
      "director/2.root.json",
      "image/2.root.json",
      "image/2.targets.json",
      "image/3.snapshot.json",
      "image/timestamp.json",
    ]);
    // And is good then.
    const store = new MemoryStore();
    const first = await directory.read("image", "1.root.json");
    assert.ok(first);
    await store.replace("image", new Map([["root.json", first]]));
    const { versions } = await verifyRepository({
      store,
      time: inDays(99),
      signal: AbortSignal.timeout(30_000),
      fetcher: {
        fetch: async ({ fileName }) => {
          const bytes = await directory.read("image", fileName);
          return bytes && ReadableStream.from([bytes]);
        },
      },
    });
    assert.deepEqual([versions.root, versions.targets], [2, 2]);
  });
});

Deno.test("what was written and not shown, because a server was killed, is shown", async () => {
  await withFolder(async (directory) => {
    await new RepositoryAuthor(directory, now, validity).publish({ "a.bin": image("x") });
    assert.deepEqual((await renewed(directory, 0)).files, ["image/2.snapshot.json", "image/timestamp.json"]);
    assert.deepEqual((await renewed(directory, 0)).files, []);
  });
});

Deno.test("roles whose keys are elsewhere stay as they are, and are named in good time", async () => {
  await withFolder(async (directory) => {
    const keys = join(directory.path, "keys");
    for (const { name } of Deno.readDirSync(keys)) {
      if (/^(?:director-root|image-root|image-targets)-/.test(name)) Deno.removeSync(join(keys, name));
    }
    const early = await renewed(directory, 55);
    assert.deepEqual(early.files, ["image/2.snapshot.json", "image/timestamp.json"]);
    assert.deepEqual(early.lacking.map((text) => text.split(" is good until")[0]), [
      "The image repository's targets",
    ]);
    const late = await renewed(directory, 80);
    assert.match(
      late.lacking.join("\n"),
      /The director repository's root is good until .*"zonebench repo rotate root --repository director"/,
    );
    assert.equal(late.lacking.length, 3);
    // Again within the hour, though all else is fresh.
    assert.equal(Math.round((late.due - 80) * 24), 1);
  });
});

Deno.test("keys of snapshot and timestamp that are gone are a fault, which is said", async () => {
  await withFolder(async (directory) => {
    const keys = join(directory.path, "keys");
    for (const { name } of Deno.readDirSync(keys)) {
      if (name.includes("timestamp")) Deno.removeSync(join(keys, name));
    }
    await assert.rejects(renewed(directory, 3), /image timestamp: expected 1 of the role's keys/);
  });
});
