// Block tables: the SHA-256 of each block of a blob, one after another, 32 bytes each. With them a corrupt block is found as
// soon as its last byte is there, and only that block has to be fetched again.

import { createHash, type Hash } from "node:crypto";
import { PackageContentError } from "./errors.ts";

/** Bytes of a SHA-256. */
export const hashSize = 32;

/** Blocks of a blob. */
export function blockCount(length: number, blockSize: number): number {
  return Math.ceil(length / blockSize);
}

/** Bytes of a blob's block table. */
export function tableLength(length: number, blockSize: number): number {
  return hashSize * blockCount(length, blockSize);
}

/** SHA-256 of bytes that are all there. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

/**
 * Corruption, or another blob's table: the table is the one that the manifest names.
 * @throws {PackageContentError} `table_hash`
 */
export function checkTable(table: Uint8Array, expected: string, what: string): void {
  const found = sha256(table).toHex();
  if (found !== expected) {
    throw new PackageContentError(
      "table_hash",
      `${what}: expected a block table of ${table.length} bytes with SHA-256 ${expected}, got one with ${found}`,
    );
  }
}

/** Whether these bytes are the block of that number. */
export function isBlock(bytes: Uint8Array, table: Uint8Array, block: number): boolean {
  const found = sha256(bytes);
  const at = block * hashSize;
  return found.every((byte, index) => byte === table[at + index]);
}

/** Makes the block table of a blob that comes in pieces. */
export class BlockTable {
  readonly #blockSize: number;
  readonly #table: Uint8Array<ArrayBuffer>;
  #hash: Hash = createHash("sha256");
  #filled = 0;
  #at = 0;

  constructor(length: number, blockSize: number) {
    this.#blockSize = blockSize;
    this.#table = new Uint8Array(tableLength(length, blockSize));
  }

  /** @throws {RangeError} for more bytes than were said */
  push(piece: Uint8Array): void {
    for (let at = 0; at < piece.length;) {
      const part = piece.subarray(at, at + this.#blockSize - this.#filled);
      this.#hash.update(part);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === this.#blockSize) this.#end();
    }
  }

  /** The table, once all bytes have come. @throws {RangeError} for fewer bytes than were said */
  finish(): Uint8Array<ArrayBuffer> {
    if (this.#filled > 0) this.#end();
    if (this.#at !== this.#table.length) {
      throw new RangeError(
        `expected ${this.#table.length / hashSize} blocks, got ${this.#at / hashSize}`,
      );
    }
    return this.#table;
  }

  #end(): void {
    if (this.#at === this.#table.length) {
      throw new RangeError(`expected ${this.#table.length / hashSize} blocks, got more`);
    }
    this.#table.set(this.#hash.digest(), this.#at);
    this.#at += hashSize;
    this.#hash = createHash("sha256");
    this.#filled = 0;
  }
}
