// Full verification: what it takes, and each attack that it refuses, by the error and the code that say which.

import assert from "node:assert/strict";
import { UptaneError } from "../../../src/uptane/errors.ts";
import { generateSigner, keyidOf } from "../../../src/uptane/keys.ts";
import { signEnvelope } from "../../../src/uptane/envelope.ts";
import { makeTargets } from "../../../src/uptane/author.ts";
import {
  Bench,
  directedTo,
  ecu,
  FakeRepository,
  image,
  inDays,
  now,
  refused,
  signers,
} from "../fake_repositories.ts";

Deno.test("what both repositories say of an image is verified, check by check in the standard's order", async () => {
  const bench = await Bench.make("ml-dsa-65");
  const { targets, director, image: versions } = await bench.verify();
  assert.deepEqual(
    targets.map(({ ecuId, filename, length, releaseCounter, imageRole, hardwareId }) => ({
      ecuId,
      filename,
      length,
      releaseCounter,
      imageRole,
      hardwareId,
    })),
    [{
      ecuId: "ECU_001",
      filename: "body/1.bin",
      length: 9,
      releaseCounter: 1,
      imageRole: "targets",
      hardwareId: "1.0",
    }],
  );
  // By sha256sum.
  assert.equal(targets[0].hashes.sha256, "b19f8edae2ee6c225b7278b289c2823ab9accfa225c5d67c4bef270b88ea55f0");
  assert.deepEqual(director, { root: 1, timestamp: 1, snapshot: 1, targets: 1 });
  assert.deepEqual(versions, { root: 1, timestamp: 1, snapshot: 1, targets: 1 });
  assert.ok(bench.seen.every((it) => it.passed));
  const order = bench.seen.filter((it) => /_(?:expiry|signed)$/.test(it.code)).map((it) =>
    `${it.subject} ${it.code}`
  );
  assert.deepEqual(order, [
    "director root 1 root_expiry",
    "director timestamp timestamp_signed",
    "director timestamp timestamp_expiry",
    "director snapshot 1 snapshot_signed",
    "director snapshot 1 snapshot_expiry",
    "director targets 1 targets_signed",
    "director targets 1 targets_expiry",
    "image root 1 root_expiry",
    "image timestamp timestamp_signed",
    "image timestamp timestamp_expiry",
    "image snapshot 1 snapshot_signed",
    "image snapshot 1 snapshot_expiry",
    "image targets 1 targets_signed",
    "image targets 1 targets_expiry",
  ]);
});

Deno.test("what an ECU runs already is not asked of the Image repository", async () => {
  const bench = await Bench.make();
  const installed = image("version 1").hashes.sha256;
  const { targets, image: versions } = await bench.verify({ ecus: [ecu("ECU_001", { installed })] });
  assert.deepEqual(targets, []);
  assert.equal(versions, undefined);
  assert.ok(bench.fetched.every((it) => it.startsWith("director/")));
});

Deno.test("a second look fetches timestamps alone and gives the same plan", async () => {
  const bench = await Bench.make();
  const first = await bench.verify();
  bench.fetched.length = 0;
  assert.deepEqual(await bench.verify(), first);
  assert.deepEqual(bench.fetched, [
    "director/2.root.json",
    "director/timestamp.json",
    "image/2.root.json",
    "image/timestamp.json",
  ]);
});

Deno.test("a signal ends the wait, with its own reason", async () => {
  const bench = await Bench.make();
  const controller = new AbortController();
  bench.intercept = ({ role }) => {
    if (role === "snapshot") controller.abort(new Error("enough"));
    return role === "snapshot" ? silence() : undefined;
  };
  await assert.rejects(bench.verify({ signal: controller.signal }), /enough/);
});

/** A file that never comes. */
async function* silence(): AsyncGenerator<Uint8Array> {
  yield await new Promise<never>(() => {});
}

