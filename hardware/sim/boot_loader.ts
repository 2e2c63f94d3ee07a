// Boot loader of a simulated ECU: boots the application only if it is whole, and takes a new one in.
//
// A commit record says which segments make up an application, their SHA-256 and in which bank of each region they
// lie. It is written in one piece when the new software is accepted (routine FF01), and acted on at the next start.
// With two banks the inactive copy of a region is written, and what runs stays whole until that record is there;
// with one bank the record of what ran is struck out before the first sector is erased.
//
// What was downloaded and checked is on record as staged, so that a later session can have it accepted. Announced before by
// the routine that activates, it runs on trial: the next start goes back to what ran before, unless it was confirmed.
// What ran before is kept until it is given up, which raises the release counter, or its bank is erased.
import { createHash } from "node:crypto";
import type { CompressionMethod } from "../flash/compression.ts";
import type { CheckMethod } from "../flash/memory_check.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal } from "../uds/server_service.ts";
import {
  type BootState,
  type CommitRecord,
  readBootState,
  type Run,
  type StagedRecord,
} from "./boot_state.ts";
import { Downloads } from "./downloads.ts";
import { flashDigest, flashHash, labelledVersion } from "./flash_digest.ts";
import type { FlashMemory, FlashRegion } from "./flash_memory.ts";
import { writeState } from "./state_file.ts";

/** Boot loader over one flash memory. */
export class BootLoader {
  readonly #memory: FlashMemory;
  readonly #path: string | undefined;
  readonly #downloads: Downloads;
  #isNew: boolean;
  #state: BootState = {};
  #application: CommitRecord | undefined;
  /** What the checks of the downloads came to: whether one failed, and which of the downloads were held against it. */
  #check: { passed: boolean; covered: Set<Run>; sha256?: string } | undefined;
  /** Codes of checks that new software failed since other software was taken for good, or the power was off: for reports. */
  readonly attacks = new Set<"image_hash" | "match_release_counter">();

  /**
   * @param path file of the commit records. undefined: they last as long as this object
   * @param resumable whether a download that was cut off can be gone on with in a later session
   * @throws {SyntaxError} when the file is not what this class writes
   */
  constructor(memory: FlashMemory, path?: string, resumable = false) {
    this.#memory = memory;
    this.#downloads = new Downloads(memory, resumable);
    this.#path = path;
    const kept = path === undefined ? undefined : readBootState(path);
    this.#isNew = kept === undefined;
    if (kept !== undefined) this.#state = kept;
  }

  /** Whether the ECU comes fresh from the factory: nothing was ever installed, committed or struck out. */
  get isNew(): boolean {
    return this.#isNew;
  }

  /** The application that runs; undefined when there is no whole one. */
  get application(): CommitRecord | undefined {
    return this.#application;
  }

  /** The application that runs, with length and SHA-256 (hexadecimal) of what the flash holds where it lies. */
  async installed(): Promise<{ version: string; length: number; sha256: string } | undefined> {
    const running = this.#application;
    if (running === undefined) return undefined;
    const { version, segments, banks } = running;
    return {
      version,
      length: segments.reduce((sum, { length }) => sum + length, 0),
      sha256: await flashHash(this.#memory, segments, (region) => banks[region.name] ?? 0),
    };
  }

  /** Whether a download is open. */
  get downloading(): boolean {
    return this.#downloads.isOpen;
  }

  /** Whether something was downloaded, no download is open and no check found it wrong. */
  get complete(): boolean {
    const { isOpen, done } = this.#downloads;
    return !isOpen && done.length > 0 && this.#check?.passed !== false;
  }

  /** Whether everything that was downloaded, and there is something, was found right. */
  get checked(): boolean {
    const { done } = this.#downloads;
    return this.#check?.passed === true && done.length > 0 &&
      done.every((run) => this.#check?.covered.has(run));
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
    this.#save({
      running: { version, segments: [{ address, length: image.length }], sha256, banks: {} },
    });
  }

