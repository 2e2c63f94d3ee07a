// Turns data in the order of a file's records into a payload file in the order of addresses, holding little of it: the
// data goes to a temporary file as it comes; where the records were out of order, a second pass puts it in order.

import { createHash } from "node:crypto";
import type { Segment } from "../image.ts";
import { FirmwareFormatError } from "./errors.ts";
import type { Pace } from "./pace.ts";
import { type Run, type RunRules, RunTable, segmentsOf } from "./run_table.ts";

/** Bytes gathered before they are written. */
const flushAt = 128 * 1024;
/** Bytes that may come between two calls of {@linkcode PayloadWriter.flush}. */
const headroom = 128 * 1024;

/** The payload as it now lies in its file. */
export interface WrittenPayload {
  segments: Segment[];
  size: number;
  sha256: Uint8Array;
}

/** What a payload may grow to. */
export interface PayloadLimits {
  maxRuns: number;
  maxSegments: number;
  /** Bytes. */
  maxPayload: number;
}

/** Takes data with addresses; `finish` leaves a whole file at the output path, `discard` leaves nothing. */
export class PayloadWriter {
  /** Where callers put data; see {@linkcode reserve}. */
  readonly buffer: Uint8Array<ArrayBuffer> = new Uint8Array(flushAt + headroom);
  #used = 0;
  readonly #output: string;
  readonly #spillPath: string;
  readonly #sortedPath: string;
  readonly #spill: Deno.FsFile;
  readonly #table: RunTable;
  readonly #limits: PayloadLimits;
  readonly #hash = createHash("sha256");
  #open = true;

  private constructor(output: string, temporary: string, spill: Deno.FsFile, limits: PayloadLimits) {
    this.#output = output;
    this.#spillPath = temporary;
    this.#sortedPath = `${temporary}.sorted`;
    this.#spill = spill;
    this.#limits = limits;
    this.#table = new RunTable(limits.maxRuns);
  }

  /** Begins a payload beside `output`, so that the last rename stays within one file system. */
  static async create(output: string, limits: PayloadLimits): Promise<PayloadWriter> {
    const temporary = `${output}.${crypto.randomUUID()}.tmp`;
    const spill = await Deno.open(temporary, { read: true, write: true, createNew: true, mode: 0o644 });
    try {
      return new PayloadWriter(output, temporary, spill, limits);
    } catch (error) {
      spill.close();
      await Deno.remove(temporary);
      throw error;
    }
  }

  /** How data is counted and kept; before the first byte. */
  arrange(rules: RunRules): void {
    this.#table.rules = rules;
  }

  /**
   * Makes room for `length` > 0 bytes at `address`, ending within 32 bits, and returns where in
   * {@linkcode buffer} the caller puts them at once. At most 128 KiB fit between two flushes.
   */
  reserve(address: number, length: number, line: number | undefined): number {
    this.#table.add(address, length, line ?? 0);
    if (this.#table.bytes > this.#limits.maxPayload) {
      throw new FirmwareFormatError("too_large", {
        line: this.#table.rules.unit === "line" ? line : undefined,
        expected: `at most ${this.#limits.maxPayload} bytes of data`,
        found: `${this.#table.bytes}`,
      });
    }
    const at = this.#used;
    this.#used += length;
    return at;
  }

  /** Writes what has come, once it is worth it. */
  async flush(): Promise<void> {
    if (this.#used >= flushAt) await this.#write();
  }

  /** Ends the data: checks it, puts it in order and moves it to the output path. */
  async finish(pace: Pace): Promise<WrittenPayload> {
    if (this.#table.bytes === 0) {
      throw new FirmwareFormatError("empty_image", { expected: "at least one byte of data", found: "none" });
    }
    const runs = this.#table.sorted();
    const segments = segmentsOf(runs, this.#table.rules.apart);
    if (segments.length > this.#limits.maxSegments) {
      throw new FirmwareFormatError("too_many_segments", {
        expected: `at most ${this.#limits.maxSegments} segments`,
        found: `${segments.length}`,
      });
    }
    await this.#write();
    let sha256: Uint8Array;
    if (this.#table.ascending) {
      await this.#spill.sync();
      sha256 = this.#hash.digest();
      await Deno.rename(this.#spillPath, this.#output);
    } else {
      sha256 = await this.#writeSorted(runs, pace);
      await Deno.rename(this.#sortedPath, this.#output);
      await Deno.remove(this.#spillPath);
    }
    this.#open = false;
    this.#spill.close();
    return { segments, size: this.#table.bytes, sha256 };
  }

  /** Leaves nothing behind; does nothing after `finish`. */
  async discard(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#spill.close();
    await removeIfThere(this.#spillPath);
    await removeIfThere(this.#sortedPath);
  }

  async #write(): Promise<void> {
    const bytes = this.buffer.subarray(0, this.#used);
    this.#hash.update(bytes);
    await writeAll(this.#spill, bytes);
    this.#used = 0;
  }

  async #writeSorted(runs: readonly Run[], pace: Pace): Promise<Uint8Array> {
    const hash = createHash("sha256");
    const sorted = await Deno.open(this.#sortedPath, { write: true, createNew: true, mode: 0o644 });
    try {
      const buffer = this.buffer;
      let used = 0;
      for (const run of runs) {
        this.#spill.seekSync(run.offset, Deno.SeekMode.Start);
        let left = run.length;
        while (left > 0) {
          const part = Math.min(left, buffer.length - used);
          // Read without a promise: the bytes were written a moment ago, and runs may be as short as one byte.
          readFully(this.#spill, buffer.subarray(used, used + part));
          used += part;
          left -= part;
          if (used === buffer.length) {
            hash.update(buffer);
            await writeAll(sorted, buffer);
            used = 0;
          }
          if (pace.due()) await pace.rest();
        }
      }
      const rest = buffer.subarray(0, used);
      hash.update(rest);
      await writeAll(sorted, rest);
      await sorted.sync();
      return hash.digest();
    } finally {
      sorted.close();
    }
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

function readFully(file: Deno.FsFile, into: Uint8Array): void {
  for (let at = 0; at < into.length;) {
    const got = file.readSync(into.subarray(at));
    if (got === null) throw new Error(`the temporary file ended ${into.length - at} bytes early`);
    at += got;
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
