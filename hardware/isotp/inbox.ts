// Messages that came and were not received yet, and the one who waits for the next.

import { checkMilliseconds } from "../clock.ts";
import { type ReceivedMessage, UdsTimeoutError, type WaitOptions } from "../uds/transport.ts";
import { Deadline } from "./deadline.ts";
import { IsoTpError } from "./errors.ts";
import type { IsoTpSettings } from "./settings.ts";

interface Waiting {
  resolve(received: ReceivedMessage): void;
  reject(reason: unknown): void;
  /** Milliseconds. */
  timeout: number;
}

/** A bounded queue with at most one reader. */
export class Inbox {
  readonly #name: string;
  readonly #settings: IsoTpSettings;
  readonly #underWay: () => boolean;
  readonly #due: Deadline;
  #queue: ReceivedMessage[] = [];
  #bytes = 0;
  #dropped = 0;
  #waiting: Waiting | undefined;
  /** Whether the reader's time is up and only a message that has begun keeps it waiting. */
  #overdue = false;
  #failure: IsoTpError | undefined;

  /** @param underWay whether a message for this reader has begun: P2 ends with its first frame (ISO 14229-2) */
  constructor(name: string, settings: IsoTpSettings, underWay: () => boolean) {
    this.#name = name;
    this.#settings = settings;
    this.#underWay = underWay;
    this.#due = new Deadline(settings.clock, () => {
      this.#overdue = true;
      this.settle();
    });
  }

  /** Whether somebody waits. */
  get waiting(): boolean {
    return this.#waiting !== undefined;
  }

  /** Messages that were thrown away because nobody received them. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The next message. The time-out is until it begins; the link's own timers rule the rest. */
  receive({ timeout, signal }: WaitOptions): Promise<ReceivedMessage> {
    try {
      checkMilliseconds(timeout, "timeout");
      signal?.throwIfAborted();
      const next = this.#queue.shift();
      if (next !== undefined) {
        this.#bytes -= next.message.length;
        return Promise.resolve(next);
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#waiting !== undefined) {
        throw new IsoTpError(this.#name, "N_ERROR", "a receive is under way already");
      }
    } catch (error) {
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      const abort = () => this.#take()?.reject(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      const release = () => signal?.removeEventListener("abort", abort);
      this.#waiting = {
        timeout,
        resolve(received) {
          release();
          resolve(received);
        },
        reject(reason) {
          release();
          reject(reason);
        },
      };
      this.#overdue = false;
      this.#due.set(this.#settings.clock.now() + timeout);
    });
  }

  push(received: ReceivedMessage): void {
    const waiting = this.#take();
    if (waiting !== undefined) {
      waiting.resolve(received);
      return;
    }
    const { maxQueuedMessages, maxQueuedBytes, log } = this.#settings;
    this.#queue.push(received);
    this.#bytes += received.message.length;
    while (
      this.#queue.length > maxQueuedMessages || (this.#bytes > maxQueuedBytes && this.#queue.length > 1)
    ) {
      this.#bytes -= this.#queue.shift()?.message.length ?? 0;
      if (this.#dropped++ === 0) {
        log(`${this.#name}: messages arrive and nobody receives them; the oldest are dropped`);
      }
    }
  }

  /** A message that had begun is lost. @returns whether somebody waited and was told */
  fail(error: IsoTpError): boolean {
    const waiting = this.#take();
    waiting?.reject(error);
    return waiting !== undefined;
  }

  /** Looks again whether an overdue reader has anything left to wait for. */
  settle(): void {
    if (!this.#overdue || this.#underWay()) return;
    const waiting = this.#take();
    waiting?.reject(new UdsTimeoutError(this.#name, waiting.timeout, "message"));
  }

  discard(): number {
    const discarded = this.#queue.length;
    this.#queue = [];
    this.#bytes = 0;
    return discarded;
  }

  /** Nothing will come any more. What came before can still be received. */
  close(error: IsoTpError): void {
    this.#failure = error;
    this.fail(error);
  }

  #take(): Waiting | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#overdue = false;
    if (waiting !== undefined) this.#due.clear();
    return waiting;
  }
}
