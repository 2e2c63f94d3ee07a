// One node's view of a CAN bus, whatever adapter leads to it: send a frame, hear the frames of all others.
import type { CanFrame } from "./frame.ts";

/** A frame that came from the bus. */
export interface ReceivedFrame {
  /** Valid during the call alone, its data too: whoever keeps it copies it. */
  readonly frame: CanFrame;
  /** When it came: milliseconds of the clock that the bus was given, from the adapter's time stamp where it has one. */
  readonly time: number;
}

/** Limits of one send. */
export interface SendOptions {
  /** Longest wait until the bus has taken the frame, milliseconds. ISO 15765-2 calls it N_As. @default 1000 */
  timeout?: number;
  /** Ends the wait early; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** A node on a CAN bus. */
export interface CanBus {
  /** Name for messages, e.g. `CAN_BODY (/dev/ttyACM0, 500 kbit/s)`. */
  readonly name: string;
  /** Whether FD frames can be sent and heard. */
  readonly fd: boolean;
  /** Resolves with the reason when the bus is gone for good: closed (undefined) or failed. */
  readonly closed: Promise<Error | undefined>;
  /**
   * Hands a frame over, in the order of the calls. Resolves once the adapter has taken it, and, if it says so,
   * acknowledged it. The frame's bytes may be reused after that.
   *
   * @throws {RangeError} for a frame that cannot be, see `checkFrame`
   * @throws {CanBusError} when the bus is gone, off, or did not take the frame in time
   */
  send(frame: CanFrame, options?: SendOptions): Promise<void>;
  /**
   * Hands several frames over at once, in order: for a bus that takes many more cheaply together than one by one.
   * Resolves once all were taken, as after `send` of the last. Frames and bytes may be reused after that. When it
   * rejects, the first ones may have been taken. Where it is missing, `send` for each does the same.
   *
   * @param options the time-out is for each frame: it starts anew whenever one is taken
   * @throws as `send`
   */
  sendAll?(frames: readonly CanFrame[], options?: SendOptions): Promise<void>;
  /**
   * Calls `receive` with each frame from now on, in order; not with this node's own.
   * A listener that throws ends nothing but its own call: the error goes to the bus' log.
   *
   * @returns what ends it
   */
  listen(receive: (received: ReceivedFrame) => void): () => void;
  /** Leaves the bus. Waiting sends reject. */
  close(): Promise<void>;
}

/** The bus failed: adapter gone, bus off, frame not taken. */
export class CanBusError extends Error {
  override readonly name: string = "CanBusError";
}
