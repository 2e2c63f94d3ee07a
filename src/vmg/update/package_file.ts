// A package on the vehicle's disk while it comes: the front is believed once it is verified, every other byte once its block's
// hash is. What an earlier run left is read again and kept as far as its hashes are right, whatever the power did to it.

import { type PackageLimits, partsStart, type ResolvedLimits, resolveLimits } from "../../codec/container.ts";
import { PackageError } from "../../codec/errors.ts";
import { FrontReader } from "../../codec/front.ts";
import { type BlobEntry, verifyManifest } from "../../codec/manifest.ts";
import type { PackageManifest } from "../../contract/package.ts";
import type { VerifyKey } from "../../pqc/signature.ts";
import type { Logger } from "../../log.ts";
import { DownloadError, explain } from "../errors.ts";
import { type ByteRun, PackagePieces, type Piece } from "./package_pieces.ts";

/** Who a package must come from and be for, and what is wanted of it. */
export interface PackageExpectations {
  /** Trusted keys by key id. */
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  vin: string;
  limits: PackageLimits;
  /**
   * Is asked once the manifest is verified, before any blob: which blobs are wanted. What it throws ends the download.
   */
  accept: (manifest: PackageManifest, blobs: readonly BlobEntry[]) => Promise<readonly BlobEntry[]>;
}

/** Options of {@link PackageFile}. */
export interface PackageFileOptions extends PackageExpectations {
  /** Entity tag and length that an earlier run noted. */
  known: { etag: string | null; size: number } | undefined;
  log: Logger;
}

/** Runs of missing bytes with less than this between them are fetched as one. */
const mergedGap = 64 * 1024;
/** Bytes that are read at a time from an earlier run's file. */
const readSize = 256 * 1024;

/** A piece that has begun to come. */
interface Pending {
  readonly piece: Piece;
  readonly bytes: Uint8Array;
  filled: number;
}

