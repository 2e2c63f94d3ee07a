// One node of the simulated CAN bus: what it has waiting, who listens to it, whether it is off.
import { type CanBus, CanBusError, type ReceivedFrame, type SendOptions } from "../can/bus.ts";
import { type CanFrame, showFrame } from "../can/frame.ts";
import type { Clock } from "../clock.ts";

/** A send that waits for the bus. */
export interface WaitingFrame {
  readonly frame: CanFrame;
  readonly node: VirtualCanNode;
  readonly deadline: number;
  readonly order: number;
  resolve(): void;
  reject(reason: unknown): void;
}

/** Frames that one node may have waiting: more than any adapter's buffer. */
const longestQueue = 4_096;
/** Frames of one call that wait together. */
const batch = 256;
/** Longest wait for the bus, ms: N_As of ISO 15765-2. */
export const defaultSendTimeout = 1_000;

/** What a node does, asked whenever it matters. */
export interface NodeState {
  /** Without power a node neither sends nor hears nor acknowledges. @default always */
  powered?(): boolean;
  /** A node that starts up acknowledges, and hears nothing yet. @default always */
  hears?(): boolean;
}

/** What a node needs of its bus. */
export interface BusSide {
  enqueue(frame: CanFrame, options: SendOptions): Promise<void>;
  detach(): void;
  /** Says that a node is there again. */
  wake(): void;
  clock: Clock;
  log: (message: string) => void;
}

/** A node of a {@link VirtualCanBus}. What it sends is out when the promise of `send` resolves. */
export class VirtualCanNode implements CanBus {
  readonly name: string;
  readonly fd: boolean;
  readonly closed: Promise<Error | undefined>;
  /** What waits to be sent, for the bus. */
  readonly waiting = new Set<WaitingFrame>();
  readonly #side: BusSide;
  readonly #state: NodeState;
  readonly #listeners = new Set<(received: ReceivedFrame) => void>();
  #end!: (reason: Error | undefined) => void;
  #ended = false;
  #off = false;
  #cancelWatch: (() => void) | undefined;
  #cancelRecovery: (() => void) | undefined;

  /** For the bus alone; others call {@link VirtualCanBus.attach}. */
  constructor(name: string, fd: boolean, side: BusSide, state: NodeState) {
    this.name = name;
    this.fd = fd;
    this.#side = side;
    this.#state = state;
    this.closed = new Promise((resolve) => this.#end = resolve);
  }

  /** Whether the node is bus-off: it neither sends nor hears (ISO 11898-1 13.1.4). */
  get busOff(): boolean {
    return this.#off;
  }

  /** Whether the node takes part: it has power and is not bus-off. */
  get present(): boolean {
    return !this.#off && (this.#state.powered?.() ?? true);
  }

  send(frame: CanFrame, options: SendOptions = {}): Promise<void> {
    if (this.#ended) return Promise.reject(new CanBusError(`${this.name}: left the bus`));
    if (!this.present) return Promise.reject(this.#absence());
    if (this.waiting.size >= longestQueue) {
      return Promise.reject(new CanBusError(`${this.name}: ${longestQueue} frames wait already`));
    }
    return this.#side.enqueue(frame, options);
  }

  async sendAll(frames: readonly CanFrame[], options: SendOptions = {}): Promise<void> {
    const { timeout = defaultSendTimeout, signal } = options;
    for (let at = 0; at < frames.length; at += batch) {
      const part = frames.slice(at, at + batch);
      // The n-th has the time of those before it as well: its own begins when they are out.
      await Promise.all(part.map((frame, n) => this.send(frame, { timeout: (n + 1) * timeout, signal })));
    }
  }

  listen(receive: (received: ReceivedFrame) => void): () => void {
    // Wrapped, so that the same function may listen twice.
    const listener = (received: ReceivedFrame) => receive(received);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes part again after a bus-off. */
  recover(): void {
    this.#cancelRecovery?.();
    this.#off = false;
    this.#side.wake();
  }

  close(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    this.#ended = true;
    this.#cancelWatch?.();
    this.#cancelRecovery?.();
    this.#side.detach();
    this.#rejectAll(new CanBusError(`${this.name}: left the bus`));
    this.#listeners.clear();
    this.#end(undefined);
    return Promise.resolve();
  }

  /** For the bus: a frame of another node. */
  hear(received: ReceivedFrame): void {
    if (!this.present || this.#state.hears?.() === false) return;
    for (const listener of this.#listeners) {
      try {
        listener(received);
      } catch (error) {
        // One listener's fault is not the others'.
        this.#side.log(
          `${this.name}: a listener failed at ${showFrame(received.frame)}: ${
            error instanceof Error ? error.stack : error
          }`,
        );
      }
    }
  }

  /** For the bus: too many errors. What waits is lost. */
  goOff(duration?: number): void {
    this.#off = true;
    this.lose();
    this.#cancelRecovery?.();
    if (duration !== undefined) this.#cancelRecovery = this.#side.clock.after(duration, () => this.recover());
  }

  /** For the bus: what waits is lost, the node takes no part any more. */
  lose(): void {
    this.#rejectAll(this.#absence());
  }

  /** For the bus: sees to it that sends end in time. One timer for all of them: frames are many. */
  watch(): void {
    if (this.#cancelWatch !== undefined) return;
    const deadline = Math.min(...[...this.waiting].map((waiting) => waiting.deadline));
    this.#cancelWatch = this.#side.clock.after(Math.max(0, deadline - this.#side.clock.now()), () => {
      this.#cancelWatch = undefined;
      const now = this.#side.clock.now();
      for (const waiting of this.waiting) {
        if (waiting.deadline > now) continue;
        this.waiting.delete(waiting);
        waiting.reject(
          new CanBusError(
            `${this.name}: ${showFrame(waiting.frame)} was not sent in time, nobody acknowledges it`,
          ),
        );
      }
      if (this.waiting.size > 0) this.watch();
    });
  }

  #absence(): CanBusError {
    return new CanBusError(`${this.name}: ${this.#off ? "bus off" : "no power"}`);
  }

  #rejectAll(reason: CanBusError): void {
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const { reject } of waiting) reject(reason);
  }
}
