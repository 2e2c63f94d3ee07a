// A deadline that is moved often and seldom met: moving it forward costs no timer.

import type { Clock } from "../clock.ts";

/**
 * How late a timer may be before it says more about this process than about the peer, and how long input that
 * waited meanwhile is then given to be read. Milliseconds.
 */
const busyAfter = 10;
const grace = 20;

/** Calls `expired` once when its time comes. */
export class Deadline {
  readonly #clock: Clock;
  readonly #expired: () => void;
  readonly #fire = (): void => this.#fired();
  #cancel: (() => void) | undefined;
  #firesAt = Infinity;
  #at = Infinity;
  #graced = false;

  constructor(clock: Clock, expired: () => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  /** Sets or moves it. @param at milliseconds of the clock */
  set(at: number): void {
    this.#at = at;
    this.#graced = false;
    if (this.#cancel !== undefined) {
      // A timer that fires early is set anew then.
      if (this.#firesAt <= at) return;
      this.#cancel();
    }
    this.#arm(at);
  }

  clear(): void {
    this.#at = Infinity;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(at: number): void {
    this.#firesAt = at;
    this.#cancel = this.#clock.after(Math.max(0, at - this.#clock.now()), this.#fire);
  }

  #fired(): void {
    this.#cancel = undefined;
    const now = this.#clock.now();
    if (now < this.#at) {
      this.#arm(this.#at);
    } else if (!this.#graced && now - this.#firesAt > busyAfter) {
      // This process was busy: the frame that ends the wait may have come and stand unread.
      this.#graced = true;
      this.#arm(now + grace);
    } else {
      this.#at = Infinity;
      this.#expired();
    }
  }
}
