// Deltas in packages: where a vehicle keeps a base that the catalogue knows, and only where they are worth it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { openPackage } from "../../../src/codec/open_package.ts";
import { CodecPool } from "../../../src/codec/pool.ts";
import { routes } from "../../../src/contract/routes.ts";
import type { PackageAnswer } from "../../../src/contract/ota.ts";
import { importSigningKey } from "../../../src/pqc/signature.ts";
import { noise, sha256 } from "../../codec/support.ts";
import { startTestServer, type TestServer, vinA } from "../running_server.ts";

const size = 300_000;
const first = noise(size, 1);
/** The first with a tenth of it new. */
const second = Uint8Array.from([...noise(size / 10, 2), ...first.subarray(size / 10)]);
/** Nothing of the first. */
const other = noise(size, 3);

async function add(server: TestServer, ecuType: string, version: string, image: Uint8Array): Promise<string> {
  const { image_id } = await server.operator.rest.upload(routes.addFirmware, {
    query: {
      ecu_type: ecuType,
      hw_version: "1.0",
      version,
      format: "binary",
      base_address: 0,
      priority: "normal",
      file_name: "image.bin",
    },
    stream: streamOf(image),
  });
  return image_id;
}

async function* streamOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield bytes;
}

/** Reports three ECUs with version 1.0.0; what each keeps a copy of. */
async function report(server: TestServer, bases: Record<string, string>): Promise<void> {
  const ecu = (ecu_id: string, ecu_type: string, zonal_gateway_id: string) => ({
    ecu_id,
    ecu_type,
    zonal_gateway_id,
    sw_version: "1.0.0",
    hw_version: "1.0",
    status: "ok" as const,
    ...ecu_id in bases ? { base_sha256: bases[ecu_id] } : {},
  });
  await server.vehicleA.rest.call(routes.submitVci, {
    path: { vin: vinA },
    body: {
      device_id: "VMG-A",
      vin: vinA,
      timestamp: new Date().toISOString(),
      trigger: "test",
      ecus: [ecu("ECU_1", "BODY", "ZG_1"), ecu("ECU_2", "BODY", "ZG_2"), ecu("ECU_3", "RADIO", "ZG_2")],
    },
  });
}

async function ask(
  server: TestServer,
  more: { deltas?: boolean; update_id?: string } = {},
): Promise<PackageAnswer> {
  return await server.vehicleA.rest.call(routes.requestPackage, { body: { vehicle_id: vinA, ...more } });
}

async function encodings(server: TestServer, { package_id }: PackageAnswer): Promise<Record<string, string>> {
  const { manifest } = await server.vehicleA.rest.call(routes.getManifest, { path: { id: package_id } });
  return Object.fromEntries(
    manifest.zonal_gateways.flatMap(({ ecus }) => ecus.map(({ ecu_id, blob }) => [ecu_id, blob.encoding])),
  );
}

async function cancel(server: TestServer, { update_id }: PackageAnswer): Promise<void> {
  await server.vehicleA.rest.call(routes.reportUpdate, {
    body: { vehicle_id: vinA, update_id, status: "cancelled", progress: 0 },
  });
}

