// A clock that a test moves by hand.
import { setImmediate } from "node:timers";
import type { Clock } from "../../../hardware/clock.ts";

/** Time that stands still until it is told to pass. */
export class TestClock implements Clock {
  #now = 0;
  #timers: { due: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  /** Timers that are armed. */
  get armed(): number {
    return this.#timers.length;
  }

  after(delay: number, run: () => void): () => void {
    const timer = { due: this.#now + delay, run };
    this.#timers.push(timer);
    return () => this.#timers = this.#timers.filter((other) => other !== timer);
  }

  /** Lets that many milliseconds pass, running what falls due in its order. */
  async advance(milliseconds: number): Promise<void> {
    const until = this.#now + milliseconds;
    await settle();
    for (;;) {
      const next = this.#timers.toSorted((a, b) => a.due - b.due)[0];
      if (next === undefined || next.due > until) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.due);
      next.run();
      await settle();
    }
    this.#now = until;
  }
}

/** Lets everything that waits for nothing but its turn run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}
