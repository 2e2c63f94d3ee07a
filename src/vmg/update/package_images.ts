// The images of a package, made and verified before an ECU is touched: decompressed, or put together from a delta and an image
// that the vehicle has kept.

import { statfs } from "node:fs/promises";
import { fileImage } from "../../../hardware/flash/format/file_image.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import { DeltaBaseError } from "../../codec/errors.ts";
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

/**
 * Has the image of every entry in the store, verified.
 *
 * @throws {PackageContentError} If a blob is not what the manifest says.
 * @throws {DeltaBaseError} If a delta's base is not there.
 * @throws {DownloadError} If there is no room for the images.
 */
export async function prepareImages(
  bundle: UpdatePackage,
  entries: readonly PackageEcu[],
  store: ImageStore,
  { minFree, signal, onProgress }: PrepareOptions,
): Promise<void> {
  await store.open();
  const images = distinctImages(entries);
  const total = images.reduce((sum, { blob }) => sum + blob.length, 0);
  let done = 0;
  const missing: PackageEcu[] = [];
  for (const entry of images) {
    if (!await store.check(entry.image, signal)) missing.push(entry);
    else onProgress(done += entry.blob.length, total);
  }
  await checkSpace(missing, store, minFree);
  await mapBounded(missing, parallel, async (entry) => {
    const { blob, image, ecu_id } = entry;
    const base = blob.encoding === "zstd-delta"
      ? { path: store.path(blob.base.sha256), sha256: blob.base.sha256, size: blob.base.size }
      : undefined;
    if (base !== undefined && !await store.has(base)) {
      throw new DeltaBaseError(
        `${ecu_id}: expected the delta's base ${base.sha256} of ${base.size} bytes, this vehicle has no such image`,
      );
    }
    await bundle.extractImage(entry, store.path(image.sha256), {
      signal,
      base,
      onProgress: (bytes) => onProgress(done += bytes, total),
    });
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
