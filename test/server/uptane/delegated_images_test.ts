// Images of the catalogue that delegated roles cover: the server signs them where the role's key is, stages them where it is not, and
// offers vehicles what they would find.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../../src/contract/routes.ts";
import { RepositoryAuthor } from "../../../src/server/uptane/repository_author.ts";
import { RepositoryDirectory } from "../../../src/server/uptane/repository_directory.ts";
import { addSignature, readMetadata } from "../../../src/uptane/envelope.ts";
import { generateSigner } from "../../../src/uptane/keys.ts";
import { sampleBytes } from "../../support/firmware_files.ts";
import {
  chunks,
  ecu,
  eventually,
  report,
  startTestServer,
  type TestServer,
  vinA,
} from "../running_server.ts";

const ecdsa = { make: ["ecdsa-p256"] } as const;

async function upload(server: TestServer, ecuType: string, version: string, hwVersion = "HW1") {
  return await server.operator.rest.upload(routes.addFirmware, {
    query: { ecu_type: ecuType, hw_version: hwVersion, version, format: "binary", base_address: 0 },
    stream: chunks(sampleBytes(500, version.length)),
  });
}

Deno.test("images of the catalogue go into the roles that vehicles look for them in", async (t) => {
  await using server = await startTestServer("127.0.200.11", { maintenance: { interval: 50 } });
  const folder = new RepositoryDirectory(join(server.directory, "data", "repo"));
  const work = async <T>(run: (author: RepositoryAuthor) => Promise<T>) =>
    await folder.locked(() => run(new RepositoryAuthor(folder, new Date())));
  const delegate = async (wanted: Parameters<RepositoryAuthor["delegate"]>[0]) =>
    await work(async (author) => {
      await author.delegate(wanted);
      await author.release();
    });
  const imagesOf = async (role: string) =>
    Object.keys((await folder.newest("image", "targets", role))?.metadata.signed.targets ?? {}).sort();
  const states = async () => {
    const { images } = await server.operator.rest.call(routes.listFirmware, { query: {} });
    return Object.fromEntries(
      images.map((it) => [`${it.ecu_type} ${it.hw_version} ${it.version}`, it.target]),
    );
  };
  const becomes = async (name: string, state: string) =>
    await eventually(`${name} is ${state}`, async () => (await states())[name] === state);
  const supplier = await generateSigner("ecdsa-p256");

  await t.step("where the key of a role is, the server signs with it", async () => {
    await delegate({ name: "plant", paths: ["BODY/*/*"], hardwareIds: ["HW1"], keys: ecdsa });
    assert.equal((await upload(server, "BODY", "1.0.0")).target, "published");
    assert.equal((await upload(server, "BODY", "1.0.0", "HW2")).target, "published");
    assert.equal((await upload(server, "DOOR", "1.0.0")).target, "published");
    assert.deepEqual([await imagesOf("plant"), await imagesOf("targets")], [
      ["BODY/HW1/1.0.0.bin"],
      ["BODY/HW2/1.0.0.bin", "DOOR/HW1/1.0.0.bin"],
    ]);
  });

  await t.step(
    "where it is not, the image waits for its holder, and the answer and the log say so",
    async () => {
      await work(async (author) => {
        await author.delegate({ name: "supplier", paths: ["BRAKE/*/*"], keys: { public: [supplier.key] } });
        const path = join(folder.path, "staged", "image", "1.supplier.json");
        await Deno.writeFile(
          path,
          await addSignature(readMetadata("targets", await Deno.readFile(path)), supplier),
        );
        await author.settle();
        await author.release();
      });
      const image = await upload(server, "BRAKE", "1.0.0");
      assert.deepEqual([image.target, image.staged_file], ["staged", "staged/image/2.supplier.json"]);
      // Others go on meanwhile.
      assert.equal((await upload(server, "DOOR", "1.1.0")).target, "published");
      const line = server.lines.find((it) => it.includes("Images staged"));
      assert.match(
        String(line),
        /2\.supplier\.json has 0 of 1 signatures of the delegated role supplier, whose keys are not here; add them with "zonebench repo sign"/,
      );
      const path = join(folder.path, "staged", "image", "2.supplier.json");
      await Deno.writeFile(
        path,
        await addSignature(readMetadata("targets", await Deno.readFile(path)), supplier),
      );
      await work(async (author) => {
        await author.settle();
        await author.release();
      });
      await becomes("BRAKE HW1 1.0.0", "published");
    },
  );

  await t.step("a vehicle is directed to what only a delegated role signed", async () => {
    const { rest } = server.vehicleA;
    await rest.call(routes.registerVehicle, {
      body: { vin: vinA, vmg_id: "VMG-A", vehicle_model: "Test", vehicle_year: 2026 },
    });
    const { update_available } = await rest.call(routes.submitVci, {
      path: { vin: vinA },
      body: report(vinA, "VMG-A", [{ ...ecu("ECU_001", "0.9.0"), ecu_type: "BRAKE" }]),
    });
    assert.equal(update_available, true);
    await server.operator.rest.call(routes.startUpdate, { body: { vin: vinA } });
    await eventually("a bundle that directs it", async () => {
      const { dispatcher } = server.operator;
      const { request } = await import("undici");
      const get = async (name: string) => {
        const { body } = await request(`${server.origin}/api/v1/uptane/director/${vinA}/${name}`, {
          dispatcher,
        });
        return JSON.parse(await body.text()).signed;
      };
      const { version } = await get("timestamp.json");
      return Object.keys((await get(`${version}.targets.json`)).targets).join() === "BRAKE/HW1/1.0.0.bin";
    });
  });

  await t.step(
    "what a terminating delegation keeps vehicles from finding is published where they look",
    async () => {
      // BODY's images were signed by the plant; nobody but the gate is asked from now on, and the server has the gate's key.
      await delegate({ name: "gate", paths: ["BODY/*/*"], terminating: true, before: "plant", keys: ecdsa });
      await eventually(
        "the gate signs what the catalogue has",
        async () => (await imagesOf("gate")).join() === "BODY/HW1/1.0.0.bin",
      );
      await becomes("BODY HW1 1.0.0", "published");
    },
  );

  await t.step("without its delegation a role's images are the targets' affair again", async () => {
    await work(async (author) => {
      await author.undelegate("gate");
      await author.undelegate("plant");
      await author.release();
    });
    await eventually(
      "the targets sign it",
      async () => (await imagesOf("targets")).includes("BODY/HW1/1.0.0.bin"),
    );
    await becomes("BODY HW1 1.0.0", "published");
  });
});
