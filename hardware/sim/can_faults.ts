// Faults of a simulated CAN bus and of the adapter on it: which frame, counted from the moment a fault is set, meets which.
import type { CanFrame } from "../can/frame.ts";
import { checkMilliseconds } from "../clock.ts";

/** Which frame meets a fault. */
interface FrameCount {
  /** The n-th frame on the bus, from 1 on. */
  occurrence: number;
  /** Counts frames of this identifier only. @default all frames */
  id?: number;
}

/** A fault, by configuration or by a call. Counting begins at 1 when the fault is set. */
export type CanFault =
  /** The frame is lost: its sender believes that it was sent, nobody hears it. */
  | FrameCount & { kind: "drop" }
  /** The frame is heard twice, as after a disturbed end of frame (ISO 11898-1 10.10). */
  | FrameCount & { kind: "double" }
  /** The frame is heard that many ms late, after others that follow it meanwhile. */
  | FrameCount & { kind: "late"; delay: number }
  /** The frame's sender goes bus-off instead of sending it, for that many ms, or until it is recovered by a call. */
  | FrameCount & { kind: "bus_off"; duration?: number }
  /** With the frame, the adapter writes these bytes, hexadecimal, to its serial line as well. */
  | FrameCount & { kind: "garbage"; bytes: string }
  /** With the frame, the adapter is unplugged: its serial lines end and new ones are refused for that many ms. */
  | FrameCount & { kind: "unplug"; duration: number };

const longestGarbage = 65_536;

/** Counts frames and says which faults each one meets. */
export class CanFaultInjector {
  #pending: { fault: CanFault; left: number }[] = [];

  /** Sets a fault. @throws {RangeError} when its numbers cannot be */
  add(fault: CanFault): void {
    const { occurrence, id } = fault;
    if (!Number.isInteger(occurrence) || occurrence < 1) {
      throw new RangeError(`fault occurrence: expected 1 or more, got ${occurrence}`);
    }
    if (id !== undefined && !(Number.isInteger(id) && id >= 0 && id <= 0x1fff_ffff)) {
      throw new RangeError(`fault id: expected 0 … 0x1FFFFFFF, got ${id}`);
    }
    if (fault.kind === "late") checkMilliseconds(fault.delay, "fault delay");
    if (fault.kind === "unplug") checkMilliseconds(fault.duration, "fault duration");
    if (fault.kind === "bus_off" && fault.duration !== undefined) {
      checkMilliseconds(fault.duration, "fault duration");
    }
    if (
      fault.kind === "garbage" &&
      !(/^(?:[0-9a-fA-F]{2})+$/.test(fault.bytes) && fault.bytes.length <= 2 * longestGarbage)
    ) {
      throw new RangeError(
        `fault bytes: expected hexadecimal digits, two a byte, got ${fault.bytes.slice(0, 64)}`,
      );
    }
    this.#pending.push({ fault, left: occurrence });
  }

  /** The faults that this frame meets. */
  meet(frame: CanFrame): readonly CanFault[] {
    if (this.#pending.length === 0) return none;
    const due: CanFault[] = [];
    for (const entry of this.#pending) {
      if (entry.fault.id !== undefined && entry.fault.id !== frame.id) continue;
      if (--entry.left === 0) due.push(entry.fault);
    }
    if (due.length > 0) this.#pending = this.#pending.filter(({ left }) => left > 0);
    return due;
  }

  /** Takes all faults back. */
  clear(): void {
    this.#pending = [];
  }
}

const none: readonly CanFault[] = [];
