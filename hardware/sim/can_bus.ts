// A CAN bus in this process: each node hears the frames of all others. Frames that wait are sent by priority, one after another,
// and take the time that their bits take.
import { clearImmediate, setImmediate } from "node:timers";
import { CanBusError, type SendOptions } from "../can/bus.ts";
import { type CanFrame, checkFrame, showFrame } from "../can/frame.ts";
import { frameTime } from "../can/wire_bits.ts";
import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import { type CanFault, CanFaultInjector } from "./can_faults.ts";
import { defaultSendTimeout, type NodeState, VirtualCanNode, type WaitingFrame } from "./can_node.ts";
import { LineTime } from "./line_time.ts";
import type { SimulatedTiming } from "./options.ts";

export type { CanFault } from "./can_faults.ts";

/** Options of {@link VirtualCanBus}. */
export interface VirtualCanBusOptions {
  /** Name for messages, e.g. `CAN_BODY`. */
  name: string;
  /** Bit/s. @default 500000 */
  bitRate?: number;
  /** Bit/s of the data phase; given, the bus carries FD frames. @default none: classic frames alone */
  dataBitRate?: number;
  /** `realistic`: frames take the time of their bits. @default "realistic" */
  timing?: SimulatedTiming;
  /** Faults set from the start. @default none */
  faults?: readonly CanFault[];
  /** Told of faults that concern the adapter, not the bus: garbage and unplug. @default they have no effect */
  onAdapterFault?: (fault: CanFault) => void;
  /** Told what happens: faults, nodes that go off. @default nothing is said */
  log?: (message: string) => void;
  /** @default the system's clock */
  clock?: Clock;
}

/** Without pacing, frames sent in one go before timers and sockets get their turn. */
const longestBurst = 512;

/** A bus. Its nodes come from {@link VirtualCanBus.attach}. */
export class VirtualCanBus {
  readonly name: string;
  readonly bitRate: number;
  readonly dataBitRate: number | undefined;
  readonly fd: boolean;
  readonly #clock: Clock;
  readonly #paced: boolean;
  readonly #line: LineTime;
  readonly #faults = new CanFaultInjector();
  readonly #nodes = new Set<VirtualCanNode>();
  readonly #timers = new Set<() => void>();
  readonly #onAdapterFault: (fault: CanFault) => void;
  readonly #log: (message: string) => void;
  #onWire: { waiting: WaitingFrame; due: number } | undefined;
  #pumping = false;
  #order = 0;
  #frames = 0;

  /** @throws {RangeError} quoting what cannot be */
  constructor(options: VirtualCanBusOptions) {
    const { name, bitRate = 500_000, dataBitRate, timing = "realistic" } = options;
    for (const [what, rate] of [["bitRate", bitRate], ["dataBitRate", dataBitRate ?? bitRate]] as const) {
      if (!Number.isInteger(rate) || rate < 1_000 || rate > 20_000_000) {
        throw new RangeError(`${name} ${what}: expected 1000 … 20000000 bit/s, got ${rate}`);
      }
    }
    this.name = name;
    this.bitRate = bitRate;
    this.dataBitRate = dataBitRate;
    this.fd = dataBitRate !== undefined;
    this.#clock = options.clock ?? systemClock;
    this.#paced = timing === "realistic";
    this.#line = new LineTime(this.#clock);
    this.#onAdapterFault = options.onAdapterFault ?? (() => {});
    this.#log = options.log ?? (() => {});
    for (const fault of options.faults ?? []) this.inject(fault);
  }

  /** Frames that crossed the bus so far, lost ones too. */
  get frames(): number {
    return this.#frames;
  }

  /** Puts one more node on the bus. */
  attach(name: string, state: NodeState = {}): VirtualCanNode {
    const node: VirtualCanNode = new VirtualCanNode(`${name} on ${this.name}`, this.fd, {
      enqueue: (frame, options): Promise<void> => this.#enqueue(node, frame, options),
      detach: () => this.#nodes.delete(node),
      wake: () => this.#pumpSoon(),
      clock: this.#clock,
      log: this.#log,
    }, state);
    this.#nodes.add(node);
    // Who waited for somebody to acknowledge has somebody now.
    this.#pumpSoon();
    return node;
  }

  /** Sets a fault. @throws {RangeError} when its numbers cannot be */
  inject(fault: CanFault): void {
    this.#faults.add(fault);
  }

  /** Takes all faults back that have not come yet. */
  clearFaults(): void {
    this.#faults.clear();
  }

