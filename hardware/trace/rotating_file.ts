// A file that grows in the background. Records gather in large buffers that are written one after the other; whoever
// adds a record never waits. When the disk falls behind, records are refused before memory runs out; when a file is
// full, it becomes FILE.1, what was FILE.1 becomes FILE.2, and a new FILE begins.

import { type Clock, systemClock } from "../clock.ts";
import { TraceError } from "./errors.ts";

/** Limits of a {@link RotatingFile}. */
export interface RotatingFileOptions {
  /** Bytes after which a new file is begun. @default {268435456} */
  maxFileSize?: number;
  /** Files that are kept, FILE included; the oldest goes. @default {8} */
  maxFiles?: number;
  /** Bytes that may wait for the disk; a further record is refused. @default {67108864} */
  maxQueued?: number;
  /** Longest time that a record waits for more to be written with it, milliseconds. @default {250} */
  flushInterval?: number;
  /** What each file begins with, as of the moment when its first record is added. @default nothing */
  preamble?: () => Uint8Array;
  /** Told once when writing fails; nothing is written after that. */
  failed?: (error: Error) => void;
  /** @default the machine's time */
  clock?: Clock;
}

/** Records gather in buffers of this size. */
const chunkSize = 262_144;
/** Written buffers that are kept for the next records. */
const maxSpare = 4;

/** Records that are written together, in one file. */
interface Chunk {
  bytes: Uint8Array<ArrayBuffer>;
  length: number;
  /** It begins a new file. */
  first: boolean;
}

/** Where a record goes. */
export interface RecordPlace {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: number;
}

/** One per trace. */
export class RotatingFile {
  readonly path: string;
  readonly #options: Required<Omit<RotatingFileOptions, "clock" | "failed">>;
  readonly #failed: (error: Error) => void;
  readonly #clock: Clock;
  #file: Deno.FsFile;
  #current: Chunk;
  readonly #queue: Chunk[] = [];
  #queued = 0;
  /** Bytes of the file that records are added to, written or not. */
  #fileSize = 0;
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #writing: Promise<void> | undefined;
  #cancelFlush: (() => void) | undefined;
  #broken = false;
  #closed = false;

  private constructor(path: string, file: Deno.FsFile, options: RotatingFileOptions) {
    const { maxFileSize = 268_435_456, maxFiles = 8, maxQueued = 67_108_864, flushInterval = 250 } = options;
    const { preamble = () => new Uint8Array(0), failed = () => {}, clock = systemClock } = options;
    this.path = path;
    this.#file = file;
    this.#options = { maxFileSize, maxFiles, maxQueued, flushInterval, preamble };
    this.#failed = failed;
    this.#clock = clock;
    this.#current = this.#chunk(chunkSize, false);
    this.#begin();
  }

