// Puts a backup together: entries into a tar archive, that into frames, and a list of all of it at the end.

import { createHash } from "node:crypto";
import { headName, keysName, kindOf, manifestName } from "./entry_path.ts";
import { BackupError } from "./errors.ts";
import { FrameWriter } from "./frames.ts";
import { backupVersion, type Head, type Manifest, maxManifest } from "./manifest.ts";
import { blockSize, encodeHeader, paddingOf } from "./tar_header.ts";

/** zstd's default: most of a backup, packages and images, is compressed already. */
const level = 3;

/** What a file is written down as. */
export interface FileEntry {
  path: string;
  size: number;
  /** @default 0o600 */
  mode?: number;
  /** Seconds since 1970. @default now */
  mtime?: number;
}

/** What the manifest says besides its entries. */
export type Contents = Pick<Manifest, "database" | "sqlite">;

/** Writes one backup. Nothing that it wrote is a backup before `finish` has resolved. */
export class ArchiveWriter {
  readonly #frames: FrameWriter;
  readonly #head: Head;
  readonly #entries: Manifest["entries"] = [];
  #paths = new Set<string>();
  #content = 0;

  /** @param sink takes the file's bytes */
  constructor(sink: (bytes: Uint8Array) => Promise<void>, made: { program: string; created: Date }) {
    this.#frames = new FrameWriter(sink, level);
    this.#head = {
      format: "zonebench-backup",
      version: backupVersion,
      created: made.created.toISOString(),
      program: made.program,
    };
  }

  /** Bytes of content so far. */
  get content(): number {
    return this.#content;
  }

  /** Writes the first entry. */
  async begin(): Promise<void> {
    await this.addBytes(headName, json(this.#head));
  }

  /**
   * Adds a file.
   * @returns {Promise<string>} its SHA-256, hexadecimal
   * @throws {BackupError} for a name that a backup does not have, or when `body` is not of `size`
   */
  async add(entry: FileEntry, body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<string> {
    const { path, size, mode = 0o600, mtime = Date.now() / 1000 } = entry;
    kindOf(path);
    if (this.#paths.has(path)) throw new BackupError(`${path}: expected each entry once`);
    this.#paths.add(path);
    const hash = createHash("sha256");
    await this.#write(encodeHeader({ path, size, mode, mtime }));
    let left = size;
    for await (const part of body) {
      left -= part.length;
      if (left < 0) break;
      hash.update(part);
      await this.#write(part);
    }
    if (left !== 0) {
      throw new BackupError(`${path}: it was changed while it was read: ${size} bytes were there before`);
    }
    await this.#write(new Uint8Array(paddingOf(size)));
    const sha256 = hash.digest("hex");
    this.#entries.push({ path, size, sha256 });
    return sha256;
  }

  async addBytes(path: string, bytes: Uint8Array): Promise<string> {
    return await this.add({ path, size: bytes.length }, [bytes]);
  }

  /** Writes the manifest and the archive's end. */
  async finish(contents: Contents): Promise<Manifest> {
    const keys = this.#paths.has(keysName);
    const manifest: Manifest = { ...this.#head, ...contents, keys, entries: [...this.#entries] };
    const bytes = json(manifest);
    if (bytes.length > maxManifest) {
      throw new BackupError(`${this.#entries.length} files are more than a backup takes`);
    }
    await this.addBytes(manifestName, bytes);
    await this.#write(new Uint8Array(2 * blockSize));
    await this.#frames.finish();
    return manifest;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#content += bytes.length;
    await this.#frames.write(bytes);
  }
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 1)}\n`);
}
