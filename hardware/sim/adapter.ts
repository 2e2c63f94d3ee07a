// A simulated SLCAN adapter: a CAN bus of its own, and serial lines to it: over TCP, each connection one more node of the bus so
// that several programs can use it at once, and one as a PTY where that is wanted.
import { busOffStatus, type SlcanChannelSettings, SlcanDevice } from "../can/slcan_device.ts";
import type { ByteStream } from "../byte_stream.ts";
import { type Clock, sleep, systemClock } from "../clock.ts";
import { makePty } from "../serial/pty.ts";
import { type CanFault, VirtualCanBus } from "./can_bus.ts";
import type { VirtualCanNode } from "./can_node.ts";
import { withPlace } from "./listen_failure.ts";
import type { SimulatedAdapterOptions, SimulatedTiming } from "./options.ts";
import { SerialLine } from "./serial_line.ts";

/** What all adapters of a bench share. */
export interface AdapterSurroundings {
  timing: SimulatedTiming;
  log: (message: string) => void;
  /** @default the system's clock */
  clock?: Clock;
}

/** TCP port of SLCAN where none is given. */
export const defaultAdapterPort = 20_107;
const defaultBaudRate = 1_000_000;

/** One adapter of a simulated bench. */
export class SimulatedAdapter {
  readonly options: SimulatedAdapterOptions;
  /** The bus that it is on: ECUs attach here, and whoever wants to hear without a serial line. */
  readonly bus: VirtualCanBus;
  readonly #log: (message: string) => void;
  readonly #clock: Clock;
  readonly #paced: boolean;
  readonly #devices = new Set<SlcanDevice>();
  readonly #closing = new AbortController();
  #listener: Deno.TcpListener | undefined;
  #port: number;
  #accepting: Promise<void> = Promise.resolve();
  #pluggedIn: Promise<void> = Promise.resolve();
  #ptyEnded: Promise<void> = Promise.resolve();
  #connections = 0;