  /**
   * Makes the file, in place of one that is there.
   *
   * @throws {RangeError} when an option is out of range
   * @throws {TraceError} when the file cannot be made
   */
  static async create(path: string, options: RotatingFileOptions = {}): Promise<RotatingFile> {
    for (const name of ["maxFileSize", "maxFiles", "maxQueued"] as const) {
      const value = options[name];
      if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) {
        throw new RangeError(`${name}: expected a whole number of at least 1, got ${value}`);
      }
    }
    try {
      // What crosses a bus may be confidential, and TLS secrets may be in it.
      const file = await Deno.open(path, { write: true, create: true, truncate: true, mode: 0o600 });
      return new RotatingFile(path, file, options);
    } catch (cause) {
      if (cause instanceof RangeError) throw cause;
      throw new TraceError(`${path}: cannot be made: ${cause instanceof Error ? cause.message : cause}`, {
        cause,
      });
    }
  }

  /**
   * Room for one record; the caller fills all of it at once.
   *
   * @param vital the rest cannot be read without it: it is refused only when nothing can be written any more
   * @returns undefined when the record is refused: too much waits for the disk, or writing failed
   */
  place(length: number, vital = false): RecordPlace | undefined {
    if (this.#broken || this.#closed) return undefined;
    const { maxFileSize, maxQueued } = this.#options;
    if (!vital && this.#queued + this.#current.length + length > maxQueued) return undefined;
    if (this.#fileSize + length > maxFileSize && this.#fileSize > this.#preambleSize) {
      this.#enqueue(chunkSize, true);
      this.#begin();
    }
    if (this.#current.length + length > this.#current.bytes.length) {
      this.#enqueue(Math.max(chunkSize, length), false);
    }
    const place = { bytes: this.#current.bytes, at: this.#current.length };
    this.#current.length += length;
    this.#fileSize += length;
    this.#cancelFlush ??= this.#clock.after(this.#options.flushInterval, () => {
      this.#cancelFlush = undefined;
      this.#enqueue(chunkSize, false);
    });
    return place;
  }

  /** Writes what is left and closes the file. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#cancelFlush?.();
      this.#enqueue(0, false);
    }
    await this.#writing;
    try {
      this.#file.close();
    } catch (error) {
      // A second call, or a rotation that failed halfway, finds it closed.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  #preambleSize = 0;

  /** What each file begins with. */
  #begin(): void {
    const preamble = this.#options.preamble();
    if (preamble.length > this.#current.bytes.length) {
      this.#current.bytes = new Uint8Array(preamble.length + chunkSize);
    }
    this.#current.bytes.set(preamble);
    this.#current.length = preamble.length;
    this.#fileSize = this.#preambleSize = preamble.length;
  }

  #chunk(size: number, first: boolean): Chunk {
    const bytes = size <= chunkSize ? this.#spare.pop() ?? new Uint8Array(chunkSize) : new Uint8Array(size);
    return { bytes, length: 0, first };
  }

  /** Hands the buffer in use over to be written, and takes another. */
  #enqueue(nextSize: number, nextFirst: boolean): void {
    const chunk = this.#current;
    if (chunk.length === 0 && !chunk.first) {
      if (nextFirst) chunk.first = true;
      if (nextSize > chunk.bytes.length) chunk.bytes = new Uint8Array(nextSize);
      return;
    }
    this.#queue.push(chunk);
    this.#queued += chunk.length;
    this.#current = this.#chunk(nextSize, nextFirst);
    this.#writing ??= this.#write();
  }

  async #write(): Promise<void> {
    try {
      for (let chunk = this.#queue.shift(); chunk !== undefined; chunk = this.#queue.shift()) {
        if (chunk.first) await this.#rotate();
        for (let written = 0; written < chunk.length;) {
          written += await this.#file.write(chunk.bytes.subarray(written, chunk.length));
        }
        this.#queued -= chunk.length;
        if (chunk.bytes.length === chunkSize && this.#spare.length < maxSpare) this.#spare.push(chunk.bytes);
      }
    } catch (cause) {
      this.#broken = true;
      this.#queue.length = 0;
      this.#queued = 0;
      const why = cause instanceof Error ? cause.message : cause;
      this.#failed(new TraceError(`${this.path}: writing failed, the trace ends here: ${why}`, { cause }));
    } finally {
      // In the same turn as the last look at the queue: what is handed over from now on is written by another run.
      this.#writing = undefined;
    }
  }

  async #rotate(): Promise<void> {
    const { maxFiles } = this.#options;
    this.#file.close();
    if (maxFiles > 1) {
      for (let n = maxFiles - 2; n >= 0; n--) {
        try {
          await Deno.rename(n === 0 ? this.path : `${this.path}.${n}`, `${this.path}.${n + 1}`);
        } catch (error) {
          // There are not so many yet.
          if (!(error instanceof Deno.errors.NotFound)) throw error;
        }
      }
    }
    this.#file = await Deno.open(this.path, { write: true, create: true, truncate: true, mode: 0o600 });
  }
}
