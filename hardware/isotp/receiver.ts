// The receiving side of a link: puts messages together and steers the sender with flow controls
// (ISO 15765-2:2016, 9.6, 9.7, 9.8). Whatever comes, the next single or first frame is understood.

import { flowStatus } from "./constants.ts";
import { Deadline } from "./deadline.ts";
import { IsoTpError, IsoTpTimeoutError } from "./errors.ts";
import { flowControlFrame, offsetOf } from "./frames.ts";
import { busError, type LinkEnds } from "./sender.ts";

/** Whether there is a buffer for a message: flow control CTS, WAIT or OVFLW. */
export type Admission = "continue" | "wait" | "overflow";

/** Where messages go. */
export interface ReceiverEvents {
  /**
   * Asked when a first frame came, and again after each WAIT.
   *
   * @param length FF_DL, within maxMessageLength
   */
  admit(length: number): Admission;
  /** An admitted message is over, complete or not: its buffer is free again. */
  released(length: number): void;
  /** A segmented message begins (N_USData_FF.indication). */
  began(length: number): void;
  /** A whole message. Belongs to the caller. */
  received(message: Uint8Array): void;
  /** A message was refused with OVFLW: it does not begin. */
  refused(length: number): void;
  /** A message that had begun is lost. After N_UNEXP_PDU the one that took its place follows at once. */
  failed(error: IsoTpError): void;
}

/** A message of which the first frame is here. */
interface Reception {
  buffer: Uint8Array;
  readonly length: number;
  /** Bytes received. */
  at: number;
  sequenceNumber: number;
  /** Consecutive frames until the next flow control is due. */
  blockLeft: number;
  readonly rxDl: number;
  admitted: boolean;
  /** WAITs sent in a row. */
  waits: number;
  /** Whether consecutive frames are due: not while a WAIT holds the sender. */
  flowing: boolean;
}

/** Bytes set aside when a message begins, however long it claims to be; more as more arrive. */
const firstBuffer = 4_096;

/** Receives messages. */
export class Receiver {
  readonly #ends: LinkEnds;
  readonly #events: ReceiverEvents;
  readonly #offset: number;
  readonly #due: Deadline;
  #reception: Reception | undefined;

  constructor(ends: LinkEnds, events: ReceiverEvents) {
    this.#ends = ends;
    this.#events = events;
    this.#offset = offsetOf(ends.in);
    this.#due = new Deadline(ends.settings.clock, () => this.#expired());
  }

  /** Whether a segmented message is under way. */
  get busy(): boolean {
    return this.#reception !== undefined;
  }

  /** @param data valid during the call */
  singleFrame(data: Uint8Array): void {
    // 9.8.3: a single frame ends what is under way and is taken.
    this.#unexpected("a single frame");
    this.#events.received(data.slice());
  }

