// NOR flash of a simulated ECU: sectors that erase to FF, programming that is a fault on cells that are not erased,
// times, one or two banks, and a power supply that can fail in any operation.
import { Buffer } from "node:buffer";
import { setImmediate } from "node:timers";
import { type Clock, sleep, systemClock } from "../clock.ts";
import { hex } from "../uds/services.ts";
import type { ChunkStore } from "./chunk_store.ts";
import type { FlashRegionOptions, SimulatedTiming } from "./options.ts";

/** The power failed in the middle of an operation, or was off before it. */
export class PowerCutError extends Error {
  override readonly name = "PowerCutError";
}

/** The flash controller reports an error, e.g. on programming a cell that is not erased. */
export class FlashFaultError extends Error {
  override readonly name = "FlashFaultError";
}

/** What a flash memory is told when it is made. */
export interface FlashMemoryOptions {
  regions: readonly FlashRegionOptions[];
  banks: 1 | 2;
  /** @default "none" */
  timing?: SimulatedTiming;
  /** Keeps the contents over a restart. @default nowhere */
  store?: ChunkStore;
  /** @default the system's clock */
  clock?: Clock;
}

/** One region as the rest of the ECU sees it. */
export interface FlashRegion {
  readonly name: string;
  readonly address: number;
  readonly size: number;
  readonly sectorSize: number;
}

interface Chunk {
  /** Cells below `top`; what lies above is left over from whatever the buffer held before. */
  bytes: Uint8Array;
  /** No cell at or above this offset is programmed: programming there needs no look at the cells. */
  top: number;
}

interface Region extends Required<FlashRegionOptions> {
  chunkSize: number;
  /** Per bank, chunks by their index; undefined: not looked for in the store yet, null: blank. */
  banks: Map<number, Chunk | null>[];
}

const minChunkSize = 65_536;
const blank = new Uint8Array(minChunkSize).fill(0xff);
const slabSize = 1 << 20;
const page = blank.subarray(0, 1_024);
// The controller goes on programming while the next block is on its way, and a timer fires late: a gap of up to that
// many milliseconds between two blocks counts as worked.
const overlap = 5;

/** All flash of one ECU. Addresses are the CPU's; a bank says which copy of the region is meant. */
export class FlashMemory {
  readonly banks: 1 | 2;
  /** Operations so far: sectors erased, runs programmed, boot records written. */
  operations = 0;
  /** False while the factory works on the flash: its operations are not counted and its power does not fail. */
  counting = true;
  /** Called in the operation during which the power fails. */
  onPowerCut: (() => void) | undefined;

  readonly #regions: Region[] = [];
  readonly #timed: boolean;
  readonly #store: ChunkStore | undefined;
  readonly #clock: Clock;
  #cutAt = Infinity;
  #powered = true;
  #busyUntil = -Infinity;
  // Buffers of chunks that were erased: fresh memory costs more than everything else about programming.
  readonly #spare: Uint8Array[] = [];

