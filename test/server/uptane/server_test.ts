// Signed metadata as a running server gives it out, verified as a vehicle does, over HTTPS and with the vehicle's certificate.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../../src/contract/routes.ts";
import { ProblemError } from "../../../src/contract/client.ts";
import { RepositoryAuthor } from "../../../src/server/uptane/repository_author.ts";
import { RepositoryDirectory } from "../../../src/server/uptane/repository_directory.ts";
import { attestTime, makeNonce } from "../../../src/uptane/time.ts";
import type { MetadataFetcher, MetadataStore } from "../../../src/uptane/store.ts";
import { type VerifiedUpdate, verifyFully } from "../../../src/uptane/verify/full.ts";
import { provision } from "../../../src/uptane/verify/provision.ts";
import type { RepositoryName } from "../../../src/uptane/models.ts";
import { sampleBytes } from "../../support/firmware_files.ts";
import { registerBoth, uploadFirmware } from "../fleet.ts";
import {
  type Caller,
  ecu,
  eventually,
  raw,
  startTestServer,
  type TestServer,
  vinA,
  vinB,
} from "../running_server.ts";

const hostname = "127.0.85.1";
const host = (n: number) => `127.0.85.${n}`;

class Memory implements MetadataStore {
  readonly files = new Map<RepositoryName, ReadonlyMap<string, Uint8Array>>();
  load(repository: RepositoryName) {
    return Promise.resolve(this.files.get(repository) ?? new Map<string, Uint8Array>());
  }
  replace(repository: RepositoryName, files: ReadonlyMap<string, Uint8Array>) {
    this.files.set(repository, new Map(files));
    return Promise.resolve();
  }
}

function folderOf(server: TestServer): RepositoryDirectory {
  return new RepositoryDirectory(join(server.directory, "data", "repo"));
}

/** What a vehicle keeps: it begins with the roots that the repositories were founded with. */
async function vehicleStore(server: TestServer): Promise<Memory> {
  const store = new Memory();
  const folder = folderOf(server);
  const first = async (name: RepositoryName) => {
    const bytes = await folder.read(name, "1.root.json");
    assert.ok(bytes);
    return bytes;
  };
  await provision(store, { director: await first("director"), image: await first("image") });
  return store;
}

function fetcherOf(server: TestServer, caller: Caller, vin: string): MetadataFetcher {
  return {
    async fetch({ repository, fileName }) {
      const path = repository === "director" ? `director/${vin}` : "image";
      const { status, text } = await raw(server, caller, "GET", `/api/v1/uptane/${path}/${fileName}`);
      if (status === 404) return undefined;
      assert.equal(status, 200, text);
      return (async function* () {
        yield await Promise.resolve(new TextEncoder().encode(text));
      })();
    },
  };
}

async function look(
  server: TestServer,
  store: Memory,
  installed?: string,
  vin: string = vinA,
): Promise<VerifiedUpdate> {
  const caller = vin === vinA ? server.vehicleA : server.vehicleB;
  const fetcher = fetcherOf(server, caller, vin);
  const signal = AbortSignal.timeout(30_000);
  const time = await attestTime({
    store,
    fetcher,
    signal,
    ask: async (nonces) => {
      const answer = await caller.rest.call(routes.attestTime, { body: { nonces: [...nonces] } });
      return new TextEncoder().encode(JSON.stringify(answer));
    },
  });
  return await verifyFully({
    store,
    fetcher,
    time,
    vehicleId: vin,
    ecus: [
      { ecuId: "ECU_001", hardwareId: "HW1", ecuType: "BODY_CONTROLLER", installed },
      { ecuId: "ECU_002", hardwareId: "HW1", ecuType: "BODY_CONTROLLER", installed },
    ],
    signal,
    alwaysImage: true,
  });
}

const ecus = [ecu("ECU_001", "1.0.0"), ecu("ECU_002", "1.0.0")];

const upload = (server: TestServer, version: string, seed: number) =>
  uploadFirmware(server, version, sampleBytes(5000, seed));

const problem = (status: number, code: string) => (error: unknown) => {
  assert.ok(error instanceof ProblemError);
  assert.deepEqual([error.status, error.code], [status, code], error.message);
  return true;
};

