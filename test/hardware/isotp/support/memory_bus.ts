// A CAN bus in memory without bit rate: what one node sends, all others hear at once. And a clock that a test moves.

import {
  type CanBus,
  CanBusError,
  type ReceivedFrame,
  type SendOptions,
} from "../../../../hardware/can/bus.ts";
import { type CanFrame, checkFrame, showFrame } from "../../../../hardware/can/frame.ts";
import type { Clock } from "../../../../hardware/clock.ts";

/** Time that stands still until it is moved. */
export class TestClock implements Clock {
  #now = 1_000;
  #timers: { at: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(delay: number, run: () => void): () => void {
    const timer = { at: this.#now + delay, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Moves the time forward, running what is due in its order and letting promises settle in between. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await settled();
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= end + 1e-9).sort((a, b) => a.at - b.at).at(0);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
      await settled();
    }
    this.#now = end;
    await settled();
  }
}

/** Lets promises that can settle do so. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

/** A frame that was sent, and when. */
export interface Sent {
  readonly time: number;
  /** As candump writes it. */
  readonly text: string;
}

/** The bus; each node of it is a {@link CanBus}. */
export class MemoryBus {
  readonly nodes = new Set<MemoryNode>();

  node(name: string, options: { fd?: boolean; clock?: Clock; batches?: boolean } = {}): MemoryNode {
    const node = options.batches ? new BatchNode(this, name, options) : new MemoryNode(this, name, options);
    this.nodes.add(node);
    return node;
  }
}

export class MemoryNode implements CanBus {
  readonly name: string;
  readonly fd: boolean;
  readonly closed: Promise<Error | undefined>;
  /** What this node sent. */
  readonly sent: Sent[] = [];
  /** Whether what is sent is kept. */
  record = true;
  /** How a send behaves: taken at once, never taken, or failing. */
  mode: "take" | "stall" | "fail" = "take";
  readonly #bus: MemoryBus;
  readonly #clock: Clock | undefined;
  #listeners: ((received: ReceivedFrame) => void)[] = [];
  #end: (reason: Error | undefined) => void = () => {};

  constructor(bus: MemoryBus, name: string, { fd = true, clock }: { fd?: boolean; clock?: Clock }) {
    this.#bus = bus;
    this.name = name;
    this.fd = fd;
    this.#clock = clock;
    this.closed = new Promise((resolve) => this.#end = resolve);
  }

  send(frame: CanFrame, options: SendOptions = {}): Promise<void> {
    checkFrame(frame);
    if (this.record) this.sent.push({ time: this.#clock?.now() ?? 0, text: showFrame(frame) });
    if (this.mode === "fail") return Promise.reject(new CanBusError(`${this.name}: bus off`));
    if (this.mode === "stall") {
      return new Promise((_, reject) => {
        options.signal?.addEventListener("abort", () => reject(options.signal?.reason));
        this.#clock?.after(options.timeout ?? 1_000, () => {
          reject(new CanBusError(`${this.name}: ${showFrame(frame)} was not taken`));
        });
      });
    }
    this.deliver(frame);
    return Promise.resolve();
  }

  listen(receive: (received: ReceivedFrame) => void): () => void {
    this.#listeners = [...this.#listeners, receive];
    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== receive);
    };
  }

  /** Listeners that this node has. */
  get listeners(): number {
    return this.#listeners.length;
  }

  close(reason?: Error): Promise<void> {
    this.#end(reason);
    this.#bus.nodes.delete(this);
    return Promise.resolve();
  }

  /** Gives a frame to all other nodes. */
  deliver(frame: CanFrame): void {
    for (const node of this.#bus.nodes) {
      if (node !== this) node.hear(frame);
    }
  }

  hear(frame: CanFrame): void {
    const received = { frame, time: 0 };
    for (const listener of this.#listeners) listener(received);
  }
}

/** A node that takes several frames at once. */
export class BatchNode extends MemoryNode {
  /** Frames of each batch. */
  readonly batches: number[] = [];
  /** Batches that wait to be taken while `holding`: each call takes one. */
  readonly held: (() => void)[] = [];
  holding = false;

  async sendAll(frames: readonly CanFrame[]): Promise<void> {
    if (this.record) this.batches.push(frames.length);
    if (this.holding) await new Promise<void>((resolve) => this.held.push(resolve));
    for (const frame of frames) {
      checkFrame(frame);
      if (this.record) this.sent.push({ time: 0, text: showFrame(frame) });
      this.deliver(frame);
    }
  }
}

/** A frame from candump's short form: `7E0#021003`, `18DA10F1##1…`. */
export function frame(text: string): CanFrame {
  const match = /^([0-9A-F]{3}|[0-9A-F]{8})#(?:(R)|(#)([01]))?([0-9A-F]*)$/.exec(text.replaceAll(" ", ""));
  if (match === null) throw new Error(`expected a frame, got ${text}`);
  const [, id, remote, fd, flags, data] = match;
  return {
    id: parseInt(id, 16),
    extended: id.length === 8,
    data: Uint8Array.fromHex(remote ? "" : data),
    ...(remote ? { remote: true } : {}),
    ...(fd ? { fd: true, bitRateSwitch: flags === "1" } : {}),
  };
}
