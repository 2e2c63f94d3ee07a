// Delegated roles through the real server, wire and gateway: an image that only a supplier signed is installed; a supplier's stolen
// key signs within its paths and hardware alone; a supplier that has gone to sleep, or that nobody may be asked after.

import assert from "node:assert/strict";
import { join } from "node:path";
import { makeTargets } from "../../src/uptane/author.ts";
import type { CheckCode } from "../../src/uptane/checks.ts";
import { readMetadata, signEnvelope } from "../../src/uptane/envelope.ts";
import { imageTargetName } from "../../src/uptane/image_target.ts";
import { generateSigner, type LocalSigner } from "../../src/uptane/keys.ts";
import type { WantedDelegation } from "../../src/server/uptane/delegation_author.ts";
import { RepositoryAuthor } from "../../src/server/uptane/repository_author.ts";
import { asForged, directing, evilImages, forging, nextVersion, packing } from "./support/attempts.ts";
import { evilImage, forge, type ForgedImage, published } from "./support/forge.ts";
import { Lab } from "./support/lab.ts";
import { AttackedVehicle, hwVersion } from "./support/vehicle.ts";

const day = 86_400_000;
const stranger = await generateSigner("ecdsa-p256");

Deno.test("delegated roles", async (test) => {
  await using lab = await Lab.start("127.0.200.1");
  await test.step("an image that only a delegated role signed is installed", (test) => installed(test, lab));
  await test.step("a delegated role's stolen key", (test) => stolen(test, lab));
  await test.step("a delegated role that has expired ends the update", () => expired(lab));
  await test.step("nobody is asked after a terminating delegation", () => terminating(lab));
});

/** Delegates as an operator does, with a key that is made on the server; the vehicle's number tells its roles from others'. */
async function delegate(vehicle: AttackedVehicle, wanted: Omit<WantedDelegation, "keys">): Promise<void> {
  await vehicle.lab.author(async (author) => {
    await author.delegate({ keys: { make: ["ecdsa-p256"] }, ...wanted });
    await author.release();
  });
}

/** All images of an ECU's type. */
function pathsOf(vehicle: AttackedVehicle, ecuId: string): string[] {
  return [`${vehicle.types[ecuId]}/*/*`];
}

/** Keys of a delegated role, as they lie on the server's disk. */
async function steal(lab: Lab, role: string): Promise<LocalSigner[]> {
  const keys = await lab.repositories.keys();
  const { delegations } = (await lab.repositories.newest("image", "targets"))?.metadata.signed ?? {};
  const { keyids = [] } = delegations?.roles.find(({ name }) => name === role) ?? {};
  return keyids.flatMap((keyid) => keys.get(keyid) ?? []);
}

async function installed(test: Deno.TestContext, lab: Lab): Promise<void> {
  await using vehicle = await AttackedVehicle.start(lab);
  await delegate(vehicle, {
    name: "installed",
    paths: pathsOf(vehicle, "ECU_001"),
    hardwareIds: [hwVersion],
  });
  const released = await vehicle.release(1);

  await test.step("the server publishes into the role what it covers, and into the targets what not", async () => {
    const { targets, delegated } = await lab.bundle("image", vehicle.vin);
    const names = (bytes: Uint8Array | undefined) =>
      Object.keys(readMetadata("targets", bytes ?? new Uint8Array()).signed.targets);
    const [one, two] = [imageTargetName(released.ECU_001), imageTargetName(released.ECU_002)];
    assert.deepEqual(names(delegated.get("installed")?.bytes), [one]);
    assert.ok(names(targets.bytes).includes(two));
    assert.ok(!names(targets.bytes).includes(one));
  });
  await test.step("a vehicle is updated with both", () => vehicle.updated(released));
  await test.step("and again, once the role has other keys", async () => {
    await lab.author(async (author) => {
      await author.rotateDelegated("installed");
      await author.release();
    });
    await vehicle.updated(await vehicle.release(2));
  });
}