  constructor(options: FlashMemoryOptions) {
    this.banks = options.banks;
    this.#timed = options.timing === "realistic";
    this.#store = options.store;
    this.#clock = options.clock ?? systemClock;
    for (const given of [...options.regions].sort((a, b) => a.address - b.address)) {
      const region = checkRegion(given);
      const before = this.#regions.at(-1);
      if (before !== undefined && before.address + before.size > region.address) {
        throw new RangeError(`flash regions: expected no overlap, got ${before.name} and ${region.name}`);
      }
      if (this.#regions.some(({ name }) => name === region.name)) {
        throw new RangeError(`flash regions: expected different names, got ${region.name} twice`);
      }
      const banks = Array.from({ length: options.banks }, () => new Map<number, Chunk | null>());
      this.#regions.push({ ...region, banks });
    }
    if (this.#regions.length === 0) throw new RangeError("flash regions: expected at least one, got none");
  }

  /** The regions in ascending order. */
  get regions(): readonly FlashRegion[] {
    return this.#regions;
  }

  /** The region that holds all of a range, if one does. */
  regionOf(address: number, length: number): FlashRegion | undefined {
    return this.#find(address, length);
  }

  /** Has the power fail in the n-th operation from now, 1 being the next. */
  cutPowerAt(operation: number): void {
    this.#cutAt = this.operations + operation;
  }

  /** No power cut is due any more. */
  cancelPowerCut(): void {
    this.#cutAt = Infinity;
  }

  /** Power is on or off; without it every operation fails. */
  set powered(on: boolean) {
    this.#powered = on;
  }

  /** Copies bytes out of one bank. @throws {RangeError} outside the regions */
  read(bank: number, address: number, into: Uint8Array): void {
    const region = this.#require(address, into.length);
    let offset = address - region.address;
    for (let done = 0; done < into.length;) {
      const at = offset % region.chunkSize;
      const length = Math.min(region.chunkSize - at, into.length - done);
      const chunk = this.#chunk(region, bank, Math.floor(offset / region.chunkSize));
      const programmed = chunk === null ? 0 : Math.min(Math.max(chunk.top - at, 0), length);
      if (chunk !== null) into.set(chunk.bytes.subarray(at, at + programmed), done);
      into.fill(0xff, done + programmed, done + length);
      done += length;
      offset += length;
    }
  }

  /**
   * Gives a range's bytes piece by piece without copying, e.g. to hash it. The pieces are valid until the next step.
   * Yields to the event loop between pieces of at most 1 MiB.
   */
  async *pieces(bank: number, address: number, length: number): AsyncGenerator<Uint8Array, void, undefined> {
    const region = this.#require(address, length);
    let offset = address - region.address;
    let sinceYield = 0;
    for (let left = length; left > 0;) {
      const at = offset % region.chunkSize;
      const chunk = this.#chunk(region, bank, Math.floor(offset / region.chunkSize));
      const programmed = chunk === null ? 0 : chunk.top - at;
      const size = Math.min(region.chunkSize - at, left, programmed > 0 ? programmed : blank.length);
      yield chunk !== null && programmed > 0 ? chunk.bytes.subarray(at, at + size) : blank.subarray(0, size);
      left -= size;
      offset += size;
      sinceYield += size;
      if (sinceYield >= 1 << 20) {
        sinceYield = 0;
        await breathe();
      }
    }
  }

  /** Erases every sector that the range touches. Sectors that are blank already are passed over. */
  async erase(bank: number, address: number, length: number): Promise<void> {
    const region = this.#require(address, length);
    const { sectorSize } = region;
    const first = Math.floor((address - region.address) / sectorSize);
    const last = Math.floor((address - region.address + length - 1) / sectorSize);
    let done = this.#clock.now();
    for (let sector = first, since = 0; sector <= last; sector++, since++) {
      if (since % 64 === 63) await breathe();
      const offset = sector * sectorSize;
      if (this.#isBlank(region, bank, offset, sectorSize)) continue;
      if (this.#timed) {
        // From sector to sector without a pause: what a timer is late does not add up.
        done += region.eraseTime;
        const wait = done - this.#clock.now();
        if (wait > 0) await sleep(this.#clock, wait);
      }
      // A sector that loses power while it is erased is left half done.
      const cut = this.#begin();
      this.#eraseCells(region, bank, offset, cut ? Math.ceil(sectorSize / 2) : sectorSize);
      if (cut) this.#fail(`erasing ${region.name} ${hex(region.address + offset, 8)}`);
    }
  }

  /**
   * Programs bytes into erased cells. With times, resolves when the controller can take more; without, returns at once.
   * @throws {FlashFaultError} on cells that are not erased; nothing of that run is programmed then
   */
  program(bank: number, address: number, data: Uint8Array): void | Promise<void> {
    const region = this.#require(address, data.length);
    let offset = address - region.address;
    for (let done = 0; done < data.length;) {
      const at = offset % region.chunkSize;
      const inSector = region.sectorSize - offset % region.sectorSize;
      const length = Math.min(inSector, data.length - done);
      const cut = this.#begin();
      this.#programCells(region, bank, offset, at, data, done, cut ? length >> 1 : length);
      if (cut) this.#fail(`programming ${region.name} ${hex(region.address + offset, 8)}`);
      done += length;
      offset += length;
    }
    if (this.#timed) return this.#work(region.programTime * data.length / 1_024);
  }

  /** Counts the writing of a boot record as an operation. @throws {PowerCutError} before anything is written */
  recordOperation(what: string): void {
    if (this.#begin()) this.#fail(what);
  }

  /** Closes the store's files. */
  close(): void {
    this.#store?.close();
  }

  /** Counts an operation. @returns whether the power fails in it */
  #begin(): boolean {
    if (!this.#powered) throw new PowerCutError("the power is off");
    return this.counting && ++this.operations >= this.#cutAt;
  }

  #fail(what: string): never {
    this.#cutAt = Infinity;
    this.#powered = false;
    this.onPowerCut?.();
    throw new PowerCutError(`the power failed in operation ${this.operations}: ${what}`);
  }

  #work(cost: number): void | Promise<void> {
    const now = this.#clock.now();
    const idle = now - this.#busyUntil;
    this.#busyUntil = (idle <= overlap ? this.#busyUntil : now) + cost;
    const wait = this.#busyUntil - now;
    if (wait > 0) return sleep(this.#clock, wait);
  }

  #programCells(
    region: Region,
    bank: number,
    offset: number,
    at: number,
    data: Uint8Array,
    from: number,
    length: number,
  ): void {
    const index = Math.floor(offset / region.chunkSize);
    let chunk = this.#chunk(region, bank, index);
    if (chunk === null) {
      chunk = { bytes: this.#buffer(region.chunkSize), top: 0 };
      region.banks[bank].set(index, chunk);
    } else if (at < chunk.top) {
      const end = Math.min(at + length, chunk.top);
      for (let cell = at; cell < end; cell++) {
        if (chunk.bytes[cell] !== 0xff) {
          throw new FlashFaultError(
            `programming ${region.name} ${
              hex(region.address + offset + cell - at, 8)
            }: the cell is not erased, ` +
              `it holds ${hex(chunk.bytes[cell], 2)}`,
          );
        }
      }
    }
    // The cells between what was programmed and this run become part of the buffer, blank.
    if (at > chunk.top) chunk.bytes.fill(0xff, chunk.top, at);
    chunk.bytes.set(length === data.length ? data : data.subarray(from, from + length), at);
    const changed = Math.min(at, chunk.top);
    if (at + length > chunk.top) chunk.top = at + length;
    this.#store?.write(chunkKey(region, bank, index), chunk.bytes.subarray(changed, at + length), changed);
  }

  #eraseCells(region: Region, bank: number, offset: number, length: number): void {
    const index = Math.floor(offset / region.chunkSize);
    const chunk = this.#chunk(region, bank, index);
    if (chunk === null) return;
    const at = offset % region.chunkSize;
    if (at >= chunk.top) return;
    const key = chunkKey(region, bank, index);
    if (at + length < chunk.top) {
      chunk.bytes.fill(0xff, at, at + length);
      this.#store?.write(key, chunk.bytes.subarray(at, at + length), at);
      return;
    }
    chunk.top = programmedTop(chunk.bytes.subarray(0, at));
    if (chunk.top > 0) {
      this.#store?.truncate(key, chunk.top);
    } else {
      region.banks[bank].set(index, null);
      this.#store?.remove(key);
      this.#spare.push(chunk.bytes);
    }
  }

  #isBlank(region: Region, bank: number, offset: number, length: number): boolean {
    const chunk = this.#chunk(region, bank, Math.floor(offset / region.chunkSize));
    if (chunk === null) return true;
    const at = offset % region.chunkSize;
    return at >= chunk.top || programmedTop(chunk.bytes.subarray(at, Math.min(at + length, chunk.top))) === 0;
  }

  #chunk(region: Region, bank: number, index: number): Chunk | null {
    const chunks = region.banks[bank];
    let chunk = chunks.get(index);
    if (chunk === undefined) {
      chunk = null;
      if (this.#store !== undefined) {
        const bytes = this.#buffer(region.chunkSize);
        const top = programmedTop(bytes.subarray(0, this.#store.read(chunkKey(region, bank, index), bytes)));
        if (top > 0) chunk = { bytes, top };
        else this.#spare.push(bytes);
      }
      chunks.set(index, chunk);
    }
    return chunk;
  }

  /** A buffer for a chunk. Many are taken from the system at once, which only counts those that are written to. */
  #buffer(size: number): Uint8Array {
    const spare = this.#spare.pop();
    if (spare !== undefined && spare.length >= size) return spare;
    const slab = new Uint8Array(Math.max(size, slabSize - slabSize % size));
    for (let at = slab.length - size; at > 0; at -= size) this.#spare.push(slab.subarray(at, at + size));
    return slab.subarray(0, size);
  }

  #find(address: number, length: number): Region | undefined {
    return this.#regions.find((region) =>
      length > 0 && address >= region.address && address + length <= region.address + region.size
    );
  }

