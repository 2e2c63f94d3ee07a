// Packages: built once for the same content of the same vehicle, signed, and kept as files named by their SHA-256.

import { createHash } from "node:crypto";
import { z } from "zod";
import { buildPackage, type PackageZonePart } from "../../codec/build_package.ts";
import type { CodecPool } from "../../codec/pool.ts";
import { packageManifest } from "../../contract/package.ts";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import type { SigningKey } from "../../pqc/signature.ts";
import { type DataFiles, hasFile, packagePath, removeFile, temporaryPath } from "../files.ts";
import type { Package, Store } from "../store/mod.ts";
import { type Catalogue, toDownload } from "./catalogue.ts";
import type { Outdated } from "./outdated.ts";
import { conditionsOf } from "./requirements.ts";

export interface PackagesOptions {
  store: Store;
  files: DataFiles;
  catalogue: Catalogue;
  pool: CodecPool;
  signingKey: SigningKey;
  /** How long to wait for a package that another server builds, in milliseconds. @default 600000 */
  buildTimeout?: number;
  log: Logger;
  signal?: AbortSignal;
}

/** A package whose file is there. */
export interface ReadyPackage {
  readonly packageId: string;
  readonly vin: string;
  readonly sha256: string;
  readonly size: number;
  readonly etag: string;
  readonly path: string;
}

/** The package could not be built; the message says why. */
export class PackageBuildFailed extends Error {
  override readonly name = "PackageBuildFailed";
}

/** The package is in the database, but its file is not on this server's disk. */
export class PackageFileMissing extends Error {
  override readonly name = "PackageFileMissing";
}

/** The signed manifest as it is stored. */
const storedManifest = z.object({ manifest: packageManifest, signature: z.string() });

/** Between two looks at a package that another server builds. */
const pollInterval = 250;
/** Between two signs of life of a builder, and how long it may be silent before it is given up, in milliseconds. */
const buildSign = 2_000;
const buildSilence = 15_000;

export class PackageService {
  readonly #options: PackagesOptions;
  readonly #store: Store;
  readonly #files: DataFiles;
  readonly #log: Logger;
  /** Builds of this server, by package. */
  readonly #building = new Map<string, Promise<ReadyPackage>>();

  constructor(options: PackagesOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#files = options.files;
    this.#log = options.log;
  }

