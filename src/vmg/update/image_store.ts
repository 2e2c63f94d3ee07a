// Images on the vehicle's disk, named by their SHA-256: what an update installs, and what was installed before, so that the next
// update can be a delta to it. A file is believed only after its hash has been found to be its name.

import { join } from "node:path";
import { PackageContentError } from "../../codec/errors.ts";
import type { CodecPool } from "../../codec/pool.ts";
import { results } from "../../codec/protocol.ts";

/** An image, whatever it is for. */
export interface StoredImage {
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

/** Options of {@link ImageStore}. */
export interface ImageStoreOptions {
  /** Folder of the images. */
  directory: string;
  /** Bytes that are kept when no update needs them; 0 keeps none. */
  keep: number;
  pool: CodecPool;
}

/** The images. */
export class ImageStore {
  readonly #options: ImageStoreOptions;

  constructor(options: ImageStoreOptions) {
    this.#options = options;
  }

  /** Folder of the images. */
  get directory(): string {
    return this.#options.directory;
  }

  /** Where an image lies, or is to be put: whole or not at all. */
  path(sha256: string): string {
    return join(this.#options.directory, `${sha256}.bin`);
  }

  /** Makes the folder. */
  async open(): Promise<void> {
    await Deno.mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
  }

  /** Whether a file of that name and size is there: {@link check} says whether it is the image. */
  async has({ sha256, size }: StoredImage): Promise<boolean> {
    try {
      return (await Deno.stat(this.path(sha256))).size === size;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  /** Whether the image is there, all of it read and hashed. A file that is another one is deleted. */
  async check(image: StoredImage, signal?: AbortSignal): Promise<boolean> {
    if (!await this.has(image)) return false;
    const path = this.path(image.sha256);
    const blob = { path, length: image.size, sha256: image.sha256 };
    try {
      await this.#options.pool.run({ kind: "check", blob }, results.check, { signal });
      return true;
    } catch (error) {
      if (!(error instanceof PackageContentError)) throw error;
      await Deno.remove(path);
      return false;
    }
  }

  /** Notes that images were installed just now: they are the last to go. */
  async touch(images: Iterable<StoredImage>): Promise<void> {
    const now = new Date();
    for (const image of images) {
      if (await this.has(image)) await Deno.utime(this.path(image.sha256), now, now);
    }
  }

  /**
   * Deletes the oldest images beyond the bytes that are kept, those that no ECU runs first, and what was left half written. Not
   * to be called while an update is under way.
   * @param installed SHA-256 of what ECUs run
   */
  async trim(installed: ReadonlySet<string>): Promise<void> {
    const { directory, keep } = this.#options;
    const found: { name: string; size: number; age: number; installed: boolean }[] = [];
    try {
      for await (const { name } of Deno.readDir(directory)) {
        const sha256 = /^([0-9a-f]{64})\.bin$/.exec(name)?.[1];
        if (sha256 === undefined) await Deno.remove(join(directory, name));
        else {
          const { size, mtime } = await Deno.stat(join(directory, name));
          found.push({ name, size, age: -(mtime?.getTime() ?? 0), installed: installed.has(sha256) });
        }
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return;
    }
    found.sort((a, b) => Number(b.installed) - Number(a.installed) || a.age - b.age);
    let kept = 0;
    for (const { name, size } of found) {
      if (kept + size <= keep) kept += size;
      else await Deno.remove(join(directory, name));
    }
  }
}

/** SHA-256 of what was last installed in each ECU and is still kept. */
export async function keptImages(
  journal: { installedImages(): ReadonlyMap<string, StoredImage> },
  store: ImageStore,
): Promise<Map<string, string>> {
  const kept = new Map<string, string>();
  for (const [ecuId, image] of journal.installedImages()) {
    if (await store.has(image)) kept.set(ecuId, image.sha256);
  }
  return kept;
}
