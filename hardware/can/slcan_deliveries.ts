// Frames that were handed to an SLCAN bus and are not yet taken by its adapter, with their time-outs: one timer for all.
import type { Clock } from "../clock.ts";
import { CanBusError } from "./bus.ts";
import { type CanFrame, showFrame } from "./frame.ts";
import type { Delivery } from "./slcan_unanswered.ts";

/** What {@link Deliveries} needs. */
export interface DeliveriesOptions {
  /** For messages. */
  name: string;
  clock: Clock;
  /** Told how many had been written when their time was over: their acknowledgements are missing. */
  unacknowledged: (count: number) => void;
}

/** All that is under way. */
export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #all = new Set<TimedDelivery>();
  #queued = 0;
  #cancel: (() => void) | undefined;
  #deadline = Infinity;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /** Frames that wait. */
  get queued(): number {
    return this.#queued;
  }

  /**
   * Resolves when the adapter has taken all frames.
   * @param timeout longest time without progress, ms
   * @param hand passes them on, once they are watched
   */
  begin(
    frames: readonly CanFrame[],
    timeout: number,
    signal: AbortSignal | undefined,
    hand: (delivery: Delivery) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const delivery = new TimedDelivery(frames, timeout, this.#options.clock, (error) => {
        this.#all.delete(delivery);
        this.#queued -= frames.length;
        signal?.removeEventListener("abort", abort);
        if (error === undefined) resolve();
        else reject(error);
      });
      const abort = () => delivery.settle(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      this.#all.add(delivery);
      this.#queued += frames.length;
      this.#watch(delivery.deadline);
      hand(delivery);
    });
  }

  /** Gives all up. */
  fail(error: Error): void {
    for (const delivery of [...this.#all]) delivery.settle(error);
  }

  /** Watches no more. */
  stop(): void {
    this.#cancel?.();
  }

  /** Sees to it that the deadline of the delivery that is due first is kept. */
  #watch(deadline: number): void {
    if (deadline >= this.#deadline) return;
    this.#cancel?.();
    this.#deadline = deadline;
    const { clock } = this.#options;
    this.#cancel = clock.after(Math.max(0, deadline - clock.now()), () => this.#expire());
  }

  #expire(): void {
    const { name, clock, unacknowledged } = this.#options;
    this.#deadline = Infinity;
    const now = clock.now();
    let missing = 0;
    let next = Infinity;
    for (const delivery of [...this.#all]) {
      if (delivery.deadline > now) {
        next = Math.min(next, delivery.deadline);
        continue;
      }
      const written = delivery.next > 0;
      if (written) missing++;
      const frame = delivery.frames[delivery.frames.length - delivery.remaining];
      delivery.settle(
        new CanBusError(
          `${name}: ${showFrame(frame)} was ${
            written ? "not acknowledged" : "not sent, others wait before it,"
          } within ${delivery.timeout} ms`,
        ),
      );
    }
    if (next < Infinity) this.#watch(next);
    if (missing > 0) unacknowledged(missing);
  }
}

/** Frames of one call with their time-out. */
class TimedDelivery implements Delivery {
  next = 0;
  remaining: number;
  settled = false;
  deadline: number;

  constructor(
    readonly frames: readonly CanFrame[],
    readonly timeout: number,
    readonly clock: Clock,
    readonly done: (error?: unknown) => void,
  ) {
    this.remaining = frames.length;
    this.deadline = clock.now() + timeout;
  }

  settle(error?: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.done(error);
  }

  progress(): void {
    this.deadline = this.clock.now() + this.timeout;
  }
}