/** The file. */
export class PackageFile implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #options: PackageFileOptions;
  readonly #limits: ResolvedLimits;
  #etag: string | null = null;
  #size: number | undefined;
  #front: FrontReader | undefined;
  #pieces: PackagePieces | undefined;
  /** Whether bytes of the front come from an earlier run. */
  #inherited = false;
  #position = 0;
  #pending: Pending | undefined;

  private constructor(path: string, file: Deno.FsFile, options: PackageFileOptions) {
    this.#path = path;
    this.#file = file;
    this.#options = options;
    this.#limits = resolveLimits(options.limits);
  }

  /** Opens the file, and finds out what of it can be used. */
  static async open(path: string, options: PackageFileOptions): Promise<PackageFile> {
    const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
    const opened = new PackageFile(path, file, options);
    try {
      await opened.#recover();
      return opened;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Strong entity tag of what is here. */
  get etag(): string | null {
    return this.#etag;
  }

  /** Bytes of the whole package, once they are known. */
  get size(): number | undefined {
    return this.#size;
  }

  /** Bytes that are here and will not be asked for again. */
  get done(): number {
    return (this.#front?.length ?? 0) + (this.#pieces?.done ?? 0) + (this.#pending?.filled ?? 0);
  }

  /** Bytes that are wanted, as far as it is known. */
  get total(): number | undefined {
    return this.#pieces === undefined || this.#front === undefined
      ? this.#size
      : this.#front.length + this.#pieces.total;
  }

  /** Whether the manifest is here and verified: every other byte is checked against it. */
  get isVerified(): boolean {
    return this.#pieces !== undefined;
  }

  /** Whether bytes of the front come from an earlier run: one that is refused is worth another try then. */
  get inherited(): boolean {
    return this.#inherited;
  }

  /** Whether all that is wanted is here. */
  get isWhole(): boolean {
    return this.#pieces?.isWhole ?? false;
  }

  /** Where the next bytes belong. */
  get position(): number {
    return this.#position;
  }

  /** What to ask for next; `last` undefined: to the end. */
  get wanted(): { first: number; last: number | undefined } {
    if (this.#pieces === undefined) return { first: this.#front?.length ?? 0, last: undefined };
    const run: ByteRun = this.#pieces.missing(mergedGap) ??
      { first: this.#size ?? 0, last: (this.#size ?? 0) - 1 };
    const { piece, filled = 0 } = this.#pending ?? {};
    return piece?.start === run.first ? { first: run.first + filled, last: run.last } : run;
  }

  /** Bytes from here to the next that is wanted; undefined: none is. */
  get distance(): number | undefined {
    if (this.#pieces === undefined) return 0;
    if (this.#pending !== undefined) return 0;
    const next = this.#pieces.next(this.#position);
    return next && Math.max(0, next.start - this.#position);
  }

  /** Forgets all that is here. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#size = undefined;
    this.#etag = null;
    this.#front = undefined;
    this.#pieces = undefined;
    this.#pending = undefined;
    this.#inherited = false;
    this.#position = 0;
  }

  /** Begins a package of which nothing is here. */
  begin(etag: string | null, size: number): void {
    this.#etag = etag;
    this.#size = size;
    this.#front = new FrontReader(size, this.#limits);
    this.#position = 0;
  }

  /** Says where the next bytes belong. */
  seek(position: number): void {
    this.#position = position;
  }

  /**
   * Takes bytes that belong at `position`.
   * @throws {PackageError} when the front, or a piece time and again, is not what was signed; {DownloadError} for the disk; what
   * `accept` throws
   */
  async push(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    if (this.#pieces === undefined) rest = await this.#pushFront(bytes);
    if (this.#pieces === undefined) return;
    while (rest.length > 0) rest = rest.subarray(await this.#pushPiece(rest, this.#pieces));
  }

  /** Makes it a file of the package's size, on disk, under another name. */
  async finish(path: string): Promise<void> {
    await this.#file.truncate(this.#size);
    await this.#file.sync();
    await Deno.rename(this.#path, path);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }

  async #pushFront(bytes: Uint8Array): Promise<Uint8Array> {
    const front = this.#front;
    if (front === undefined) throw new TypeError("the package was not begun");
    // What is sent once more from the first byte on is here already.
    const known = Math.min(bytes.length, front.length - this.#position);
    const at = front.length;
    const taken = front.push(bytes.subarray(known));
    await this.#write(at, bytes.subarray(known, known + taken));
    this.#position += known + taken;
    if (front.front !== undefined) {
      // On disk before what it speaks for.
      await this.#file.sync();
      await this.#open(front);
    }
    return bytes.subarray(known + taken);
  }

  async #open(reader: FrontReader): Promise<void> {
    const { front } = reader;
    if (front === undefined || this.#size === undefined) return;
    const { verifyKeys, vin, accept } = this.#options;
    const start = partsStart(front.header);
    const { manifest, blobs } = await verifyManifest(front.manifestBytes, front.signature, {
      verifyKeys,
      expectVehicle: vin,
      partBytes: this.#size - start,
      limits: this.#limits,
    });
    this.#pieces = new PackagePieces(await accept(manifest, blobs), start, manifest.block_size);
  }

  /** Takes what belongs to one piece, or to none. @returns how many bytes that were */
  async #pushPiece(bytes: Uint8Array, pieces: PackagePieces): Promise<number> {
    const { piece, filled = 0 } = this.#pending ?? {};
    if (piece === undefined || piece.start + filled !== this.#position) {
      const next = pieces.next(this.#position);
      if (next === undefined || next.start > this.#position) {
        return this.#skip(Math.min(bytes.length, (next?.start ?? Infinity) - this.#position));
      }
      if (next.start < this.#position) {
        return this.#skip(Math.min(bytes.length, next.start + next.length - this.#position));
      }
      this.#pending = { piece: next, bytes: new Uint8Array(next.length), filled: 0 };
    }
    const pending = this.#pending;
    if (pending === undefined) return 0;
    const part = bytes.subarray(0, pending.piece.length - pending.filled);
    pending.bytes.set(part, pending.filled);
    pending.filled += part.length;
    this.#position += part.length;
    if (pending.filled === pending.piece.length) {
      this.#pending = undefined;
      if (pieces.take(pending.piece, pending.bytes)) await this.#write(pending.piece.start, pending.bytes);
      else {
        this.#options.log.warn(`${pieces.describe(pending.piece)} came corrupted and is fetched again`);
        pieces.refuse(pending.piece);
      }
    }
    return part.length;
  }

  #skip(length: number): number {
    this.#position += length;
    return length;
  }

  /** What an earlier run left. */
  async #recover(): Promise<void> {
    const { known, log } = this.#options;
    const { size: length } = await this.#file.stat();
    // Without the length that belongs to it, or longer than that, it is of no use.
    if (known === undefined || length > known.size || length === 0) {
      await this.restart();
      return;
    }
    this.begin(known.etag, known.size);
    try {
      const front = new FrontReader(known.size, this.#limits);
      for (let at = 0; at < length && front.front === undefined;) {
        const bytes = await this.#read(at, Math.min(readSize, length - at));
        front.push(bytes);
        at += bytes.length;
      }
      this.#front = front;
      this.#inherited = true;
      await this.#open(front);
    } catch (error) {
      if (!(error instanceof PackageError)) throw error;
      log.warn(`What an earlier run fetched of the package is of no use: ${explain(error)}`);
      await this.restart();
      return;
    }
    if (this.#pieces === undefined) return;
    for (const piece of this.#pieces.all()) {
      if (piece.start + piece.length > length) continue;
      if (this.#pieces.isMissing(piece)) {
        this.#pieces.take(piece, await this.#read(piece.start, piece.length));
      }
    }
  }

  async #read(at: number, length: number): Promise<Uint8Array> {
    await this.#file.seek(at, Deno.SeekMode.Start);
    const bytes = new Uint8Array(length);
    for (let filled = 0; filled < length;) {
      const got = await this.#file.read(bytes.subarray(filled));
      if (got === null) {
        throw new DownloadError(`${this.#path}: expected ${length} bytes at ${at}, got ${filled}`);
      }
      filled += got;
    }
    return bytes;
  }

  async #write(at: number, bytes: Uint8Array): Promise<void> {
    try {
      await this.#file.seek(at, Deno.SeekMode.Start);
      for (let done = 0; done < bytes.length;) done += await this.#file.write(bytes.subarray(done));
    } catch (cause) {
      throw new DownloadError(`cannot write ${this.#path}: ${explain(cause)}`, { cause });
    }
  }
}