Deno.test("a running server's metadata passes all checks of a vehicle, from one update to the next", async (t) => {
  await using server = await startTestServer(hostname);
  const store = await vehicleStore(server);
  await registerBoth(server, ecus);

  await t.step("keys are for their owner alone, and the log names those that belong elsewhere", () => {
    const folder = join(folderOf(server).path, "keys");
    for (const { name } of Deno.readDirSync(folder)) {
      assert.equal(Deno.statSync(join(folder, name)).mode! & 0o777, 0o600);
    }
    assert.ok(
      server.lines.some((line) => /Keys of director root, image root, image targets are in/.test(line)),
    );
  });

  await t.step("a vehicle without an update is directed to nothing, which is signed", async () => {
    const { targets, director } = await look(server, store);
    assert.deepEqual(targets, []);
    assert.equal(director.targets, 1);
  });

  let update = "";
  await t.step("an update directs exactly its ECUs", async () => {
    const image = await upload(server, "1.1.0", 1);
    assert.equal(image.target, "published");
    const started = await server.operator.rest.call(routes.startUpdate, {
      body: { vin: vinA, target_ecus: ["ECU_002"] },
    });
    update = started.update_id;
    const { targets } = await look(server, store);
    assert.deepEqual(
      targets.map(({ ecuId, filename, length, hashes, releaseCounter, imageRole, mustMatch }) => ({
        ecuId,
        filename,
        length,
        hashes,
        releaseCounter,
        imageRole,
        mustMatch,
      })),
      [{
        ecuId: "ECU_002",
        filename: "BODY_CONTROLLER/HW1/1.1.0.bin",
        length: 5000,
        hashes: { sha256: image.payload_sha256 },
        releaseCounter: 0,
        imageRole: "targets",
        mustMatch: {
          hardware_ids: ["HW1"],
          ecu_types: ["BODY_CONTROLLER"],
          version: "1.1.0",
          release_counter: 0,
          // SHA-256 of {"download":null,"segments":[{"address":32768,"length":5000}]}
          layout_sha256: "df98867e90b290fd775f61ed334f7df742d3207794625221a226b162c25b677b",
        },
      }],
    );
    const other = await look(server, await vehicleStore(server), undefined, vinB);
    assert.deepEqual(other.targets, []);
  });

  await t.step("a restart gives out the same bytes", async () => {
    const timestamp = () =>
      raw(server, server.vehicleA, "GET", `/api/v1/uptane/director/${vinA}/timestamp.json`);
    const before = await timestamp();
    await server.restart();
    const after = await timestamp();
    assert.equal(after.text, before.text);
    assert.equal(after.headers.etag, before.headers.etag);
  });

  await t.step("what did not change is not sent again", async () => {
    const path = `/api/v1/uptane/director/${vinA}/timestamp.json`;
    const { headers } = await raw(server, server.vehicleA, "GET", path);
    const again = await raw(server, server.vehicleA, "GET", path, {
      headers: { "if-none-match": String(headers.etag) },
    });
    assert.deepEqual([again.status, again.text], [304, ""]);
    assert.equal(headers["cache-control"], "private, no-cache");
    const numbered = await raw(server, server.vehicleA, "GET", `/api/v1/uptane/director/${vinA}/1.root.json`);
    assert.match(String(numbered.headers["cache-control"]), /immutable/);
    assert.equal(numbered.headers["content-length"], String(numbered.text.length));
    const head = await raw(server, server.vehicleA, "HEAD", path);
    assert.deepEqual([head.status, head.text, head.headers.etag], [200, "", headers.etag]);
  });

  await t.step("while a rotation by hand goes on, a vehicle goes from root to root", async () => {
    const folder = folderOf(server);
    for (
      const [repository, role] of [["director", "timestamp"], ["director", "time"], [
        "image",
        "snapshot",
      ]] as const
    ) {
      await folder.locked(async () => {
        const author = new RepositoryAuthor(folder, new Date());
        await author.rotate(repository, role);
        if (repository === "image") await author.release();
      });
      const { targets } = await look(server, store);
      assert.deepEqual(targets.map(({ ecuId }) => ecuId), ["ECU_002"]);
    }
    const { director, image } = await look(server, store);
    assert.deepEqual([director.root, image?.root], [3, 2]);
  });

  await t.step("with the update's end the direction ends", async () => {
    const before = (await look(server, store)).director.targets;
    await server.operator.rest.call(routes.cancelUpdate, { path: { id: update } });
    const { targets, director } = await look(server, store);
    assert.deepEqual(targets, []);
    assert.equal(director.targets, before + 1);
  });

  await t.step("a vehicle's own files alone are open to it, all to operators", async () => {
    const path = (vin: string, file = "timestamp.json") => `/api/v1/uptane/director/${vin}/${file}`;
    for (
      const [caller, vin, status, code] of [
        [server.vehicleB, vinA, 403, "vin_mismatch"],
        [server.vehicleA, vinB, 403, "vin_mismatch"],
        [server.vehicleA, "VMG-B", 403, "vin_mismatch"],
        [server.operator, "KMHTEST1CCC000003", 404, "vehicle_unknown"],
        [server.operator, vinA, 200, undefined],
        [server.vehicleA, "VMG-A", 200, undefined],
      ] as const
    ) {
      const { status: found, json } = await raw(server, caller, "GET", path(vin));
      assert.equal(found, status, vin);
      if (code !== undefined) assert.equal((json as { code: string }).code, code);
    }
    for (
      const file of ["..%2f..%2fkeys", "1.root.json%00", "0.root.json", "1.time.json", "keys", "01.root.json"]
    ) {
      const { status, json } = await raw(server, server.vehicleA, "GET", path(vinA, file));
      assert.deepEqual([status, (json as { code: string }).code], [400, "invalid_path"], file);
    }
    for (const file of ["99.targets.json", "99.root.json", "99.snapshot.json"]) {
      assert.equal((await raw(server, server.vehicleA, "GET", path(vinA, file))).status, 404);
      assert.equal((await raw(server, server.vehicleA, "GET", `/api/v1/uptane/image/${file}`)).status, 404);
    }
    assert.equal((await raw(server, server.vehicleA, "GET", "/api/v1/uptane/inventory")).status, 403);
  });
});