for (const repository of ["director", "image"] as const) {
  for (const role of ["timestamp", "snapshot", "targets"] as const) {
    Deno.test(`drop request: ${repository} ${role} is not given out`, async () => {
      const bench = await Bench.make();
      bench.intercept = (request) =>
        request.repository === repository && request.role === role ? null : undefined;
      await refused(bench.verify(), "metadata_present", "drop request");
    });
  }

  for (const role of ["root", "timestamp", "snapshot", "targets"] as const) {
    Deno.test(`slow retrieval: ${repository} ${role} that never ends is given up`, async () => {
      const bench = await Bench.make();
      bench.intercept = (request) =>
        request.repository === repository && request.role === role ? silence() : undefined;
      await refused(bench.verify({ limits: { fileTime: 20 } }), "metadata_speed", "slow retrieval");
    });

    Deno.test(`endless data: ${repository} ${role} without end is cut off`, async () => {
      const bench = await Bench.make();
      let sent = 0;
      async function* endless(): AsyncGenerator<Uint8Array> {
        for (;;) {
          await Promise.resolve();
          sent += 65_536;
          yield new Uint8Array(65_536);
        }
      }
      bench.intercept = (request) =>
        request.repository === repository && request.role === role ? endless() : undefined;
      await refused(bench.verify(), "metadata_length", "endless data");
      assert.ok(sent < 8_000_000, `${sent} bytes were taken`);
    });

    Deno.test(`freeze: ${repository} ${role} that has expired is refused`, async () => {
      const bench = await Bench.make();
      const side = bench[repository];
      side.expires[role] = inDays(1);
      if (role === "root") await side.writeRoot();
      if (role === "targets") {
        if (repository === "image") await bench.publish({ "body/1.bin": image("version 1") });
        else await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001") });
      } else await side.release();
      assert.equal((await bench.verify()).targets.length, 1);
      await refused(bench.verify({ time: inDays(1) }), `${role}_expiry`, "freeze");
    });

    Deno.test(`arbitrary software: ${repository} ${role} that another key signed is refused`, async () => {
      const bench = await Bench.make();
      const side = bench[repository];
      const foreign = await signers(1);
      if (role === "root") await side.writeRoot(foreign);
      else if (role === "timestamp") await side.writeTimestamp({ signers: foreign });
      else {
        if (role === "targets") {
          await side.writeTargets({ "body/1.bin": image("evil") }, {
            vehicleId: "KMHZB00BENCH00001",
            signers: foreign,
          });
        }
        await side.writeSnapshot({ signers: role === "snapshot" ? foreign : undefined });
        await side.writeTimestamp();
      }
      const code = role === "root" ? "root_signed_by_previous" : `${role}_signed`;
      const error = await refused(bench.verify(), code, "arbitrary software");
      assert.equal(error.name, "ThresholdError");
    });
  }

  for (const role of ["root", "timestamp"] as const) {
    Deno.test(`what is no metadata in place of the ${repository} ${role} is refused as malformed`, async () => {
      const bench = await Bench.make();
      bench.intercept = (request) =>
        request.repository === repository && request.role === role
          ? bench[repository].file("1.snapshot.json")
          : undefined;
      await refused(bench.verify(), "metadata_form", "malformed data");
    });
  }

  Deno.test(`rollback: an older ${repository} timestamp is refused`, async () => {
    const bench = await Bench.make();
    const old = bench[repository].file("timestamp.json");
    await bench[repository].release();
    await bench.verify();
    bench[repository].files.set("timestamp.json", old);
    await refused(bench.verify(), "timestamp_rollback", "rollback");
  });

  Deno.test(`rollback: a newer ${repository} timestamp with an older snapshot is refused`, async () => {
    const bench = await Bench.make();
    const side = bench[repository];
    await side.release();
    await bench.verify();
    side.versions.snapshot = 1;
    await side.writeTimestamp({ version: 3 });
    await refused(bench.verify(), "timestamp_snapshot_rollback", "rollback");
  });

  Deno.test(`rollback: the ${repository} snapshot with older targets is refused`, async () => {
    const bench = await Bench.make();
    const side = bench[repository];
    const old = side.targets.get("targets");
    assert.ok(old);
    await bench.publish({ "body/1.bin": image("version 1") });
    await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001") });
    await bench.verify();
    side.targets.set("targets", old);
    await side.release();
    await refused(bench.verify(), "snapshot_targets_rollback", "rollback");
  });

  Deno.test(`mix-and-match: the ${repository} snapshot of another release is refused`, async () => {
    // ML-DSA's signatures are all of one length: it is not the length that tells.
    const bench = await Bench.make("ml-dsa-65");
    await bench[repository].release();
    const other = bench[repository].file("1.snapshot.json");
    bench[repository].files.set("2.snapshot.json", other);
    await refused(bench.verify(), "snapshot_hashes", "mix-and-match");
  });

  Deno.test(`mix-and-match: ${repository} targets of another release are refused`, async () => {
    // ML-DSA's signatures are all of one length: it is not the length that tells.
    const bench = await Bench.make("ml-dsa-65");
    const side = bench[repository];
    const other = side.file("1.targets.json");
    await bench.publish({ "body/1.bin": image("version 1") });
    await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001") });
    side.files.set("2.targets.json", other);
    await refused(bench.verify(), "targets_hashes", "mix-and-match");
  });

  Deno.test(`mix-and-match: the ${repository} snapshot without targets is refused`, async () => {
    const bench = await Bench.make();
    bench[repository].targets.clear();
    await bench[repository].release();
    await refused(bench.verify(), "targets_in_snapshot", "mix-and-match");
  });

  Deno.test(`endless data: ${repository} roots without end are cut off, and the next look goes on`, async () => {
    const bench = await Bench.make();
    for (let version = 2; version <= 5; version++) await bench[repository].writeRoot();
    await refused(bench.verify({ limits: { rootRotations: 2 } }), "root_chain", "endless data");
    const { [repository]: versions } = await bench.verify({ limits: { rootRotations: 2 } });
    assert.equal(versions?.root, 5);
  });
}

