// Files of a simulated ECU, as RequestFileTransfer (0x38, ISO 14229-1:2020 15.6) adds, reads and deletes them. They are
// in memory, bounded, and lost with the process.
import { Buffer } from "node:buffer";

/** Bytes that all files together may have. */
const capacity = 16 << 20;

/** A file that is being written; a broken one can be gone on with. */
export interface PartialFile {
  readonly path: string;
  readonly size: number;
  readonly data: Uint8Array;
  received: number;
}

/** The files of one ECU. */
export class FileStore {
  readonly #files = new Map<string, Uint8Array>();
  /** The last file that was begun and not ended. */
  partial: PartialFile | undefined;

  /** @param files path and contents, hexadecimal */
  constructor(files: Readonly<Record<string, string>> = {}) {
    for (const [path, contents] of Object.entries(files)) {
      if (!/^([0-9a-fA-F]{2})*$/.test(contents)) {
        throw new RangeError(
          `file ${path}: expected pairs of hexadecimal digits, got ${JSON.stringify(contents)}`,
        );
      }
      this.#files.set(path, new Uint8Array(Buffer.from(contents, "hex")));
    }
  }

  has(path: string): boolean {
    return this.#files.has(path);
  }

  get(path: string): Uint8Array | undefined {
    return this.#files.get(path);
  }

  /** @returns whether it was there */
  delete(path: string): boolean {
    return this.#files.delete(path);
  }

  /** Begins a file. @returns undefined when there is no room */
  begin(path: string, size: number): PartialFile | undefined {
    let used = 0;
    for (const [name, data] of this.#files) if (name !== path) used += data.length;
    if (used + size > capacity) return undefined;
    return this.partial = { path, size, data: new Uint8Array(size), received: 0 };
  }

  /** Ends the file that was begun: it takes the place of what was there. */
  commit(file: PartialFile): void {
    this.#files.set(file.path, file.data);
    if (this.partial === file) this.partial = undefined;
  }

  /** Names of the files in a directory, one a line, sorted. @returns undefined when nothing is below it */
  list(directory: string): Uint8Array | undefined {
    const prefix = directory.endsWith("/") ? directory : `${directory}/`;
    const names = [...this.#files.keys()].filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length)).toSorted();
    return names.length === 0 ? undefined : new Uint8Array(Buffer.from(`${names.join("\n")}\n`, "latin1"));
  }
}
