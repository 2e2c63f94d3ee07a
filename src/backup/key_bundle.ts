// Private keys as one tar archive in memory: what is encrypted as a whole.

import type { DataFile } from "./data_folder.ts";
import { checkDataPath } from "./entry_path.ts";
import { BackupError } from "./errors.ts";
import { maxKeys } from "./manifest.ts";
import { blockSize, encodeHeader, paddingOf } from "./tar_header.ts";
import { tarEntries } from "./tar_reader.ts";

/** Keys on their way into a backup. */
export class KeyBundle {
  #parts: Uint8Array[] = [];
  #size = 0;

  /** Reads a key. @throws {BackupError} when there are too many */
  async add({ path, absolute }: DataFile): Promise<void> {
    checkDataPath(path);
    const bytes = await Deno.readFile(absolute);
    this.#put(encodeHeader({ path, size: bytes.length, mode: 0o600, mtime: 0 }));
    this.#put(bytes);
    this.#put(new Uint8Array(paddingOf(bytes.length)));
  }

  /** The archive. */
  bytes(): Uint8Array {
    const whole = new Uint8Array(this.#size + 2 * blockSize);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  #put(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#size += bytes.length;
    // Room for what encryption adds.
    if (this.#size > maxKeys - 2 ** 20) {
      throw new BackupError(`keys of more than ${maxKeys} bytes are more than a backup takes`);
    }
  }
}

/** The keys of such an archive, by path in the data folder. @throws {BackupError} */
export async function readKeyBundle(bytes: Uint8Array): Promise<Map<string, Uint8Array>> {
  const keys = new Map<string, Uint8Array>();
  for await (const { path, size, body } of tarEntries(once(bytes))) {
    checkDataPath(path);
    const key = new Uint8Array(size <= bytes.length ? size : 0);
    let at = 0;
    for await (const part of body) {
      key.set(part, at);
      at += part.length;
    }
    keys.set(path, key);
  }
  return keys;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}
