// One stolen key of each role, and all that there are but one: what can be done with them is what docs/security.md says, and no more.

import assert from "node:assert/strict";
import { generateSigner, type LocalSigner } from "../../src/uptane/keys.ts";
import type { CheckCode } from "../../src/uptane/checks.ts";
import type { RepositoryName, Target } from "../../src/uptane/models.ts";
import { attest } from "../../src/uptane/time.ts";
import { generateSigningKey } from "../../src/pqc/signature.ts";
import {
  directed,
  evilImage,
  forge,
  type ForgedImage,
  forgePackage,
  forgeRoot,
  type ForgeryOptions,
  holder,
  type OnlineRole,
  published,
} from "./support/forge.ts";
import { asForged, directing, evilImages, forging, nextVersion, packing } from "./support/attempts.ts";
import { Lab } from "./support/lab.ts";
import { AttackedVehicle, hwVersion } from "./support/vehicle.ts";

const day = 86_400_000;
const stranger = await generateSigner("ecdsa-p256");
const roles = ["targets", "snapshot", "timestamp"] as const;

Deno.test("stolen keys", async (test) => {
  await using lab = await Lab.start("127.0.97.1");
  for (const repository of ["director", "image"] as const) {
    await test.step(`one and all but one of the ${repository} repository`, (test) =>
      oneRepository(test, lab, repository));
  }
  await test.step("that hold a vehicle up", (test) => holdingUp(test, lab));
  await test.step("all online keys of the Director", (test) => wholeDirector(test, lab));
  await test.step("keys of both repositories, and the package's", (test) => bothRepositories(test, lab));
});

async function oneRepository(test: Deno.TestContext, lab: Lab, repository: RepositoryName): Promise<void> {
  await using vehicle = await AttackedVehicle.start(lab);
  const keys = await lab.stealOnline(repository);
  let evil: Record<string, ForgedImage> = {};
  const entries = (targets: Record<string, Target>) =>
    repository === "director"
      ? directing(evil)(targets)
      : Object.assign({}, targets, ...Object.values(evil).map(({ image }) => published(image)));
  /** The vehicle knows nothing yet of what is released here. */
  const release = async (minor: number) => {
    evil = evilImages(await vehicle.release(minor));
    await packing(vehicle, evil);
  };
  const refused = async (
    sign: Partial<Record<OnlineRole, readonly LocalSigner[]>>,
    code: CheckCode,
    attack: string,
    more: Partial<ForgeryOptions> = {},
  ) => {
    forging(vehicle, repository, { sign, change: entries, ...more });
    await vehicle.assertRefused(code, attack);
  };

  await test.step("the targets' key alone: no snapshot names what it signs", async () => {
    await release(1);
    const { targets } = keys;
    // Longer than the true ones, however long their signatures happen to be.
    const longer = (targets: Record<string, Target>) => {
      const forged = entries(targets);
      return { ...forged, "ANOTHER_CONTROLLER/1.0/1.0.0.bin": Object.values(forged)[0] };
    };
    await refused({ targets }, "metadata_length", "endless data", { change: longer });
    const [[, first]] = Object.entries(evil);
    const change = () =>
      repository === "director" ? directed(first.image, ["ECU_001"]) : published(first.image);
    await release(2);
    await refused({ targets }, "targets_hashes", "mix-and-match", { version: "same", change });
  });
  await test.step("the snapshot's key alone: no timestamp names what it signs", async () => {
    await release(3);
    const { snapshot } = keys;
    await refused({ snapshot }, "snapshot_hashes", "mix-and-match", { version: "same" });
  });
  for (const missing of roles) {
    await test.step(`all keys but the ${missing}'s`, () =>
      refused({ ...keys, [missing]: [stranger] }, `${missing}_signed`, "arbitrary software"));
  }
  await test.step("all online keys of it: nothing that the other repository does not have", () =>
    refused(keys, "match_non_custom", "arbitrary software"));
  await test.step("the root's keys make new ones, and those can no more", async () => {
    const own = holder(stranger);
    const { root } = await lab.bundle(repository, vehicle.vin);
    const holders = { targets: own, snapshot: own, timestamp: own };
    const [before] = await lab.steal(repository, "root");
    const next = await forgeRoot(root, holders, [stranger]);
    vehicle.middle.give(repository, new Map([["2.root.json", next.bytes]]));
    await vehicle.assertRefused("root_signed_by_previous", "arbitrary software");

    const good = await forgeRoot(root, holders, [before]);
    const at = nextVersion();
    const sign = { targets: [stranger], snapshot: [stranger], timestamp: [stranger] };
    vehicle.middle.forge(
      repository,
      async () =>
        await forge(await lab.bundle(repository, vehicle.vin), { version: at, sign, change: entries }),
    );
    vehicle.middle.on("GET", `/api/v1/uptane/${repository}/(?:[^/]+/)?2.root.json`, () => ({
      status: 200,
      bytes: good.bytes,
    }));
    await vehicle.assertRefused("match_non_custom", "arbitrary software");
  });
}

