// Full verification with stolen keys: what thieves of one role, of a threshold less one, or of a whole repository are refused.

import assert from "node:assert/strict";
import { UptaneError } from "../../../src/uptane/errors.ts";
import { generateSigner, keyidOf } from "../../../src/uptane/keys.ts";
import { Bench, directedTo, ecu, FakeRepository, image, refused, signers } from "../fake_repositories.ts";

Deno.test("all of the Director's online keys stolen: an image that the Image repository has not is refused", async () => {
  const bench = await Bench.make();
  await bench.direct({ "body/evil.bin": directedTo(image("evil"), "ECU_001") });
  const error = await refused(bench.verify(), "delegation_resolved", "arbitrary software");
  assert.equal(error.name, "DelegationError");
});

Deno.test("all of the Director's online keys stolen: other bytes under a good name are refused", async () => {
  const bench = await Bench.make();
  await bench.direct({ "body/1.bin": directedTo(image("version x"), "ECU_001") });
  const error = await refused(bench.verify(), "match_non_custom", "arbitrary software");
  assert.equal(error.name, "RepositoriesDisagreeError");
});

Deno.test("all of the Director's online keys stolen: another must_match part is refused", async () => {
  const bench = await Bench.make();
  await bench.direct({ "body/1.bin": directedTo(image("version 1", 99), "ECU_001") });
  await refused(bench.verify(), "match_custom", "arbitrary software");
});

Deno.test("all of the Director's online keys stolen: an older good image is refused by its release counter", async () => {
  const bench = await Bench.make();
  const both = { "body/1.bin": image("version 1", 1), "body/2.bin": image("version 2", 2) };
  await bench.publish(both);
  await bench.direct({ "body/2.bin": directedTo(both["body/2.bin"], "ECU_001") });
  await bench.verify();
  // Empty targets in between do not make it forget.
  await bench.direct({});
  await bench.verify();
  await bench.direct({ "body/1.bin": directedTo(both["body/1.bin"], "ECU_001") });
  await refused(bench.verify(), "match_release_counter", "rollback");
  // Another ECU, and other hardware in the same place, count for themselves.
  await bench.direct({ "body/1.bin": directedTo(both["body/1.bin"], "ECU_002") });
  assert.equal((await bench.verify()).targets.length, 1);
});

Deno.test("the counter that an ECU reports is a floor, even for a vehicle that was given new roots", async () => {
  const bench = await Bench.make();
  await refused(
    bench.verify({ ecus: [ecu("ECU_001", { releaseCounter: 2 })] }),
    "match_release_counter",
    "rollback",
  );
});

Deno.test("all of the Image repository's keys stolen: nothing is installed that the Director does not want", async () => {
  const bench = await Bench.make();
  await bench.publish({ "body/1.bin": image("evil"), "body/2.bin": image("evil") });
  await refused(bench.verify(), "match_non_custom", "arbitrary software");
});