  /**
   * The package that brings these ECUs up to date, built unless it is there.
   * @param zoned blobs in the order of zonal gateways; otherwise in the order of the report
   * @throws {PackageBuildFailed}
   */
  async provide(vin: string, outdated: readonly Outdated[], zoned: boolean): Promise<ReadyPackage> {
    const zones = zonesOf(outdated, zoned);
    const contentKey = contentKeyOf(zones, this.#options.signingKey.publicKey.keyId);
    // A package whose file has gone, or whose builder, is given up and claimed once more.
    for (let round = 0; round < 3; round++) {
      const { package: row, created } = await this.#store.packages.claim({
        packageId: this.#store.newId(),
        vin,
        contentKey,
        imageIds: [...new Set(outdated.map(({ image }) => image.imageId))],
      });
      if (created) return await this.#build(row, zones);
      const ready = await this.#awaited(row);
      if (ready) return ready;
    }
    throw new PackageBuildFailed(`the package for ${vin} was built, but its file is gone each time`);
  }

  /** @throws {PackageFileMissing} */
  async open(row: Package): Promise<ReadyPackage | undefined> {
    const ready = this.#ready(row);
    if (!ready) return undefined;
    if (!await hasFile(ready.path, ready.size)) {
      throw new PackageFileMissing(`package ${row.packageId}: expected ${ready.size} bytes at ${ready.path}`);
    }
    return ready;
  }

  find(packageId: string): Promise<Package | null> {
    return this.#store.packages.find(packageId);
  }

  async touch(packageId: string): Promise<void> {
    await this.#store.packages.touch(packageId);
  }

  /** The manifest with its signature in base64. */
  manifest(row: Package): z.infer<typeof storedManifest> {
    return storedManifest.parse(row.manifest);
  }

  /** Waits for builds under way; the signal of the options calls them off. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#building.values());
  }

  #ready(row: Package): ReadyPackage | undefined {
    const { packageId, vin, status, sha256, size, etag } = row;
    if (status !== "ready" || sha256 === null || size === null || etag === null) return undefined;
    return { packageId, vin, sha256, size, etag, path: packagePath(this.#files, sha256) };
  }

  /** What another request or server builds or has built; undefined when that is of no use. */
  async #awaited(row: Package): Promise<ReadyPackage | undefined> {
    const mine = this.#building.get(row.packageId);
    if (mine) return await mine;
    const limit = Date.now() + (this.#options.buildTimeout ?? 600_000);
    let current: Package | null = row;
    while (current?.status === "building") {
      if (Date.now() > limit) throw new PackageBuildFailed(`package ${row.packageId} is not built in time`);
      this.#options.signal?.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, pollInterval));
      if (await this.#store.packages.failSilentBuild(row.packageId, buildSilence)) {
        this.#log.warn(`The server that built package ${row.packageId} is gone; it is built again`);
      }
      current = await this.#store.packages.find(row.packageId);
    }
    if (!current) return undefined;
    const ready = this.#ready(current);
    if (ready && await hasFile(ready.path, ready.size)) return ready;
    if (ready) {
      this.#log.warn(`The file of package ${row.packageId} is gone; it is built again`, { path: ready.path });
      await this.#store.packages.discard(row.packageId, "its file is gone");
    }
    return undefined;
  }

  async #build(row: Package, zones: readonly Zone[]): Promise<ReadyPackage> {
    const build = this.#buildNow(row, zones);
    this.#building.set(row.packageId, build);
    try {
      return await build;
    } finally {
      this.#building.delete(row.packageId);
    }
  }

  async #buildNow(row: Package, zones: readonly Zone[]): Promise<ReadyPackage> {
    const { packageId, vin } = row;
    const { pool, signingKey, catalogue, signal } = this.#options;
    const temporary = temporaryPath(this.#files);
    const began = performance.now();
    const sign = setInterval(() => {
      this.#store.packages.building(packageId).catch((error: unknown) =>
        this.#log.debug(`Package ${packageId}: no sign of life: ${describeError(error)}`)
      );
    }, buildSign);
    try {
      const parts: PackageZonePart[] = [];
      for (const { zonal_gateway_id, ecus } of zones) {
        const list: PackageZonePart["ecus"][number][] = [];
        for (const { ecu, image, dependsOn = [] } of ecus) {
          const blob = await catalogue.blob(image, signal);
          list.push({
            ecu_id: ecu.ecu_id,
            ecu_type: image.ecuType,
            hw_version: image.hwVersion,
            version: image.version,
            ...image.release === null ? {} : { release: image.release },
            ...dependsOn.length === 0 ? {} : { depends_on: [...dependsOn] },
            image: {
              image_id: image.imageId,
              sha256: image.payloadSha256,
              size: image.payloadSize,
              segments: image.segments,
              ...image.download === null ? {} : { download: toDownload(image.download) },
            },
            blob: { path: blob.path, length: blob.length, sha256: blob.sha256 },
          });
        }
        parts.push({ zonal_gateway_id, ecus: list });
      }
      const conditions = conditionsOf(zones.flatMap(({ ecus }) => ecus));
      const built = await buildPackage({
        package_id: packageId,
        vehicle_id: vin,
        created: new Date().toISOString(),
        ...conditions.length === 0 ? {} : { conditions },
        zonal_gateways: parts,
        signingKey,
        output: temporary,
        pool,
        signal,
      });
      await Deno.rename(temporary, packagePath(this.#files, built.sha256));
      const { sha256, size, etag, manifest } = built;
      const signed = { manifest, signature: built.signature.toBase64() };
      const done = await this.#store.packages.finish(packageId, { sha256, size, etag, manifest: signed });
      const ready = this.#ready(done);
      if (!ready) throw new PackageBuildFailed(`package ${packageId} is ${done.status} after it was built`);
      const took = `${Math.round(performance.now() - began)} ms`;
      this.#log.info(`Package ${packageId} for ${vin} built`, { size, ecus: count(zones), took });
      return ready;
    } catch (error) {
      await this.#store.packages.fail(packageId, describeError(error).slice(0, 2000));
      throw error;
    } finally {
      clearInterval(sign);
      await removeFile(temporary);
    }
  }
}

interface Zone {
  readonly zonal_gateway_id: string;
  readonly ecus: Outdated[];
}

/** ECUs by zonal gateway: by name, or in the order of the report. */
function zonesOf(outdated: readonly Outdated[], zoned: boolean): Zone[] {
  const zones = new Map<string, Outdated[]>();
  for (const entry of outdated) {
    const ecus = zones.get(entry.ecu.zonal_gateway_id) ?? [];
    ecus.push(entry);
    zones.set(entry.ecu.zonal_gateway_id, ecus);
  }
  const list = [...zones].map(([zonal_gateway_id, ecus]) => ({ zonal_gateway_id, ecus }));
  if (!zoned) return list;
  for (const { ecus } of list) ecus.sort((a, b) => a.ecu.ecu_id < b.ecu.ecu_id ? -1 : 1);
  return list.sort((a, b) => a.zonal_gateway_id < b.zonal_gateway_id ? -1 : 1);
}

/** The same for the same images for the same ECUs in the same order, signed by the same key. An image's own entries stay. */
function contentKeyOf(zones: readonly Zone[], keyId: string): string {
  const content = zones.map(({ zonal_gateway_id, ecus }) => [
    zonal_gateway_id,
    ecus.map(({ ecu, image, dependsOn = [] }) => [
      ecu.ecu_id,
      image.imageId,
      image.payloadSha256,
      ...dependsOn.length === 0 ? [] : [dependsOn],
    ]),
  ]);
  return createHash("sha256").update(JSON.stringify([keyId, content])).digest("hex");
}

function count(zones: readonly Zone[]): number {
  return zones.reduce((sum, { ecus }) => sum + ecus.length, 0);
}