  /** @throws {RangeError} quoting the option that cannot be */
  constructor(options: SimulatedAdapterOptions, surroundings: AdapterSurroundings) {
    const { adapterId, port = defaultAdapterPort, serialBaudRate = defaultBaudRate } = options;
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new RangeError(`${adapterId} port: expected 0 … 65535, got ${port}`);
    }
    if (!Number.isInteger(serialBaudRate) || serialBaudRate < 300 || serialBaudRate > 12_000_000) {
      throw new RangeError(`${adapterId} serialBaudRate: expected 300 … 12000000, got ${serialBaudRate}`);
    }
    this.options = options;
    this.#port = port;
    this.#log = surroundings.log;
    this.#clock = surroundings.clock ?? systemClock;
    this.#paced = surroundings.timing === "realistic";
    this.bus = new VirtualCanBus({
      name: adapterId,
      bitRate: options.bitRate,
      dataBitRate: options.dataBitRate,
      timing: surroundings.timing,
      faults: options.faults,
      onAdapterFault: (fault) => this.#fault(fault),
      log: surroundings.log,
      clock: this.#clock,
    });
  }

  get adapterId(): string {
    return this.options.adapterId;
  }

  get hostname(): string {
    return this.options.hostname;
  }

  /** TCP port. */
  get port(): number {
    return this.#port;
  }

  /**
   * Lets programs connect.
   * @throws {Deno.errors.AddrInUse} when the port is taken
   * @throws {SerialError} when the PTY cannot be made
   */
  async listen(): Promise<void> {
    let listener: Deno.TcpListener;
    try {
      listener = Deno.listen({ hostname: this.hostname, port: this.#port });
    } catch (cause) {
      throw withPlace(cause, `${this.adapterId} at ${this.hostname}:${this.#port}`);
    }
    this.#listener = listener;
    this.#port = listener.addr.port;
    this.#accepting = this.#accept(listener);
    const { pty } = this.options;
    if (pty === undefined) return;
    const line = await makePty(pty, { signal: this.#closing.signal });
    const { done } = this.#serve(line, `${this.adapterId} at ${pty}`);
    // Where the line ends, the link is taken away before another is made.
    this.#ptyEnded = done.then(() => line.ended);
  }

  /** Sets a fault. @throws {RangeError} when its numbers cannot be */
  inject(fault: CanFault): void {
    this.bus.inject(fault);
  }

  /** Takes all faults back that have not come yet. */
  clearFaults(): void {
    this.bus.clearFaults();
  }

  /** Ends all serial lines and refuses new ones for a time, ms. Resolves when it is plugged in again. */
  unplug(duration: number): Promise<void> {
    this.#pluggedIn = this.#pluggedIn.then(async () => {
      if (this.#closing.signal.aborted) return;
      this.#log(`${this.adapterId}: unplugged`);
      await this.#disconnect();
      await sleep(this.#clock, duration, this.#closing.signal);
      await this.listen();
      this.#log(`${this.adapterId}: plugged in`);
    }).catch((error) => {
      if (this.#closing.signal.aborted) return;
      // Nobody waits for a fault; the adapter stays away and hosts meet that.
      this.#log(`${this.adapterId}: did not come back: ${error instanceof Error ? error.message : error}`);
    });
    return this.#pluggedIn;
  }

  /** Stops listening, ends the lines, takes all nodes off the bus. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#pluggedIn;
    await this.#disconnect();
    await this.bus.close();
  }

  async #disconnect(): Promise<void> {
    this.#listener?.close();
    this.#listener = undefined;
    await Promise.all([...this.#devices].map((device) => device.close()));
    await this.#accepting;
    await this.#ptyEnded;
  }

  async #accept(listener: Deno.TcpListener): Promise<void> {
    for (;;) {
      let connection: Deno.TcpConn;
      try {
        connection = await listener.accept();
        connection.setNoDelay();
      } catch (error) {
        if (this.#listener !== listener) return;
        // One connection that failed, for want of descriptors too, is not the end of the others.
        this.#log(`${this.adapterId}: ${error instanceof Error ? error.message : error}`);
        await sleep(this.#clock, 100);
        continue;
      }
      this.#serve(connection, `${this.adapterId} line ${++this.#connections}`);
    }
  }

  #serve(line: ByteStream, name: string): SlcanDevice {
    const { acknowledgement, s7BitRate, serialBaudRate = defaultBaudRate } = this.options;
    let node: VirtualCanNode | undefined;
    const device = new SlcanDevice(
      this.#paced ? new SerialLine(line, { baudRate: serialBaudRate, clock: this.#clock }) : line,
      {
        join: (settings) => node = this.#join(name, settings),
        acknowledgement,
        s7BitRate,
        fd: this.options.dataBitRate !== undefined,
        status: () => node?.busOff ? busOffStatus : 0,
        clock: this.#clock,
        log: (message) => this.#log(`${name}: ${message}`),
      },
    );
    this.#devices.add(device);
    device.done.then(() => this.#devices.delete(device));
    return device;
  }

  /** The simulated bus has one rate: a host that sets another would see errors alone, and is told so at once. */
  #join(name: string, { bitRate, dataBitRate }: SlcanChannelSettings): VirtualCanNode {
    const { bus } = this;
    if (bitRate !== bus.bitRate) {
      throw new RangeError(`expected ${bus.bitRate} bit/s, the rate of the bus, got ${bitRate}`);
    }
    if (bus.dataBitRate !== undefined && dataBitRate !== bus.dataBitRate) {
      throw new RangeError(`expected ${bus.dataBitRate} bit/s in the data phase, got ${dataBitRate}`);
    }
    return bus.attach(name);
  }

  #fault(fault: CanFault): void {
    if (fault.kind === "garbage") {
      const bytes = Uint8Array.fromHex(fault.bytes);
      for (const device of this.#devices) device.inject(bytes);
    } else if (fault.kind === "unplug") void this.unplug(fault.duration);
  }
}