  /** Takes all nodes off the bus. */
  async close(): Promise<void> {
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#onWire?.waiting.reject(new CanBusError(`${this.name}: the bus is gone`));
    this.#onWire = undefined;
    await Promise.all([...this.#nodes].map((node) => node.close()));
  }

  #enqueue(node: VirtualCanNode, frame: CanFrame, options: SendOptions): Promise<void> {
    const { timeout = defaultSendTimeout, signal } = options;
    try {
      checkFrame(frame);
      checkMilliseconds(timeout, "timeout");
    } catch (error) {
      return Promise.reject(error);
    }
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (frame.fd && !this.fd) {
      return Promise.reject(
        new CanBusError(`${node.name}: ${showFrame(frame)} is CAN FD, the bus is classic`),
      );
    }
    return new Promise((resolve, reject) => {
      const waiting: WaitingFrame = {
        frame,
        node,
        deadline: this.#clock.now() + timeout,
        order: this.#order++,
        resolve,
        reject,
      };
      // Frames are many, and most come without one.
      if (signal !== undefined) {
        const abort = () => {
          if (node.waiting.delete(waiting)) reject(signal.reason);
        };
        signal.addEventListener("abort", abort, { once: true });
        waiting.resolve = () => {
          signal.removeEventListener("abort", abort);
          resolve();
        };
        waiting.reject = (reason) => {
          signal.removeEventListener("abort", abort);
          reject(reason);
        };
      }
      node.waiting.add(waiting);
      node.watch();
      this.#pumpSoon();
    });
  }

  /** Not at once: a send gives its promise before the others hear the frame. */
  #pumpSoon(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => this.#pump());
  }

  #pump(): void {
    let burst = 0;
    // Of a burst without pacing: it takes no time.
    let now = 0;
    try {
      for (;;) {
        this.#onWire ??= this.#arbitrate();
        if (this.#onWire === undefined) break;
        const { waiting, due } = this.#onWire;
        if (this.#paced) {
          const wait = this.#line.wait(due);
          if (wait > 0) {
            this.#later(wait, () => this.#pumpSoon());
            return;
          }
          this.#line.released(due);
        } else if (++burst > longestBurst) {
          const turn = setImmediate(() => {
            this.#timers.delete(cancel);
            this.#pumpSoon();
          });
          const cancel = () => clearImmediate(turn);
          this.#timers.add(cancel);
          return;
        } else if (burst === 1) now = this.#clock.now();
        this.#onWire = undefined;
        this.#sent(waiting, this.#paced ? due : now);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** The frame that wins the bus among those that wait (ISO 11898-1 10.9), if somebody is there to acknowledge it. */
  #arbitrate(): { waiting: WaitingFrame; due: number } | undefined {
    let present = 0;
    let winner: WaitingFrame | undefined;
    let best = 0;
    for (const node of this.#nodes) {
      if (node.present) present++;
      else node.lose();
      const [head] = node.waiting;
      if (head === undefined) continue;
      const bits = arbitrationField(head.frame);
      if (winner !== undefined && (bits > best || bits === best && head.order > winner.order)) continue;
      winner = head;
      best = bits;
    }
    if (winner === undefined || present < 2) return undefined;
    winner.node.waiting.delete(winner);
    return { waiting: winner, due: this.#paced ? this.#line.book(frameTime(winner.frame, this)) : 0 };
  }

  #sent(waiting: WaitingFrame, time: number): void {
    const { frame, node } = waiting;
    this.#frames++;
    let copies = 1;
    let late: number | undefined;
    for (const fault of this.#faults.meet(frame)) {
      this.#log(`${this.name}: fault ${fault.kind} at ${showFrame(frame)}`);
      switch (fault.kind) {
        case "drop":
          copies = 0;
          break;
        case "double":
          copies = 2;
          break;
        case "late":
          late = fault.delay;
          break;
        case "bus_off":
          node.goOff(fault.duration);
          return waiting.reject(new CanBusError(`${node.name}: bus off while sending ${showFrame(frame)}`));
        case "garbage":
        case "unplug":
          this.#onAdapterFault(fault);
      }
    }
    waiting.resolve();
    if (late === undefined) return this.#deliver(frame, node, copies, time);
    // The sender may use the bytes again before a late frame is heard.
    const kept = { ...frame, data: frame.data.slice() };
    this.#later(late, () => this.#deliver(kept, node, copies, this.#clock.now()));
  }

  #deliver(frame: CanFrame, from: VirtualCanNode, copies: number, time: number): void {
    for (let copy = 0; copy < copies; copy++) {
      for (const other of this.#nodes) if (other !== from) other.hear({ frame, time });
    }
  }

  #later(delay: number, run: () => void): void {
    const cancel = this.#clock.after(delay, () => {
      this.#timers.delete(cancel);
      run();
    });
    this.#timers.add(cancel);
  }
}

/** The bits that decide, as a number: the lower one wins. Base identifier, RTR or SRR, IDE, the rest of the identifier, RTR. */
function arbitrationField({ id, extended, remote = false }: CanFrame): number {
  const rtr = remote ? 1 : 0;
  return extended
    ? (id >>> 18) * 2 ** 21 + 0b11 * 2 ** 19 + (id & 0x3_ffff) * 2 + rtr
    : id * 2 ** 21 + rtr * 2 ** 20;
}
