// Time as the UDS stack and the simulator use it, so that a test can rule it.

/** A clock with timers. Milliseconds throughout. */
export interface Clock {
  /** Monotonic time in milliseconds. */
  now(): number;
  /** Calls `run` once after `delay` ms. Returns what cancels it. */
  after(delay: number, run: () => void): () => void;
}

/** The system's monotonic clock and timers. */
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
