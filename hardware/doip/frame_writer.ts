// Collects outgoing messages in one buffer and writes what has gathered with a single call: an acknowledgement and
// the answer behind it leave together. While a write is under way the next messages gather in a second buffer.

import { headerLength, payloadTypes } from "./constants.ts";
import { writeHeader, writeU16 } from "./message.ts";
import type { ByteStream } from "../byte_stream.ts";

const initialCapacity = 8_192;
/** A buffer that grew beyond this is given back when it has been written. */
const keptCapacity = 262_144;

/** One per connection. */
export class FrameWriter {
  readonly #stream: ByteStream;
  readonly #limit: number;
  readonly #failed: (cause: unknown) => void;
  #gathering = new Uint8Array(initialCapacity);
  #spare = new Uint8Array(initialCapacity);
  #gathered = 0;
  #inFlight = 0;
  #broken = false;
  #waiting: (() => void)[] = [];

  /**
   * @param limit most bytes that may wait, gathered and under way together; one message alone may be longer
   * @param failed told once when a write fails; nothing is written afterwards
   */
  constructor(stream: ByteStream, limit: number, failed: (cause: unknown) => void) {
    this.#stream = stream;
    this.#limit = limit;
    this.#failed = failed;
  }

  /** Bytes that the stream has not taken yet. */
  get pending(): number {
    return this.#gathered + this.#inFlight;
  }

  /**
   * Adds a diagnostic message (0x8001). The bytes are copied: the caller may reuse them.
   *
   * @returns false when the limit is reached: the peer does not read, nothing was added
   */
  diagnosticMessage(version: number, source: number, target: number, userData: Uint8Array): boolean {
    const length = headerLength + 4 + userData.length;
    if (!this.#reserve(length)) return false;
    const into = this.#gathering;
    const at = this.#gathered;
    writeHeader(into, at, version, payloadTypes.diagnosticMessage, 4 + userData.length);
    writeU16(into, at + 8, source);
    writeU16(into, at + 10, target);
    into.set(userData, at + 12);
    this.#gathered = at + length;
    return true;
  }

  /** Adds an acknowledgement (0x8002 or 0x8003) that sends nothing of the message back. Result as above. */
  acknowledge(version: number, payloadType: number, source: number, target: number, code: number): boolean {
    const length = headerLength + 5;
    if (!this.#reserve(length)) return false;
    const into = this.#gathering;
    const at = this.#gathered;
    writeHeader(into, at, version, payloadType, 5);
    writeU16(into, at + 8, source);
    writeU16(into, at + 10, target);
    into[at + 12] = code;
    this.#gathered = at + length;
    return true;
  }

  /** Adds a whole message. Result as above. */
  message(bytes: Uint8Array): boolean {
    if (!this.#reserve(bytes.length)) return false;
    this.#gathering.set(bytes, this.#gathered);
    this.#gathered += bytes.length;
    return true;
  }

  /** Writes what has gathered, unless a write is under way: that one takes it along when it is done. */
  flush(): void {
    if (this.#inFlight === 0 && this.#gathered > 0 && !this.#broken) this.#write();
  }

  /** Resolves when everything is written, or nothing more can be. */
  drained(): Promise<void> {
    this.flush();
    if (this.pending === 0 || this.#broken) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #write(): Promise<void> {
    try {
      while (this.#gathered > 0) {
        const bytes = this.#gathering;
        const length = this.#gathered;
        this.#inFlight = length;
        this.#gathered = 0;
        this.#gathering = this.#spare;
        let written = await this.#stream.write(length === bytes.length ? bytes : bytes.subarray(0, length));
        while (written < length) {
          this.#inFlight = length - written;
          written += await this.#stream.write(bytes.subarray(written, length));
        }
        this.#inFlight = 0;
        this.#spare = bytes.length > keptCapacity ? new Uint8Array(initialCapacity) : bytes;
      }
    } catch (cause) {
      this.#broken = true;
      this.#failed(cause);
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #reserve(length: number): boolean {
    if (this.#broken) return false;
    const pending = this.pending;
    if (pending > 0 && pending + length > this.#limit) return false;
    const needed = this.#gathered + length;
    if (needed > this.#gathering.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#gathering.length));
      grown.set(this.#gathering.subarray(0, this.#gathered));
      this.#gathering = grown;
    }
    return true;
  }
}
