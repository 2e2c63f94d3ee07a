// python-tuf as a client of our Image repository, and our vehicle as a client of a repository that python-tuf made, with ML-DSA-65
// (TAP 21), ECDSA P-256 and both.

import assert from "node:assert/strict";
import { interopTest } from "../support/peers.ts";
import { verifyRepository } from "../../src/uptane/verify/image_repository.ts";
import { generateSigner } from "../../src/uptane/keys.ts";
import { Bench, FakeRepository, image, MemoryStore, now, signers } from "../uptane/fake_repositories.ts";
import { pythonTuf, runPythonTuf } from "./uptane_python_tuf.ts";

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** python-tuf goes by the system's clock. */
function lasting(repository: FakeRepository): FakeRepository {
  for (const role of ["root", "timestamp", "snapshot", "targets"] as const) {
    repository.expires[role] = new Date("2036-01-01T00:00:00Z");
  }
  return repository;
}

for (const algorithm of ["ml-dsa-65", "ecdsa-p256"] as const) {
  interopTest(
    `python-tuf updates from our Image repository with ${algorithm} keys`,
    [pythonTuf],
    async () => {
      await withFolder(async (folder) => {
        const side = lasting(await FakeRepository.make([], algorithm));
        const [supplier] = await signers(1, algorithm);
        side.holders.root = { signers: await signers(2, algorithm), threshold: 2 };
        await side.writeRoot();
        side.holders.targets = {
          signers: [await generateSigner("ml-dsa-65"), await generateSigner("ecdsa-p256")],
          threshold: 2,
        };
        await side.writeRoot();
        await side.writeDelegated("supplier", [supplier], { "supplier/1.bin": image("supplied") });
        await side.writeTargets({ "body/1.bin": image("version 1") }, {
          delegations: [{
            name: "supplier",
            paths: ["supplier/*"],
            keys: [supplier.key],
            hardwareIds: ["1.0"],
          }],
        });
        await side.release();
        const write = () =>
          Promise.all([...side.files].map(([name, bytes]) => Deno.writeFile(`${folder}/${name}`, bytes)));
        await write();
        const names = ["body/1.bin", "supplier/1.bin", "body/2.bin"];
        const found = JSON.parse(await runPythonTuf(["client", folder], JSON.stringify(names)));
        assert.equal(found["body/1.bin"].length, 9);
        assert.equal(
          found["body/1.bin"].hashes.sha256,
          "b19f8edae2ee6c225b7278b289c2823ab9accfa225c5d67c4bef270b88ea55f0",
        );
        assert.equal(found["supplier/1.bin"].length, 8);
        assert.equal(found["body/2.bin"], null);
        // And it refuses what another key signed.
        await side.writeTimestamp({ signers: await signers(1, algorithm) });
        await write();
        await assert.rejects(runPythonTuf(["client", folder], "[]"), /timestamp was signed by 0\/1 keys/);
      });
    },
  );
}

interopTest("our vehicle checks a repository that python-tuf made", [pythonTuf], async () => {
  await withFolder(async (folder) => {
    await runPythonTuf(["author", folder], "");
    const bench = await Bench.make();
    for (const { name } of Deno.readDirSync(folder)) {
      bench.image.files.set(name, Deno.readFileSync(`${folder}/${name}`));
    }
    const store = new MemoryStore();
    store.repositories.set("image", new Map([["root.json", bench.image.file("1.root.json")]]));
    const { versions, delegated } = await verifyRepository({
      store,
      fetcher: bench.fetcher,
      time: now,
      signal: new AbortController().signal,
    });
    assert.deepEqual(versions, { root: 1, timestamp: 1, snapshot: 1, targets: 1 });
    assert.deepEqual(delegated, ["supplier"]);
  });
});
