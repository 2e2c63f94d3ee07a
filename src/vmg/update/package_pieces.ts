// Which bytes of a package are wanted, which of them are there and found good, and what is to be asked for next. A piece is what
// one hash speaks for: a block table, or a block.

import { blockCount, checkTable, hashSize, isBlock } from "../../codec/blocks.ts";
import { PackageContentError } from "../../codec/errors.ts";
import type { BlobEntry } from "../../codec/manifest.ts";

/** Times that a piece may come and be wrong. */
const maxTries = 3;

/** A run of bytes of the file; `last` is part of it. */
export interface ByteRun {
  readonly first: number;
  readonly last: number;
}

/** A table (`block` -1) or a block. */
export interface Piece {
  readonly blob: number;
  readonly block: number;
  /** First byte in the file. */
  readonly start: number;
  /** Bytes. */
  readonly length: number;
}

interface WantedBlob {
  readonly entry: BlobEntry;
  table: Uint8Array | undefined;
  readonly good: Uint8Array;
}

/** The pieces of the blobs that are wanted. */
export class PackagePieces {
  readonly #blobs: WantedBlob[];
  readonly #start: number;
  readonly #blockSize: number;
  readonly #tries = new Map<number, number>();
  /** Bytes of all pieces. */
  readonly total: number;
  #done = 0;

  /**
   * @param wanted in the order in which they lie
   * @param start first byte behind the signature
   */
  constructor(wanted: readonly BlobEntry[], start: number, blockSize: number) {
    this.#blobs = wanted.map((entry) => ({
      entry,
      table: undefined,
      good: new Uint8Array(blockCount(entry.blob.length, blockSize)),
    }));
    this.#start = start;
    this.#blockSize = blockSize;
    this.total = wanted.reduce((sum, { tableLength, blob }) => sum + tableLength + blob.length, 0);
  }

  /** Bytes of the pieces that are there and good. */
  get done(): number {
    return this.#done;
  }

  get isWhole(): boolean {
    return this.#done === this.total;
  }

  /** Takes a piece's bytes. @returns whether they are good: `good` false means that it is to be fetched again */
  take(piece: Piece, bytes: Uint8Array): boolean {
    const { entry, table, good } = this.#blobs[piece.blob];
    if (piece.block < 0) {
      if (!isTable(bytes, entry)) return false;
      this.#blobs[piece.blob].table = bytes.slice();
    } else {
      if (table === undefined || !isBlock(bytes, table, piece.block)) return false;
      good[piece.block] = 1;
    }
    this.#done += piece.length;
    return true;
  }

  /**
   * Counts that a piece came and was wrong.
   * @throws {PackageContentError} when it has been so too often: what is sent is not what was signed
   */
  refuse(piece: Piece): void {
    const tries = (this.#tries.get(piece.start) ?? 0) + 1;
    this.#tries.set(piece.start, tries);
    if (tries < maxTries) return;
    const { blob } = this.#blobs[piece.blob].entry;
    throw new PackageContentError(
      piece.block < 0 ? "table_hash" : "block_hash",
      `${this.describe(piece)}: ${piece.length} bytes came ${tries} times and were never those of ` +
        `SHA-256 ${piece.block < 0 ? blob.table_sha256 : this.#hashOf(piece)}`,
    );
  }

  /** For messages. */
  describe({ blob, block }: Piece): string {
    const { entry } = this.#blobs[blob];
    return `${entry.zone}, blob at ${entry.blob.offset}, ${block < 0 ? "block table" : `block ${block}`}`;
  }

  /** The first missing piece that begins at `from` or later, or that `from` lies in. */
  next(from: number): Piece | undefined {
    for (let blob = this.#blobAt(from); blob < this.#blobs.length; blob++) {
      const { table, good } = this.#blobs[blob];
      if (table === undefined) {
        const piece = this.#piece(blob, -1);
        // Without its table, nothing can be said of a block: what lies behind the table's begin is of no use.
        if (from <= piece.start) return piece;
        continue;
      }
      const first = this.#piece(blob, 0);
      for (
        let block = Math.max(0, Math.floor((from - first.start) / this.#blockSize));
        block < good.length;
        block++
      ) {
        if (good[block] === 0) return this.#piece(blob, block);
      }
    }
    return undefined;
  }

  /** Whether a piece is the one that `next` would give. */
  isMissing({ blob, block }: Piece): boolean {
    const { table, good } = this.#blobs[blob];
    return block < 0 ? table === undefined : table !== undefined && good[block] === 0;
  }

  /** The first run of missing pieces; runs with less than `gap` bytes between them are one. */
  missing(gap: number): ByteRun | undefined {
    const begin = this.next(0);
    if (begin === undefined) return undefined;
    let end = begin.start + begin.length;
    for (let piece: Piece | undefined = begin; piece !== undefined && piece.start - end <= gap;) {
      // Where the table is missing, all that follows is.
      end = piece.block < 0 ? this.#end(piece.blob) : piece.start + piece.length;
      piece = this.next(end);
    }
    return { first: begin.start, last: end - 1 };
  }

  /** All pieces in the order in which they lie: for reading what an earlier run has left. */
  *all(): Generator<Piece, void, void> {
    for (const [blob, { good }] of this.#blobs.entries()) {
      for (let block = -1; block < good.length; block++) yield this.#piece(blob, block);
    }
  }

  #piece(blob: number, block: number): Piece {
    const { entry } = this.#blobs[blob];
    if (block < 0) {
      return { blob, block, start: this.#start + entry.blob.offset, length: entry.tableLength };
    }
    const at = block * this.#blockSize;
    return {
      blob,
      block,
      start: this.#start + entry.dataOffset + at,
      length: Math.min(this.#blockSize, entry.blob.length - at),
    };
  }

  #end(blob: number): number {
    const { entry } = this.#blobs[blob];
    return this.#start + entry.dataOffset + entry.blob.length;
  }

  /** The first blob that does not end before `at`. */
  #blobAt(at: number): number {
    const found = this.#blobs.findIndex((_, blob) => this.#end(blob) > at);
    return found < 0 ? this.#blobs.length : found;
  }

  #hashOf({ blob, block }: Piece): string {
    return this.#blobs[blob].table?.subarray(block * hashSize, (block + 1) * hashSize).toHex() ?? "";
  }
}

function isTable(bytes: Uint8Array, { blob }: BlobEntry): boolean {
  try {
    checkTable(bytes, blob.table_sha256, "");
    return true;
  } catch (error) {
    if (error instanceof PackageContentError) return false;
    throw error;
  }
}