async function holdingUp(test: Deno.TestContext, lab: Lab): Promise<void> {
  await test.step("the Director's timestamp drives versions up, until its key is rotated", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    const { timestamp } = await lab.stealOnline("director");
    const first = await vehicle.release(1);
    forging(vehicle, "director", { sign: { timestamp }, version: 1_000_000 });
    await vehicle.updated(first);
    vehicle.middle.rest();
    const second = await vehicle.release(2);
    await vehicle.assertRefused("timestamp_rollback", "rollback");
    await lab.author((author) => author.rotate("director", "timestamp"));
    await vehicle.updated(second);
  });

  await test.step("the Director's timestamp shows an older snapshot that the vehicle has not seen passed", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    await vehicle.release(1);
    const before = await lab.bundle("director", vehicle.vin);
    const { timestamp } = await lab.stealOnline("director");
    vehicle.middle.forge("director", async () => await forge(before, { version: 500, sign: { timestamp } }));
    await vehicle.assertRefused("package_directed", "arbitrary software");
    // What it has seen it does not go back from.
    vehicle.middle.rest();
    forging(vehicle, "director", { sign: { timestamp } });
    await vehicle.update();
    vehicle.middle.rest();
    const at = nextVersion();
    vehicle.middle.forge("director", async () => await forge(before, { version: at, sign: { timestamp } }));
    const next = await vehicle.release(2);
    assert.ok(next);
    await vehicle.assertRefused("timestamp_snapshot_rollback", "rollback");
  });

  await test.step("the Image repository's timestamp and snapshot do not bring older targets back", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    const before = await lab.bundle("image", vehicle.vin);
    const { timestamp, snapshot } = await lab.stealOnline("image");
    await vehicle.updated(await vehicle.release(1));
    await vehicle.release(2);
    const at = nextVersion();
    vehicle.middle.forge(
      "image",
      async () => await forge(before, { version: at, sign: { timestamp, snapshot } }),
    );
    await vehicle.assertRefused("snapshot_targets_rollback", "rollback");
  });

  await test.step("the key of the time makes all expire, and does not turn the time back", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    const key = await lab.steal("director", "time");
    const released = await vehicle.release(1);
    let at = new Date(Date.now() - day);
    let signers = key;
    vehicle.middle.on("POST", "/api/v1/uptane/time", async ({ body }) => {
      const { nonces } = JSON.parse(new TextDecoder().decode(body));
      return { status: 200, bytes: await attest(at, nonces, signers) };
    });
    await vehicle.assertRefused("time_rollback", "freeze");
    at = new Date(Date.now() + 8 * day);
    signers = [stranger];
    await vehicle.assertRefused("time_signed", "arbitrary software");
    signers = key;
    // Its reports are of that time, and refused for it.
    const ahead = async (code: CheckCode) => {
      await vehicle.assertRefused(code, "freeze", undefined, "report_future");
    };
    await ahead("timestamp_expiry");
    // Until that day is there the vehicle is held up: it was told that it had come.
    vehicle.middle.rest();
    await ahead("time_rollback");
    // Times of other keys begin anew.
    await lab.author((author) => author.rotate("director", "time"));
    await vehicle.updated(released);
  });
}

