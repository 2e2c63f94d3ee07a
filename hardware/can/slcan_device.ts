// The adapter's side of an SLCAN line: what a host sends is done on a CAN bus, what crosses the bus is told to the host.
// It makes any bus, a simulated one above all, reachable by whatever program speaks SLCAN.
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { CanBus, ReceivedFrame } from "./bus.ts";
import type { CanFrame } from "./frame.ts";
import { LineWriter } from "./line_writer.ts";
import {
  bitRateOfTiming,
  bitRates,
  dataBitRates,
  decodeCommand,
  type SlcanCommand,
  statusBits,
} from "./slcan_command.ts";
import { accepts, openFilter } from "./slcan_filter.ts";
import { maxFrameLine, SlcanFrameReader, timestampPeriod, writeFrame } from "./slcan_frame.ts";
import { SlcanLineReader } from "./slcan_lines.ts";

/** How an adapter acknowledges: not at all, everything with `\r`, or frames with `z\r` and `Z\r`. */
export type Acknowledgement = "none" | "cr" | "z";

/** What a host set before it opened the channel. */
export interface SlcanChannelSettings {
  /** bit/s */
  bitRate: number;
  /** Of the data phase, bit/s. */
  dataBitRate: number;
  /** Opened with `L`: hears, and never sends. */
  listenOnly: boolean;
}

/** What can be made to go wrong on the serial line, for the simulation. Each is asked anew for each line. */
export interface SlcanLineFaults {
  /** How often a frame from the bus is told to the host: 0 drops it, 2 doubles it. @default 1 */
  repeatToHost?(frame: CanFrame): number;
  /** How often a frame from the host is sent. @default 1 */
  repeatToBus?(frame: CanFrame): number;
  /** Bytes that are put before a line to the host. @default none */
  garbage?(): Uint8Array | undefined;
  /** Whether this answer is left out. @default false */
  loseAnswer?(): boolean;
}

export interface SlcanDeviceOptions {
  /** Joins the bus when the host opens the channel; left when the host closes it. What it throws refuses the opening. */
  join(settings: SlcanChannelSettings): CanBus;
  /** @default "z" */
  acknowledgement?: Acknowledgement;
  /** Whether it knows FD frames and `Y`. @default true */
  fd?: boolean;
  /** Refuses to be opened twice, closed twice, and set while open, as LAWICEL's own do. @default true */
  strict?: boolean;
  /** What follows the `V`: two digits of hardware and two of software version, or a text. @default "1013" */
  version?: string;
  /** What follows the `N`: four characters. @default "ZB01" */
  serialNumber?: string;
  /** What `S7` means, bit/s. @default 800_000 */
  s7BitRate?: 750_000 | 800_000;
  /** bit/s until the host sets one. @default 500_000 */
  bitRate?: number;
  /** Of the data phase, bit/s, until the host sets one. @default 2_000_000 */
  dataBitRate?: number;
  /** Status of the controller on the bus, in `statusBits`. @default none is set */
  status?: () => number;
  /** Frames that may wait for the bus. @default 64 */
  transmitQueue?: number;
  /** When more would wait: the serial line is not read on, or the frame is refused. @default "wait" */
  whenFull?: "wait" | "refuse";
  /** Bytes that may wait for the host; more are lost, and `F` says so. @default 4 MiB */
  receiveBuffer?: number;
  faults?: SlcanLineFaults;
  /** Of the time stamps. @default the system's */
  clock?: Clock;
  /** @default nothing is said */
  log?: (message: string) => void;
}

const ok = new Uint8Array([0x0d]);
const refused = new Uint8Array([0x07]);
const encoder = new TextEncoder();

/** A host's `R` and `T` are acknowledged with `Z`, its `r` and `t` with `z`. */
const queuedBase = encoder.encode("z\r");
const queuedExtended = encoder.encode("Z\r");

