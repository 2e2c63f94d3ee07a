// Deltas between images of the catalogue: made once for each pair, kept as files named by both hashes, and used where they are
// much smaller than the whole image.

import { join } from "node:path";
import type { PackageBlobFile } from "../../codec/build_package.ts";
import { makeImageDelta } from "../../codec/image_delta.ts";
import type { CodecPool } from "../../codec/pool.ts";
import { maxDeltaSize } from "../../codec/zstd_stream.ts";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import {
  type DataFiles,
  hasFile,
  hashFile,
  payloadPath,
  removeFile,
  settleFile,
  temporaryPath,
} from "../files.ts";
import type { Metrics } from "../metrics.ts";
import type { Image, Store } from "../store/mod.ts";

export interface DeltasOptions {
  store: Store;
  files: DataFiles;
  pool: CodecPool;
  /** zstd level. @default 3 */
  level?: number;
  metrics: Pick<Metrics, "deltas">;
  log: Logger;
}

/** A delta is used only below this share of the whole image's blob. */
const largestShare = 0.6;
/** Pairs of which it is remembered that their delta is not worth it. */
const remembered = 10_000;

export class Deltas {
  readonly #options: DeltasOptions;
  readonly #level: number;
  readonly #making = new Map<string, Promise<PackageBlobFile | undefined>>();
  readonly #useless = new Set<string>();

  constructor(options: DeltasOptions) {
    this.#options = options;
    this.#level = options.level ?? 3;
  }

  /**
   * The delta that turns the payload `base` into the image's.
   *
   * @param whole bytes of the image's whole blob
   * @returns undefined where there is none that is worth it: the base is not in the catalogue, is the image itself, or is too
   * different, or the delta could not be made
   */
  async find(
    image: Image,
    base: string,
    whole: number,
    signal?: AbortSignal,
  ): Promise<PackageBlobFile | undefined> {
    const key = `${base}_${image.payloadSha256}`;
    if (base === image.payloadSha256 || this.#useless.has(key)) return undefined;
    const running = this.#making.get(key) ??
      this.#find(image, base, whole, key, signal).finally(() => this.#making.delete(key));
    this.#making.set(key, running);
    return await running;
  }

  async #find(
    image: Image,
    base: string,
    whole: number,
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<PackageBlobFile | undefined> {
    const { store, files, log, metrics } = this.#options;
    try {
      const size = await store.images.payloadSize(base);
      if (size === null || size < 1 || size > maxDeltaSize || image.payloadSize > maxDeltaSize) {
        return undefined;
      }
      if (!await hasFile(payloadPath(files, base), size)) return undefined;
      const path = join(files.deltas, `${key}.zst`);
      const known = await this.#known(path, signal);
      const delta = known ?? await this.#make(image, { sha256: base, size }, path, signal);
      if (delta.length >= largestShare * whole) {
        if (this.#useless.size >= remembered) this.#useless.clear();
        this.#useless.add(key);
        await removeFile(path);
        metrics.deltas.inc({ result: "too_large" });
        return undefined;
      }
      metrics.deltas.inc({ result: known === undefined ? "made" : "reused" });
      return { path, ...delta, base: { sha256: base, size } };
    } catch (error) {
      signal?.throwIfAborted();
      // The whole image serves as well.
      metrics.deltas.inc({ result: "failed" });
      log.warn(`No delta to ${image.ecuType} ${image.version} from ${base}: ${describeError(error)}`);
      return undefined;
    }
  }

  /** One that was made before; that it is used keeps it. */
  async #known(
    path: string,
    signal: AbortSignal | undefined,
  ): Promise<{ length: number; sha256: string } | undefined> {
    try {
      const now = new Date();
      await Deno.utime(path, now, now);
      const { size } = await Deno.stat(path);
      return { length: size, sha256: await hashFile(path, signal) };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  async #make(
    image: Image,
    base: { sha256: string; size: number },
    path: string,
    signal: AbortSignal | undefined,
  ): Promise<{ length: number; sha256: string }> {
    const { files, pool, log } = this.#options;
    const temporary = temporaryPath(files);
    const began = performance.now();
    try {
      const made = await makeImageDelta(
        { path: payloadPath(files, base.sha256), ...base },
        payloadPath(files, image.payloadSha256),
        temporary,
        { level: this.#level, pool, signal },
      );
      if (made.inputSha256 !== image.payloadSha256) {
        throw new Error(`expected the payload ${image.payloadSha256}, found ${made.inputSha256}`);
      }
      await settleFile(temporary, path);
      log.debug(`Delta to ${image.ecuType} ${image.version} made`, {
        size: made.length,
        of: image.payloadSize,
        took: `${Math.round(performance.now() - began)} ms`,
      });
      return { length: made.length, sha256: made.sha256 };
    } finally {
      await removeFile(temporary);
    }
  }
}
