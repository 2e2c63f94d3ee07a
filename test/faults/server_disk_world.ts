// A server whose disk fails while an image is entered, published, packed as a delta and directed, and a vehicle that holds
// everything against what it trusts already: the same over all tries, so that nothing may be taken back.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { openPackage } from "../../src/codec/open_package.ts";
import { CodecPool } from "../../src/codec/pool.ts";
import { ProblemError, RestClient } from "../../src/contract/client.ts";
import { routes } from "../../src/contract/routes.ts";
import { importSigningKey, type VerifyKey } from "../../src/pqc/signature.ts";
import { verifyFully } from "../../src/uptane/verify/full.ts";
import { provision } from "../../src/uptane/verify/provision.ts";
import { metadataFetcher } from "../../src/vmg/uptane/metadata_fetcher.ts";
import { noise, sha256 } from "../codec/support.ts";
import {
  type Caller,
  chunks,
  ecu,
  report,
  startTestServer,
  type TestServer,
  vinA,
} from "../server/running_server.ts";
import { type DiskFault, failDisk, type FailDiskOptions, reachThreads } from "../support/disk_faults.ts";
import { prepareEmbedded } from "../support/embedded.ts";
import { eventually } from "../support/program.ts";
import { MemoryStore } from "../uptane/fake_repositories.ts";

/** What a try came to. */
export interface Try {
  /** Where it ended; undefined: it went through. */
  readonly failed: { readonly step: string; readonly status: number; readonly code: string } | undefined;
  readonly operations: number;
  readonly injected: number;
}

/** Longest wait for an answer in ms: for a turn on a database that stands still, and for the end of its own limit. */
const patience = 90_000;
const ecuType = "BODY_CONTROLLER";
const size = 40_000;
const common = noise(size, 1);

/** Little of it is new with each version. */
function imageOf(version: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([...noise(2_000, version + 2), ...common.subarray(2_000)]);
}

/** The server and its vehicle. */
export class ServerDiskWorld implements AsyncDisposable {
  readonly #threads: Disposable;
  readonly #data: string;
  readonly #pool = new CodecPool();
  readonly #trusted = new MemoryStore();
  readonly #keys = new Map<string, VerifyKey>();
  #server: TestServer | undefined;
  #version = 1;

  private constructor(threads: Disposable, data: string) {
    this.#threads = threads;
    this.#data = data;
  }

