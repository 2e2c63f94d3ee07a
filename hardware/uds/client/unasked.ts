// What an ECU sends by itself, as an async iterator: a bounded queue between the bus and a reader that may be slow.
import type { Exchange, UnaskedListener } from "../exchange.ts";

/** Options of a stream of unasked messages. */
export interface UnaskedOptions {
  /** Ends the stream: the ECU is told to stop, then the iterator is done. */
  signal?: AbortSignal;
  /** Entries that may wait for the reader; when one more comes, the oldest is dropped. @default 1024 */
  queueLimit?: number;
}

/** What a stream is made of. */
export interface UnaskedSource<T> {
  /** Reads a message. @returns undefined when it is not this stream's */
  take(message: Uint8Array): T | undefined;
  /** Whether this entry is the last one the ECU sends. @default never */
  isLast?(entry: T): boolean;
  /** Has the ECU begin. */
  start(): Promise<void>;
  /** Has the ECU end. */
  stop(): Promise<void>;
}

/**
 * Starts when the first entry is asked for. Ends done after `return()`, the signal or the last entry, and throws what
 * ended the path. The ECU is told to stop in every case in which it may still be sending.
 */
export function unaskedStream<T>(
  exchange: Exchange,
  options: UnaskedOptions,
  source: UnaskedSource<T>,
): AsyncGenerator<T, void, void> & { readonly dropped: number } {
  const { signal, queueLimit = 1_024 } = options;
  if (!Number.isInteger(queueLimit) || queueLimit < 1) {
    throw new RangeError(`queueLimit: expected 1 or more, got ${queueLimit}`);
  }
  const queue = new Queue(source, queueLimit);
  const stream = run(exchange, signal, source, queue);
  return Object.defineProperty(Object.assign(stream, { dropped: 0 }), "dropped", {
    get: () => queue.dropped,
  });
}

async function* run<T>(
  exchange: Exchange,
  signal: AbortSignal | undefined,
  source: UnaskedSource<T>,
  queue: Queue<T>,
): AsyncGenerator<T, void, void> {
  if (signal?.aborted) return;
  const unlisten = exchange.listen(queue);
  const wake = () => queue.end();
  signal?.addEventListener("abort", wake, { once: true });
  let sending = false;
  try {
    await source.start();
    sending = true;
    for (;;) {
      const entry = await queue.next();
      if (entry === undefined) return;
      sending = source.isLast?.(entry.value) !== true;
      yield entry.value;
      if (!sending) return;
    }
  } catch (error) {
    // Aborted while it started: whether the ECU had the request is not known.
    if (!signal?.aborted) throw error;
    sending = true;
  } finally {
    signal?.removeEventListener("abort", wake);
    try {
      // A path that is gone carries no stop either; its error is on its way to the reader.
      if (sending && queue.failure === undefined) await source.stop();
    } finally {
      unlisten();
    }
  }
}

/** Entries between the bus and the reader. */
class Queue<T> implements UnaskedListener {
  dropped = 0;
  failure: Error | undefined;
  readonly #source: UnaskedSource<T>;
  readonly #limit: number;
  readonly #entries: { value: T }[] = [];
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(source: UnaskedSource<T>, limit: number) {
    this.#source = source;
    this.#limit = limit;
  }

  take(message: Uint8Array): boolean {
    const value = this.#source.take(message);
    if (value === undefined) return false;
    this.#entries.push({ value });
    if (this.#entries.length > this.#limit) {
      this.#entries.shift();
      this.dropped++;
    }
    this.#wake?.();
    return true;
  }

  fail(error: Error): void {
    this.failure = error;
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The oldest entry, or undefined at the end. What came before an error is given first. */
  async next(): Promise<{ value: T } | undefined> {
    for (;;) {
      if (this.#ended) return undefined;
      const entry = this.#entries.shift();
      if (entry !== undefined) return entry;
      if (this.failure !== undefined) throw this.failure;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }
}
