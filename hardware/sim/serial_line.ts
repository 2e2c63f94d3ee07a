// The serial line of a simulated adapter: what goes over it takes the time of its bits at the line's rate, whatever carries it.
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import { type Clock, sleep } from "../clock.ts";
import { LineTime } from "./line_time.ts";

/** Options of {@link SerialLine}. */
export interface SerialLineOptions {
  /** Bit/s of the line. */
  baudRate: number;
  clock: Clock;
}

/** A byte on the line: start bit, eight data bits, stop bit. */
const bitsPerByte = 10;
/** Bytes that are handed on together stand for at most this much of the line's time, ms. */
const slice = 1;

/** The adapter's end of a serial line. */
export class SerialLine implements ByteStream {
  readonly #stream: ByteStream;
  readonly #clock: Clock;
  readonly #byteTime: number;
  readonly #receiving: LineTime;
  readonly #sending: LineTime;
  readonly #ended = new AbortController();
  readonly #chunk = new Uint8Array(4_096);
  #left = this.#chunk.subarray(0, 0);

  constructor(stream: ByteStream, { baudRate, clock }: SerialLineOptions) {
    this.#stream = stream;
    this.#clock = clock;
    this.#byteTime = 1_000 * bitsPerByte / baudRate;
    this.#receiving = new LineTime(clock);
    this.#sending = new LineTime(clock);
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (into.length === 0) return 0;
    if (this.#left.length === 0) {
      const count = await this.#stream.read(this.#chunk);
      if (count === null) return null;
      this.#left = this.#chunk.subarray(0, count);
    }
    const first = this.#receiving.book(this.#byteTime);
    if (!await this.#until(this.#receiving, first)) return null;
    this.#receiving.released(first);
    // What has come meanwhile comes with it.
    const most = Math.min(this.#left.length, into.length);
    let count = 1;
    while (count < most && this.#receiving.wait(first + count * this.#byteTime) === 0) count++;
    if (count > 1) this.#receiving.released(this.#receiving.book((count - 1) * this.#byteTime));
    into.set(this.#left.subarray(0, count));
    this.#left = this.#left.subarray(count);
    return count;
  }

  async write(bytes: Uint8Array): Promise<number> {
    const count = Math.min(bytes.length, Math.max(1, Math.floor(slice / this.#byteTime)));
    const due = this.#sending.book(count * this.#byteTime);
    if (!await this.#until(this.#sending, due)) throw new Deno.errors.BrokenPipe("the adapter was unplugged");
    await writeAll(this.#stream, bytes.subarray(0, count));
    this.#sending.released(due);
    return count;
  }

  async closeWrite(): Promise<void> {
    await this.#stream.closeWrite?.();
  }

  close(): void {
    this.#ended.abort();
    closeQuietly(this.#stream);
  }

  /** Whether the line is still there at that time. */
  async #until(line: LineTime, due: number): Promise<boolean> {
    const wait = line.wait(due);
    try {
      if (wait > 0) await sleep(this.#clock, wait, this.#ended.signal);
    } catch (error) {
      if (!this.#ended.signal.aborted) throw error;
    }
    return !this.#ended.signal.aborted;
  }
}

async function writeAll(stream: ByteStream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await stream.write(bytes.subarray(at));
}
