// Where a simulated flash keeps its chunks over a restart of the program: one file a chunk, written through at once,
// so that a killed process leaves behind exactly what had been programmed.

/**
 * Keeps chunks of flash under a key such as `main.0/00010000`: of each the bytes up to the last programmed one, what
 * follows is blank.
 */
export interface ChunkStore {
  /** Reads a chunk. @returns how many bytes were kept, 0 for a blank chunk */
  read(key: string, into: Uint8Array): number;
  /** Writes bytes into a chunk, `offset` being at most what is kept of it. */
  write(key: string, bytes: Uint8Array, offset: number): void;
  /** From `length` on the chunk is blank now. */
  truncate(key: string, length: number): void;
  /** The chunk is blank now. */
  remove(key: string): void;
  /** Closes what is open. */
  close(): void;
}

/** Chunks as files under a directory. Synchronous, because a flash operation has happened when it returns. */
export class FileChunkStore implements ChunkStore {
  readonly #directory: string;
  // Programming runs through one chunk at a time: one open file is enough.
  #openKey: string | undefined;
  #open: Deno.FsFile | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  read(key: string, into: Uint8Array): number {
    let bytes: Uint8Array;
    try {
      bytes = Deno.readFileSync(this.#path(key));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return 0;
      throw error;
    }
    const length = Math.min(bytes.length, into.length);
    into.set(bytes.subarray(0, length));
    return length;
  }

  write(key: string, bytes: Uint8Array, offset: number): void {
    const file = this.#file(key);
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
  }

  truncate(key: string, length: number): void {
    this.#file(key).truncateSync(length);
  }

  remove(key: string): void {
    if (this.#openKey === key) this.close();
    try {
      Deno.removeSync(this.#path(key));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  close(): void {
    this.#open?.close();
    this.#open = undefined;
    this.#openKey = undefined;
  }

  #file(key: string): Deno.FsFile {
    if (this.#openKey === key && this.#open !== undefined) return this.#open;
    this.close();
    const path = this.#path(key);
    const options = { write: true, create: true };
    try {
      this.#open = Deno.openSync(path, options);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      this.#open = Deno.openSync(path, options);
    }
    this.#openKey = key;
    return this.#open;
  }

  #path(key: string): string {
    return `${this.#directory}/${key}.bin`;
  }
}