  /** @param hostname loopback address of the test's own */
  static async start(hostname: string): Promise<ServerDiskWorld> {
    const data = await Deno.makeTempDir({ prefix: "server-disk-" });
    await prepareEmbedded(join(data, "db"));
    const world = new ServerDiskWorld(reachThreads(), data);
    try {
      await world.#begin(hostname);
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
    return world;
  }

  async #begin(hostname: string): Promise<void> {
    // Rounds of maintenance would make what is counted differ from try to try.
    const maintenance = { interval: 3_600_000 };
    this.#server = await startTestServer(hostname, { dataDirectory: this.#data, maintenance });
    const { publicKey } = await importSigningKey(
      await Deno.readTextFile(join(this.#server.pki, "signing.key")),
    );
    this.#keys.set(publicKey.keyId, publicKey);
    const root = (name: string) => Deno.readFile(join(this.#data, "repo", name, "1.root.json"));
    await provision(this.#trusted, { director: await root("director"), image: await root("image") });
    await this.#vehicle.call(routes.registerVehicle, {
      body: { vin: vinA, vehicle_model: "M", vehicle_year: 2026, vmg_id: "VMG-A" },
    });
    await this.#add(1);
    // Takes what is made once, for a try that goes through.
    await this.converge();
  }

  get server(): TestServer {
    if (this.#server === undefined) throw new TypeError("the server was not started");
    return this.#server;
  }

  #patient({ dispatcher }: Caller): RestClient {
    return new RestClient({ origin: this.server.origin, dispatcher, timeout: patience });
  }

  get #vehicle(): RestClient {
    return this.#patient(this.server.vehicleA);
  }

  get #operator(): RestClient {
    return this.#patient(this.server.operator);
  }

  /** Waits until the database answers: what it was asked when its disk failed may stand still until its limit. */
  async answering(): Promise<void> {
    await eventually("the database answers", async () => await this.#health() === 200 || undefined, patience);
  }

  async #health(): Promise<number> {
    const { hostname, port } = this.server.server.local;
    const health = await fetch(`http://${hostname}:${port}/healthz`);
    await health.body?.cancel();
    return health.status;
  }

  /** Tries to bring the vehicle the next version while the disk fails. */
  async attempt(fault: DiskFault, at: number, options?: FailDiskOptions): Promise<Try> {
    using disk = failDisk(fault, at, options);
    let failed: Try["failed"];
    try {
      await this.#update();
    } catch (error) {
      const { step, cause } = error instanceof StepError ? error : { step: "?", cause: error };
      assert.ok(cause instanceof ProblemError, `${step}: ${cause instanceof Error ? cause.stack : cause}`);
      failed = { step, status: cause.status, code: cause.code ?? "" };
    }
    return { failed, operations: disk.operations, injected: disk.injected };
  }

  /** Tries it on a disk that works, which succeeds; the vehicle's next version is another one. */
  async converge(): Promise<void> {
    const updateId = await this.#update();
    await this.#vehicle.call(routes.reportUpdate, {
      body: { vehicle_id: vinA, update_id: updateId, status: "cancelled", progress: 0 },
    });
    this.#version++;
  }

  /** What is given out, and what lies under a name that tells its content, is whole. */
  async assertWhole(): Promise<void> {
    await this.#verify();
    const { images } = await this.#operator.call(routes.listFirmware, { query: {} });
    assert.ok(images.length > 0);
    for (const folder of ["images", "packages", "deltas"]) {
      for await (const { name } of Deno.readDir(join(this.#data, folder))) {
        const [, hash] = /^([0-9a-f]{64})\.(?:bin|zst|pkg)$/.exec(name) ?? [];
        if (hash === undefined) continue;
        const found = createHash("sha256").update(await Deno.readFile(join(this.#data, folder, name)));
        assert.equal(found.digest("hex"), hash, `${folder}/${name}`);
      }
    }
    const repository = join(this.#data, "repo", "image", "targets");
    for await (const { name, path } of files(repository)) {
      const [, hash] = /^([0-9a-f]{64})\./.exec(name) ?? [];
      if (hash === undefined || name.endsWith(".tmp")) continue;
      assert.equal(sha256(await Deno.readFile(path)), hash, path);
    }
    assert.equal(await this.#health(), 200);
  }

  /** Names of files that were begun and are still there. */
  async leftOvers(): Promise<string[]> {
    const found: string[] = [];
    for (const folder of ["images", "packages", "deltas", "tmp", "repo"]) {
      for await (const { name } of files(join(this.#data, folder))) {
        if (/\.tmp(?:\.sorted)?$/.test(name)) found.push(`${folder}: ${name}`);
      }
    }
    return found;
  }

  async #add(version: number): Promise<void> {
    await this.#operator.upload(routes.addFirmware, {
      query: {
        ecu_type: ecuType,
        hw_version: "HW1",
        version: `${version}.0.0`,
        format: "binary",
        base_address: 0,
        priority: "normal",
        file_name: "image.bin",
      },
      stream: chunks(imageOf(version), 10_000),
    });
  }

  /** An image comes in, the vehicle reports, asks for its package, and verifies all of it. @returns the update */
  async #update(): Promise<string> {
    const rest = this.#vehicle;
    const [before, version] = [this.#version, this.#version + 1];
    const base = imageOf(before);
    const target = imageOf(version);
    await step("firmware", () => this.#add(version));
    const body = report(vinA, "VMG-A", [ecu("ECU_1", `${before}.0.0`, { base_sha256: sha256(base) })]);
    await step("vci", () => rest.call(routes.submitVci, { path: { vin: vinA }, body }));
    const { update_id, download_url } = await step(
      "package",
      () => rest.call(routes.requestPackage, { body: { vehicle_id: vinA } }),
    );
    const targets = await step("metadata", () => this.#verify());
    assert.deepEqual(targets, [["ECU_1", sha256(target)]]);
    const bytes = await step("download", async () => {
      const id = download_url.slice(download_url.lastIndexOf("/") + 1);
      const { body } = await rest.open(routes.downloadPackage, { path: { id } });
      return new Uint8Array(await body.arrayBuffer());
    });
    const folder = await Deno.makeTempDir({ prefix: "server-disk-vehicle-" });
    try {
      const path = join(folder, "package");
      await Deno.writeFile(path, bytes);
      await Deno.writeFile(join(folder, "base"), base);
      const opened = await openPackage(path, {
        verifyKeys: this.#keys,
        expectVehicle: vinA,
        pool: this.#pool,
      });
      const [entry] = opened.manifest.zonal_gateways[0].ecus;
      assert.equal(entry.version, `${version}.0.0`);
      const from = { path: join(folder, "base"), sha256: sha256(base), size };
      await opened.extractImage(entry, undefined, { base: from });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
    return update_id;
  }

  /** Full verification, with what the vehicle has trusted so far. @returns what is directed */
  async #verify(): Promise<[string, string][]> {
    const { targets } = await verifyFully({
      store: this.#trusted,
      fetcher: metadataFetcher(this.#vehicle, vinA),
      time: new Date(),
      vehicleId: vinA,
      ecus: [{ ecuId: "ECU_1", hardwareId: "HW1" }],
      signal: AbortSignal.timeout(patience),
      alwaysImage: true,
    });
    return targets.map(({ ecuId, hashes }) => [ecuId, hashes.sha256]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#threads[Symbol.dispose]();
    await this.#server?.[Symbol.asyncDispose]();
    await this.#pool[Symbol.asyncDispose]();
    await Deno.remove(this.#data, { recursive: true });
  }
}

/** What a step of a try failed with. */
class StepError extends Error {
  constructor(readonly step: string, cause: unknown) {
    super(step, { cause });
  }
}

async function step<T>(name: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw new StepError(name, error);
  }
}

async function* files(directory: string): AsyncGenerator<{ name: string; path: string }> {
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    const path = join(directory, name);
    if (isDirectory) yield* files(path);
    else yield { name, path };
  }
}
