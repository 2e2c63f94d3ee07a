// Reading and writing the fields of UDS messages: every number is checked on its way out, every length on its way in.
import { UdsFormatError } from "./errors.ts";
import { hex, suppressPositiveResponse } from "./services.ts";

/** Writes a message field by field. All numbers are big-endian (ISO 14229-1:2020 8.1). */
export class MessageWriter {
  readonly #bytes: number[] = [];

  constructor(sid: number) {
    this.uint(sid, 1, "service identifier");
  }

  /** A sub-function with its suppressPosRspMsgIndicationBit (8.2.2). */
  subFunction(value: number, suppress: boolean | undefined, what: string): this {
    if (!Number.isInteger(value) || value < 0 || value > 0x7f) {
      throw new RangeError(`${what}: expected 0x00 … 0x7F, got ${value}`);
    }
    this.#bytes.push(suppress === true ? value | suppressPositiveResponse : value);
    return this;
  }

  uint(value: number, width: number, what: string): this {
    if (!Number.isInteger(value) || value < 0 || value >= 256 ** width) {
      throw new RangeError(`${what}: expected 0x0 … ${hex(256 ** width - 1, 2)}, got ${value}`);
    }
    for (let at = width - 1; at >= 0; at--) this.#bytes.push(Math.floor(value / 256 ** at) % 256);
    return this;
  }

  u8(value: number, what: string): this {
    return this.uint(value, 1, what);
  }

  u16(value: number, what: string): this {
    return this.uint(value, 2, what);
  }

  u24(value: number, what: string): this {
    return this.uint(value, 3, what);
  }

  bytes(value: Uint8Array): this {
    for (const byte of value) this.#bytes.push(byte);
    return this;
  }

  /** Bytes behind their length in two bytes, as Authentication carries them (10.6). */
  block(value: Uint8Array, what: string): this {
    return this.uint(value.length, 2, `length of ${what}`).bytes(value);
  }

  /** The message. */
  end(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** Reads a message field by field. @throws {UdsFormatError} where bytes are missing or left over */
export class MessageReader {
  readonly #bytes: Uint8Array;
  readonly #name: string;
  #at = 0;

  /** @param name how errors call the message, e.g. `request of ReadDTCInformation` */
  constructor(bytes: Uint8Array, name: string, sid: number) {
    this.#bytes = bytes;
    this.#name = name;
    const first = this.u8("service identifier");
    if (first !== sid) this.fail(`service identifier ${hex(sid, 2)}`, hex(first, 2));
  }

  /** How many bytes are left. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  subFunction(what: string): { value: number; suppress: boolean } {
    const byte = this.u8(what);
    return {
      value: byte & ~suppressPositiveResponse,
      suppress: (byte & suppressPositiveResponse) !== 0,
    };
  }

  /** A sub-function as a response repeats it: bit 7 is 0 (8.3). */
  echo(what: string): number {
    const value = this.u8(what);
    return value > 0x7f ? this.fail(`${what} of 7 bits`, hex(value, 2)) : value;
  }

  uint(width: number, what: string): number {
    const at = this.#take(width, what);
    let value = 0;
    for (let index = 0; index < width; index++) value = value * 256 + this.#bytes[at + index];
    return value;
  }

  u8(what: string): number {
    return this.uint(1, what);
  }

  u16(what: string): number {
    return this.uint(2, what);
  }

  u24(what: string): number {
    return this.uint(3, what);
  }

  /** A copy of the next bytes. */
  bytes(length: number, what: string): Uint8Array {
    const at = this.#take(length, what);
    return this.#bytes.slice(at, at + length);
  }

  /** Bytes behind their length in two bytes. */
  block(what: string): Uint8Array {
    return this.bytes(this.u16(`length of ${what}`), what);
  }

  /** A copy of all that is left. */
  rest(): Uint8Array {
    return this.bytes(this.left, "rest");
  }

  /** Reads entries of a fixed length until the message ends. */
  list<T>(length: number, what: string, read: () => T): T[] {
    if (this.left % length !== 0) {
      this.fail(`${what} of ${length} bytes each`, `${this.left} bytes for them`);
    }
    const entries: T[] = [];
    while (this.left > 0) entries.push(read());
    return entries;
  }

  /** Says that the message ends here. */
  end(): void {
    if (this.left > 0) this.fail("its end", `${this.left} bytes more`);
  }

  fail(expected: string, came: string): never {
    throw new UdsFormatError(`${this.#name}: expected ${expected} at byte ${this.#at}, got ${came}`);
  }

  #take(length: number, what: string): number {
    if (length > this.left) {
      this.fail(`${what} of ${length} byte${length === 1 ? "" : "s"}`, `${this.left}`);
    }
    const at = this.#at;
    this.#at += length;
    return at;
  }
}
