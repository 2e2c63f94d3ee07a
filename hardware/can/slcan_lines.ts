// Cuts a stream of bytes into SLCAN's lines, however the stream was split on its way. Nothing is allocated per line.

const carriageReturn = 0x0d;
const bell = 0x07;

/** What a reader of lines tells. */
export interface SlcanLineHandlers {
  /**
   * A line without its `\r`; empty for a bare acknowledgement.
   * The bytes from `start` to before `end` are valid during the call alone.
   */
  line(bytes: Uint8Array, start: number, end: number): void;
  /** A `\a`: the answer "error". */
  bell(): void;
  /** Bytes that belong to no line: over-long, or cut off by a `\a`. Told at their end, once for each run of them. */
  dropped(count: number): void;
}

/** Longest line by default: version texts are free, a 64-byte FD frame with time stamp takes 142. */
export const defaultMaxLine = 512;

/** Cuts lines at each `\r` and `\a`; keeps no more than one line of `maxLine` bytes. */
export class SlcanLineReader {
  readonly #handlers: SlcanLineHandlers;
  readonly #partial: Uint8Array;
  #partialLength = 0;
  /** Bytes of an over-long line so far; they are not kept. */
  #overlong = 0;

  /** @param maxLine longest line without its end, in bytes. A longer one is dropped up to its end. */
  constructor(handlers: SlcanLineHandlers, maxLine: number = defaultMaxLine) {
    if (!Number.isInteger(maxLine) || maxLine < 32) {
      throw new RangeError(`maxLine: expected a whole number of at least 32, got ${maxLine}`);
    }
    this.#handlers = handlers;
    this.#partial = new Uint8Array(maxLine);
  }

  /** Takes the next bytes. What a handler throws ends the call: the rest of these bytes is lost. */
  push(bytes: Uint8Array): void {
    let start = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at];
      if (byte !== carriageReturn && byte !== bell) continue;
      this.#end(bytes, start, at, byte === bell);
      start = at + 1;
    }
    this.#keep(bytes, start);
  }

  /** Forgets an unfinished line, as after a line was purged. */
  reset(): void {
    this.#partialLength = 0;
    this.#overlong = 0;
  }

  #end(bytes: Uint8Array, start: number, end: number, isBell: boolean): void {
    const before = this.#partialLength;
    const length = before + end - start;
    const overlong = this.#overlong;
    this.#partialLength = 0;
    this.#overlong = 0;
    if (overlong > 0 || length > this.#partial.length) this.#handlers.dropped(overlong + length);
    else if (isBell) {
      if (length > 0) this.#handlers.dropped(length);
    } else if (before === 0) this.#handlers.line(bytes, start, end);
    else {
      for (let at = start, to = before; at < end; at++, to++) this.#partial[to] = bytes[at];
      this.#handlers.line(this.#partial, 0, length);
    }
    if (isBell) this.#handlers.bell();
  }

  #keep(bytes: Uint8Array, start: number): void {
    const count = bytes.length - start;
    if (count === 0) return;
    if (this.#overlong > 0) this.#overlong += count;
    else if (this.#partialLength + count > this.#partial.length) {
      this.#overlong = this.#partialLength + count;
      this.#partialLength = 0;
    } else {
      this.#partial.set(start === 0 ? bytes : bytes.subarray(start), this.#partialLength);
      this.#partialLength += count;
    }
  }
}
