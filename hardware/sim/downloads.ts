// What comes into a simulated ECU's flash over the bus: one download after another (ISO 14229-1 services 0x34, 0x36, 0x37), as it is
// or compressed, and gone on with after it was cut off. What was downloaded, and what it is good for, the boot loader knows.

import type { CompressionMethod } from "../flash/compression.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal } from "../uds/server_service.ts";
import type { Run } from "./boot_state.ts";
import { FlashFaultError, type FlashMemory } from "./flash_memory.ts";
import { InflateError, Inflater } from "./inflater.ts";

interface Download {
  bank: number;
  start: number;
  /** Bytes of memory that it fills. */
  size: number;
  /** Of them, how many are written. */
  received: number;
  /** Undoes the compression of what comes. */
  inflater: Inflater | undefined;
  /** Counter that the next block must carry. */
  expected: number;
  /** Whether a block came since the download was asked for. */
  taken: boolean;
}

/** The downloads of a programming session. */
export class Downloads {
  readonly #memory: FlashMemory;
  readonly #resumable: boolean;
  #open: Download | undefined;
  #done: Run[] = [];
  /** What a session left behind that ended in the middle of it, while it can be gone on with. */
  #interrupted: { download: Download | undefined; done: Run[] } | undefined;

  /** @param resumable whether a download that was cut off can be gone on with in a later session */
  constructor(memory: FlashMemory, resumable: boolean) {
    this.#memory = memory;
    this.#resumable = resumable;
  }

  /** Whether a download is open. */
  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /** Downloads completed since programming began, ascending. */
  get done(): readonly Run[] {
    return this.#done;
  }

  /** Whether an address lies in what was downloaded. */
  holds(address: number): boolean {
    return this.#done.some((run) => address >= run.address && address < run.address + run.length);
  }

  /** Ends a download under way and forgets what was downloaded before it: the programming session ended. */
  abort(): void {
    // How far a compressed download came, its addresses do not say: it is not gone on with.
    this.#dropCompressed();
    if (this.#resumable && (this.#open !== undefined || this.#done.length > 0)) {
      const download = this.#open;
      const whole = download !== undefined && download.received === download.size;
      if (whole) this.#done.push({ address: download.start, length: download.size });
      this.#interrupted = { download: whole ? undefined : download, done: this.#done };
    }
    this.#open = undefined;
    this.#done = [];
  }

  /** Forgets also what could be gone on with: the power was off. */
  forget(): void {
    this.abort();
    this.#interrupted = undefined;
  }

  /** The memory from `first` up to before `end` is erased: nothing that was downloaded there is there any more. */
  erased(first: number, end: number): void {
    this.#dropCompressed();
    this.#open = undefined;
    this.#done = this.#done.filter((run) => run.address >= end || run.address + run.length <= first);
    this.#interrupted = undefined;
  }

  /**
   * 0x34.
   * @param bank where it goes
   * @param size bytes of memory that are written, whatever comes over the bus
   */
  request(bank: number, address: number, size: number, compression: CompressionMethod): void {
    if (compression === "none" && this.#resumed(address, size)) return;
    this.#open = {
      bank,
      start: address,
      size,
      received: 0,
      inflater: compression === "none" ? undefined : new Inflater(compression, size),
      expected: 1,
      taken: false,
    };
  }

  /** Where a download that was cut off goes on, and the bytes that it lacks. @throws {Refusal} 22 when there is none */
  resumePoint(): { address: number; size: number } {
    const { download, done } = this.#interrupted ?? { download: undefined, done: [] };
    if (download !== undefined) {
      return { address: download.start + download.received, size: download.size - download.received };
    }
    const last = done.at(-1);
    if (last === undefined) throw new Refusal(Nrc.conditionsNotCorrect);
    return { address: last.address + last.length, size: 0 };
  }

  /** 0x36 (15.4.5). @throws {Refusal} 24, 71, 72, 73 */
  transfer(counter: number, data: Uint8Array): void | Promise<void> {
    const download = this.#open;
    if (download === undefined) throw new Refusal(Nrc.requestSequenceError);
    if (counter !== download.expected) {
      // The answer to this block was lost: it is acknowledged again and not written twice.
      if (download.taken && counter === (download.expected + 0xff) % 0x100) return;
      throw new Refusal(Nrc.wrongBlockSequenceCounter);
    }
    if (download.inflater !== undefined) return this.#inflate(download, counter, data);
    if (download.received === download.size) throw new Refusal(Nrc.requestSequenceError);
    if (download.received + data.length > download.size) throw new Refusal(Nrc.transferDataSuspended);
    const programmed = this.#program(download, data);
    download.taken = true;
    download.expected = (counter + 1) % 0x100;
    return programmed;
  }

  /** 0x37 (15.5.5). @throws {Refusal} 24 without a download or before its last byte */
  exit(): void | Promise<void> {
    const download = this.#open;
    if (download?.inflater === undefined) return this.#complete();
    return this.#programPieces(download, download.inflater.end()).then(() => this.#complete());
  }

  /**
   * Everything was there when the session ended: only its check is left.
   * @param staged what was found right in an earlier session
   * @throws {Refusal} 24 when nothing was there
   */
  takeUpWhatIsWhole(staged: readonly Run[]): void {
    if (this.#interrupted?.download === undefined && this.#done.length === 0) {
      this.#done = this.#interrupted?.done ?? staged.map((run) => ({ ...run }));
      this.#interrupted = undefined;
    }
    if (this.#done.length === 0 || this.#open !== undefined) throw new Refusal(Nrc.requestSequenceError);
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
    this.#open = { ...download, expected: 1, taken: false };
    return true;
  }

  #dropCompressed(): void {
    if (this.#open?.inflater === undefined) return;
    this.#open.inflater.close();
    this.#open = undefined;
  }

  async #inflate(download: Download, counter: number, data: Uint8Array): Promise<void> {
    // The block's buffer is the bus's once this function first waits.
    await this.#programPieces(download, download.inflater?.push(data.slice()));
    download.taken = true;
    download.expected = (counter + 1) % 0x100;
  }

  async #programPieces(download: Download, pieces: Promise<Uint8Array[]> | undefined): Promise<void> {
    try {
      for (const piece of await pieces ?? []) await this.#program(download, piece);
    } catch (error) {
      // What cannot be uncompressed, or is longer than was announced.
      if (error instanceof InflateError) throw new Refusal(Nrc.transferDataSuspended);
      throw error;
    }
  }

  #program(download: Download, data: Uint8Array): void | Promise<void> {
    const { bank, start, received } = download;
    try {
      const programmed = this.#memory.program(bank, start + received, data);
      download.received += data.length;
      return programmed;
    } catch (error) {
      if (error instanceof FlashFaultError) throw new Refusal(Nrc.generalProgrammingFailure);
      throw error;
    }
  }

  #complete(): void {
    const download = this.#open;
    if (download === undefined || download.received < download.size) {
      throw new Refusal(Nrc.requestSequenceError);
    }
    download.inflater?.close();
    this.#open = undefined;
    this.#done.push({ address: download.start, length: download.size });
    this.#done.sort((a, b) => a.address - b.address);
  }
}