Deno.test("one stolen key of a role with threshold 2 is not enough", async () => {
  for (const role of ["timestamp", "snapshot", "targets"] as const) {
    const director = await FakeRepository.make(["time"]);
    const bench = new Bench(director, await FakeRepository.make([]));
    bench.image.holders[role] = { signers: await signers(3), threshold: 2 };
    await bench.image.writeRoot();
    await bench.publish({ "body/1.bin": image("version 1") });
    await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001") });
    const roots = { director: director.file("1.root.json"), image: bench.image.file("1.root.json") };
    for (const name of ["director", "image"] as const) {
      bench.store.repositories.set(name, new Map([["root.json", roots[name]]]));
    }
    assert.equal((await bench.verify()).targets.length, 1);
    const stolen = [bench.image.holders[role].signers[0]];
    if (role === "targets") {
      await bench.image.writeTargets({ "body/1.bin": image("evil") }, { signers: stolen });
    }
    await bench.image.writeSnapshot({ signers: role === "snapshot" ? stolen : undefined });
    await bench.image.writeTimestamp({ signers: role === "timestamp" ? stolen : undefined });
    const error = await refused(bench.verify(), `${role}_signed`, "arbitrary software");
    assert.match(error.message, /expected good signatures of 2 of the role's keys, got 1/);
  }
});

Deno.test("a role that asks for ML-DSA-65 and ECDSA is not met by either alone", async () => {
  const bench = await Bench.make();
  const both = [await generateSigner("ml-dsa-65"), await generateSigner("ecdsa-p256")];
  bench.image.holders.targets = { signers: both, threshold: 2 };
  await bench.image.writeRoot();
  await bench.publish({ "body/1.bin": image("version 1") });
  assert.equal((await bench.verify()).targets.length, 1);
  for (const one of both) {
    await bench.image.writeTargets({ "body/1.bin": image("version 1") }, { signers: [one] });
    await bench.image.release();
    await refused(bench.verify(), "targets_signed", "arbitrary software");
  }
});

/** What a thief of one role's key can do at most: sign a new file of that role, and lie in it. */
const thefts: Record<string, (bench: Bench) => Promise<void>> = {
  "director timestamp": async ({ director }) => {
    await director.writeTargets({ "body/evil.bin": directedTo(image("evil"), "ECU_001") }, {
      vehicleId: "KMHZB00BENCH00001",
      signers: director.holders.timestamp.signers,
    });
    await director.writeSnapshot({ signers: director.holders.timestamp.signers });
    await director.writeTimestamp();
  },
  "director snapshot": async ({ director }) => {
    await director.writeTargets({ "body/evil.bin": directedTo(image("evil"), "ECU_001") }, {
      vehicleId: "KMHZB00BENCH00001",
      signers: director.holders.snapshot.signers,
    });
    await director.writeSnapshot();
    await director.writeTimestamp({ signers: director.holders.snapshot.signers });
  },
  "director targets": async ({ director }) => {
    await director.writeTargets({ "body/evil.bin": directedTo(image("evil"), "ECU_001") }, {
      vehicleId: "KMHZB00BENCH00001",
    });
    await director.writeSnapshot({ signers: director.holders.targets.signers });
    await director.writeTimestamp({ signers: director.holders.targets.signers });
  },
  "director time": async ({ director }) => {
    await director.writeTimestamp({ signers: director.holders.time?.signers });
  },
  "image timestamp": async ({ image: side }) => {
    await side.writeTargets({ "body/1.bin": image("evil") }, { signers: side.holders.timestamp.signers });
    await side.writeSnapshot({ signers: side.holders.timestamp.signers });
    await side.writeTimestamp();
  },
  "image snapshot": async ({ image: side }) => {
    await side.writeTargets({ "body/1.bin": image("evil") }, { signers: side.holders.snapshot.signers });
    await side.writeSnapshot();
    await side.writeTimestamp({ signers: side.holders.snapshot.signers });
  },
  "image targets": async ({ image: side }) => {
    await side.writeTargets({ "body/1.bin": image("evil") });
    await side.writeSnapshot({ signers: side.holders.targets.signers });
    await side.writeTimestamp({ signers: side.holders.targets.signers });
  },
};

for (const [role, steal] of Object.entries(thefts)) {
  Deno.test(`the one stolen key of ${role} installs nothing`, async () => {
    const bench = await Bench.make();
    await bench.verify();
    await steal(bench);
    await assert.rejects(
      bench.verify(),
      (error) => error instanceof UptaneError && error.attack === "arbitrary software",
    );
  });
}

for (const repository of ["director", "image"] as const) {
  Deno.test(`one of two stolen ${repository} root keys cannot name new keys`, async () => {
    const bench = await Bench.make();
    const side = bench[repository];
    side.holders.root = { signers: await signers(2), threshold: 2 };
    await side.writeRoot();
    await bench.verify();
    const stolen = side.holders.root.signers[0];
    side.holders.root = { signers: [stolen], threshold: 1 };
    await side.writeRoot([stolen]);
    await refused(bench.verify(), "root_signed_by_previous", "arbitrary software");
  });
}

Deno.test("targets of the Director that delegate are refused", async () => {
  const bench = await Bench.make();
  const [key] = await signers(1);
  await bench.director.writeTargets({}, {
    vehicleId: "KMHZB00BENCH00001",
    delegations: [{ name: "other", paths: ["*"], keys: [key.key] }],
  });
  await bench.director.release();
  await refused(bench.verify(), "director_no_delegations", "arbitrary software");
});

Deno.test("a key that stands twice in a role counts once, whatever its text", async () => {
  const bench = await Bench.make();
  const [one] = await signers(1);
  // The same key under another identifier: a blank line more in its PEM.
  const again = { ...one.key, keyval: { public: `\n${one.key.keyval.public}` } };
  const twin = { ...one, key: again, keyid: keyidOf(again) };
  assert.notEqual(twin.keyid, one.keyid);
  bench.image.holders.targets = { signers: [one, twin], threshold: 2 };
  await bench.image.writeRoot();
  await bench.publish({ "body/1.bin": image("version 1") });
  const error = await refused(bench.verify(), "targets_signed", "arbitrary software");
  assert.match(error.message, /got 1/);
});
