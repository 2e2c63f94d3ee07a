// How settings reach the engine and answers come back: big-endian numbers, lists and bytes with their length in front.

/** Writes what the engine reads. */
export class Writer {
  readonly #parts: Uint8Array[] = [];

  u16(value: number): this {
    this.#parts.push(Uint8Array.of(value >> 8, value & 0xff));
    return this;
  }

  u32(value: number): this {
    this.#parts.push(Uint8Array.of(value >>> 24, (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff));
    return this;
  }

  /** Bytes with four octets of length. */
  bytes(value: Uint8Array): this {
    this.u32(value.length);
    this.#parts.push(value);
    return this;
  }

  /** A list with two octets of count. */
  list<T>(items: readonly T[], write: (item: T) => void): this {
    this.u16(items.length);
    items.forEach(write);
    return this;
  }

  done(): Uint8Array<ArrayBuffer> {
    const whole = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of this.#parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }
}

/** Reads what the engine wrote; the engine and this file agree, so what is cut short is a mistake of ours. */
export class Reader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(): number {
    const value = this.#view.getUint16(this.#offset);
    this.#offset += 2;
    return value;
  }

  u32(): number {
    const value = this.#view.getUint32(this.#offset);
    this.#offset += 4;
    return value;
  }

  bytes(): Uint8Array {
    const length = this.u32();
    const value = this.#bytes.subarray(this.#offset, this.#offset + length);
    if (value.length !== length) {
      throw new RangeError(`engine: expected ${length} bytes at ${this.#offset}, got ${value.length}`);
    }
    this.#offset += length;
    return value;
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: this.u16() }, read);
  }
}