Deno.test("the time is signed for whoever asks, so often and no more", async () => {
  await using server = await startTestServer(host(2), { uptane: { timesPerMinute: 3 } });
  const nonces = [makeNonce(), makeNonce()];
  for (let round = 0; round < 3; round++) {
    const { signed } = await server.vehicleA.rest.call(routes.attestTime, { body: { nonces } });
    assert.deepEqual(signed.nonces, nonces);
    assert.ok(Math.abs(Date.parse(String(signed.time)) - Date.now()) < 60_000);
  }
  await assert.rejects(
    server.vehicleA.rest.call(routes.attestTime, { body: { nonces } }),
    problem(429, "too_many_times"),
  );
  const refused = await raw(server, server.vehicleA, "POST", "/api/v1/uptane/time", {
    body: JSON.stringify({ nonces }),
    headers: { "content-type": "application/json" },
  });
  assert.ok(Number(refused.headers["retry-after"]) >= 1);
  // Another certificate has its own share.
  await server.vehicleB.rest.call(routes.attestTime, { body: { nonces } });
  await assert.rejects(
    server.vehicleB.rest.call(routes.attestTime, { body: { nonces: ["00"] } }),
    /nonces/,
  );
});

Deno.test("images wait for signatures while the targets' keys are away, and are given out with them", async () => {
  await using server = await startTestServer(host(3), { maintenance: { interval: 50 } });
  const folder = folderOf(server);
  await registerBoth(server, ecus);
  await upload(server, "1.1.0", 1);
  const away = new Map<string, string>();
  for (const { name } of Deno.readDirSync(join(folder.path, "keys"))) {
    if (!name.startsWith("image-targets")) continue;
    const path = join(folder.path, "keys", name);
    away.set(path, Deno.readTextFileSync(path));
    Deno.removeSync(path);
  }
  const image = await upload(server, "1.2.0", 2);
  assert.deepEqual([image.target, image.staged_file], ["staged", "staged/image/3.targets.json"]);
  const second = await upload(server, "1.3.0", 3);
  assert.equal(second.staged_file, "staged/image/3.targets.json");
  const { images } = await server.operator.rest.call(routes.listFirmware, { query: {} });
  assert.deepEqual(images.map(({ version, target }) => `${version} ${target}`), [
    "1.3.0 staged",
    "1.2.0 staged",
    "1.1.0 published",
  ]);
  // What waits is nobody's newest version.
  const { outdated_ecus } = await server.operator.rest.call(routes.getVehicle, { path: { vin: vinA } });
  assert.deepEqual([...new Set(outdated_ecus.map(({ latest }) => latest))], ["1.1.0"]);
  assert.ok(
    server.lines.some((line) => /Images staged: .*3\.targets\.json has 0 of 1 signatures/.test(line)),
  );

  for (const [path, text] of away) Deno.writeTextFileSync(path, text, { mode: 0o600 });
  const staged = join(folder.path, "staged", "image", "3.targets.json");
  const { addSignature, readMetadata } = await import("../../../src/uptane/envelope.ts");
  const [key] = [...(await folder.keys()).values()].filter(({ keyid }) =>
    [...away.keys()].some((it) => it.includes(keyid.slice(0, 16)))
  );
  await Deno.writeFile(staged, await addSignature(readMetadata("targets", await Deno.readFile(staged)), key));
  await folder.locked(async () => {
    const author = new RepositoryAuthor(folder, new Date());
    await author.settle();
    await author.release();
  });
  await eventually("the server sees that they are published", async () => {
    const { images } = await server.operator.rest.call(routes.listFirmware, { query: {} });
    return images.every(({ target }) => target === "published");
  });
  await server.operator.rest.call(routes.startUpdate, { body: { vin: vinA } });
  const { targets } = await look(server, await vehicleStore(server));
  assert.deepEqual(targets.map(({ filename }) => filename), [
    "BODY_CONTROLLER/HW1/1.3.0.bin",
    "BODY_CONTROLLER/HW1/1.3.0.bin",
  ]);

  // A catalogue that is older than its repositories: they are founded anew, and all of it is published; vehicles whose roots are
  // the new ones are told the same as before.
  await Deno.rename(folder.path, `${folder.path}.before`);
  await server.restart();
  const again = await server.operator.rest.call(routes.listFirmware, { query: {} });
  assert.deepEqual(again.images.map(({ target }) => target), ["published", "published", "published"]);
  const { targets: same } = await look(server, await vehicleStore(server));
  assert.deepEqual(same.map(({ filename }) => filename), targets.map(({ filename }) => filename));
});
