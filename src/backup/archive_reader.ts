// Reads a backup from its beginning to its end and holds everything against its manifest.

import { createHash } from "node:crypto";
import { headName, kindOf } from "./entry_path.ts";
import { BadBackup, quote } from "./errors.ts";
import { framesContent } from "./frames.ts";
import {
  type Head,
  type Manifest,
  maxHead,
  maxKeys,
  maxManifest,
  parseHead,
  parseManifest,
} from "./manifest.ts";
import type { TarEntry } from "./tar_header.ts";
import { tarEntries } from "./tar_reader.ts";

/** Takes entries as they come. What it does not read is read for it. */
export interface EntryVisitor {
  /** A part of the database's dump; the parts come in order. */
  database(body: AsyncIterable<Uint8Array>): Promise<void>;
  /** A file of the data folder; `path` is relative to it, checked to stay in there, and comes once. */
  data(path: string, entry: TarEntry, body: AsyncIterable<Uint8Array>): Promise<void>;
  /** The encrypted keys. */
  keys(sealed: Uint8Array): Promise<void>;
}

export interface ReadOptions {
  /** Bytes that may come out altogether: what there is room for. */
  maxContent: number;
  /** Is told how many bytes of the file were read. */
  onRead?: (bytes: number) => void;
  signal?: AbortSignal;
}

/**
 * Reads a whole backup. What `visitor` was given holds only when this resolves: the manifest, which vouches for it, stands at
 * the end.
 *
 * @throws {NewerBackup} {@link BadBackup}
 */
export async function readBackup(
  file: Deno.FsFile,
  visitor: EntryVisitor,
  options: ReadOptions,
): Promise<Manifest> {
  const { maxContent, onRead, signal } = options;
  const found: Manifest["entries"] = [];
  const names = new Names();
  let head: Head | undefined;
  let manifest: Manifest | undefined;
  for await (const entry of tarEntries(framesContent(file, maxContent, onRead))) {
    const { path, size } = entry;
    if (manifest !== undefined) {
      throw new BadBackup(`expected the manifest to be the last entry, got ${quote(path)}`);
    }
    if (head === undefined && path !== headName) {
      throw new BadBackup(`expected ${headName} to be the first entry, got ${quote(path)}`);
    }
    const kind = kindOf(path);
    names.add(path);
    const hash = createHash("sha256");
    const body = hashed(entry.body, hash, signal);
    switch (kind) {
      case "head":
        head = parseHead(await whole(path, size, maxHead, body));
        break;
      case "manifest":
        manifest = parseManifest(await whole(path, size, maxManifest, body));
        break;
      case "keys":
        await visitor.keys(await whole(path, size, maxKeys, body));
        break;
      case "database":
        await visitor.database(body);
        break;
      case "data":
        await visitor.data(path.slice("data/".length), entry, body);
        break;
    }
    for await (const _ of body);
    if (kind !== "manifest") found.push({ path, size, sha256: hash.digest("hex") });
  }
  if (manifest === undefined) throw new BadBackup("expected a manifest as the last entry, got none");
  compare(found, manifest.entries);
  return manifest;
}

/** Each name once, and none that is a folder of another's. */
class Names {
  readonly #files = new Set<string>();
  readonly #folders = new Set<string>();
  #length = 0;

  add(path: string): void {
    // What is remembered of each entry is memory; a manifest that lists more would be too long itself.
    this.#length += path.length + 100;
    if (this.#length > maxManifest) throw new BadBackup("expected fewer entries than a manifest can list");
    const twice = this.#files.has(path) || this.#folders.has(path);
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
      const folder = path.slice(0, at);
      if (this.#files.has(folder)) {
        throw new BadBackup(`entry ${quote(path)}: ${quote(folder)} is a file already`);
      }
      this.#folders.add(folder);
    }
    if (twice) throw new BadBackup(`entry ${quote(path)}: expected each name once`);
    this.#files.add(path);
  }
}

async function* hashed(
  body: AsyncIterable<Uint8Array>,
  hash: { update(bytes: Uint8Array): unknown },
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const part of body) {
    signal?.throwIfAborted();
    hash.update(part);
    yield part;
  }
}

async function whole(
  path: string,
  size: number,
  limit: number,
  body: AsyncIterable<Uint8Array>,
): Promise<Uint8Array> {
  if (size > limit) throw new BadBackup(`${path}: expected ${limit} bytes at most, got ${size}`);
  const bytes = new Uint8Array(size);
  let at = 0;
  for await (const part of body) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function compare(found: Manifest["entries"], listed: Manifest["entries"]): void {
  if (found.length !== listed.length) {
    throw new BadBackup(`expected the ${listed.length} entries of the manifest, got ${found.length}`);
  }
  listed.forEach(({ path, size, sha256 }, index) => {
    const it = found[index];
    if (it.path === path && it.size === size && it.sha256 === sha256) return;
    throw new BadBackup(
      `${quote(path)}: expected ${size} bytes with SHA-256 ${sha256}, got ${
        quote(it.path)
      } with ${it.size} and ${it.sha256}: ` +
        `the file is damaged`,
    );
  });
}