Deno.test("rollback: an older snapshot is refused even by a vehicle that lost its timestamp", async () => {
  const bench = await Bench.make();
  const { image: side } = bench;
  const old = side.record();
  await side.release();
  await bench.verify();
  bench.store.repositories.get("image")?.delete("timestamp.json");
  side.replay(old);
  await refused(bench.verify(), "snapshot_rollback", "rollback");
});

Deno.test("rollback: a snapshot that leaves a role out is refused", async () => {
  const bench = await Bench.make();
  const supplier = await signers(1);
  const delegations = [{ name: "supplier", paths: ["supplier/*"], keys: supplier.map(({ key }) => key) }];
  await bench.image.writeDelegated("supplier", supplier, {});
  await bench.publish({ "body/1.bin": image("version 1") }, delegations);
  await bench.verify();
  bench.image.targets.delete("supplier");
  await bench.image.release();
  await refused(bench.verify(), "snapshot_targets_listed", "rollback");
});

Deno.test("mix-and-match: targets whose version is not the snapshot's are refused", async () => {
  const bench = await Bench.make();
  // The attacker has the snapshot's key, and gives old targets a new number.
  const old = bench.image.targets.get("targets");
  assert.ok(old);
  bench.image.targets.set("targets", { version: 2, bytes: old.bytes });
  bench.image.files.set("2.targets.json", old.bytes);
  await bench.image.release();
  await refused(bench.verify(), "targets_version", "mix-and-match");
});

Deno.test("mix-and-match: a snapshot whose version is not the timestamp's is refused", async () => {
  const bench = await Bench.make();
  const { image: side } = bench;
  // Signed and hashed well, under another number than its own.
  side.files.set("2.snapshot.json", side.file("1.snapshot.json"));
  side.versions.snapshot = 2;
  await side.writeTimestamp();
  await refused(bench.verify(), "snapshot_version", "mix-and-match");
});

Deno.test("rollback: older targets are refused even when the snapshot's keys are new", async () => {
  const bench = await Bench.make();
  const { image: side } = bench;
  const old = side.targets.get("targets");
  assert.ok(old);
  await bench.publish({ "body/1.bin": image("version 1") });
  await bench.verify();
  side.holders.snapshot = { signers: await signers(1), threshold: 1 };
  await side.writeRoot();
  side.targets.set("targets", old);
  await side.release();
  await refused(bench.verify(), "targets_rollback", "rollback");
});

Deno.test("mixed bundles: targets that name an ECU for two images are refused", async () => {
  const bench = await Bench.make();
  await bench.direct({
    "body/1.bin": directedTo(image("version 1"), "ECU_001"),
    "body/2.bin": directedTo(image("version 2"), "ECU_001"),
  });
  const error = await refused(bench.verify(), "director_ecu_once", "mixed bundles");
  assert.match(error.message, /ECU_001/);
});

Deno.test("wrong vehicle: another vehicle's whole bundle is refused", async () => {
  const bench = await Bench.make();
  await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001") }, "KMHZB00BENCH00002");
  await refused(bench.verify(), "director_vehicle", "wrong vehicle");
});

