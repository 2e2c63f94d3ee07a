// Roles with a threshold of two and one stolen key; and metadata of each role that has expired, with all signatures that it needs.

import type { CheckCode } from "../../src/uptane/checks.ts";
import { attest } from "../../src/uptane/time.ts";
import type { RepositoryName } from "../../src/uptane/models.ts";
import { generateSigner } from "../../src/uptane/keys.ts";
import { forge, forgeRoot, holder } from "./support/forge.ts";
import { Lab } from "./support/lab.ts";
import { AttackedVehicle } from "./support/vehicle.ts";

const repositories = ["director", "image"] as const;
const roles = ["targets", "snapshot", "timestamp"] as const;
const past = new Date(Date.now() - 60_000);

Deno.test("thresholds and expiry", async (test) => {
  await using lab = await Lab.start("127.0.98.1", { keys: 2 });
  let version = 1_000;

  for (const repository of repositories) {
    await test.step(`the ${repository} repository`, async (test) => {
      await using vehicle = await AttackedVehicle.start(lab);
      await vehicle.release(1);
      const keys = await lab.stealOnline(repository);
      const forged = (options: Parameters<typeof forge>[1]) => {
        version += 10;
        const at = version;
        vehicle.middle.rest();
        vehicle.middle.forge(
          repository,
          async () => await forge(await lab.bundle(repository, vehicle.vin), { version: at, ...options }),
        );
      };

      for (const role of roles) {
        await test.step(`one of two keys of ${role} is not enough`, async () => {
          forged({ sign: { ...keys, [role]: keys[role].slice(0, 1) } });
          await vehicle.assertRefused(`${role}_signed`, "arbitrary software");
        });
        await test.step(`one key of ${role} twice is not enough`, async () => {
          const [key] = keys[role];
          forged({ sign: { ...keys, [role]: [key, key] } });
          await vehicle.assertRefused("metadata_form", "malformed data");
        });
      }
      for (const role of roles) {
        await test.step(`expired ${role}`, async () => {
          forged({ sign: keys, expires: { [role]: past } });
          await vehicle.assertRefused(`${role}_expiry`, "freeze");
        });
      }
      await test.step("roots", () => roots(vehicle, repository));
    });
  }

  await test.step("one of two keys of the time is not enough", async () => {
    await using vehicle = await AttackedVehicle.start(lab);
    await vehicle.release(1);
    const [key] = await lab.steal("director", "time");
    vehicle.middle.on("POST", "/api/v1/uptane/time", async ({ body }) => {
      const { nonces } = JSON.parse(new TextDecoder().decode(body));
      return { status: 200, bytes: await attest(new Date(), nonces, [key]) };
    });
    await vehicle.assertRefused("time_signed", "arbitrary software");
  });
});

async function roots(vehicle: AttackedVehicle, repository: RepositoryName): Promise<void> {
  const { lab, middle } = vehicle;
  const keys = await lab.steal(repository, "root");
  const { root } = await lab.bundle(repository, vehicle.vin);
  const own = await generateSigner("ecdsa-p256");
  const more = await generateSigner("ecdsa-p256");
  const next = async (
    root: Awaited<ReturnType<typeof forgeRoot>>,
    code: CheckCode,
    attack: string,
  ) => {
    middle.rest();
    middle.give(repository, new Map([[`${root.version}.root.json`, root.bytes]]));
    await vehicle.assertRefused(code, attack);
  };
  const mine = { targets: holder(own), snapshot: holder(own), timestamp: holder(own) };
  await next(await forgeRoot(root, mine, [keys[0], own]), "root_signed_by_previous", "arbitrary software");
  const two = { ...mine, root: { keys: [own.key, more.key], threshold: 2 } };
  await next(await forgeRoot(root, two, [...keys, own]), "root_signed_by_itself", "arbitrary software");
  const again = await forgeRoot(root, {}, keys, { version: root.version });
  await next({ ...again, version: root.version + 1 }, "root_version", "rollback");
  await next(await forgeRoot(root, {}, keys, { expires: past }), "root_expiry", "freeze");
}
