// Brings an update's images onto the vehicle's disk, verified: the package's manifest, of its blobs what is not here already, the
// images made of them. Where a delta cannot be applied, the server is asked for the same update in whole images.

import type { RestClient } from "../../contract/client.ts";
import { pathOf, routes } from "../../contract/routes.ts";
import type { PackageManifest } from "../../contract/package.ts";
import { DeltaBaseError, PackageError } from "../../codec/errors.ts";
import type { BlobEntry } from "../../codec/manifest.ts";
import { openPackage } from "../../codec/open_package.ts";
import type { CodecPool } from "../../codec/pool.ts";
import type { Logger } from "../../log.ts";
import type { VerifyKey } from "../../pqc/signature.ts";
import { Backoff, delay } from "../../wait.ts";
import { DownloadError, explain } from "../errors.ts";
import type { UpdateSettings } from "../options.ts";
import type { VehicleDescription } from "../vehicle.ts";
import { downloadPackage, mayTryAgain, removePackage } from "./download.ts";
import type { ImageStore } from "./image_store.ts";
import type { JournalUpdate, UpdateJournal } from "./journal.ts";
import { distinctImages, missingImages, prepareImages } from "./package_images.ts";
import { findTargets, type Target } from "./targets.ts";

/** Options of {@link fetchPackage}. */
export interface FetchOptions {
  vehicle: VehicleDescription;
  journal: Pick<UpdateJournal, "setDownload" | "setPackage">;
  rest: RestClient;
  /** e.g. `https://localhost:8443`: packages come from there and nowhere else. */
  origin: string;
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  pool: CodecPool;
  /** Folder of packages. */
  directory: string;
  images: ImageStore;
  /** Refuses a package, by throwing, of which nothing but the manifest was fetched yet. */
  check: (manifest: PackageManifest) => void;
  settings: Required<UpdateSettings>;
  /** The next part of the work begins. */
  onEnter: (status: "downloading" | "verifying") => void;
  /** What an error that comes next belongs to. */
  onStage: (stage: "download" | "verify") => void;
  /** Share of the stage that is done, 0 to 1. */
  onProgress: (share: number) => void;
  signal: AbortSignal;
  log: Logger;
}

/** What was fetched: the images of all targets are in the store. */
export interface FetchedPackage {
  readonly manifest: PackageManifest;
  readonly targets: readonly Target[];
}

/**
 * Fetches what the update needs.
 *
 * @throws {PackageError} {@link PackageMismatchError} {@link DownloadError}, what `check` throws, and the signal's reason
 */
export async function fetchPackage(update: JournalUpdate, options: FetchOptions): Promise<FetchedPackage> {
  const { log, signal } = options;
  let current = update;
  let again = true;
  for (;;) {
    try {
      return await fetchOnce(current, options);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof DeltaBaseError && current === update) {
        log.warn(`Update ${update.updateId}: ${explain(error)}. The whole images are asked for`);
        options.onStage("download");
        current = await askForWholeImages(update, options);
      } else if (error instanceof PackageError && error.code === "blob_hash" && again) {
        // Every block was right when it was written.
        again = false;
        log.warn(
          `Package ${current.packageId} has changed on the disk: ${
            explain(error)
          }. What is wrong is fetched again`,
        );
      } else {
        if (error instanceof PackageError) options.onStage("verify");
        throw error;
      }
    }
  }
}