async function stolen(test: Deno.TestContext, lab: Lab): Promise<void> {
  await using vehicle = await AttackedVehicle.start(lab);
  await delegate(vehicle, { name: "stolen", paths: pathsOf(vehicle, "ECU_001") });
  await delegate(vehicle, { name: "other", paths: pathsOf(vehicle, "ECU_002"), hardwareIds: ["HW-9"] });
  const released = await vehicle.release(1);
  const key = await steal(lab, "stolen");
  const { snapshot, timestamp } = await lab.stealOnline("image");
  const director = await lab.stealOnline("director");
  const outside = evilImage({ ...released.ECU_002, version: "1.5.0" });
  const inside = evilImage({ ...released.ECU_001, version: "1.5.0" });

  const genuine = asForged(released.ECU_001);
  const others = await steal(lab, "other");

  /** What both roles sign, as the snapshot's and timestamp's keys bring it in. */
  const forged = async (
    images: readonly ForgedImage[],
    signers = key,
    otherImages: readonly ForgedImage[] = [],
  ) => {
    const version = nextVersion();
    const signed = async (of: readonly ForgedImage[], by: readonly LocalSigner[]) => {
      const targets = Object.assign({}, ...of.map(({ image }) => published(image)));
      const made = makeTargets({ version, expires: new Date(Date.now() + day), targets });
      return { version, bytes: await signEnvelope(made, by) };
    };
    return await forge(await lab.bundle("image", vehicle.vin), {
      version,
      sign: { snapshot, timestamp },
      delegated: new Map([
        ["stolen", await signed(images, signers)],
        ["other", await signed(otherImages, others)],
      ]),
    });
  };
  const attempt = async (
    images: Record<string, ForgedImage>,
    files: ReadonlyMap<string, Uint8Array>,
    direct = true,
  ) => {
    vehicle.middle.rest();
    await packing(vehicle, images);
    vehicle.middle.give("image", files);
    if (direct) forging(vehicle, "director", { sign: director, change: directing(images) });
  };
  const refused = async (what: string, code: CheckCode, attack: string, prepare: () => Promise<void>) =>
    await test.step(what, async () => {
      await prepare();
      await vehicle.assertRefused(code, attack);
    });
  const both = (first: ForgedImage, second = asForged(released.ECU_002)) => ({
    ECU_001: first,
    ECU_002: second,
  });

  await refused("alone: no snapshot names what it signs", "targets_hashes", "mix-and-match", async () => {
    const { delegated } = await lab.bundle("image", vehicle.vin);
    const { version = 0, bytes: genuine = new Uint8Array() } = delegated.get("stolen") ?? {};
    // In the place of the one that is there, and no longer than it.
    for (let later = 0;; later += 1_000) {
      const expires = new Date(Date.now() + day + later);
      const bytes = await signEnvelope(
        makeTargets({ version, expires, targets: published(inside.image) }),
        key,
      );
      if (bytes.length > genuine.length) continue;
      vehicle.middle.rest();
      vehicle.middle.give("image", new Map([[`${version}.stolen.json`, bytes]]));
      return;
    }
  });
  await refused(
    "signs, and the Director directs something else",
    "package_hash",
    "arbitrary software",
    async () => await attempt(both(evilImage(released.ECU_001)), await forged([genuine, inside]), false),
  );
  await refused(
    "signs nothing outside its paths",
    "delegation_resolved",
    "arbitrary software",
    async () => await attempt(both(genuine, outside), await forged([genuine, outside])),
  );
  await refused(
    "signs nothing for hardware that it is not for",
    "delegation_resolved",
    "arbitrary software",
    async () => await attempt(both(genuine, outside), await forged([genuine], key, [outside])),
  );
  await refused(
    "is no other role's",
    "targets_signed",
    "arbitrary software",
    async () => await attempt(both(inside), await forged([genuine, inside], others)),
  );
  await refused(
    "is no stranger's",
    "targets_signed",
    "arbitrary software",
    async () => await attempt(both(inside), await forged([genuine, inside], [stranger])),
  );
  await test.step("with keys of both repositories it has its own images installed, as the table says", async () => {
    await attempt(both(inside), await forged([genuine, inside]));
    const { status, error } = await vehicle.update();
    assert.equal(status, "completed", error);
    assert.equal(vehicle.bench.ecu("ECU_001").version, "1.5.0");
    assert.equal(vehicle.bench.ecu("ECU_002").version, "1.1.0");
  });
  await test.step("and once it is rotated, nothing more", async () => {
    await lab.author(async (author) => {
      await author.rotateDelegated("stolen");
      await author.release();
    });
    const next = evilImages({ ECU_001: { ...released.ECU_001, version: "1.6.0" } });
    await vehicle.release(7);
    await attempt(both(next.ECU_001), await forged([next.ECU_001]));
    await vehicle.assertRefused("targets_signed", "arbitrary software");
  });
}

/** Nothing is forged here: the server gives out what there is. */
async function expired(lab: Lab): Promise<void> {
  await using vehicle = await AttackedVehicle.start(lab);
  await delegate(vehicle, { name: "asleep", paths: pathsOf(vehicle, "ECU_001") });
  const released = await vehicle.release(1);
  await lab.repositories.locked(async () => {
    await new RepositoryAuthor(lab.repositories, new Date(Date.now() - 366 * day)).renew("asleep");
    await new RepositoryAuthor(lab.repositories, new Date()).release();
  });
  // Its holder is away: nobody on the server makes it good for longer.
  const [{ keyid }] = await steal(lab, "asleep");
  const file = join(lab.repositories.path, "keys", `image-asleep-${keyid.slice(0, 16)}.key`);
  const kept = await Deno.readTextFile(file);
  await Deno.remove(file);
  await vehicle.assertRefused("targets_expiry", "freeze");
  await Deno.writeTextFile(file, kept, { mode: 0o600 });
  await lab.author(async (author) => {
    await author.renew("asleep");
    await author.release();
  });
  await vehicle.updated(released);
}

async function terminating(lab: Lab): Promise<void> {
  await using vehicle = await AttackedVehicle.start(lab);
  const paths = pathsOf(vehicle, "ECU_001");
  await delegate(vehicle, { name: "second", paths });
  const older = await vehicle.release(1);
  await delegate(vehicle, { name: "first", paths, before: "second", terminating: true });
  const newer = await vehicle.release(2);
  await vehicle.updated(newer);
  // Who has all of the Director's keys wants what the second role signed.
  await vehicle.release(3);
  const images = { ECU_001: asForged(older.ECU_001), ECU_002: asForged(newer.ECU_002) };
  await packing(vehicle, images);
  forging(vehicle, "director", { sign: await lab.stealOnline("director"), change: directing(images) });
  await vehicle.assertRefused("delegation_resolved", "arbitrary software");
  // What the first one did not sign is found in the second as soon as that may be asked.
  await delegate(vehicle, { name: "first", terminating: false });
  assert.equal(
    await lab.author((author) =>
      author.roleFor({ name: imageTargetName(older.ECU_001), hardwareIds: [hwVersion] })
    ),
    "second",
  );
}
