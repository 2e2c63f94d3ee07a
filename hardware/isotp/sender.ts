// The sending side of a link: one message at a time, as single frame or as first frame and blocks of consecutive
// frames that the receiver's flow controls let through (ISO 15765-2:2016, 9.2, 9.3, 9.6.5, 9.8).

import type { CanBus, SendOptions } from "../can/bus.ts";
import type { CanFrame } from "../can/frame.ts";
import type { Route } from "./address.ts";
import { flowStatus } from "./constants.ts";
import { Deadline } from "./deadline.ts";
import { IsoTpBusError, IsoTpError, IsoTpTimeoutError } from "./errors.ts";
import { frameOf, offsetOf, singleFrame } from "./frames.ts";
import { encodeConsecutiveFrame, encodeFirstFrame } from "./pci.ts";
import type { IsoTpSettings } from "./settings.ts";

/** What both sides of a link know. */
export interface LinkEnds {
  readonly name: string;
  readonly bus: CanBus;
  /** What this side sends. */
  readonly out: Route;
  /** What this side hears. */
  readonly in: Route;
  readonly settings: IsoTpSettings;
}

/** Limits of one message. */
export interface MessageOptions {
  /** Longest wait for the bus to take the first frame and for the receiver's first flow control; ISO 15765-2's own
   * timers come on top. @default no other than those */
  timeout?: number;
  signal?: AbortSignal;
}

/** What a flow control allows. */
interface Grant {
  blockSize: number;
  stMin: number;
}

/**
 * Frames that are handed over together: few at first, more where the bus takes them at once. A batch that takes long
 * keeps an abort waiting, one that is over at once costs more than its frames. While the bus works on one, the next
 * is handed over: it never stands still for want of frames.
 */
const leastBatch = 16;
const mostBatch = 256;
const quickBatch = 10;
const slowBatch = 50;

/** Sends messages. */
export class Sender {
  readonly #ends: LinkEnds;
  readonly #offset: number;
  /** Data bytes of a full consecutive frame. */
  readonly #perFrame: number;
  readonly #flowDue: Deadline;
  /** Frames that are used again: of the batch that the bus works on, and of the one after it. */
  readonly #pools: [CanFrame[], CanFrame[]] = [[], []];
  #batch = leastBatch;
  /** The batch handed over last, until the bus has taken it. */
  #handed: Promise<void> | undefined;
  #busy = false;
  /** Whether a flow control is awaited (9.8.3): any other is ignored. */
  #awaiting = false;
  #grant: Grant | undefined;
  #waits = 0;
  /** Why the message under way ends, when that came while nothing waited. */
  #failure: { reason: unknown } | undefined;
  /** The wait under way: for a flow control or for STmin. */
  #wake: (() => void) | undefined;

