// Gathers telemetry of all vehicles into few transactions. Each message's promise settles when it is committed.

import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import { QueryError } from "../store/errors.ts";
import type { StoredBatch, TelemetryInput } from "../store/telemetry.ts";

export interface BatcherOptions {
  /** Stores a batch: all of it or none. */
  store(batch: readonly TelemetryInput[]): Promise<StoredBatch>;
  /** Called with what was stored, after its senders were told; the next batch waits for it. */
  afterCommit(stored: readonly TelemetryInput[]): Promise<void>;
  /** Called with the size of each stored batch, for the metric. */
  onBatch?(size: number): void;
  /** Messages that are stored in one transaction at most. @default 500 */
  batchSize?: number;
  /** How long the first message of a batch waits for others, in milliseconds. @default 20 */
  batchInterval?: number;
  /** Messages that wait at most; senders are held back above it. @default 20000 */
  maxQueued?: number;
  log: Logger;
}

interface Waiting {
  readonly row: TelemetryInput;
  resolve(outcome: "stored" | "duplicate"): void;
  reject(error: unknown): void;
}

/** The batcher is closed. */
export class BatcherClosed extends Error {
  override readonly name = "BatcherClosed";
}

export class TelemetryBatcher {
  readonly #options: BatcherOptions;
  readonly #batchSize: number;
  readonly #batchInterval: number;
  readonly #maxQueued: number;
  #queue: Waiting[] = [];
  #heldBack: (() => void)[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#batchSize = positive("batchSize", options.batchSize ?? 500);
    this.#batchInterval = positive("batchInterval", options.batchInterval ?? 20);
    this.#maxQueued = positive("maxQueued", options.maxQueued ?? 20_000);
  }

  /** Messages that wait for the database. */
  get queued(): number {
    return this.#queue.length;
  }

  /**
   * Resolves once the message is committed, or known from before.
   * @throws the store's error when it was not; QueryError when this message itself cannot be stored
   */
  async add(row: TelemetryInput): Promise<"stored" | "duplicate"> {
    while (this.#queue.length >= this.#maxQueued && !this.#closed) {
      await new Promise<void>((resolve) => this.#heldBack.push(resolve));
    }
    if (this.#closed) throw new BatcherClosed("the server is stopping");
    return await new Promise((resolve, reject) => {
      this.#queue.push({ row, resolve, reject });
      if (this.#queue.length >= this.#batchSize) this.#start();
      else this.#timer ??= setTimeout(() => this.#start(), this.#batchInterval);
    });
  }

  /** Takes no more, and waits until what was taken is stored or refused. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#release();
    this.#start();
    await this.#running;
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0) this.#start();
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, this.#batchSize);
      this.#release();
      const stored = await this.#store(batch);
      if (stored.length === 0) continue;
      this.#options.onBatch?.(stored.length);
      try {
        await this.#options.afterCommit(stored);
      } catch (error) {
        // The telemetry is in the database and its senders know; what was to follow is lost, and said.
        this.#options.log.error(`What follows telemetry failed: ${describeError(error)}`);
      }
    }
  }

  async #store(batch: readonly Waiting[]): Promise<TelemetryInput[]> {
    let result: StoredBatch;
    try {
      result = await this.#options.store(batch.map((waiting) => waiting.row));
    } catch (error) {
      if (error instanceof QueryError && batch.length > 1) return await this.#oneByOne(batch);
      for (const waiting of batch) waiting.reject(error);
      return [];
    }
    const duplicates = new Set(result.duplicates);
    const stored: TelemetryInput[] = [];
    for (const [index, waiting] of batch.entries()) {
      if (duplicates.has(index)) waiting.resolve("duplicate");
      else {
        stored.push(waiting.row);
        waiting.resolve("stored");
      }
    }
    return stored;
  }

  /** A message that the database refuses must not take the others of its batch with it. */
  async #oneByOne(batch: readonly Waiting[]): Promise<TelemetryInput[]> {
    const stored: TelemetryInput[] = [];
    for (const waiting of batch) stored.push(...await this.#store([waiting]));
    return stored;
  }

  #release(): void {
    for (const resume of this.#heldBack.splice(0)) resume();
  }
}

function positive(name: string, value: number): number {
  if (!(value >= 1)) throw new RangeError(`${name} must be at least 1, got ${value}`);
  return value;
}
