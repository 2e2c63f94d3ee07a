// The real server with everything that an attacker may steal from it: keys of all roles, the key that signs packages, TLS keys.

import { join } from "node:path";
import { request } from "undici";
import { CodecPool } from "../../../src/codec/pool.ts";
import { routes } from "../../../src/contract/routes.ts";
import { issueVehicle } from "../../../src/pqc/authority.ts";
import { loadCredentials, type LoadedCredentials } from "../../../src/pqc/pki_directory.ts";
import { importSigningKey, type SigningKey } from "../../../src/pqc/signature.ts";
import { RepositoryAuthor } from "../../../src/server/uptane/repository_author.ts";
import type { RootRole } from "../../../src/server/uptane/roles.ts";
import { RepositoryDirectory } from "../../../src/server/uptane/repository_directory.ts";
import type { CatalogueImage } from "../../../src/uptane/image_target.ts";
import type { LocalSigner } from "../../../src/uptane/keys.ts";
import type { RepositoryName, Root, Snapshot } from "../../../src/uptane/models.ts";
import { readMetadata } from "../../../src/uptane/envelope.ts";
import { chunks, startTestServer, type TestServer } from "../../server/running_server.ts";
import type { Bundle } from "./forge.ts";
import type { NamedFile } from "../../../src/uptane/author.ts";

/** What differs of a lab. */
export interface LabOptions {
  /** Keys of each role, and how many of them must sign. @default 1 */
  keys?: 1 | 2;
}

/** First address of all images. */
export const imageAddress = 0x1000;

export class Lab implements AsyncDisposable {
  readonly pool: CodecPool = new CodecPool();
  readonly repositories: RepositoryDirectory;
  #vehicles = 0;

  private constructor(readonly hostname: string, readonly server: TestServer) {
    this.repositories = new RepositoryDirectory(join(server.directory, "data", "repo"));
  }

  /** @param hostname loopback address of the test file's own */
  static async start(hostname: string, { keys = 1 }: LabOptions = {}): Promise<Lab> {
    const role = { algorithms: Array.from({ length: keys }, () => "ecdsa-p256" as const), threshold: keys };
    const all = { root: role, timestamp: role, snapshot: role, targets: role, time: role };
    const server = await startTestServer(hostname, {
      uptane: { roles: { director: all, image: all }, timesPerMinute: 1_000 },
      maintenance: { interval: 60_000 },
    });
    return new Lab(hostname, server);
  }

  /** A number that no other vehicle of this lab has. */
  next(): number {
    return ++this.#vehicles;
  }

  /** A vehicle's TLS certificate and key. */
  async vehicleCredentials(vin: string): Promise<LoadedCredentials> {
    await issueVehicle(vin, { directory: this.server.pki });
    return await loadCredentials(this.server.pki, `vehicle-${vin}`);
  }

  /** The server's TLS certificate and key. */
  async serverCredentials(): Promise<LoadedCredentials> {
    return await loadCredentials(this.server.pki, "server");
  }

  /** The key that signs packages. */
  async packageKey(): Promise<SigningKey> {
    return await importSigningKey(await Deno.readTextFile(join(this.server.pki, "signing.key")));
  }

  /** The keys of a role, as they lie on the server's disk. */
  async steal(repository: RepositoryName, role: RootRole): Promise<LocalSigner[]> {
    const { signed } = await this.repositories.root(repository);
    const keys = await this.repositories.keys();
    return (signed.roles[role]?.keyids ?? []).map((keyid) => {
      const key = keys.get(keyid);
      if (key === undefined) throw new Error(`${repository} ${role}: its key is not on the server`);
      return key;
    });
  }

  /** Keys of targets, snapshot and timestamp. */
  async stealOnline(repository: RepositoryName) {
    const [targets, snapshot, timestamp] = await Promise.all(
      (["targets", "snapshot", "timestamp"] as const).map((role) => this.steal(repository, role)),
    );
    return { targets, snapshot, timestamp };
  }

  /** Works in the repositories' folder as those do who hold the keys. */
  async author<T>(work: (author: RepositoryAuthor) => Promise<T>): Promise<T> {
    return await this.repositories.locked(() => work(new RepositoryAuthor(this.repositories, new Date())));
  }

  /** Puts an image into the catalogue, which publishes it. */
  async publish(
    { ecuType, hwVersion, version, releaseCounter }: Pick<
      CatalogueImage,
      "ecuType" | "hwVersion" | "version" | "releaseCounter"
    >,
    bytes: Uint8Array,
  ): Promise<CatalogueImage> {
    const added = await this.server.operator.rest.upload(routes.addFirmware, {
      query: {
        ecu_type: ecuType,
        hw_version: hwVersion,
        version,
        format: "binary",
        base_address: imageAddress,
        release: releaseCounter,
      },
      stream: chunks(bytes),
    });
    const { payload_sha256: sha256, payload_size: size, segments } = added;
    return { ecuType, hwVersion, version, releaseCounter, sha256, size, segments, download: null };
  }

  /** A file that the server gives out to a vehicle. */
  async file(repository: RepositoryName, vin: string, name: string): Promise<Uint8Array> {
    const path = repository === "director" ? `director/${vin}/${name}` : `image/${name}`;
    const { dispatcher } = this.server.operator;
    const answer = await request(`${this.server.origin}/api/v1/uptane/${path}`, { dispatcher });
    const bytes = new Uint8Array(await answer.body.arrayBuffer());
    if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode}`);
    return bytes;
  }

  /** What the server gives out to a vehicle now. */
  async bundle(repository: RepositoryName, vin: string): Promise<Bundle> {
    const file = (name: string) => this.file(repository, vin, name);
    const root: Root = (await this.repositories.root(repository)).signed;
    const bytes = await file("timestamp.json");
    const { signed } = readMetadata("timestamp", bytes);
    const { version } = signed.meta["snapshot.json"];
    const snapshot = { version, bytes: await file(`${version}.snapshot.json`) };
    const { meta }: Snapshot = readMetadata("snapshot", snapshot.bytes).signed;
    const named = new Map<string, NamedFile>();
    for (const [name, { version }] of Object.entries(meta)) {
      named.set(name.replace(/\.json$/, ""), { version, bytes: await file(`${version}.${name}`) });
    }
    const targets = named.get("targets");
    if (targets === undefined) throw new Error(`${repository}: no targets in the snapshot`);
    named.delete("targets");
    return {
      root: { version: root.version, bytes: await file(`${root.version}.root.json`) },
      timestamp: { version: signed.version, bytes },
      snapshot,
      targets,
      delegated: named,
    };
  }

  /** All of a vehicle's files by name: what an attacker has recorded. */
  async record(repository: RepositoryName, vin: string): Promise<Map<string, Uint8Array>> {
    const { timestamp, snapshot, targets, delegated } = await this.bundle(repository, vin);
    return new Map([
      ["timestamp.json", timestamp.bytes],
      [`${snapshot.version}.snapshot.json`, snapshot.bytes],
      [`${targets.version}.targets.json`, targets.bytes],
      ...[...delegated].map(([role, it]): [string, Uint8Array] => [`${it.version}.${role}.json`, it.bytes]),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}
