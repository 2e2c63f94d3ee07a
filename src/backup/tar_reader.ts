// Reads a tar archive entry by entry from bytes as they come, none of it kept.

import { BadBackup, quote } from "./errors.ts";
import {
  blockSize,
  decodeExtended,
  decodeHeader,
  maxExtended,
  paddingOf,
  type TarEntry,
  type TarHeader,
} from "./tar_header.ts";

/** An entry with its bytes. They are read, to their end, before the next entry is asked for; each piece is valid until the next. */
export interface TarEntryWithBody extends TarEntry {
  readonly body: AsyncIterable<Uint8Array>;
}

/** Takes bytes off an iterator in the portions that are asked for. */
class Bytes {
  readonly #from: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#from = chunks[Symbol.asyncIterator]();
  }

  /** At least one byte and at most `limit`; undefined at the end. */
  async some(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#from.next();
      if (done) return undefined;
      this.#rest = value;
    }
    const taken = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(taken.length);
    return taken;
  }

  /** Exactly `length` bytes, of their own. */
  async exactly(length: number, what: string): Promise<Uint8Array> {
    const whole = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const part = await this.some(length - at);
      if (part === undefined) throw new BadBackup(`the archive is cut off: expected ${what}, got its end`);
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}

/**
 * The archive's entries.
 * @throws {BadBackup} for what is no tar archive of regular files, or one that is cut off
 */
export async function* tarEntries(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<TarEntryWithBody, void, void> {
  const bytes = new Bytes(chunks);
  for (;;) {
    const header = await nextHeader(bytes);
    if (header === undefined) break;
    const { path, size, mode, mtime } = header;
    let left = size;
    const body = async function* () {
      while (left > 0) {
        const part = await bytes.some(left);
        if (part === undefined) {
          throw new BadBackup(
            `the archive is cut off: ${quote(path)} has ${size} bytes, ${left} of them are missing`,
          );
        }
        left -= part.length;
        yield part;
      }
    };
    yield { path, size, mode, mtime, body: body() };
    if (left > 0) throw new TypeError(`${path}: the next entry was asked for before this one was read`);
    await bytes.exactly(paddingOf(size), "padding");
  }
  // The end is two blocks of zeros; some writers fill up to a larger unit with more of them.
  await zeros(bytes);
}

/** The next header with what its pax header says; undefined at the archive's end. */
async function nextHeader(bytes: Bytes): Promise<TarHeader | undefined> {
  const header = decodeHeader(await bytes.exactly(blockSize, "a tar header"));
  if (header?.typeflag !== "x") return header;
  if (header.size > maxExtended) {
    throw new BadBackup(`pax header: expected ${maxExtended} bytes at most, got ${header.size}`);
  }
  const records = decodeExtended(await bytes.exactly(header.size, "pax records"));
  await bytes.exactly(paddingOf(header.size), "padding");
  const next = decodeHeader(await bytes.exactly(blockSize, "a tar header"));
  if (next === undefined || next.typeflag === "x") {
    throw new BadBackup("pax header: expected a file behind it, got none");
  }
  return { ...next, ...records };
}

async function zeros(bytes: Bytes): Promise<void> {
  let count = 0;
  for (;;) {
    const part = await bytes.some(blockSize);
    if (part === undefined) break;
    count += part.length;
    if (part.some((byte) => byte !== 0)) {
      throw new BadBackup("expected nothing behind the archive's end, got more");
    }
  }
  if (count < blockSize) {
    throw new BadBackup("the archive is cut off: expected two blocks of zeros at its end");
  }
}
