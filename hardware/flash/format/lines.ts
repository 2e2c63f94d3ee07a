// Lines of a text that comes in chunks of any size, as byte ranges: no string is made of them.

import { FirmwareFormatError } from "./errors.ts";

/**
 * Takes one line: the bytes of `buffer` from `start` up to `end`, without its end mark and without blanks behind it. The
 * buffer is used again afterwards.
 */
export type LineHandler = (buffer: Uint8Array, start: number, end: number, line: number) => void;

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const space = 0x20;
const tab = 0x09;
/** Control-Z, the end of a text file to CP/M and DOS; their tools still write it. */
const substitute = 0x1a;

/** Blanks that may stand behind a line before it counts as too long. */
const blanksAllowed = 1024;

/** Splits at CR LF, LF and CR. Lines with nothing on them are counted, but not handed on. */
export class LineSplitter {
  readonly #maxLength: number;
  readonly #handle: LineHandler;
  /** The beginning of a line whose end is in a later chunk. */
  readonly #carry: Uint8Array;
  #carried = 0;
  #line = 1;
  /** The last byte was CR: an LF that follows belongs to it. */
  #afterReturn = false;

  /** @param maxLength Longest line in bytes, blanks behind it apart. */
  constructor(maxLength: number, handle: LineHandler) {
    this.#maxLength = maxLength;
    this.#handle = handle;
    this.#carry = new Uint8Array(maxLength + blanksAllowed);
  }

  /** Takes the next bytes and hands on the lines that end in them. */
  push(chunk: Uint8Array): void {
    const length = chunk.length;
    let start = 0;
    let at = 0;
    if (this.#afterReturn && length > 0) {
      this.#afterReturn = false;
      if (chunk[0] === lineFeed) start = at = 1;
    }
    while (at < length) {
      const byte = chunk[at];
      // Both end marks and all blanks lie below '0': one comparison passes the digits.
      if (byte > carriageReturn || (byte !== lineFeed && byte !== carriageReturn)) {
        at++;
        continue;
      }
      if (this.#carried > 0) {
        this.#keep(chunk, start, at);
        this.#carried = this.#emit(this.#carry, 0, this.#carried);
      } else this.#emit(chunk, start, at);
      at++;
      if (byte === carriageReturn) {
        if (at === length) this.#afterReturn = true;
        else if (chunk[at] === lineFeed) at++;
      }
      start = at;
    }
    this.#keep(chunk, start, length);
  }

  /** Hands on the last line where it has no end mark. */
  finish(): void {
    this.#carried = this.#emit(this.#carry, 0, this.#carried);
  }

  #keep(chunk: Uint8Array, start: number, end: number): void {
    if (this.#carried + end - start > this.#carry.length) throw this.#tooLong();
    this.#carry.set(chunk.subarray(start, end), this.#carried);
    this.#carried += end - start;
  }

  /** Returns what is left to carry: nothing. */
  #emit(buffer: Uint8Array, start: number, end: number): 0 {
    while (end > start && isBlank(buffer[end - 1])) end--;
    if (end - start > this.#maxLength) throw this.#tooLong();
    if (end > start) this.#handle(buffer, start, end, this.#line);
    this.#line++;
    return 0;
  }

  #tooLong(): FirmwareFormatError {
    return new FirmwareFormatError("line_too_long", {
      line: this.#line,
      expected: `at most ${this.#maxLength} characters`,
      found: "more",
    });
  }
}

function isBlank(byte: number): boolean {
  return byte === space || byte === tab || byte === substitute;
}