/** Errors that a bus-off controller shows: LAWICEL's flags have no bit of their own for it. */
export const busOffStatus = statusBits.errorPassive | statusBits.busError;

interface Channel {
  bus: CanBus;
  listenOnly: boolean;
  leave: () => void;
}

/** An SLCAN adapter on a byte stream. */
export class SlcanDevice {
  /** Resolves when the host's end of the line is gone, or after `close`. */
  readonly done: Promise<void>;
  readonly #stream: ByteStream;
  readonly #options: Required<Omit<SlcanDeviceOptions, "faults" | "status" | "clock" | "log">>;
  readonly #faults: SlcanLineFaults;
  readonly #status: () => number;
  readonly #clock: Clock;
  readonly #log: (message: string) => void;
  readonly #writer: LineWriter;
  readonly #lines: SlcanLineReader;
  readonly #frames = new SlcanFrameReader();
  readonly #queue: CanFrame[] = [];
  /** What follows a frame that was handed to the bus: the same for all, as they are many. */
  readonly #sent = (): void => {
    this.#sending--;
    if (this.#sending <= this.#options.transmitQueue) this.#room?.();
  };
  readonly #notSent = (error: unknown): void => {
    this.#sent();
    this.#latched |= statusBits.busError;
    this.#log(messageOf(error));
  };
  #filter = openFilter();
  #bitRate: number;
  #dataBitRate: number;
  #timestamps = false;
  #autoPoll = true;
  #latched = 0;
  #sending = 0;
  #room: (() => void) | undefined;
  #channel: Channel | undefined;
  #closing = false;

  constructor(stream: ByteStream, options: SlcanDeviceOptions) {
    this.#stream = stream;
    this.#options = {
      join: options.join,
      acknowledgement: options.acknowledgement ?? "z",
      fd: options.fd ?? true,
      strict: options.strict ?? true,
      version: options.version ?? "1013",
      serialNumber: options.serialNumber ?? "ZB01",
      s7BitRate: options.s7BitRate ?? 800_000,
      bitRate: options.bitRate ?? 500_000,
      dataBitRate: options.dataBitRate ?? 2_000_000,
      transmitQueue: options.transmitQueue ?? 64,
      whenFull: options.whenFull ?? "wait",
      receiveBuffer: options.receiveBuffer ?? 4 * 1024 * 1024,
    };
    for (const name of ["version", "serialNumber"] as const) {
      if (!/^[\x20-\x7e]*$/.test(this.#options[name])) {
        throw new RangeError(`${name}: expected printable ASCII, got ${JSON.stringify(this.#options[name])}`);
      }
    }
    for (const name of ["bitRate", "dataBitRate", "transmitQueue", "receiveBuffer"] as const) {
      const value = this.#options[name];
      if (!Number.isInteger(value) || value < 1) {
        throw new RangeError(`${name}: expected a whole number above 0, got ${value}`);
      }
    }
    this.#faults = options.faults ?? {};
    this.#status = options.status ?? (() => 0);
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? (() => {});
    this.#bitRate = this.#options.bitRate;
    this.#dataBitRate = this.#options.dataBitRate;
    this.#writer = new LineWriter(stream, this.#options.receiveBuffer, () => {}, (error) => {
      if (!this.#closing) this.#log(`serial line: ${error.message}`);
    });
    this.#lines = new SlcanLineReader({
      line: (bytes, start, end) => this.#line(bytes, start, end),
      // A host has no use for it: what came before it on the line is told as dropped.
      bell: () => {},
      dropped: (count) => {
        this.#log(`serial line: ${count} bytes of no line dropped`);
        this.#answer(refused);
      },
    });
    this.done = this.#run();
  }

  /** Whether the host has opened the channel. */
  get open(): boolean {
    return this.#channel !== undefined;
  }

  /** Bytes that wait for the host to read them. */
  get backlog(): number {
    return this.#writer.waiting;
  }

  /** Puts bytes on the line to the host as they are: noise. */
  inject(bytes: Uint8Array): void {
    this.#writer.push(bytes);
  }

  /** Leaves the bus and the line. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#room?.();
    closeQuietly(this.#stream);
    await this.done;
  }

  async #run(): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      while (!this.#closing) {
        const count = await this.#stream.read(buffer);
        if (count === null) break;
        this.#lines.push(buffer.subarray(0, count));
        while (this.#sending > this.#options.transmitQueue && !this.#closing) {
          await new Promise<void>((resolve) => this.#room = resolve);
        }
      }
    } catch (error) {
      // The line is gone, as when a plug is pulled: the adapter is done with this host.
      if (!this.#closing) this.#log(`serial line: ${messageOf(error)}`);
    }
    this.#closing = true;
    await this.#shut();
    this.#writer.stop();
    closeQuietly(this.#stream);
  }

  #line(bytes: Uint8Array, start: number, end: number): void {
    // Hosts send bare `\r` to end what was left on the line.
    if (start === end) return this.#answer(ok);
    if (SlcanFrameReader.begins(bytes[start])) return this.#transmit(bytes, start, end);
    const command = decodeCommand(bytes, start, end);
    const done = command !== undefined && this.#execute(command);
    if (!done) this.#answer(refused);
  }

  #transmit(bytes: Uint8Array, start: number, end: number): void {
    const channel = this.#channel;
    const fault = this.#frames.read(bytes, start, end);
    const frame = this.#frames.frame;
    if (
      fault !== undefined || this.#frames.timestamp >= 0 || channel === undefined || channel.listenOnly ||
      (frame.fd && !this.#options.fd) || (this.#status() & busOffStatus) === busOffStatus
    ) return this.#answer(refused);
    if (this.#options.whenFull === "refuse" && this.#sending >= this.#options.transmitQueue) {
      this.#latched |= statusBits.transmitFull;
      return this.#answer(refused);
    }
    const copy = { ...frame, data: frame.data.slice() };
    const times = this.#faults.repeatToBus?.(copy) ?? 1;
    for (let time = 0; time < times; time++) this.#send(channel.bus, copy);
    this.#answer(
      this.#options.acknowledgement !== "z" || !this.#autoPoll
        ? ok
        : copy.extended
        ? queuedExtended
        : queuedBase,
    );
  }

  #send(bus: CanBus, frame: CanFrame): void {
    this.#sending++;
    bus.send(frame).then(this.#sent, this.#notSent);
  }

  /** @returns whether it was done; answers then */
  #execute(command: SlcanCommand): boolean {
    switch (command.kind) {
      case "open":
      case "listenOnly":
        return this.#acknowledged(this.#open(command.kind === "listenOnly"));
      case "close":
        if (this.#channel === undefined) return this.#acknowledged(!this.#options.strict);
        void this.#shut();
        return this.#acknowledged(true);
      case "status": {
        // LAWICEL: only while open.
        if (this.#channel === undefined && this.#options.strict) return false;
        const flags = (this.#latched | this.#status()) & 0xff;
        this.#latched = 0;
        return this.#text(`F${flags.toString(16).toUpperCase().padStart(2, "0")}`);
      }
      case "version":
        return this.#text(`V${this.#options.version}`);
      case "serialNumber":
        return this.#text(`N${this.#options.serialNumber}`);
      case "poll":
      case "pollAll":
        return this.#poll(command.kind === "pollAll");
    }
    // All that is left sets something, which is not done while the channel is open.
    if (this.#channel !== undefined && this.#options.strict) return false;
    return this.#acknowledged(this.#set(command));
  }

  #set(command: SlcanCommand): boolean {
    switch (command.kind) {
      case "bitRate":
        this.#bitRate = command.code === 7 ? this.#options.s7BitRate : bitRates[command.code];
        return true;
      case "bitTiming":
        this.#bitRate = Math.round(bitRateOfTiming(command.btr0, command.btr1));
        return true;
      case "dataBitRate": {
        const rate = dataBitRates.get(command.code);
        if (rate === undefined || !this.#options.fd) return false;
        this.#dataBitRate = rate;
        return true;
      }
      case "timestamps":
        this.#timestamps = command.on;
        return true;
      case "acceptanceCode":
        this.#filter.code = command.value;
        return true;
      case "acceptanceMask":
        this.#filter.mask = command.value;
        return true;
      case "filterMode":
        this.#filter.single = command.single;
        return true;
      case "autoPoll":
        this.#autoPoll = command.on;
        return true;
      case "serialBitRate":
      case "autoStart":
        // A stream has no bit rate, and there is no memory that would keep it over a power cycle.
        return true;
      default:
        return false;
    }
  }

  #open(listenOnly: boolean): boolean {
    if (this.#channel !== undefined) {
      if (this.#options.strict) return false;
      if (this.#channel.listenOnly === listenOnly) return true;
      void this.#shut();
    }
    try {
      const bus = this.#options.join({
        bitRate: this.#bitRate,
        dataBitRate: this.#dataBitRate,
        listenOnly,
      });
      this.#channel = { bus, listenOnly, leave: bus.listen((received) => this.#receive(received)) };
      this.#latched = 0;
      return true;
    } catch (error) {
      this.#log(`the channel was not opened: ${messageOf(error)}`);
      return false;
    }
  }

  async #shut(): Promise<void> {
    const channel = this.#channel;
    this.#channel = undefined;
    this.#queue.length = 0;
    if (channel === undefined) return;
    channel.leave();
    try {
      await channel.bus.close();
    } catch (error) {
      this.#log(`${channel.bus.name}: ${messageOf(error)}`);
    }
  }

  #receive({ frame, time }: ReceivedFrame): void {
    if ((frame.fd && !this.#options.fd) || !accepts(this.#filter, frame)) return;
    const times = this.#faults.repeatToHost?.(frame) ?? 1;
    for (let count = 0; count < times; count++) {
      if (this.#autoPoll) this.#tell(frame, time);
      else if (this.#queue.length < this.#options.transmitQueue) {
        this.#queue.push({ ...frame, data: frame.data.slice() });
      } else this.#latched |= statusBits.receiveFull | statusBits.dataOverrun;
    }
  }

  #tell(frame: CanFrame, time: number): void {
    const noise = this.#faults.garbage?.();
    if (noise !== undefined) this.#writer.push(noise);
    if (!this.#writer.reserve(maxFrameLine + 1)) {
      this.#latched |= statusBits.receiveFull | statusBits.dataOverrun;
      return;
    }
    const timestamp = this.#timestamps ? Math.floor(time) % timestampPeriod : undefined;
    this.#writer.commit(writeFrame(frame, this.#writer.bytes, this.#writer.at, timestamp));
  }

  #poll(all: boolean): boolean {
    if (this.#channel === undefined || this.#autoPoll) return false;
    const frames = this.#queue.splice(0, all ? this.#queue.length : 1);
    for (const frame of frames) this.#tell(frame, this.#clock.now());
    if (all) return this.#text("A");
    return frames.length > 0 || this.#acknowledged(true);
  }

  #acknowledged(done: boolean): boolean {
    if (done) this.#answer(ok);
    return done;
  }

  /** Commands that ask for something are answered in every mode. */
  #text(line: string): boolean {
    if (!this.#faults.loseAnswer?.()) this.#writer.push(encoder.encode(`${line}\r`));
    return true;
  }

  #answer(bytes: Uint8Array): void {
    if (this.#options.acknowledgement === "none" || this.#faults.loseAnswer?.()) return;
    const noise = this.#faults.garbage?.();
    if (noise !== undefined) this.#writer.push(noise);
    // Only a host that sends without end and never reads gets here with a full buffer; it misses answers then.
    if (!this.#writer.push(bytes)) this.#latched |= statusBits.dataOverrun;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
