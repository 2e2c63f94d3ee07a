// Waits that a signal ends, and the growing wait between tries.

/** Waits `ms` milliseconds. @throws the signal's reason when it ends the wait */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const ended = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", ended);
      resolve();
    }, ms);
    signal?.addEventListener("abort", ended, { once: true });
  });
}

/** The promise's outcome, or the signal's reason if that comes first; the promise itself goes on. */
export function orAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const ended = () => reject(signal.reason);
    if (signal.aborted) ended();
    else signal.addEventListener("abort", ended, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", ended));
  });
}

/** Waits for the promise to settle, whatever its outcome, at most `ms` milliseconds. */
export async function settledWithin(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  await Promise.race([promise.catch(() => {}), limit]);
  clearTimeout(timer);
}

/** Options of {@link Backoff}. Milliseconds. */
export interface BackoffOptions {
  /** First upper bound. */
  initial: number;
  /** Largest upper bound. */
  max: number;
  /** Share of each wait that is random, more than 0 and at most 1; the rest is always waited. @default 1 */
  jitter?: number;
  /** Gives a number from 0 up to but not including 1. @default Math.random */
  random?: () => number;
}

/**
 * Exponential back-off with jitter: each wait is random between nothing, or what `jitter` leaves, and a bound that doubles
 * up to a limit, so that many vehicles that lost the server at one moment do not come back at one moment.
 */
export class Backoff {
  readonly #initial: number;
  readonly #max: number;
  readonly #jitter: number;
  readonly #random: () => number;
  #bound: number;

  constructor(options: BackoffOptions) {
    const { initial, max, jitter = 1 } = options;
    if (!(initial > 0)) throw new RangeError(`initial: expected more than 0 ms, got ${initial}`);
    if (!(max >= initial)) throw new RangeError(`max: expected at least ${initial} ms, got ${max}`);
    if (!(jitter > 0 && jitter <= 1)) throw new RangeError(`jitter: expected 0 to 1, got ${jitter}`);
    this.#jitter = jitter;
    this.#initial = initial;
    this.#max = max;
    this.#random = options.random ?? Math.random;
    this.#bound = initial;
  }

  /** The next wait in whole milliseconds. */
  next(): number {
    const wait = Math.round((1 - this.#jitter + this.#random() * this.#jitter) * this.#bound);
    this.#bound = Math.min(this.#bound * 2, this.#max);
    return wait;
  }

  /** Begins anew: something succeeded. */
  reset(): void {
    this.#bound = this.#initial;
  }
}
