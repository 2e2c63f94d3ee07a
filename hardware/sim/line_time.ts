// Books the time of a line that carries one thing after another: a CAN bus its frames, a serial line its bytes.
//
// Timers of the system wake a millisecond or more too late, and a frame takes a quarter of one. The line therefore keeps a time
// of its own: what is due within a millisecond is released now, and what was released late is followed by what it causes
// as if it had been released when it was due. The average rate is exact; only the single moments are coarse.
import { type Clock, systemClock } from "../clock.ts";

// What comes so soon after a release stood ready when the line became free, as in a controller's next mailbox, and loses
// no line time by the speed of this machine. Milliseconds.
const promptly = 1;
// How much lateness is made up for, and how long after a release. Milliseconds.
const longestCatchUp = 100;
// How much sooner than due something is released on the system's clock, whose timers could not wait that short a time.
const soonest = 1;

/** The booking of one line. Milliseconds of its clock. */
export class LineTime {
  readonly #clock: Clock;
  readonly #early: number;
  #freeAt: number;
  #releasedAt = -Infinity;
  #lateness = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#early = clock === systemClock ? soonest : 0;
    this.#freeAt = clock.now();
  }

  /** How long to wait until what is due then is released; 0: no longer. */
  wait(due: number): number {
    return Math.max(0, -this.past(due));
  }

  /** How long ago what is due then could be released; negative: how long until then. */
  past(due: number): number {
    return this.#clock.now() + this.#early - due;
  }

  /** The line's own time: behind the clock by what the last release was late. */
  now(): number {
    const now = this.#clock.now();
    const since = now - this.#releasedAt;
    if (since <= promptly) return Math.min(now, this.#releasedAt - this.#lateness);
    return since <= longestCatchUp ? now - this.#lateness : now;
  }

  /**
   * Books the line for a duration, behind all that is booked.
   *
   * @param ready when what is carried stood ready, of the line's own time: it does not wait for this machine to book it. @default now
   * @returns when it ends
   */
  book(duration: number, ready: number = this.now()): number {
    const earliest = Math.max(ready, this.#clock.now() - longestCatchUp);
    this.#freeAt = Math.max(this.#freeAt, earliest) + duration;
    return this.#freeAt;
  }

  /** What was booked until `due` is released now. */
  released(due: number): void {
    this.#releasedAt = this.#clock.now();
    this.#lateness = Math.min(Math.max(0, this.#releasedAt - due), longestCatchUp);
  }
}
