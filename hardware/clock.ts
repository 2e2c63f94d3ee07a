// Time as the stacks and the simulator use it, so that a test can rule it.

/** A clock with timers. Milliseconds throughout. */
export interface Clock {
  /** Monotonic time in milliseconds. */
  now(): number;
  /** Calls `run` once after `delay` ms. Returns what cancels it. */
  after(delay: number, run: () => void): () => void;
}

/** The system's monotonic clock and timers, looked up at each call so that fake timers installed later take effect. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delay, run) {
    const timer = setTimeout(run, delay);
    return () => clearTimeout(timer);
  },
};

/** Waits `delay` ms. @throws the signal's reason when it ends the wait. */
export function sleep(clock: Clock, delay: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const abort = () => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.after(delay, () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    });
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Throws a RangeError that quotes the value unless it is a usable number of milliseconds. */
export function checkMilliseconds(value: number, what: string): void {
  if (!Number.isFinite(value) || value < 0 || value > 0x7fff_ffff) {
    throw new RangeError(`${what} must be milliseconds from 0 to 2147483647, is ${value}`);
  }
}