  /** What happens at power-on: the new application if it is whole, else the one that ran, else none. */
  async boot(): Promise<void> {
    this.#downloads.forget();
    this.#check = undefined;
    this.#application = undefined;
    const { next, ...rest } = this.#state;
    if (next !== undefined) {
      if (await this.#isWhole(next)) {
        const back = rest.previous !== undefined && sameImage(next, rest.previous);
        const previous = this.#memory.banks === 2 && !back ? rest.running : undefined;
        this.#record("taking the new application over", { ...rest, running: next, previous });
        this.#application = next;
        return;
      }
      this.#record("dropping a new application that is not whole", rest);
    }
    const { running, previous } = this.#state;
    if (running?.trial === true && previous !== undefined && await this.#isWhole(previous)) {
      const { version: _, ...staged } = running;
      // What was on trial stays where it is and can be accepted once more.
      this.#record("going back to what ran before the trial", {
        ...rest,
        running: previous,
        previous: undefined,
        staged,
      });
      this.#application = previous;
      return;
    }
    if (running !== undefined && await this.#isWhole(running)) this.#application = running;
  }

  /** Whether the application runs on trial. */
  get onTrial(): boolean {
    return this.#application?.trial === true;
  }

  /** Release counter: what is below it is refused. */
  get release(): number {
    return this.#state.release ?? 0;
  }

  /**
   * Announces what was downloaded and checked as software on trial, where there are two banks.
   * @param release its release counter; undefined: it does not say
   * @throws {Refusal} 24 when nothing was checked, 31 for a release below the ECU's
   */
  activate(release?: number): void {
    const { staged } = this.#state;
    if (this.#downloads.isOpen || staged === undefined) throw new Refusal(Nrc.requestSequenceError);
    if (release !== undefined && release < this.release) {
      this.attacks.add("match_release_counter");
      throw new Refusal(Nrc.requestOutOfRange);
    }
    const { segments, sha256, banks } = staged;
    this.#record("announcing the staged application", {
      ...this.#state,
      staged: {
        segments,
        sha256,
        banks,
        ...this.#memory.banks === 2 ? { trial: true } : {},
        ...release === undefined ? {} : { release },
      },
    });
  }

  /** Ends the trial. Nothing happens where nothing is on trial. @throws {Refusal} 22 without an application */
  confirm(): void {
    const { running } = this.#state;
    if (this.#application === undefined || running === undefined) throw new Refusal(Nrc.conditionsNotCorrect);
    if (running.trial !== true) return;
    const { trial: _, ...confirmed } = running;
    this.#record("confirming the application", { ...this.#state, running: confirmed });
    this.#application = confirmed;
  }

  /**
   * Has what ran before run from the next start on; drops what was to run next. Without both, nothing happens.
   * @throws {Refusal} 31 when the ECU's release counter is above that of what ran before
   */
  rollBack(): void {
    const { next, staged: _, ...rest } = this.#state;
    const { previous } = rest;
    if (next !== undefined && (previous === undefined || !sameImage(next, previous))) {
      this.#record("dropping the new application", rest);
      return;
    }
    if (previous === undefined || next !== undefined) return;
    if ((previous.release ?? this.release) < this.release) throw new Refusal(Nrc.requestOutOfRange);
    this.#record("going back to the old application", { ...rest, next: previous });
  }

  /** Gives up what ran before, and raises the release counter. @throws {Refusal} 22 on trial or before the next start */
  giveUpOld(): void {
    const { running, next } = this.#state;
    if (
      this.#application === undefined || running === undefined || running.trial === true || next !== undefined
    ) {
      throw new Refusal(Nrc.conditionsNotCorrect);
    }
    const release = Math.max(this.release, running.release ?? 0);
    if (this.#state.previous === undefined && release === this.release) return;
    this.#record("giving the old application up", { running, release });
    this.attacks.clear();
  }

  /** Ends a download under way and forgets what was downloaded before it: the programming session ended. */
  abort(): void {
    this.#downloads.abort();
    this.#check = undefined;
  }

  /** Erases all of the flash. @throws {Refusal} 72 when the flash fails */
  async eraseAll(): Promise<void> {
    for (const { address, size } of this.#memory.regions) await this.erase(address, size);
  }

  /** Erases the sectors of a range. @throws {Refusal} 31 outside the flash, 72 when the flash fails */
  async erase(address: number, size: number): Promise<void> {
    const region = this.#memory.regionOf(address, size);
    if (region === undefined) throw new Refusal(Nrc.requestOutOfRange);
    // Before the first cell changes, what would boot from it must not be believed any more.
    const { running, next, previous, staged, release } = this.#state;
    if (this.#memory.banks === 1) {
      if (running !== undefined || next !== undefined || staged !== undefined) {
        this.#record("striking out the application", { release });
        this.#application = undefined;
      }
    } else {
      // The other bank holds what would be gone back to.
      if (running?.trial === true) throw new Refusal(Nrc.conditionsNotCorrect);
      if (next !== undefined || previous !== undefined || staged !== undefined) {
        this.#record("striking out what the other bank holds", { running, release });
      }
    }
    const { sectorSize } = region;
    const first = address - (address - region.address) % sectorSize;
    const end = region.address + Math.ceil((address + size - region.address) / sectorSize) * sectorSize;
    this.#downloads.erased(first, end);
    this.#check = undefined;
    await this.#memory.erase(this.#targetBank(region), address, size);
  }

  /**
   * 0x34.
   * @param size bytes of memory that are written, whatever comes over the bus
   * @throws {Refusal} 22 while a download is under way, 31 outside the flash
   */
  requestDownload(address: number, size: number, compression: CompressionMethod = "none"): void {
    if (this.#downloads.isOpen) throw new Refusal(Nrc.conditionsNotCorrect);
    const region = this.#memory.regionOf(address, size);
    if (region === undefined) throw new Refusal(Nrc.requestOutOfRange);
    this.#downloads.request(this.#targetBank(region), address, size, compression);
    this.#check = undefined;
  }

  /** Where a download that was cut off goes on, and the bytes that it lacks. @throws {Refusal} 22 when there is none */
  resumePoint(): { address: number; size: number } {
    return this.#downloads.resumePoint();
  }

  /** 0x36 (15.4.5). @throws {Refusal} 24, 71, 72, 73 */
  transferData(counter: number, data: Uint8Array): void | Promise<void> {
    return this.#downloads.transfer(counter, data);
  }

  /** 0x37 (15.5.5). @throws {Refusal} 24 without a download or before its last byte */
  requestTransferExit(): void | Promise<void> {
    return this.#downloads.exit();
  }

  /**
   * Whether what was downloaded has this checksum.
   * @param of one download alone. undefined: all of them, one after another
   * @throws {Refusal} 24 when nothing was downloaded, 31 for a range that is no download
   */
  async checkMemory(value: Uint8Array, method: CheckMethod, of?: Run): Promise<boolean> {
    const done = this.#whole();
    const runs = of === undefined
      ? done
      : done.filter(({ address, length }) => address === of.address && length === of.length);
    if (runs.length === 0) throw new Refusal(Nrc.requestOutOfRange);
    // With `none` the image carries the value itself; where, only its maker knows, and here it is taken as right.
    const found = method === "none" ? value : await flashDigest(this.#memory, runs, this.#targetBank, method);
    const right = found.length === value.length && found.every((byte, at) => byte === value[at]);
    if (of === undefined || this.#check === undefined) this.#check = { passed: true, covered: new Set() };
    if (!right) {
      this.#check.passed = false;
      this.attacks.add("image_hash");
    }
    if (of === undefined && method === "sha256") this.#check.sha256 = found.toHex();
    for (const run of runs) this.#check.covered.add(run);
    if (this.checked) await this.#stage();
    return right;
  }

  /** Whether an address lies in what was downloaded. */
  holds(address: number): boolean {
    return this.#downloads.holds(address);
  }

  /** Puts what was found right on record. Once more for the same is no operation. */
  async #stage(): Promise<void> {
    const { done } = this.#downloads;
    const sha256 = this.#check?.sha256 ?? await flashHash(this.#memory, done, this.#targetBank);
    if (this.#state.staged?.sha256 === sha256) return;
    const staged: StagedRecord = {
      segments: done.map((run) => ({ ...run })),
      sha256,
      banks: this.#banksOf(done),
    };
    this.#record("staging the new application", { ...this.#state, staged });
  }

  /** Banks of an application that consists of these runs. */
  #banksOf(runs: readonly Run[]): Record<string, number> {
    const banks = { ...(this.#application ?? this.#state.running)?.banks };
    for (const { address, length } of runs) {
      const region = this.#memory.regionOf(address, length);
      if (region !== undefined) banks[region.name] = this.#targetBank(region);
    }
    return banks;
  }

  /**
   * Writes the commit record of what was downloaded.
   * @param version undefined: what the image says of itself in its first bytes, as factory images do
   * @returns false when a memory check before it failed, or the image does not tell its version
   * @throws {Refusal} 24 when nothing was downloaded
   */
  async commit(version?: string): Promise<boolean> {
    const done = this.#whole();
    if (this.#check?.passed === false) return false;
    const named = version ?? await labelledVersion(this.#memory, done[0], this.#targetBank);
    if (named === undefined) return false;
    const sha256 = this.#check?.sha256 ?? await flashHash(this.#memory, done, this.#targetBank);
    const { staged, ...rest } = this.#state;
    const { trial, release } = staged?.sha256 === sha256 ? staged : {};
    const next: CommitRecord = {
      version: named,
      segments: done.map((run) => ({ ...run })),
      sha256,
      banks: this.#banksOf(done),
      // Without what it could go back to, there is no trial.
      ...trial === true && rest.running !== undefined ? { trial } : {},
      ...release === undefined ? {} : { release },
    };
    this.#record("committing the new application", { ...rest, next });
    return true;
  }

  /** What was downloaded, also in a session that ended before it was checked. @throws {Refusal} 24 when nothing was */
  #whole(): readonly Run[] {
    this.#downloads.takeUpWhatIsWhole(this.#state.staged?.segments ?? []);
    return this.#downloads.done;
  }

  /** The bank that new software goes to. */
  readonly #targetBank = (region: FlashRegion): number =>
    this.#memory.banks === 1 ? 0 : 1 - this.activeBank(region);

  async #isWhole(record: CommitRecord): Promise<boolean> {
    const { segments, banks, sha256 } = record;
    return await flashHash(this.#memory, segments, (region) => banks[region.name] ?? 0) === sha256;
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

function sameImage(a: StagedRecord, b: StagedRecord): boolean {
  return a.sha256 === b.sha256 &&
    Object.entries(a.banks).every(([region, bank]) => (b.banks[region] ?? 0) === bank) &&
    Object.entries(b.banks).every(([region, bank]) => (a.banks[region] ?? 0) === bank);
}
