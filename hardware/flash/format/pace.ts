// Work in slices: long computations give the event loop its turn, and see that they were called off.

import { setImmediate } from "node:timers";

/** Longest time in ms that one slice of work takes before others get their turn. */
const slice = 8;

/** Gives way to other work once a slice is used up. */
export class Pace {
  #began = performance.now();
  readonly #signal: AbortSignal | undefined;

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** To be called between steps of well under a slice. @throws The signal's reason, once it is aborted. */
  async step(): Promise<void> {
    this.#signal?.throwIfAborted();
    if (this.due()) await this.rest();
  }

  /** Whether the slice is used up: where a step is too short to wait for a promise each time. */
  due(): boolean {
    return performance.now() - this.#began >= slice;
  }

  /** Lets others work. @throws The signal's reason, once it is aborted. */
  async rest(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#signal?.throwIfAborted();
    this.#began = performance.now();
  }
}
