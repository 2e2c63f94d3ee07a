// Collects what is written to a byte stream during one turn of the event loop, and while a write is under way, and
// writes it at once: a write for each CAN frame would cost more than the frame.
import type { ByteStream } from "../byte_stream.ts";

const firstSize = 16 * 1024;

/** Collects bytes for a stream, at most `limit` of them. */
export class LineWriter {
  readonly #stream: ByteStream;
  readonly #limit: number;
  readonly #written: (total: number) => void;
  readonly #failed: (error: Error) => void;
  #bytes = new Uint8Array(firstSize);
  #length = 0;
  #spare = new Uint8Array(firstSize);
  #total = 0;
  #writing = false;
  #stopped = false;
  #idle: (() => void)[] = [];

  /**
   * @param limit how many bytes may wait; `reserve` refuses more
   * @param written told after each write how many bytes the stream has taken since the beginning
   * @param failed told once, when the stream takes no more
   */
  constructor(
    stream: ByteStream,
    limit: number,
    written: (total: number) => void,
    failed: (error: Error) => void,
  ) {
    this.#stream = stream;
    this.#limit = limit;
    this.#written = written;
    this.#failed = failed;
  }

  /** Bytes that wait and are not yet being written. */
  get waiting(): number {
    return this.#length;
  }

  /** Bytes that came in since the beginning: once `written` tells this number, all of them are with the stream. */
  get total(): number {
    return this.#total;
  }

  /** Makes room for `count` bytes at `at` of `bytes`. @returns false when too much waits already */
  reserve(count: number): boolean {
    const needed = this.#length + count;
    if (needed > this.#limit || this.#stopped) return false;
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.min(this.#limit, Math.max(needed, 2 * this.#bytes.length)));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    return true;
  }

  /** Where to write after `reserve`. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Where the next byte goes. */
  get at(): number {
    return this.#length;
  }

  /** Takes what was written into `bytes` up to before `end`. */
  commit(end: number): void {
    this.#total += end - this.#length;
    this.#length = end;
    if (this.#writing) return;
    this.#writing = true;
    queueMicrotask(() => void this.#run());
  }

  /** Takes bytes. @returns false when too much waits already */
  push(bytes: Uint8Array): boolean {
    if (!this.reserve(bytes.length)) return false;
    this.#bytes.set(bytes, this.#length);
    this.commit(this.#length + bytes.length);
    return true;
  }

  /** Resolves when nothing waits any more: written, or never to be. */
  flushed(): Promise<void> {
    if (!this.#writing) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Writes nothing from now on. */
  stop(): void {
    this.#stopped = true;
    this.#length = 0;
  }

  async #run(): Promise<void> {
    let written = this.#total - this.#length;
    try {
      while (this.#length > 0 && !this.#stopped) {
        const bytes = this.#bytes;
        const length = this.#length;
        this.#bytes = this.#spare;
        this.#spare = bytes;
        this.#length = 0;
        for (let at = 0; at < length && !this.#stopped;) {
          const taken = await this.#stream.write(
            at === 0 ? bytes.subarray(0, length) : bytes.subarray(at, length),
          );
          at += taken;
          written += taken;
          if (!this.#stopped) this.#written(written);
        }
      }
    } catch (error) {
      const wasStopped = this.#stopped;
      this.stop();
      if (!wasStopped) this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
    this.#writing = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
