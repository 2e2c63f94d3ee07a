// The idle time of a stream, as net.Socket has it: node:http asks it of what it serves.

import type { Duplex } from "node:stream";

/** Emits 'timeout' on its stream when nothing has moved for a while. */
export class IdleTimer {
  readonly #stream: Duplex;
  #limit = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
  }

  /** Emits 'timeout' after that many milliseconds without a byte in either direction; 0 for never. */
  set(limit: number, heard?: () => void): void {
    if (heard !== undefined) {
      if (limit === 0) this.#stream.off("timeout", heard);
      else this.#stream.once("timeout", heard);
    }
    this.#limit = limit;
    this.active();
  }

  /** A byte has gone by: the idle time counts from here. */
  active(): void {
    this.stop();
    if (this.#limit === 0 || this.#stream.destroyed) return;
    this.#timer = setTimeout(() => this.#stream.emit("timeout"), this.#limit);
    Deno.unrefTimer(this.#timer);
  }

  /** Nothing is emitted until {@link active} is called again. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
