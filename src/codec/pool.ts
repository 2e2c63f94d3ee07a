// Threads for the codec's long work: a bounded number of them, a bounded queue before them.

import type { z } from "zod";
import { CodecBusyError } from "./errors.ts";
import { CodecJobError, fromWire, type FromWorker, type Job, type ToWorker } from "./protocol.ts";
import type { RunOptions } from "./zstd_files.ts";

/** Options of a {@linkcode CodecPool}. */
export interface CodecPoolOptions {
  /**
   * Most threads, each started when it is first needed.
   * @default 1
   */
  size?: number;
  /**
   * Most jobs that wait for a thread.
   * @default 256
   */
  maxQueued?: number;
  /**
   * Longest time in ms for which a job may be silent; then its thread is ended.
   * @default 120000
   */
  stallTimeout?: number;
}

/** Longest time in ms that a thread has to wind a job up that was called off. */
const abortTimeout = 2000;

interface Pending {
  id: number;
  job: Job;
  options: RunOptions;
  resolve: (result: unknown) => void;
  reject: (error: unknown) => void;
  onAbort: () => void;
}

interface Thread {
  worker: Worker;
  current: Pending | undefined;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Runs jobs in threads. While it has threads the process does not end: dispose of it. */
export class CodecPool implements AsyncDisposable {
  readonly #size: number;
  readonly #maxQueued: number;
  readonly #stallTimeout: number;
  readonly #threads = new Set<Thread>();
  readonly #queue: Pending[] = [];
  #nextId = 0;
  #closed = false;

  constructor({ size = 1, maxQueued = 256, stallTimeout = 120_000 }: CodecPoolOptions = {}) {
    for (const [name, value] of Object.entries({ size, maxQueued, stallTimeout })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new RangeError(`${name} must be a positive whole number, got ${value}`);
      }
    }
    this.#size = size;
    this.#maxQueued = maxQueued;
    this.#stallTimeout = stallTimeout;
  }

  /**
   * Runs a job.
   *
   * @param result What the job's kind gives, from `results`.
   * @throws {CodecBusyError} If the queue is full.
   * @throws {PackageError | CodecJobError} What the job failed with; the signal's reason, if it was called off.
   */
  async run<T>(job: Job, result: z.ZodType<T>, options: RunOptions = {}): Promise<T> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#closed) throw new CodecJobError("the codec's threads have been ended", undefined);
    if (this.#queue.length >= this.#maxQueued) {
      throw new CodecBusyError(`expected at most ${this.#maxQueued} waiting jobs, got one more`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const pending: Pending = {
      id: this.#nextId++,
      job,
      options,
      resolve,
      reject,
      onAbort: () => this.#abort(pending),
    };
    signal?.addEventListener("abort", pending.onAbort, { once: true });
    this.#queue.push(pending);
    this.#dispatch();
    try {
      return result.parse(await promise);
    } finally {
      signal?.removeEventListener("abort", pending.onAbort);
    }
  }

  /** Ends the threads; jobs that run or wait fail. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const ended = new CodecJobError("the codec's threads were ended before the job was done", undefined);
    for (const pending of this.#queue.splice(0)) pending.reject(ended);
    for (const thread of [...this.#threads]) this.#end(thread, ended);
    return Promise.resolve();
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const thread = [...this.#threads].find(({ current }) => current === undefined) ?? this.#start();
      if (!thread) return;
      const pending = this.#queue.shift();
      if (!pending) return;
      thread.current = pending;
      this.#watch(thread, this.#stallTimeout, () => stalled(this.#stallTimeout));
      post(thread.worker, { type: "run", id: pending.id, job: pending.job });
    }
  }

  #start(): Thread | undefined {
    if (this.#threads.size >= this.#size) return undefined;
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "codec" });
    const thread: Thread = { worker, current: undefined, timer: undefined };
    worker.onmessage = (event: MessageEvent<FromWorker>) => this.#receive(thread, event.data);
    worker.onerror = (event) => {
      // Without this the error would end the process; it ends the thread and fails its job.
      event.preventDefault();
      this.#end(thread, new CodecJobError(`the codec's thread failed: ${event.message}`, undefined));
      this.#dispatch();
    };
    this.#threads.add(thread);
    return thread;
  }

  #receive(thread: Thread, message: FromWorker): void {
    const pending = thread.current;
    if (!pending || pending.id !== message.id) return;
    if (message.type === "progress") {
      if (pending.options.signal?.aborted) return;
      this.#watch(thread, this.#stallTimeout, () => stalled(this.#stallTimeout));
      pending.options.onProgress?.(message.bytes);
      return;
    }
    clearTimeout(thread.timer);
    thread.current = undefined;
    if (message.type === "done") pending.resolve(message.result);
    else {pending.reject(
        pending.options.signal?.aborted ? pending.options.signal.reason : fromWire(message.error),
      );}
    this.#dispatch();
  }

  #abort(pending: Pending): void {
    const waiting = this.#queue.indexOf(pending);
    if (waiting >= 0) {
      this.#queue.splice(waiting, 1);
      pending.reject(pending.options.signal?.reason);
      return;
    }
    for (const thread of this.#threads) {
      if (thread.current !== pending) continue;
      post(thread.worker, { type: "abort", id: pending.id });
      this.#watch(thread, abortTimeout, () => pending.options.signal?.reason);
    }
  }

  /** Ends the thread when the time is up. */
  #watch(thread: Thread, time: number, error: () => unknown): void {
    clearTimeout(thread.timer);
    thread.timer = setTimeout(() => {
      this.#end(thread, error());
      this.#dispatch();
    }, time);
  }

  #end(thread: Thread, error: unknown): void {
    clearTimeout(thread.timer);
    this.#threads.delete(thread);
    thread.worker.terminate();
    thread.current?.reject(error);
  }
}

function stalled(time: number): CodecJobError {
  return new CodecJobError(`expected a sign of life within ${time} ms, got none`, undefined);
}

function post(worker: Worker, message: ToWorker): void {
  worker.postMessage(message);
}
