// Boot loader of a simulated ECU: boots the application only if it is whole, and takes a new one in.
//
// A commit record says which segments make up an application, their SHA-256 and in which bank of each region they
// lie. It is written in one piece when the new software is accepted (routine FF01), and acted on at the next start.
// With two banks the inactive copy of a region is written, and what runs stays whole until that record is there;
// with one bank the record of what ran is struck out before the first sector is erased.
import { createHash } from "node:crypto";
import type { FlashMemory, FlashRegion } from "./flash_memory.ts";
import { FlashFaultError } from "./flash_memory.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal } from "../uds/server_service.ts";
import { readState, writeState } from "./state_file.ts";

/** A run of bytes in the CPU's address space. */
interface Run {
  address: number;
  length: number;
}

/** An application in flash. */
export interface CommitRecord {
  readonly version: string;
  readonly segments: readonly Run[];
  /** Of the segments' bytes one after another, hexadecimal. */
  readonly sha256: string;
  /** Bank of each region that is not in bank 0. */
  readonly banks: Readonly<Record<string, number>>;
}

interface BootState {
  /** What ran last. */
  running?: CommitRecord;
  /** What is to run from the next start on. */
  next?: CommitRecord;
}

interface Download {
  bank: number;
  start: number;
  size: number;
  received: number;
  /** Counter that the next block must carry. */
  expected: number;
  /** Whether a block came since the download was asked for. */
  taken: boolean;
}

/** Boot loader over one flash memory. */
export class BootLoader {
  readonly #memory: FlashMemory;
  readonly #path: string | undefined;
  readonly #resumable: boolean;
  #isNew: boolean;
  #state: BootState = {};
  #application: CommitRecord | undefined;
  #download: Download | undefined;
  /** Downloads completed since programming began, ascending. */
  #done: Run[] = [];
  /** What a session left behind that ended in the middle of it, while it can be gone on with. */
  #interrupted: { download: Download | undefined; done: Run[] } | undefined;
  #check: { sha256: string; passed: boolean } | undefined;

  /**
   * @param path file of the commit records. undefined: they last as long as this object
   * @param resumable whether a download that was cut off can be gone on with in a later session
   * @throws {SyntaxError} when the file is not what this class writes
   */
  constructor(memory: FlashMemory, path?: string, resumable = false) {
    this.#resumable = resumable;
    this.#memory = memory;
    this.#path = path;
    const kept = path === undefined ? undefined : readState(path);
    this.#isNew = kept === undefined;
    if (path !== undefined && kept !== undefined) this.#state = bootState(kept, path);
  }

  /** Whether the ECU comes fresh from the factory: nothing was ever installed, committed or struck out. */
  get isNew(): boolean {
    return this.#isNew;
  }

  /** The application that runs; undefined when there is no whole one. */
  get application(): CommitRecord | undefined {
    return this.#application;
  }

  /** Whether a download is open. */
  get downloading(): boolean {
    return this.#download !== undefined;
  }

