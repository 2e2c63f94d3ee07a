// Where a simulated flash keeps its chunks over a restart of the program: one file a chunk, written through at once,
// so that a killed process leaves behind exactly what had been programmed.

/** Keeps chunks of flash under a key such as `main.0/00010000`. */
export interface ChunkStore {
  /** The chunk's bytes, or undefined for one that is blank. */
  read(key: string, into: Uint8Array): boolean;
  /** Writes bytes inside a chunk. `chunk` is the whole of it as it is now. */
  write(key: string, chunk: Uint8Array, offset: number, length: number): void;
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

  read(key: string, into: Uint8Array): boolean {
    let bytes: Uint8Array;
    try {
      bytes = Deno.readFileSync(this.#path(key));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
    // A file cut short by a kill between its creation and its first write: what is missing is as after an erase.
    into.fill(0xff);
    into.set(bytes.subarray(0, into.length));
    return true;
  }

  write(key: string, chunk: Uint8Array, offset: number, length: number): void {
    if (this.#openKey !== key || this.#open === undefined) {
      this.close();
      const path = this.#path(key);
      const options = { read: true, write: true };
      try {
        this.#open = Deno.openSync(path, options);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
        this.#open = Deno.openSync(path, { ...options, create: true });
        // A hole would read as 00, and blank flash is FF.
        writeAll(this.#open, chunk);
      }
      this.#openKey = key;
    }
    this.#open.seekSync(offset, Deno.SeekMode.Start);
    writeAll(this.#open, chunk.subarray(offset, offset + length));
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

  #path(key: string): string {
    return `${this.#directory}/${key}.bin`;
  }
}

function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}