async function fetchOnce(update: JournalUpdate, options: FetchOptions): Promise<FetchedPackage> {
  const {
    vehicle,
    journal,
    rest,
    origin,
    verifyKeys,
    pool,
    images,
    check,
    settings,
    onEnter,
    onStage,
    onProgress,
    signal,
    log,
  } = options;
  const { packageId, downloadUrl, etag, size, updateId } = update;
  signal.throwIfAborted();
  onStage("download");
  if (packageId === null || downloadUrl === null) {
    throw new DownloadError(`update ${updateId}: the journal names no package`);
  }
  checkUrl(downloadUrl, origin, packageId);
  onEnter("downloading");
  const limits = { maxFile: settings.maxPackageSize };
  const path = await downloadPackage({
    rest,
    packageId,
    directory: options.directory,
    ...(size === null ? {} : { known: { etag, size } }),
    verifyKeys,
    vin: vehicle.vin,
    limits,
    accept: async (manifest, blobs) => {
      onStage("verify");
      check(manifest);
      const targets = findTargets(manifest, update, vehicle);
      const wanted = await wantedBlobs(targets, blobs, options);
      onStage("download");
      return wanted;
    },
    maxSize: settings.maxPackageSize,
    minFree: settings.minFreeDisk,
    patience: settings.downloadPatience,
    minRate: settings.minDownloadRate,
    retryDelay: settings.retryDelay,
    maxRetryDelay: settings.maxRetryDelay,
    onBegin: (tag, total) => journal.setDownload(updateId, tag, total),
    onProgress: (done, total) => onProgress(total > 0 ? done / total : 0),
    signal,
    log,
  });
  onStage("verify");
  onEnter("verifying");
  const bundle = await openPackage(path, { verifyKeys, expectVehicle: vehicle.vin, pool, limits });
  check(bundle.manifest);
  const targets = findTargets(bundle.manifest, update, vehicle);
  await prepareImages(bundle, targets.map(({ entry }) => entry), images, {
    minFree: settings.minFreeDisk,
    signal,
    onProgress: (done, total) => onProgress(total > 0 ? done / total : 1),
  });
  log.info(
    `Package ${packageId} verified: signed by ${
      bundle.manifest.key_id.slice(0, 16)
    }…, ${targets.length} images`,
  );
  return { manifest: bundle.manifest, targets };
}

/** Of each image that is not here, one blob. @throws {DeltaBaseError} before a delta is fetched that cannot be applied */
async function wantedBlobs(
  targets: readonly Target[],
  blobs: readonly BlobEntry[],
  { images, signal, log }: FetchOptions,
): Promise<BlobEntry[]> {
  const entries = distinctImages(targets.map(({ entry }) => entry));
  const missing = await missingImages(entries, images, signal);
  const here = entries.length - missing.length;
  if (here > 0) log.info(`${here} of ${entries.length} images are here already and not fetched`);
  for (const { ecu_id, blob } of missing) {
    if (blob.encoding === "zstd-delta" && !await images.check(blob.base, signal)) {
      throw new DeltaBaseError(
        `${ecu_id}: there is no image ${blob.base.sha256} that its delta could be applied to`,
      );
    }
  }
  const offsets = new Set(missing.map(({ blob }) => blob.offset));
  return blobs.filter(({ blob }) => offsets.has(blob.offset));
}

/** The same update, in a package without deltas. */
async function askForWholeImages(update: JournalUpdate, options: FetchOptions): Promise<JournalUpdate> {
  const { rest, vehicle, journal, directory, settings, signal, log } = options;
  const { updateId, packageId } = update;
  const backoff = new Backoff({ initial: settings.retryDelay, max: settings.maxRetryDelay });
  const until = performance.now() + settings.downloadPatience;
  for (;;) {
    try {
      const answer = await rest.call(routes.requestPackage, {
        body: { vehicle_id: vehicle.vin, update_id: updateId, deltas: false },
        signal,
      });
      if (answer.update_id !== updateId) {
        throw new DownloadError(`expected a package for update ${updateId}, got one for ${answer.update_id}`);
      }
      const { package_id, download_url } = answer;
      if (packageId !== null) await removePackage(directory, packageId);
      journal.setPackage(updateId, package_id, download_url);
      return { ...update, packageId: package_id, downloadUrl: download_url, etag: null, size: null };
    } catch (error) {
      signal.throwIfAborted();
      if (!mayTryAgain(error) || performance.now() >= until) throw error;
      const wait = backoff.next();
      log.warn(`No package in whole images: ${explain(error)}. Asking again in ${wait}ms`);
      await delay(wait, signal);
    }
  }
}

/** A command must not make the vehicle fetch from anywhere but its server. */
function checkUrl(url: string, origin: string, packageId: string): void {
  const expected = new URL(pathOf(routes.downloadPackage, { id: packageId }), origin).href;
  const parsed = URL.canParse(url, origin) ? new URL(url, origin).href : undefined;
  if (parsed !== expected) throw new DownloadError(`download_url: expected ${expected}, got ${url}`);
}
