// Waits that end on the instant: never before it, and as little after it as the machine allows.

import { clearImmediate, setImmediate } from "node:timers";
import { type Clock, systemClock } from "../clock.ts";

/** Calls back at an instant of its clock. */
export interface Pacer {
  /** Calls `run` once, at the instant or as soon after as it can: at once if it has passed. Returns what cancels it. */
  at(instant: number, run: () => void): () => void;
}

/** Timers of the clock alone. */
export function timerPacer(clock: Clock): Pacer {
  return {
    at(instant, run) {
      let cancel: () => void;
      const arm = () => {
        cancel = clock.after(Math.max(0, instant - clock.now()), () => clock.now() < instant ? arm() : run());
      };
      arm();
      return () => cancel();
    },
  };
}

/** Bounds of the time that is left to turns of the event loop, milliseconds. */
const leastMargin = 1.5;
const mostMargin = 3;

/**
 * The system's clock to some microseconds. A timer has whole milliseconds and fires a millisecond or more late, so it
 * covers only the first part; the rest goes by turn after turn of the event loop, in which all input is read as usual.
 * How much is left to turns follows from how late timers were seen to be.
 */
export function finePacer(): Pacer {
  let margin = leastMargin;
  return {
    at(instant, run) {
      let cancel = () => {};
      const step = () => {
        const now = systemClock.now();
        const left = instant - now;
        if (left <= 0) return run();
        const delay = Math.floor(left - margin);
        if (delay < 1) {
          const turn = setImmediate(step);
          cancel = () => clearImmediate(turn);
          return;
        }
        cancel = systemClock.after(delay, () => {
          const late = systemClock.now() - now - delay;
          margin = Math.min(mostMargin, Math.max(leastMargin, late + 0.5, margin * 0.98));
          step();
        });
      };
      step();
      return () => cancel();
    },
  };
}

/** The pacer for a clock: fine on the system's own, its timers on any other. */
export function pacerFor(clock: Clock): Pacer {
  return clock === systemClock ? finePacer() : timerPacer(clock);
}
