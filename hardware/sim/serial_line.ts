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

/** Bytes that a host's driver hands over at once at most, as a tty does. */
const chunkLength = 4_096;

/** Bytes that the host has written, and when. */
interface Arrival {
  bytes: Uint8Array<ArrayBuffer>;
  ready: number;
}

/** The adapter's end of a serial line. */
export class SerialLine implements ByteStream {
  readonly #stream: ByteStream;
  readonly #clock: Clock;
  readonly #byteTime: number;
  readonly #receiving: LineTime;
  readonly #sending: LineTime;
  readonly #ended = new AbortController();
  /** What the line carries, and what the host has ready behind it. */
  readonly #chunks = [new Uint8Array(chunkLength), new Uint8Array(chunkLength)];
  #left = new Uint8Array(0);
  /** When what is left stood ready. */
  #ready = 0;
  #ahead: Promise<Arrival | null> | undefined;

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
      const arrival = await (this.#ahead ?? this.#fetch());
      if (arrival === null) return null;
      this.#left = arrival.bytes;
      this.#ready = arrival.ready;
      // The line goes on carrying while the adapter is busy with what it has: it must not wait for the next read.
      this.#ahead = this.#fetch();
      this.#ahead.catch(() => {}); // Told to the next read.
    }
    const first = this.#receiving.book(this.#byteTime, this.#ready);
    if (!await this.#until(this.#receiving, first)) return null;
    this.#receiving.released(first);
    // What has come meanwhile comes with it.
    const most = Math.min(this.#left.length, into.length);
    const count = Math.min(most, 1 + Math.max(0, Math.floor(this.#receiving.past(first) / this.#byteTime)));
    if (count > 1) this.#receiving.released(this.#receiving.book((count - 1) * this.#byteTime, this.#ready));
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

  async #fetch(): Promise<Arrival | null> {
    const [chunk] = this.#chunks;
    this.#chunks.reverse();
    const count = await this.#stream.read(chunk);
    return count === null ? null : { bytes: chunk.subarray(0, count), ready: this.#receiving.now() };
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
