// Packages: built once for the same content of the same vehicle, signed, and kept as files named by their SHA-256.

import { createHash } from "node:crypto";
import { z } from "zod";
import { buildPackage, type PackageBlobFile, type PackageZonePart } from "../../codec/build_package.ts";
import type { CodecPool } from "../../codec/pool.ts";
import type { PackageAnswer } from "../../contract/ota.ts";
import { packageManifest, packageVersion } from "../../contract/package.ts";
import { pathOf, routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import type { SigningKey } from "../../pqc/signature.ts";
import { type DataFiles, hasFile, packagePath, removeFile, settleFile, temporaryPath } from "../files.ts";
import type { Metrics } from "../metrics.ts";
import type { Image, Package, Store } from "../store/mod.ts";
import { type Catalogue, toDownload } from "./catalogue.ts";
import type { Deltas } from "./deltas.ts";
import type { Outdated } from "./outdated.ts";
import { conditionsOf } from "./requirements.ts";

export interface PackagesOptions {
  store: Store;
  files: DataFiles;
  catalogue: Catalogue;
  pool: CodecPool;
  signingKey: SigningKey;
  /** Makes deltas. @default none are made */
  deltas?: Deltas;
  metrics: Pick<Metrics, "savedBytes">;
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

/** The package was built by an older or newer program, in a version that this one neither serves nor reads. */
export class PackageVersionDiffers extends Error {
  override readonly name = "PackageVersionDiffers";
}

/** What every version of a stored manifest has. */
const anyManifest = z.object({ manifest: z.object({ version: z.int() }) });

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
  /** Builds of this server that failed and could not be marked so, by package: why. */
  readonly #unmarked = new Map<string, string>();

  constructor(options: PackagesOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#files = options.files;
    this.#log = options.log;
  }

  /**
   * The package that brings these ECUs up to date, built unless it is there.
   * @param zoned parts by the names of zonal gateways, ECUs by theirs; otherwise in the order of the report
   * @param deltas whether ECUs whose gateway keeps a base may get a delta
   * @throws {PackageBuildFailed}
   */
  async provide(
    vin: string,
    outdated: readonly Outdated[],
    zoned: boolean,
    deltas = true,
  ): Promise<ReadyPackage> {
    const zones = zonesOf(outdated, zoned);
    const chosen = deltas ? await this.#chooseDeltas(outdated) : noDeltas;
    const contentKey = contentKeyOf(zones, chosen, this.#options.signingKey.publicKey.keyId);
    // A package whose file has gone, or whose builder, is given up and claimed once more.
    for (let round = 0; round < 3; round++) {
      const { package: row, created } = await this.#store.packages.claim({
        packageId: this.#store.newId(),
        vin,
        contentKey,
        imageIds: [...new Set(outdated.map(({ image }) => image.imageId))],
      });
      if (created) return await this.#build(row, zones, chosen);
      const ready = await this.#awaited(row);
      if (ready) return ready;
    }
    throw new PackageBuildFailed(`the package for ${vin} was built, but its file is gone each time`);
  }

  /** @throws {PackageFileMissing} {@link PackageVersionDiffers} */
  async open(row: Package): Promise<ReadyPackage | undefined> {
    const ready = this.#ready(row);
    if (!ready) return undefined;
    checkVersion(row);
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

  /** The manifest with its signature in base64. @throws {PackageVersionDiffers} */
  manifest(row: Package): z.infer<typeof storedManifest> {
    checkVersion(row);
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
    const failed = this.#unmarked.get(row.packageId);
    if (failed !== undefined) {
      await this.#store.packages.fail(row.packageId, failed);
      this.#unmarked.delete(row.packageId);
      return undefined;
    }
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

  /** Deltas that are worth it, by ECU. */
  async #chooseDeltas(outdated: readonly Outdated[]): Promise<ChosenDeltas> {
    const { catalogue, deltas, signal } = this.#options;
    const chosen = new Map<string, ChosenDelta>();
    if (deltas === undefined) return chosen;
    for (const { ecu, image } of outdated) {
      if (ecu.base_sha256 === undefined) continue;
      const { length: whole } = await catalogue.blob(image, signal);
      const blob = await deltas.find(image, ecu.base_sha256, whole, signal);
      if (blob !== undefined) chosen.set(ecu.ecu_id, { blob, whole });
    }
    return chosen;
  }

  async #build(row: Package, zones: readonly Zone[], deltas: ChosenDeltas): Promise<ReadyPackage> {
    const build = this.#buildNow(row, zones, deltas);
    this.#building.set(row.packageId, build);
    try {
      return await build;
    } finally {
      this.#building.delete(row.packageId);
    }
  }

  async #wholeBlob(image: Image): Promise<PackageBlobFile> {
    const { path, length, sha256 } = await this.#options.catalogue.blob(image, this.#options.signal);
    return { path, length, sha256 };
  }

  #tellSaved(packageId: string, deltas: ChosenDeltas): void {
    if (deltas.size === 0) return;
    let saved = 0;
    for (const [ecuId, { blob, whole }] of deltas) {
      saved += whole - blob.length;
      const share = (100 * blob.length / whole).toFixed(1);
      this.#log.info(`${ecuId}: a delta of ${blob.length} bytes, ${share} % of the whole image's ${whole}`);
    }
    this.#log.info(`Package ${packageId}: ${deltas.size} delta(s) save ${saved} bytes`);
    this.#options.metrics.savedBytes.inc(saved);
  }

  async #buildNow(row: Package, zones: readonly Zone[], deltas: ChosenDeltas): Promise<ReadyPackage> {
    const { packageId, vin } = row;
    const { pool, signingKey, signal } = this.#options;
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
          const blob = deltas.get(ecu.ecu_id)?.blob ?? await this.#wholeBlob(image);
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
            blob,
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
      await settleFile(temporary, packagePath(this.#files, built.sha256));
      const { sha256, size, etag, manifest } = built;
      const signed = { manifest, signature: built.signature.toBase64() };
      const done = await this.#store.packages.finish(packageId, { sha256, size, etag, manifest: signed });
      const ready = this.#ready(done);
      if (!ready) throw new PackageBuildFailed(`package ${packageId} is ${done.status} after it was built`);
      const took = `${Math.round(performance.now() - began)} ms`;
      this.#log.info(`Package ${packageId} for ${vin} built`, { size, ecus: count(zones), took });
      this.#tellSaved(packageId, deltas);
      return ready;
    } catch (error) {
      const reason = describeError(error).slice(0, 2000);
      try {
        await this.#store.packages.fail(packageId, reason);
      } catch (failure) {
        // Whoever asks for it next marks it; other servers give the build up for its silence.
        this.#unmarked.set(packageId, reason);
        this.#log.warn(`Package ${packageId} is not marked as failed: ${describeError(failure)}`);
      }
      throw error;
    } finally {
      clearInterval(sign);
      await removeFile(temporary);
    }
  }
}

