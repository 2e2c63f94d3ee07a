// The images of a package, made and verified before an ECU is touched: decompressed, or put together from a delta and an image
// that the vehicle has kept.

import { statfs } from "node:fs/promises";
import { fileImage } from "../../../hardware/flash/format/file_image.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import { DeltaBaseError, PackageError } from "../../codec/errors.ts";
import type { UpdatePackage } from "../../codec/open_package.ts";
import type { PackageEcu } from "../../contract/package.ts";
import { DownloadError } from "../errors.ts";
import { mapBounded } from "../parallel.ts";
import type { ImageStore } from "./image_store.ts";

/** Images that are made at once; the codec's threads are what bounds it. */
const parallel = 4;

/** Options of {@link prepareImages}. */
export interface PrepareOptions {
  /** Bytes that stay free on the disk. */
  minFree: number;
  signal: AbortSignal;
  /** Bytes of blobs that are through, of all. */
  onProgress: (done: number, total: number) => void;
}

/** Of ECUs that get the same image, the first. */
export function distinctImages(entries: readonly PackageEcu[]): PackageEcu[] {
  return [...Map.groupBy(entries, ({ image }) => image.sha256).values()].map(([first]) => first);
}

/** Those of the entries whose image is not in the store. */
export async function missingImages(
  entries: readonly PackageEcu[],
  store: ImageStore,
  signal: AbortSignal,
): Promise<PackageEcu[]> {
  const missing: PackageEcu[] = [];
  for (const entry of entries) if (!await store.check(entry.image, signal)) missing.push(entry);
  return missing;
}

/**
 * Has the image of every entry in the store, verified.
 *
 * @throws {PackageContentError} If a blob is not what the manifest says.
 * @throws {DeltaBaseError} If a delta's base is not there, or the delta does not give the image.
 * @throws {DownloadError} If there is no room for the images.
 */
export async function prepareImages(
  bundle: UpdatePackage,
  entries: readonly PackageEcu[],
  store: ImageStore,
  { minFree, signal, onProgress }: PrepareOptions,
): Promise<void> {
  await store.open();
  const missing = await missingImages(distinctImages(entries), store, signal);
  const total = missing.reduce((sum, { blob }) => sum + blob.length, 0);
  let done = 0;
  await checkSpace(missing, store, minFree);
  await mapBounded(missing, parallel, async (entry) => {
    const output = store.path(entry.image.sha256);
    const { blob } = entry;
    const base = blob.encoding === "zstd-delta"
      ? { path: store.path(blob.base.sha256), ...blob.base }
      : undefined;
    const count = (bytes: number) => onProgress(done += bytes, total);
    try {
      await bundle.extractImage(entry, output, { signal, base, onProgress: count });
    } catch (error) {
      if (base === undefined || !(error instanceof PackageError) || error.code === "blob_hash") throw error;
      throw new DeltaBaseError(`${entry.ecu_id}: its delta does not give the image: ${error.message}`, {
        cause: error,
      });
    }
  });
}

/** The image of an entry that was prepared. */
export function preparedImage({ image }: PackageEcu, store: ImageStore): FirmwareImage {
  const { segments, sha256, download } = image;
  const hints = download && { dataFormat: download.data_format, erase: download.erase, call: download.call };
  return fileImage(store.path(sha256), segments, Uint8Array.fromHex(sha256), hints);
}

async function checkSpace(missing: readonly PackageEcu[], store: ImageStore, minFree: number): Promise<void> {
  if (missing.length === 0) return;
  const { bavail, bsize } = await statfs(store.directory);
  const free = bavail * bsize;
  const needed = missing.reduce((sum, { image }) => sum + image.size, 0);
  if (free - needed < minFree) {
    throw new DownloadError(
      `expected ${
        needed + minFree
      } free bytes in ${store.directory} (${needed} for images and ${minFree} to keep), ` +
        `there are ${free}`,
    );
  }
}