  constructor(ends: LinkEnds) {
    this.#ends = ends;
    this.#offset = offsetOf(ends.out);
    this.#perFrame = ends.settings.txDl - this.#offset - 1;
    this.#flowDue = new Deadline(ends.settings.clock, () => {
      const waited = this.#waits === 0 ? "" : ` after ${this.#waits} times WAIT`;
      this.#fail(
        new IsoTpTimeoutError(
          ends.name,
          "N_TIMEOUT_Bs",
          `the receiver sent no flow control in time${waited}`,
        ),
      );
    });
  }

  /** Whether a message is under way. */
  get busy(): boolean {
    return this.#busy;
  }

  /**
   * Sends one message; resolves when the bus has taken its last frame. The bytes are read until then.
   *
   * @throws {IsoTpError} with N_TIMEOUT_A, N_TIMEOUT_Bs, N_INVALID_FS, N_WFT_OVRN, N_BUFFER_OVFLW or N_ERROR
   */
  async send(message: Uint8Array, options: MessageOptions = {}): Promise<void> {
    const { name, out, settings } = this.#ends;
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#busy) throw new IsoTpError(name, "N_ERROR", "a message is being sent already");
    if (message.length === 0 || message.length > settings.maxMessageLength) {
      throw new IsoTpError(
        name,
        "N_ERROR",
        `a message has 1 to ${settings.maxMessageLength} bytes, got ${message.length}`,
      );
    }
    this.#busy = true;
    this.#failure = undefined;
    const abort = () => this.#fail(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const timeout = options.timeout ?? Infinity;
      const single = singleFrame(out, settings, message);
      if (single !== undefined) {
        await this.#put(single, { timeout: Math.min(settings.nAs, timeout), signal });
      } else await this.#segmented(message, timeout, signal);
    } finally {
      // Its frames are free again then. What became of it is told already, or follows from what is.
      await this.#handed?.catch(() => {});
      this.#handed = undefined;
      signal?.removeEventListener("abort", abort);
      this.#flowDue.clear();
      this.#awaiting = false;
      this.#busy = false;
    }
  }

  /** A flow control came. @returns whether one was awaited */
  flowControl(status: number, blockSize: number, stMin: number): boolean {
    if (!this.#awaiting) return false;
    const { name, settings } = this.#ends;
    switch (status) {
      case flowStatus.continueToSend:
        this.#awaiting = false;
        this.#grant = { blockSize, stMin };
        this.#wake?.();
        break;
      case flowStatus.wait:
        if (++this.#waits > settings.maxWaits) {
          this.#fail(
            new IsoTpError(name, "N_WFT_OVRN", `the receiver asked to wait ${this.#waits} times in a row`),
          );
        } else this.#flowDue.set(settings.clock.now() + settings.nBs);
        break;
      case flowStatus.overflow:
        this.#fail(
          new IsoTpError(name, "N_BUFFER_OVFLW", "the message is longer than the receiver's buffer"),
        );
        break;
      default:
        // 9.6.5.2: a reserved FlowStatus ends the transmission.
        this.#fail(new IsoTpError(name, "N_INVALID_FS", `expected FlowStatus 0 to 2, got ${status}`));
    }
    return true;
  }

  /** Ends the message under way. */
  stop(error: IsoTpError): void {
    if (this.#busy) this.#fail(error);
  }

  async #segmented(message: Uint8Array, timeout: number, signal: AbortSignal | undefined): Promise<void> {
    const { out, settings } = this.#ends;
    const { clock, nAs, nBs } = settings;
    const first = frameOf(out, settings, settings.txDl);
    const start = encodeFirstFrame(first.data, this.#offset, message.length);
    let at = settings.txDl - start;
    first.data.set(message.subarray(0, at), start);
    const options: SendOptions = { timeout: Math.min(nAs, timeout), signal };
    const due = clock.now() + timeout;
    // A flow control may be here before the bus says that it took the frame.
    this.#expectFlowControl();
    await this.#put(first, options);
    options.timeout = nAs;
    let sequenceNumber = 1;
    let earliest = -Infinity;
    let flowDue = Math.min(clock.now() + nBs, due);
    while (at < message.length) {
      const { blockSize, stMin } = await this.#flowControlled(flowDue);
      const blockEnd = blockSize === 0
        ? message.length
        : Math.min(message.length, at + blockSize * this.#perFrame);
      const gap = stMin === 0 ? 0 : stMin + settings.frameTime;
      while (at < blockEnd) {
        const count = gap > 0 || this.#ends.bus.sendAll === undefined
          ? 1
          : Math.min(this.#batch, Math.ceil((blockEnd - at) / this.#perFrame));
        const end = Math.min(blockEnd, at + count * this.#perFrame);
        // STmin holds from block to block as well: the receiver may need it whatever flow controls stand between.
        if (gap > 0 && clock.now() < earliest) await this.#until(earliest);
        if (end === blockEnd && end < message.length) this.#expectFlowControl();
        const frames = this.#fill(message, at, end, sequenceNumber);
        if (frames.length === 1) {
          await this.#batchTaken();
          await this.#put(frames[0], options);
        } else await this.#putAll(frames, options);
        earliest = clock.now() + gap;
        sequenceNumber = sequenceNumber + frames.length & 0x0f;
        at = end;
      }
      await this.#batchTaken();
      flowDue = clock.now() + nBs;
    }
  }

  /** Consecutive frames for the bytes from `at` to `end`, in frames that are used again. */
  #fill(message: Uint8Array, at: number, end: number, sequenceNumber: number): CanFrame[] {
    const { out, settings } = this.#ends;
    const frames = this.#pools[0];
    // The next batch takes the other one.
    this.#pools.reverse();
    let used = 0;
    for (; at + this.#perFrame <= end; used++, sequenceNumber++) {
      if (used === frames.length) frames.push(frameOf(out, settings, settings.txDl));
      const { data } = frames[used];
      let to = encodeConsecutiveFrame(data, this.#offset, sequenceNumber);
      if (data.length > 8) {
        data.set(message.subarray(at, at + this.#perFrame), to);
        at += this.#perFrame;
      } else while (to < 8) data[to++] = message[at++];
    }
    const chosen = frames.slice(0, used);
    if (at < end) {
      const last = frameOf(out, settings, this.#offset + 1 + end - at);
      last.data.set(
        message.subarray(at, end),
        encodeConsecutiveFrame(last.data, this.#offset, sequenceNumber),
      );
      chosen.push(last);
    }
    return chosen;
  }

  async #put(frame: CanFrame, options: SendOptions): Promise<void> {
    this.#check();
    const began = this.#ends.settings.clock.now();
    try {
      await this.#ends.bus.send(frame, options);
    } catch (error) {
      throw this.#busError(error, began, options);
    }
    this.#check();
  }

  /** Hands a batch over when there is none before the one that the bus works on. */
  async #putAll(frames: CanFrame[], options: SendOptions): Promise<void> {
    this.#check();
    const before = this.#handed;
    const batch = this.#deliver(frames, options, before ?? Promise.resolve());
    // Whoever waits for it is told; when the one before it fails nobody does any more.
    batch.catch(() => {});
    this.#handed = batch;
    await before;
    this.#check();
  }

  async #deliver(frames: CanFrame[], options: SendOptions, before: Promise<void>): Promise<void> {
    const { bus, settings } = this.#ends;
    let began = settings.clock.now();
    const inTurn = before.then(() => began = settings.clock.now());
    inTurn.catch(() => {});
    try {
      await bus.sendAll?.(frames, options);
    } catch (error) {
      throw this.#busError(error, began, options);
    }
    const took = settings.clock.now() - began;
    if (took < quickBatch) this.#batch = Math.min(mostBatch, this.#batch * 2);
    else if (took > slowBatch) this.#batch = Math.max(leastBatch, this.#batch >> 1);
  }

  /** Waits until the bus has taken all that was handed over. */
  async #batchTaken(): Promise<void> {
    if (this.#handed === undefined) return;
    await this.#handed;
    this.#handed = undefined;
    this.#check();
  }

  #busError(error: unknown, began: number, options: SendOptions): unknown {
    if (options.signal?.aborted || this.#failure !== undefined) return this.#failure?.reason ?? error;
    const { name, settings } = this.#ends;
    return busError(name, error, settings.clock.now() - began, options.timeout ?? settings.nAs);
  }

  #expectFlowControl(): void {
    this.#awaiting = true;
    this.#grant = undefined;
    this.#waits = 0;
  }

  /** Waits for the flow control that lets the next block go. */
  async #flowControlled(due: number): Promise<Grant> {
    if (this.#grant === undefined && this.#failure === undefined) {
      const now = this.#ends.settings.clock.now();
      // After WAIT the time began anew, whatever was left of it.
      this.#flowDue.set(this.#waits === 0 ? Math.max(due, now) : now + this.#ends.settings.nBs);
      await this.#woken();
      this.#flowDue.clear();
    }
    this.#check();
    if (this.#grant === undefined) throw new Error(`${this.#ends.name}: woken without a flow control`);
    return this.#grant;
  }

  async #until(instant: number): Promise<void> {
    if (this.#failure === undefined) {
      const woken = this.#woken();
      const cancel = this.#ends.settings.pacer.at(instant, () => this.#wake?.());
      await woken;
      cancel();
    }
    this.#check();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.reason;
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  #fail(reason: unknown): void {
    this.#awaiting = false;
    this.#failure ??= { reason };
    this.#wake?.();
  }
}

/** What the bus said, as N_Result: N_TIMEOUT_A when the frame was not taken within the limit, else N_ERROR. */
export function busError(where: string, error: unknown, waited: number, limit: number): IsoTpError {
  const text = error instanceof Error ? error.message : String(error);
  return waited >= limit
    ? new IsoTpTimeoutError(
      where,
      "N_TIMEOUT_A",
      `the bus did not take a frame within ${limit} ms: ${text}`,
      { cause: error },
    )
    : new IsoTpBusError(where, `the bus did not take a frame: ${text}`, { cause: error });
}