  #require(address: number, length: number): Region {
    const region = this.#find(address, length);
    if (region === undefined) {
      throw new RangeError(
        `flash: expected a range inside a region, got ${length} bytes at ${hex(address, 8)}`,
      );
    }
    return region;
  }
}

/** Lets the event loop run once. Real time, whatever clock rules the ECU. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function chunkKey(region: Region, bank: number, index: number): string {
  const address = (region.address + index * region.chunkSize).toString(16).padStart(8, "0");
  return `${region.name}.${bank}/${address}`;
}

/** One past the last byte that is not FF. */
function programmedTop(bytes: Uint8Array): number {
  let top = bytes.length;
  while (top >= page.length && Buffer.compare(bytes.subarray(top - page.length, top), page) === 0) {
    top -= page.length;
  }
  while (top > 0 && bytes[top - 1] === 0xff) top--;
  return top;
}

function checkRegion(given: FlashRegionOptions): Required<FlashRegionOptions> & { chunkSize: number } {
  const region = { sectorSize: 16_384, eraseTime: 25, programTime: 0.8, ...given };
  const { name, address, size, sectorSize } = region;
  if (!/^[a-z0-9_]+$/.test(name)) {
    throw new RangeError(`flash region name: expected a-z, 0-9 and _, got ${JSON.stringify(name)}`);
  }
  if (!Number.isInteger(sectorSize) || sectorSize < 16) {
    throw new RangeError(`flash region ${name} sectorSize: expected 16 or more, got ${sectorSize}`);
  }
  if (!Number.isInteger(size) || size < sectorSize || size % sectorSize !== 0) {
    throw new RangeError(`flash region ${name} size: expected a multiple of ${sectorSize}, got ${size}`);
  }
  if (!Number.isInteger(address) || address < 0 || address + size > 2 ** 32) {
    throw new RangeError(`flash region ${name} address: expected a region within 32 bits, got ${address}`);
  }
  for (const field of ["eraseTime", "programTime"] as const) {
    if (!(region[field] >= 0 && Number.isFinite(region[field]))) {
      throw new RangeError(`flash region ${name} ${field}: expected 0 ms or more, got ${region[field]}`);
    }
  }
  // No sector straddles two chunks.
  return { ...region, chunkSize: Math.ceil(minChunkSize / sectorSize) * sectorSize };
}
