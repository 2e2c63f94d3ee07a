// One address pair on a bus: what it hears goes to its receiver or its sender; both may be at work at once.

import { pduTypes } from "./constants.ts";
import type { IsoTpError } from "./errors.ts";
import { offsetOf } from "./frames.ts";
import { decodePdu } from "./pci.ts";
import { Receiver, type ReceiverEvents } from "./receiver.ts";
import { type LinkEnds, type MessageOptions, Sender } from "./sender.ts";

/** Sends and receives messages between one pair of addresses. */
export class IsoTpLink {
  readonly name: string;
  readonly #ends: LinkEnds;
  readonly #offset: number;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  #ignored = 0;

  /** @throws {RangeError} when FD frames are asked for and the bus has none */
  constructor(ends: LinkEnds, events: ReceiverEvents) {
    if (ends.settings.fd && !ends.bus.fd) {
      throw new RangeError(`fd: ${ends.bus.name} sends no CAN FD frames`);
    }
    this.name = ends.name;
    this.#ends = ends;
    this.#offset = offsetOf(ends.in);
    this.#sender = new Sender(ends);
    this.#receiver = new Receiver(ends, events);
  }

  /** Whether a message is being sent. */
  get sending(): boolean {
    return this.#sender.busy;
  }

  /** Whether a segmented message is being received. */
  get receiving(): boolean {
    return this.#receiver.busy;
  }

  /** Frames that the standard tells to ignore, so far. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Sends one message, see {@link Sender.send}. */
  send(message: Uint8Array, options?: MessageOptions): Promise<void> {
    return this.#sender.send(message, options);
  }

  /** Takes the payload of a frame that is addressed to this link. It is valid during the call. */
  frame(data: Uint8Array): void {
    const offset = this.#offset;
    if (data.length > offset + 1 && data[offset] >> 4 === pduTypes.consecutiveFrame) {
      if (!this.#receiver.consecutiveFrame(data)) {
        this.#ignore("a consecutive frame that was not awaited (9.8.3)");
      }
      return;
    }
    const pdu = decodePdu(data, offset);
    switch (pdu.type) {
      case "single_frame":
        if (this.#halfDuplex()) return;
        this.#receiver.singleFrame(data.subarray(pdu.start, pdu.start + pdu.length));
        break;
      case "first_frame":
        if (this.#halfDuplex()) return;
        this.#receiver.firstFrame(pdu.length, data.subarray(pdu.start), pdu.rxDl);
        break;
      case "flow_control":
        if (!this.#sender.flowControl(pdu.flowStatus, pdu.blockSize, pdu.stMin)) {
          this.#ignore("a flow control that was not awaited (9.8.3)");
        }
        break;
      case "ignored":
        this.#ignore(pdu.why);
    }
  }

  /** Ends what is under way, both ways. */
  stop(error: IsoTpError): void {
    this.#sender.stop(error);
    this.#receiver.stop(error);
  }

  /** 9.8.3, half duplex: while this side sends, no message begins. */
  #halfDuplex(): boolean {
    if (!this.#ends.settings.halfDuplex || !this.#sender.busy) return false;
    this.#ignore("a message that begins while this side sends (9.8.3, half duplex)");
    return true;
  }

  #ignore(why: string): void {
    // Said once: noise must not fill the log.
    if (this.#ignored++ === 0) this.#ends.settings.log(`${this.name}: ignored, and others like it: ${why}`);
  }
}
