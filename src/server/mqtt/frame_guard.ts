// Watches the frames of a client's MQTT stream before the broker reads them: the parser behind it would gather a packet
// of up to 256 MiB in memory, this ends the connection at the packet's header instead.

import { Duplex } from "node:stream";

export interface FrameLimits {
  /** Most bytes of a packet behind its fixed header. */
  maxPacket: number;
  /** Most bytes of the first packet, CONNECT. @default 65536 */
  maxConnect?: number;
  /** Longest time without a byte from the client, in milliseconds. */
  maxSilence: number;
}

/** What the client sent is not MQTT, or too much. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** Longest wait for the last bytes to leave and the client to end its side, in milliseconds. */
const lingerTime = 1000;

/** Packet type CONNECT in the fixed header's first byte, flags 0 (MQTT 3.1.1 section 3.1.1). */
const connectHeader = 0x10;

/** The stream with its frames watched. Destroying either destroys both. */
export function guardFrames(stream: Duplex, limits: FrameLimits): Duplex {
  return new GuardedStream(stream, limits);
}

class GuardedStream extends Duplex {
  readonly #stream: Duplex;
  readonly #limits: Required<FrameLimits>;
  readonly #silence: ReturnType<typeof setTimeout>;
  #first = true;
  /** Bytes of the current packet that are still to come; the header is being read when this is 0. */
  #remaining = 0;
  #header: "type" | "length" = "type";
  #length = 0;
  #lengthBytes = 0;
  #waitingForDrain: (() => void) | undefined;

  constructor(stream: Duplex, limits: FrameLimits) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
    this.#limits = { maxConnect: 65_536, ...limits };
    this.#silence = setTimeout(
      () => this.destroy(new FrameError(`nothing came for ${limits.maxSilence} ms`)),
      limits.maxSilence,
    );
    stream.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    stream.on("end", () => this.push(null));
    stream.on("drain", () => this.#drained());
    stream.on("error", (error: Error) => this.destroy(error));
    stream.on("close", () => this.destroy());
  }

  /**
   * Gives all that is there at once. The broker reads once for each 'readable' event, and a packet whose second piece was
   * left behind would lie there until something else came.
   */
  override read(size?: number | null): unknown {
    return super.read(size ?? (this.readableLength > 0 ? this.readableLength : undefined));
  }

  override _read(): void {
    this.#stream.resume();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    if (this.#stream.write(chunk)) done();
    else this.#waitingForDrain = done;
  }

  /** The parts of a packet, and packets that follow each other closely, leave as one record. */
  override _writev(chunks: { chunk: Uint8Array }[], done: (error?: Error) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "buffer", done);
  }

  override _final(done: (error?: Error) => void): void {
    this.#stream.end(() => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#silence);
    this.#drained();
    // What was written before, a CONNACK with the reason for one, still goes out; a client that does not take it, or keeps
    // its own side open, is cut.
    const stream = this.#stream;
    if (!stream.destroyed) {
      const cut = setTimeout(() => stream.destroy(), lingerTime);
      stream.once("close", () => clearTimeout(cut));
      stream.resume();
      stream.end();
    }
    done(error);
  }

  #receive(chunk: Uint8Array): void {
    if (this.destroyed) return;
    // Deno's timers know refresh() as Node's do.
    this.#silence.refresh?.();
    const fault = this.#scan(chunk);
    if (fault !== undefined) {
      this.destroy(new FrameError(fault));
      return;
    }
    if (!this.push(chunk)) this.#stream.pause();
  }

  /** Follows the fixed headers (section 2.2). @returns what is wrong */
  #scan(chunk: Uint8Array): string | undefined {
    for (let at = 0; at < chunk.length;) {
      if (this.#remaining > 0) {
        const skip = Math.min(this.#remaining, chunk.length - at);
        this.#remaining -= skip;
        at += skip;
        continue;
      }
      const byte = chunk[at++];
      if (this.#header === "type") {
        // Section 3.1: after the network connection is made, the first packet must be CONNECT.
        if (this.#first && byte !== connectHeader) {
          return `expected CONNECT (0x10), got 0x${byte.toString(16).padStart(2, "0")}`;
        }
        this.#header = "length";
        this.#length = 0;
        this.#lengthBytes = 0;
        continue;
      }
      // Section 2.2.3: seven bits a byte, low ones first, four bytes at most.
      this.#length += (byte & 0x7f) * 128 ** this.#lengthBytes++;
      if ((byte & 0x80) !== 0) {
        if (this.#lengthBytes === 4) return "the remaining length has more than four bytes";
        continue;
      }
      const limit = this.#first ? this.#limits.maxConnect : this.#limits.maxPacket;
      if (this.#length > limit) return `expected a packet of at most ${limit} bytes, got ${this.#length}`;
      this.#first = false;
      this.#header = "type";
      this.#remaining = this.#length;
    }
    return undefined;
  }

  #drained(): void {
    const done = this.#waitingForDrain;
    this.#waitingForDrain = undefined;
    done?.();
  }
}
