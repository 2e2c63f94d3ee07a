// Backups made in memory for tests, and bytes put into frames as they are.

import { join } from "node:path";
import { readBackup } from "../../src/backup/archive_reader.ts";
import { ArchiveWriter } from "../../src/backup/archive_writer.ts";
import { FrameWriter } from "../../src/backup/frames.ts";
import { encodeHeader, paddingOf } from "../../src/backup/tar_header.ts";
import type { Manifest } from "../../src/backup/manifest.ts";

export const made = { program: "0.1.0", created: new Date(Date.UTC(2026, 10, 21, 12)) };

/** Collects bytes. */
export class Collected {
  #parts: Uint8Array[] = [];
  readonly sink = (bytes: Uint8Array): Promise<void> => Promise.resolve(void this.#parts.push(bytes));
  get bytes(): Uint8Array<ArrayBuffer> {
    const whole = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}

export const text = (content: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(content);

/** A good backup of these files, by their path in the data folder. */
export async function backupOf(files: Record<string, Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const file = new Collected();
  const writer = new ArchiveWriter(file.sink, made);
  await writer.begin();
  for (const [path, bytes] of Object.entries(files)) await writer.addBytes(`data/${path}`, bytes);
  await writer.finish({ sqlite: [] });
  return file.bytes;
}

/** Any bytes in frames. */
export async function framed(content: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const file = new Collected();
  const frames = new FrameWriter(file.sink, 1);
  await frames.write(content);
  await frames.finish();
  return file.bytes;
}

export const head = text(
  '{"format":"zonebench-backup","version":1,"created":"2026-11-21T12:00:00.000Z","program":"0.1.0"}',
);

/** A tar archive of these entries, whatever they are called; `change` may spoil an entry's header. */
export function tarOf(
  entries: readonly (readonly [string, Uint8Array])[],
  change: (header: Uint8Array, path: string) => void = () => {},
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (const [path, bytes] of entries) {
    const header = encodeHeader({ path, size: bytes.length, mode: 0o600, mtime: 0 });
    change(header, path);
    parts.push(header, bytes, new Uint8Array(paddingOf(bytes.length)));
  }
  parts.push(new Uint8Array(1024));
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What reading a file gives. */
export interface Read {
  manifest: Manifest;
  files: Map<string, Uint8Array>;
}

/** Reads the bytes of a backup. */
export async function readBytes(bytes: Uint8Array, maxContent = 64 * 1024 * 1024): Promise<Read> {
  const folder = await Deno.makeTempDir({ prefix: "zonebench-test-" });
  try {
    const path = join(folder, "backup");
    await Deno.writeFile(path, bytes);
    using file = await Deno.open(path, { read: true });
    const files = new Map<string, Uint8Array>();
    const manifest = await readBackup(file, {
      database: async (body) => void await Array.fromAsync(body),
      data: async (name, { size }, body) => {
        const whole = new Collected();
        for await (const part of body) await whole.sink(part.slice());
        if (whole.bytes.length !== size) {
          throw new Error(`${name}: ${whole.bytes.length} bytes, ${size} were said`);
        }
        files.set(name, whole.bytes);
      },
      keys: () => Promise.resolve(),
    }, { maxContent });
    return { manifest, files };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