/** @throws {PackageVersionDiffers} */
function checkVersion({ packageId, manifest }: Package): void {
  const { version } = anyManifest.parse(manifest).manifest;
  if (version === packageVersion) return;
  throw new PackageVersionDiffers(
    `package ${packageId} has version ${version}, built by another version of this program; this one serves version ` +
      `${packageVersion}: cancel its update where it is under way, and start it anew, which builds the package again`,
  );
}

/** What an ECU gets in place of its whole image. */
interface ChosenDelta {
  readonly blob: PackageBlobFile;
  /** Bytes of the whole image's blob. */
  readonly whole: number;
}

type ChosenDeltas = ReadonlyMap<string, ChosenDelta>;

const noDeltas: ChosenDeltas = new Map();

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

/**
 * The same for the same images for the same ECUs in the same order and encoding, signed by the same key. An image's own entries
 * stay.
 */
function contentKeyOf(zones: readonly Zone[], deltas: ChosenDeltas, keyId: string): string {
  const content = zones.map(({ zonal_gateway_id, ecus }) => [
    zonal_gateway_id,
    ecus.map(({ ecu, image, dependsOn = [] }) => [
      ecu.ecu_id,
      image.imageId,
      image.payloadSha256,
      deltas.get(ecu.ecu_id)?.blob.base?.sha256 ?? null,
      ...dependsOn.length === 0 ? [] : [dependsOn],
    ]),
  ]);
  return createHash("sha256").update(JSON.stringify([packageVersion, keyId, content])).digest("hex");
}

function count(zones: readonly Zone[]): number {
  return zones.reduce((sum, { ecus }) => sum + ecus.length, 0);
}

/** Reference of a package's bytes relative to the server. */
export function downloadUrl(packageId: string): string {
  return pathOf(routes.downloadPackage, { id: packageId });
}

/** What a vehicle is told of its package. */
export function toPackageAnswer({ packageId, size, sha256 }: ReadyPackage, updateId: string): PackageAnswer {
  return {
    status: "ready",
    package_id: packageId,
    download_url: downloadUrl(packageId),
    update_id: updateId,
    size,
    sha256,
  };
}