Deno.test("wrong ECU: an image for an ECU that the vehicle has not is refused", async () => {
  const bench = await Bench.make();
  await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001", "ECU_666") });
  const error = await refused(bench.verify(), "director_ecu_known", "wrong ECU");
  assert.match(error.message, /ECU_666/);
});

Deno.test("wrong ECU: an image for no ECU is refused", async () => {
  const bench = await Bench.make();
  await bench.direct({ "body/1.bin": image("version 1") });
  await refused(bench.verify(), "director_ecu_known", "wrong ECU");
});

Deno.test("wrong hardware: the Director means other hardware than the ECU is", async () => {
  const bench = await Bench.make();
  const ecus = [ecu("ECU_001", { hardwareId: "2.0" })];
  await refused(bench.verify({ ecus }), "director_hardware", "wrong hardware");
});

Deno.test("wrong hardware: the image is for other hardware, whatever the Director says", async () => {
  const bench = await Bench.make();
  const other = image("for 9.9", 1, ["9.9"]);
  await bench.publish({ "body/9.bin": other });
  await bench.direct({ "body/9.bin": directedTo(other, "ECU_001") });
  await refused(bench.verify(), "match_hardware", "wrong hardware");
});

Deno.test("wrong hardware: the image is for another type of ECU", async () => {
  const bench = await Bench.make();
  await refused(
    bench.verify({ ecus: [ecu("ECU_001", { ecuType: "BRAKE" })] }),
    "match_ecu_type",
    "wrong hardware",
  );
});

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

Deno.test("refused targets are not kept: the vehicle goes on from the last good ones", async () => {
  const bench = await Bench.make();
  await bench.verify();
  const kept = bench.store.repositories.get("director")?.get("targets.json");
  await bench.direct({ "body/evil.bin": directedTo(image("evil"), "ECU_001") });
  await refused(bench.verify(), "delegation_resolved", "arbitrary software");
  assert.deepEqual(bench.store.repositories.get("director")?.get("targets.json"), kept);
  await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_002") });
  assert.equal((await bench.verify()).targets[0].ecuId, "ECU_002");
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

Deno.test("an invalid time and an ECU that stands twice are refused before anything is fetched", async () => {
  const bench = await Bench.make();
  await assert.rejects(bench.verify({ time: new Date(NaN) }), RangeError);
  await assert.rejects(bench.verify({ ecus: [ecu("ECU_001"), ecu("ECU_001")] }), RangeError);
  await assert.rejects(bench.verify({ limits: { root: 0 } }), /limit root: expected .* got 0/);
  assert.deepEqual(bench.fetched, []);
});

Deno.test("a vehicle without roots, or with a damaged store, says so", async () => {
  const bench = await Bench.make();
  const stored = bench.store.repositories.get("director");
  bench.store.repositories.delete("director");
  await assert.rejects(bench.verify(), { name: "StoreError", code: "not_provisioned" });
  bench.store.repositories.set("director", new Map([...stored ?? [], ["timestamp.json", Uint8Array.of(1)]]));
  await assert.rejects(bench.verify(), { name: "StoreError", code: "store_damaged" });
});

Deno.test("unknown members are signed for and ignored", async () => {
  const bench = await Bench.make();
  const { holders } = bench.image;
  const signed = {
    ...makeTargets({ version: 2, expires: inDays(9), targets: { "body/1.bin": image("version 1") } }),
  };
  await bench.image.writeRole(
    "targets",
    { ...signed, "x-note": { "ü": [1, null, true] } },
    2,
    holders.targets.signers,
  );
  await bench.image.release();
  assert.equal((await bench.verify()).targets.length, 1);
  const tampered = await signEnvelope({ ...signed, "x-note": 2 }, []);
  const { signatures } = JSON.parse(new TextDecoder().decode(bench.image.file("2.targets.json")));
  const { signed: other } = JSON.parse(new TextDecoder().decode(tampered));
  const bytes = new TextEncoder().encode(JSON.stringify({ signatures, signed: { ...other, version: 3 } }));
  bench.image.files.set("3.targets.json", bytes);
  bench.image.targets.set("targets", { version: 3, bytes });
  await bench.image.release();
  await refused(bench.verify(), "targets_signed", "arbitrary software");
});

Deno.test("time is measured by the clock that is handed in", async () => {
  const bench = await Bench.make();
  await bench.verify({ time: new Date(now.getTime() - 1e12) });
  await refused(bench.verify({ time: inDays(8) }), "timestamp_expiry", "freeze");
});
