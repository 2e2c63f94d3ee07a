// Full verification: each attack that it refuses on the way to a vehicle and in what repositories give out, by the error and the code
// that say which. No key is stolen.

import assert from "node:assert/strict";
import { Bench, directedTo, ecu, image, inDays, refused, signers, silence } from "../fake_repositories.ts";

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