Deno.test("deltas", async (test) => {
  await using server = await startTestServer("127.0.82.1");
  await server.vehicleA.rest.call(routes.registerVehicle, {
    body: { vin: vinA, vehicle_model: "M", vehicle_year: 2026, vmg_id: "VMG-A" },
  });
  await add(server, "BODY", "1.0.0", first);
  await add(server, "BODY", "2.0.0", second);
  await add(server, "RADIO", "1.0.0", first);
  await add(server, "RADIO", "2.0.0", other);
  const deltas = join(server.directory, "data", "deltas");
  const names = () => [...Deno.readDirSync(deltas)].map(({ name }) => name);
  const pair = `${sha256(first)}_${sha256(second)}.zst`;

  await test.step("an ECU gets one where its gateway keeps a known base, and it is below 60 %", async () => {
    await report(server, { ECU_1: sha256(first), ECU_3: sha256(first) });
    const answer = await ask(server);
    assert.deepEqual(await encodings(server, answer), { ECU_1: "zstd-delta", ECU_2: "zstd", ECU_3: "zstd" });
    // What is too large is not kept.
    assert.deepEqual(names(), [pair]);
    assert.ok(server.lines.some((line) => /ECU_1: a delta of \d+ bytes, \d+\.\d % of the whole/.test(line)));
    assert.ok(server.lines.some((line) => /1 delta\(s\) save \d+ bytes/.test(line)));

    // The package is what it says, and the delta gives the image.
    const download = await server.vehicleA.dispatcher.request({
      origin: server.origin,
      path: answer.download_url,
      method: "GET",
    });
    const folder = await Deno.makeTempDir();
    await using pool = new CodecPool();
    try {
      await Deno.writeFile(`${folder}/package`, new Uint8Array(await download.body.arrayBuffer()));
      await Deno.writeFile(`${folder}/base`, first);
      const { publicKey } = await importSigningKey(await Deno.readTextFile(join(server.pki, "signing.key")));
      const opened = await openPackage(`${folder}/package`, {
        verifyKeys: new Map([[publicKey.keyId, publicKey]]),
        expectVehicle: vinA,
        pool,
      });
      const [entry] = opened.manifest.zonal_gateways[0].ecus;
      await opened.extractImage(entry, `${folder}/image`, {
        base: { path: `${folder}/base`, sha256: sha256(first), size },
      });
      assert.deepEqual(await Deno.readFile(`${folder}/image`), second);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
    await cancel(server, answer);
  });

  await test.step("packages of other encodings are other packages, of the same one the same", async () => {
    const answers: PackageAnswer[] = [];
    const cases: [Record<string, string>, boolean][] = [
      [{ ECU_1: sha256(first) }, true],
      [{ ECU_1: sha256(first) }, false],
      [{ ECU_1: sha256(first), ECU_2: sha256(first) }, true],
      [{ ECU_1: sha256(first) }, true],
      [{}, true],
    ];
    for (const [bases, wanted] of cases) {
      await report(server, bases);
      const answer = await ask(server, { deltas: wanted });
      answers.push(answer);
      await cancel(server, answer);
    }
    const ids = answers.map(({ package_id }) => package_id);
    assert.equal(new Set(ids).size, 3);
    assert.equal(ids[0], ids[3]);
    // Without deltas it is the package of a vehicle that keeps nothing.
    assert.equal(ids[1], ids[4]);
    assert.deepEqual(await encodings(server, answers[2]), {
      ECU_1: "zstd-delta",
      ECU_2: "zstd-delta",
      ECU_3: "zstd",
    });
    assert.ok(answers[2].size < answers[0].size && answers[0].size < answers[1].size);
  });

  await test.step("an update under way gets its package in whole images, and stays the same update", async () => {
    await report(server, { ECU_1: sha256(first) });
    const answer = await ask(server);
    const whole = await ask(server, { update_id: answer.update_id, deltas: false });
    assert.equal(whole.update_id, answer.update_id);
    assert.notEqual(whole.package_id, answer.package_id);
    assert.deepEqual(await encodings(server, whole), { ECU_1: "zstd", ECU_2: "zstd", ECU_3: "zstd" });
    const update = await server.operator.rest.call(routes.getUpdate, { path: { id: answer.update_id } });
    assert.equal(update.package_id, whole.package_id);
    // Asked again, as after a lost answer: the same.
    assert.deepEqual(await ask(server, { update_id: answer.update_id, deltas: false }), whole);
    await cancel(server, answer);
    await assert.rejects(ask(server, { update_id: answer.update_id, deltas: false }), { status: 409 });
    await assert.rejects(ask(server, { update_id: crypto.randomUUID(), deltas: false }), { status: 404 });
  });

  await test.step("another vehicle's update is as none", async () => {
    await report(server, {});
    const answer = await ask(server);
    await server.vehicleB.rest.call(routes.registerVehicle, {
      body: { vin: "KMHTEST1BBB000002", vehicle_model: "M", vehicle_year: 2026, vmg_id: "VMG-B" },
    });
    await assert.rejects(
      server.vehicleB.rest.call(routes.requestPackage, {
        body: { vehicle_id: "KMHTEST1BBB000002", update_id: answer.update_id, deltas: false },
      }),
      { status: 404 },
    );
    await cancel(server, answer);
  });

  await test.step("a base that nobody knows, a damaged payload and a lost delta do no harm", async () => {
    await report(server, { ECU_1: sha256(Uint8Array.of(1)) });
    const unknown = await ask(server);
    assert.equal((await encodings(server, unknown)).ECU_1, "zstd");
    await cancel(server, unknown);

    await Deno.remove(join(deltas, pair));
    const base = join(server.directory, "data", "images", `${sha256(first)}.bin`);
    await Deno.writeFile(base, other);
    await report(server, { ECU_2: sha256(first) });
    const damaged = await ask(server);
    assert.equal((await encodings(server, damaged)).ECU_2, "zstd");
    assert.ok(
      server.lines.some((line) => /No delta to BODY 2\.0\.0 from .*expected a base with SHA-256/.test(line)),
    );
    await cancel(server, damaged);

    await Deno.writeFile(base, first);
    await report(server, { ECU_2: sha256(first) });
    const again = await ask(server);
    assert.equal((await encodings(server, again)).ECU_2, "zstd-delta");
    assert.deepEqual(names(), [pair]);
  });
});
