// Where the data of each run of consecutive addresses lies in the order of the file, and what that makes in the order of
// addresses. Bounded: numbers in typed arrays, no object a record.

import type { Segment } from "../image.ts";
import { FirmwareFormatError, hex32 } from "./errors.ts";

/** Most runs that a table can hold: sorting packs the index of a run into the low bits of a number. */
export const runLimit = 2 ** 20;

/** One run in the order of addresses. */
export interface Run {
  address: number;
  length: number;
  /** Offset of its first byte among all data in the order of the file. */
  offset: number;
}

/** How the data of a file is counted and kept. */
export interface RunRules {
  /** What a place in the file is called. */
  unit: "line" | "block";
  /**
   * Blocks whose bytes are compressed or encrypted stay apart: their lengths are not those in memory, so that two of them
   * neither continue each other nor overlap unless they begin at the same address.
   */
  apart: boolean;
}

/** Runs as they came. Records that continue the one before them lengthen its run. */
export class RunTable {
  readonly #limit: number;
  #rules: RunRules = { unit: "line", apart: false };
  #addresses = new Uint32Array(1024);
  #lengths = new Float64Array(1024);
  #offsets = new Float64Array(1024);
  #lines = new Uint32Array(1024);
  #count = 0;
  /** Address behind the last run's last byte. */
  #end = -1;
  #bytes = 0;
  #ascending = true;

  /** @param limit Most runs; at most {@linkcode runLimit}. */
  constructor(limit: number) {
    if (!Number.isInteger(limit) || limit < 1 || limit > runLimit) {
      throw new RangeError(`the limit of runs must be 1 to ${runLimit}, got ${limit}`);
    }
    this.#limit = limit;
  }

  get rules(): RunRules {
    return this.#rules;
  }

  /** To be set before the first run. @default lines, runs that touch become one */
  set rules(rules: RunRules) {
    this.#rules = rules;
  }

  /** Bytes of data taken so far. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether the runs came in the order of addresses: then the data is the payload as it lies. */
  get ascending(): boolean {
    return this.#ascending;
  }

  /** Takes `length` > 0 bytes at `address`; the caller has checked that they end within 32 bits. */
  add(address: number, length: number, line: number): void {
    const same = !this.#rules.apart || this.#lines[this.#count - 1] === line;
    if (address === this.#end && same) this.#lengths[this.#count - 1] += length;
    else {
      if (this.#count === this.#limit) {
        throw new FirmwareFormatError("too_many_runs", {
          line: this.#lineOf(line),
          expected: `at most ${this.#limit} runs of consecutive addresses`,
          found: `another at ${hex32(address)}`,
        });
      }
      if (this.#count === this.#addresses.length) this.#grow();
      this.#addresses[this.#count] = address;
      this.#lengths[this.#count] = length;
      this.#offsets[this.#count] = this.#bytes;
      this.#lines[this.#count] = line;
      this.#count++;
      if (address < (this.#rules.apart ? this.#addresses[this.#count - 2] : this.#end)) {
        this.#ascending = false;
      }
    }
    this.#end = address + length;
    this.#bytes += length;
  }

  /**
   * The runs in the order of addresses.
   *
   * @throws {FirmwareFormatError} `overlap`, naming the lines where both runs begin.
   */
  sorted(): Run[] {
    // One native sort of numbers: comparing objects by a function would hold the event loop far longer.
    const keys = new Float64Array(this.#count);
    for (let run = 0; run < this.#count; run++) keys[run] = this.#addresses[run] * runLimit + run;
    if (!this.#ascending) keys.sort();
    const runs: Run[] = new Array(this.#count);
    let before = -1;
    for (let place = 0; place < this.#count; place++) {
      const run = keys[place] % runLimit;
      const address = this.#addresses[run];
      const taken = this.#rules.apart ? 1 : this.#lengths[before];
      if (before >= 0 && address < this.#addresses[before] + taken) {
        throw this.#overlap(before, run);
      }
      runs[place] = { address, length: this.#lengths[run], offset: this.#offsets[run] };
      before = run;
    }
    return runs;
  }

  #overlap(lower: number, upper: number): FirmwareFormatError {
    const describe = (run: number) =>
      `${hex32(this.#addresses[run])} to ${
        hex32(this.#addresses[run] + this.#lengths[run] - 1)
      } from ${this.#rules.unit} ${this.#lines[run]} on`;
    const [first, second] = this.#lines[lower] <= this.#lines[upper] ? [lower, upper] : [upper, lower];
    return new FirmwareFormatError("overlap", {
      line: this.#lineOf(this.#lines[second]),
      expected: "each address once",
      found: `${describe(second)}, which overlaps ${describe(first)}`,
    });
  }

  /** Blocks are no lines: their number stands in the text alone. */
  #lineOf(place: number): number | undefined {
    return this.#rules.unit === "line" ? place : undefined;
  }

  #grow(): void {
    const size = Math.min(this.#addresses.length * 2, this.#limit);
    const addresses = new Uint32Array(size);
    addresses.set(this.#addresses);
    this.#addresses = addresses;
    const lengths = new Float64Array(size);
    lengths.set(this.#lengths);
    this.#lengths = lengths;
    const offsets = new Float64Array(size);
    offsets.set(this.#offsets);
    this.#offsets = offsets;
    const lines = new Uint32Array(size);
    lines.set(this.#lines);
    this.#lines = lines;
  }
}

/** Segments of sorted runs: those that touch become one, unless they are to stay apart. */
export function segmentsOf(runs: readonly Run[], apart = false): Segment[] {
  const segments: { address: number; length: number }[] = [];
  let last: { address: number; length: number } | undefined;
  for (const run of runs) {
    if (!apart && last && last.address + last.length === run.address) last.length += run.length;
    else segments.push(last = { address: run.address, length: run.length });
  }
  return segments;
}