  /** Bank that the CPU sees for a region. */
  activeBank(region: FlashRegion): number {
    return (this.#application ?? this.#state.running)?.banks[region.name] ?? 0;
  }

  /** Sets what the ECU leaves the factory with. */
  async install(version: string, address: number, image: Uint8Array): Promise<void> {
    await this.#memory.erase(0, address, image.length);
    await this.#memory.program(0, address, image);
    const sha256 = createHash("sha256").update(image).digest("hex");
    this.#save({ running: { version, segments: [{ address, length: image.length }], sha256, banks: {} } });
  }

  /** What happens at power-on: the new application if it is whole, else the one that ran, else none. */
  async boot(): Promise<void> {
    this.abort();
    this.#interrupted = undefined;
    this.#application = undefined;
    const { running, next } = this.#state;
    if (next !== undefined) {
      if (await this.#isWhole(next)) {
        this.#record("taking the new application over", { running: next });
        this.#application = next;
        return;
      }
      this.#record("dropping a new application that is not whole", running === undefined ? {} : { running });
    }
    if (running !== undefined && await this.#isWhole(running)) this.#application = running;
  }

  /** Ends a download under way and forgets what was downloaded before it: the programming session ended. */
  abort(): void {
    if (this.#resumable && (this.#download !== undefined || this.#done.length > 0)) {
      const download = this.#download;
      const whole = download !== undefined && download.received === download.size;
      if (whole) this.#done.push({ address: download.start, length: download.size });
      this.#interrupted = { download: whole ? undefined : download, done: this.#done };
    }
    this.#download = undefined;
    this.#done = [];
    this.#check = undefined;
  }

  /** Erases the sectors of a range. @throws {Refusal} 31 outside the flash, 72 when the flash fails */
  async erase(address: number, size: number): Promise<void> {
    const region = this.#memory.regionOf(address, size);
    if (region === undefined) throw new Refusal(Nrc.requestOutOfRange);
    // Before the first cell changes, what would boot from it must not be believed any more.
    if (this.#memory.banks === 1) {
      if (this.#state.running !== undefined || this.#state.next !== undefined) {
        this.#record("striking out the application", {});
        this.#application = undefined;
      }
    } else if (this.#state.next !== undefined) {
      this.#record("striking out the new application", { running: this.#state.running });
    }
    const { sectorSize } = region;
    const first = address - (address - region.address) % sectorSize;
    const end = region.address + Math.ceil((address + size - region.address) / sectorSize) * sectorSize;
    this.#download = undefined;
    this.#done = this.#done.filter((run) => run.address >= end || run.address + run.length <= first);
    this.#check = undefined;
    this.#interrupted = undefined;
    await this.#memory.erase(this.#targetBank(region), address, size);
  }

  /** 0x34. @throws {Refusal} 22 while a download is under way, 31 outside the flash */
  requestDownload(address: number, size: number): void {
    if (this.#download !== undefined) throw new Refusal(Nrc.conditionsNotCorrect);
    const region = this.#memory.regionOf(address, size);
    if (region === undefined) throw new Refusal(Nrc.requestOutOfRange);
    if (this.#resumed(address, size)) return;
    this.#download = {
      bank: this.#targetBank(region),
      start: address,
      size,
      received: 0,
      expected: 1,
      taken: false,
    };
    this.#check = undefined;
  }

  /** Where a download that was cut off goes on. @throws {Refusal} 22 when there is none */
  resumeRecord(): Uint8Array {
    const { download, done } = this.#interrupted ?? { download: undefined, done: [] };
    const last = done.at(-1);
    const record = new DataView(new ArrayBuffer(8));
    if (download !== undefined) {
      record.setUint32(0, download.start + download.received);
      record.setUint32(4, download.size - download.received);
    } else if (last !== undefined) {
      record.setUint32(0, last.address + last.length);
    } else throw new Refusal(Nrc.conditionsNotCorrect);
    return new Uint8Array(record.buffer);
  }

  /** Takes up what an earlier session left, if this is the next piece of it. @returns whether it is the cut-off one */
  #resumed(address: number, size: number): boolean {
    if (this.#interrupted === undefined) return false;
    const { download, done } = this.#interrupted;
    this.#interrupted = undefined;
    if (download === undefined) {
      this.#done = done;
      return false;
    }
    if (address !== download.start + download.received || size !== download.size - download.received) {
      return false;
    }
    this.#done = done;
    this.#download = { ...download, expected: 1, taken: false };
    this.#check = undefined;
    return true;
  }

  /** 0x36 (15.4.5). @throws {Refusal} 24, 71, 72, 73 */
  transferData(counter: number, data: Uint8Array): void | Promise<void> {
    const download = this.#download;
    if (download === undefined) throw new Refusal(Nrc.requestSequenceError);
    if (counter !== download.expected) {
      // The answer to this block was lost: it is acknowledged again and not written twice.
      if (download.taken && counter === (download.expected + 0xff) % 0x100) return;
      throw new Refusal(Nrc.wrongBlockSequenceCounter);
    }
    if (download.received === download.size) throw new Refusal(Nrc.requestSequenceError);
    if (download.received + data.length > download.size) throw new Refusal(Nrc.transferDataSuspended);
    let programmed: void | Promise<void>;
    try {
      programmed = this.#memory.program(download.bank, download.start + download.received, data);
    } catch (error) {
      if (error instanceof FlashFaultError) throw new Refusal(Nrc.generalProgrammingFailure);
      throw error;
    }
    download.received += data.length;
    download.taken = true;
    download.expected = (counter + 1) % 0x100;
    return programmed;
  }

  /** 0x37 (15.5.5). @throws {Refusal} 24 without a download or before its last byte */
  requestTransferExit(): void {
    const download = this.#download;
    if (download === undefined || download.received < download.size) {
      throw new Refusal(Nrc.requestSequenceError);
    }
    this.#download = undefined;
    this.#done.push({ address: download.start, length: download.size });
    this.#done.sort((a, b) => a.address - b.address);
  }

  /** Routine 0202: whether what was downloaded has this hash. @throws {Refusal} 24 when nothing was downloaded */
  async checkMemory(sha256: string): Promise<boolean> {
    const found = await this.#hashOfDownloads();
    this.#check = { sha256: found, passed: found === sha256 };
    return this.#check.passed;
  }

  /**
   * Routine FF01: writes the commit record of what was downloaded.
   * @returns false when a memory check before it failed
   * @throws {Refusal} 24 when nothing was downloaded
   */
  async commit(version: string): Promise<boolean> {
    const sha256 = this.#check?.sha256 ?? await this.#hashOfDownloads();
    if (this.#check?.passed === false) return false;
    const banks = { ...(this.#application ?? this.#state.running)?.banks };
    for (const { address, length } of this.#done) {
      const region = this.#memory.regionOf(address, length);
      if (region !== undefined) banks[region.name] = this.#targetBank(region);
    }
    const next = { version, segments: this.#done.map((run) => ({ ...run })), sha256, banks };
    this.#record("committing the new application", { ...this.#state, next });
    return true;
  }

  #hashOfDownloads(): Promise<string> {
    // Everything was there when the session ended: only its check is left.
    if (this.#interrupted?.download === undefined && this.#done.length === 0) {
      this.#done = this.#interrupted?.done ?? [];
      this.#interrupted = undefined;
    }
    if (this.#done.length === 0 || this.#download !== undefined) throw new Refusal(Nrc.requestSequenceError);
    return this.#hash(this.#done, (region) => this.#targetBank(region));
  }

  #targetBank(region: FlashRegion): number {
    return this.#memory.banks === 1 ? 0 : 1 - this.activeBank(region);
  }

  async #isWhole(record: CommitRecord): Promise<boolean> {
    return await this.#hash(record.segments, (region) => record.banks[region.name] ?? 0) === record.sha256;
  }

  async #hash(runs: readonly Run[], bankOf: (region: FlashRegion) => number): Promise<string> {
    const hash = createHash("sha256");
    for (const { address, length } of runs) {
      const region = this.#memory.regionOf(address, length);
      // A record from a bench whose memory was laid out differently is not whole here.
      if (region === undefined) return "";
      for await (const piece of this.#memory.pieces(bankOf(region), address, length)) hash.update(piece);
    }
    return hash.digest("hex");
  }

  #record(what: string, state: BootState): void {
    this.#memory.recordOperation(what);
    this.#save(state);
  }

  #save(state: BootState): void {
    if (this.#path !== undefined) writeState(this.#path, state);
    this.#state = state;
    this.#isNew = false;
  }
}

function bootState(value: unknown, path: string): BootState {
  if (typeof value !== "object" || value === null) throw wrong(path, "an object");
  const state: BootState = {};
  if ("running" in value && value.running !== undefined) state.running = commitRecord(value.running, path);
  if ("next" in value && value.next !== undefined) state.next = commitRecord(value.next, path);
  return state;
}

function commitRecord(value: unknown, path: string): CommitRecord {
  if (
    typeof value !== "object" || value === null || !("version" in value) || !("segments" in value) ||
    !("sha256" in value) || !("banks" in value)
  ) throw wrong(path, "a commit record with version, segments, sha256 and banks");
  const { version, segments, sha256, banks } = value;
  if (typeof version !== "string" || typeof sha256 !== "string") {
    throw wrong(path, "version and sha256 as text");
  }
  if (!Array.isArray(segments)) throw wrong(path, "segments as a list");
  if (typeof banks !== "object" || banks === null) throw wrong(path, "banks as an object");
  const runs = segments.map((segment: unknown) => {
    if (
      typeof segment !== "object" || segment === null || !("address" in segment) || !("length" in segment) ||
      typeof segment.address !== "number" || typeof segment.length !== "number"
    ) throw wrong(path, "segments with address and length");
    return { address: segment.address, length: segment.length };
  });
  const bankOf: Record<string, number> = {};
  for (const [name, bank] of Object.entries(banks)) {
    if (bank !== 0 && bank !== 1) throw wrong(path, "banks 0 or 1");
    bankOf[name] = bank;
  }
  return { version, segments: runs, sha256, banks: bankOf };
}

function wrong(path: string, expected: string): SyntaxError {
  return new SyntaxError(`${path}: expected ${expected}`);
}