  /** @param data what the first frame carries of the message @param rxDl its CAN_DL */
  firstFrame(length: number, data: Uint8Array, rxDl: number): void {
    // 9.8.3: a first frame ends what is under way and begins a new message.
    this.#unexpected("a first frame");
    const { settings } = this.#ends;
    if (length > settings.maxMessageLength) {
      this.#refuse(length);
      return;
    }
    const buffer = new Uint8Array(Math.min(length, firstBuffer));
    buffer.set(data);
    this.#reception = {
      buffer,
      length,
      at: data.length,
      sequenceNumber: 1,
      blockLeft: 0,
      rxDl,
      admitted: false,
      waits: 0,
      flowing: false,
    };
    this.#proceed(this.#reception);
  }

  /**
   * @param data the whole frame: N_PCI and what follows are read here, as this is called for every seven bytes
   * @returns whether the frame was awaited and could be one of this message
   */
  consecutiveFrame(data: Uint8Array): boolean {
    const reception = this.#reception;
    // 9.8.3: without a reception under way, or while the sender is held, it is ignored.
    if (reception === undefined || !reception.flowing) return false;
    const start = this.#offset + 1;
    const left = reception.length - reception.at;
    const room = reception.rxDl - start;
    // 9.5.4, 10.4.3: all but the last are as long as the first frame; the last holds what is left, and perhaps padding.
    if (data.length > reception.rxDl || data.length - start < Math.min(left, room)) return false;
    const sequenceNumber = data[this.#offset] & 0x0f;
    if (sequenceNumber !== reception.sequenceNumber) {
      // 9.6.4.4
      this.#lose(
        new IsoTpError(
          this.#ends.name,
          "N_WRONG_SN",
          `expected consecutive frame ${reception.sequenceNumber} at byte ${reception.at} of ${reception.length}, ` +
            `got ${sequenceNumber}`,
        ),
      );
      return true;
    }
    reception.sequenceNumber = sequenceNumber + 1 & 0x0f;
    const count = Math.min(left, room);
    const end = reception.at + count;
    if (end > reception.buffer.length) grow(reception);
    const { buffer } = reception;
    if (count <= 7) { for (let from = start, to = reception.at; to < end;) buffer[to++] = data[from++]; }
    else buffer.set(data.subarray(start, start + count), reception.at);
    reception.at = end;
    if (count === left) {
      this.#end();
      this.#events.received(buffer);
    } else if (--reception.blockLeft === 0) this.#proceed(reception);
    else this.#due.set(this.#ends.settings.clock.now() + this.#ends.settings.nCr);
    return true;
  }

  /** Forgets what is under way. */
  stop(error: IsoTpError): void {
    if (this.#reception !== undefined) this.#lose(error);
  }

  /** Lets the sender go on, or holds it. */
  #proceed(reception: Reception): void {
    const { name, settings } = this.#ends;
    const admission = reception.admitted ? "continue" : this.#events.admit(reception.length);
    switch (admission) {
      case "overflow":
        this.#reception = undefined;
        this.#due.clear();
        this.#refuse(reception.length);
        break;
      case "wait":
        if (reception.waits >= settings.wftMax) {
          // 9.7: no more WAITs; the message is given up.
          this.#lose(
            new IsoTpError(
              name,
              "N_WFT_OVRN",
              `no buffer for ${reception.length} bytes after ${reception.waits} times WAIT`,
            ),
          );
          break;
        }
        reception.waits++;
        this.#due.set(settings.clock.now() + settings.nBr);
        this.#steer(reception, flowStatus.wait);
        break;
      case "continue":
        if (!reception.admitted) {
          reception.admitted = true;
          this.#events.began(reception.length);
        }
        reception.flowing = true;
        reception.blockLeft = settings.blockSize === 0 ? Infinity : settings.blockSize;
        // N_Cr runs from when the bus has taken the flow control; until then N_Ar does.
        this.#due.clear();
        this.#steer(reception, flowStatus.continueToSend);
    }
  }

  #steer(reception: Reception, status: (typeof flowStatus)["continueToSend" | "wait"]): void {
    const { settings } = this.#ends;
    this.#flowControl(status).then(
      () => {
        if (this.#reception === reception && reception.flowing && status === flowStatus.continueToSend) {
          this.#due.set(settings.clock.now() + settings.nCr);
        }
      },
      (error: IsoTpError) => {
        if (this.#reception === reception) this.#lose(error);
      },
    );
  }

  /** FF_DL is beyond what this side takes: said at once, nothing is kept (9.6.3.2). */
  #refuse(length: number): void {
    const { name, settings } = this.#ends;
    settings.log(
      `${name}: a message of ${length} bytes is refused (OVFLW); at most ${settings.maxMessageLength} are taken`,
    );
    this.#flowControl(flowStatus.overflow).catch((error: IsoTpError) => settings.log(error.message));
    this.#events.refused(length);
  }

  async #flowControl(status: (typeof flowStatus)[keyof typeof flowStatus]): Promise<void> {
    const { bus, name, out, settings } = this.#ends;
    const began = settings.clock.now();
    try {
      await bus.send(flowControlFrame(out, settings, status), { timeout: settings.nAr });
    } catch (error) {
      throw busError(name, error, settings.clock.now() - began, settings.nAr);
    }
  }

  #expired(): void {
    const reception = this.#reception;
    if (reception === undefined) return;
    if (!reception.flowing) {
      this.#proceed(reception);
      return;
    }
    this.#lose(
      new IsoTpTimeoutError(
        this.#ends.name,
        "N_TIMEOUT_Cr",
        `no consecutive frame within ${this.#ends.settings.nCr} ms after ${reception.at} of ` +
          `${reception.length} bytes`,
      ),
    );
  }

  #unexpected(what: string): void {
    const reception = this.#reception;
    if (reception === undefined) return;
    this.#lose(
      new IsoTpError(
        this.#ends.name,
        "N_UNEXP_PDU",
        `${what} ends a message of which ${reception.at} of ${reception.length} bytes had come`,
      ),
    );
  }

  #lose(error: IsoTpError): void {
    this.#end();
    this.#events.failed(error);
  }

  #end(): void {
    const reception = this.#reception;
    this.#reception = undefined;
    this.#due.clear();
    if (reception?.admitted) this.#events.released(reception.length);
  }
}

function grow(reception: Reception): void {
  const buffer = new Uint8Array(Math.min(reception.length, reception.buffer.length * 2));
  buffer.set(reception.buffer);
  reception.buffer = buffer;
}