async function wholeDirector(test: Deno.TestContext, lab: Lab): Promise<void> {
  await using vehicle = await AttackedVehicle.start(lab);
  const sign = await lab.stealOnline("director");
  const released = await vehicle.release(2);
  const older = await vehicle.release(1);
  const one = asForged(released.ECU_001);
  const refused = async (
    change: NonNullable<ForgeryOptions["change"]>,
    code: CheckCode,
    attack: string,
    more: Partial<ForgeryOptions> = {},
  ) => {
    forging(vehicle, "director", { sign, change, ...more });
    await vehicle.assertRefused(code, attack);
  };

  await test.step("make up no image", () => {
    const { image } = evilImage({ ...one.image, version: "6.6.6" });
    return refused(() => directed(image, ["ECU_001"]), "delegation_resolved", "arbitrary software");
  });
  await test.step("raise no release counter", () =>
    refused(
      () => directed({ ...one.image, releaseCounter: 99 }, ["ECU_001"]),
      "match_custom",
      "arbitrary software",
    ));
  await test.step("move no image to another address", () => {
    const segments = [{ address: 0x4000, length: one.image.size }];
    return refused(
      () => directed({ ...one.image, segments }, ["ECU_001"]),
      "match_custom",
      "arbitrary software",
    );
  });
  await test.step("put no image on other hardware", async () => {
    const other = await lab.publish({ ...one.image, hwVersion: "HW-9" }, one.bytes);
    await refused(() => directed(other, ["ECU_001"]), "director_hardware", "wrong hardware");
    await refused(() => directed(other, ["ECU_001"], hwVersion), "match_hardware", "wrong hardware");
    await refused(
      () => directed(released.ECU_002, ["ECU_001"]),
      "match_ecu_type",
      "wrong hardware",
    );
  });
  await test.step("direct no ECU that the vehicle does not have", () =>
    refused(() => directed(one.image, ["ECU_777"]), "director_ecu_known", "wrong ECU"));
  await test.step("do not use what is for another vehicle", () =>
    refused((targets) => targets, "director_vehicle", "wrong vehicle", { vehicleId: "KMHTEST2ATK999999" }));
  await test.step("direct no two images to one ECU", () =>
    refused(
      () => ({ ...directed(one.image, ["ECU_001"]), ...directed(older.ECU_001, ["ECU_001"]) }),
      "director_ecu_once",
      "mixed bundles",
    ));
  await test.step("leave out an ECU of the package", () =>
    refused(() => directed(one.image, ["ECU_001"]), "package_directed", "arbitrary software"));

  await test.step("install what the Image repository has, as the table says, but nothing older than before", async () => {
    const images = Object.fromEntries(Object.entries(released).map(([id, it]) => [id, asForged(it)]));
    // The server wants the newest; the attacker has the one before installed.
    await vehicle.release(3);
    await packing(vehicle, images);
    forging(vehicle, "director", { sign, change: directing(images) });
    const { status, error } = await vehicle.update();
    assert.equal(status, "completed", error);
    vehicle.assertRuns(released);
    const oldest = Object.fromEntries(Object.entries(older).map(([id, it]) => [id, asForged(it)]));
    vehicle.middle.rest();
    await packing(vehicle, oldest);
    await refused(directing(oldest), "match_release_counter", "rollback");
  });

  await test.step("even a gateway that has forgotten everything cannot put an older release on an ECU", async () => {
    const oldest = Object.fromEntries(Object.entries(older).map(([id, it]) => [id, asForged(it)]));
    await vehicle.end();
    for await (const { name } of Deno.readDir(vehicle.state)) {
      if (name.startsWith("vmg.db")) await Deno.remove(`${vehicle.state}/${name}`);
    }
    await vehicle.begin();
    await vehicle.verified();
    forging(vehicle, "director", { sign, change: directing(oldest) });
    const { status, error } = await vehicle.update();
    assert.equal(status, "failed");
    assert.match(error, /is release 1, and the ECU has committed release 2: it takes none below that/);
    vehicle.assertRuns(released);
    await vehicle.tells("ecu_release", "rollback");
  });
}

async function bothRepositories(test: Deno.TestContext, lab: Lab): Promise<void> {
  await test.step("the key that signs packages alone brings nothing into an ECU", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    const released = await vehicle.release(1);
    const good = asForged(released.ECU_001);
    const both = (first: ForgedImage) => ({ ECU_001: first, ECU_002: asForged(released.ECU_002) });
    const cases: [Record<string, ForgedImage>, CheckCode, string][] = [
      [both(evilImage(good.image)), "package_hash", "arbitrary software"],
      [both({ ...good, image: { ...good.image, version: "1.1.1" } }), "package_version", "mix-and-match"],
      [both({ ...good, image: { ...good.image, releaseCounter: 9 } }), "package_release", "rollback"],
      [
        both({ ...good, image: { ...good.image, segments: [{ address: 0x4000, length: good.image.size }] } }),
        "package_layout",
        "arbitrary software",
      ],
      [both({ ...good, image: { ...good.image, hwVersion: "HW-9" } }), "package_hardware", "wrong hardware"],
      [{ ECU_001: good }, "package_complete", "partial bundle"],
    ];
    for (const [images, code, attack] of cases) {
      vehicle.middle.rest();
      await packing(vehicle, images);
      await vehicle.assertRefused(code, attack);
    }
  });

  await test.step("all keys of both repositories without the package's bring nothing into an ECU", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    const evil = evilImages(await vehicle.release(1));
    const own = await generateSigningKey();
    vehicle.middle.swapPackage((manifest) =>
      forgePackage(manifest, own, ({ ecu_id }) => evil[ecu_id], lab.pool)
    );
    forging(vehicle, "director", { sign: await lab.stealOnline("director"), change: directing(evil) });
    forging(vehicle, "image", {
      sign: await lab.stealOnline("image"),
      change: (targets) =>
        Object.assign({}, targets, ...Object.values(evil).map(({ image }) => published(image))),
    });
    await vehicle.assertRefused("package_signed", "arbitrary software");
  });

  await test.step("all keys of both repositories and the package's install anything, as the table says", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    const evil = evilImages(await vehicle.release(1));
    await packing(vehicle, evil);
    forging(vehicle, "director", { sign: await lab.stealOnline("director"), change: directing(evil) });
    forging(vehicle, "image", {
      sign: await lab.stealOnline("image"),
      change: (targets) =>
        Object.assign({}, targets, ...Object.values(evil).map(({ image }) => published(image))),
    });
    const { status, error } = await vehicle.update();
    assert.equal(status, "completed", error);
    vehicle.assertRuns(
      Object.fromEntries(Object.entries(evil).map(([id, { image, bytes }]) => [id, { ...image, bytes }])),
    );
  });
}
