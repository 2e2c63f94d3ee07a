// A CAN bus behind an SLCAN adapter: the host's side. Opens the channel, keeps it open, and opens it again after a bus-off
// or, where that is wanted, after the adapter was unplugged.
import type { ByteStream } from "../byte_stream.ts";
import { checkMilliseconds, sleep } from "../clock.ts";
import { type CanBus, CanBusError, type ReceivedFrame, type SendOptions } from "./bus.ts";
import { type CanFrame, checkFrame, showFrame } from "./frame.ts";
import { TimestampClock } from "./slcan_clock.ts";
import { encodeCommand, type SlcanAnswer, statusBits, statusNames } from "./slcan_command.ts";
import { Deliveries } from "./slcan_deliveries.ts";
import { busOffStatus } from "./slcan_device.ts";
import { SlcanLink } from "./slcan_link.ts";
import { type Backoff, checkSettings, type SlcanBusOptions, type SlcanSettings } from "./slcan_settings.ts";
import { newStatistics, type SlcanStatistics } from "./slcan_unanswered.ts";

export type { SlcanBusOptions } from "./slcan_settings.ts";

/** Opens the serial line to the adapter, each time anew. */
export type OpenLine = (signal: AbortSignal) => Promise<ByteStream>;

/** What the adapter said of itself. */
export interface AdapterIdentity {
  /** What followed `V`; undefined if it did not answer. */
  version: string | undefined;
}

type Phase = "opening" | "open" | "recovering" | "reconnecting" | "closed";

/** A CAN bus behind an SLCAN adapter. */
export class SlcanBus implements CanBus {
  readonly name: string;
  readonly fd: boolean;
  readonly closed: Promise<Error | undefined>;
  readonly statistics: SlcanStatistics = newStatistics();
  readonly #openLine: OpenLine;
  readonly #settings: SlcanSettings;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<(received: ReceivedFrame) => void>();
  readonly #deliveries: Deliveries;
  readonly #resolveClosed: (reason: Error | undefined) => void;
  readonly #received = { frame: noFrame, time: 0 };
  #link: SlcanLink | undefined;
  #stamps = new TimestampClock();
  #phase: Phase = "opening";
  #unavailable: CanBusError | undefined;
  #version: string | undefined;
  #status = 0;
  #cancelPoll: (() => void) | undefined;
  #resyncing = false;
  #ending: Promise<void> | undefined;

  private constructor(openLine: OpenLine, settings: SlcanSettings) {
    this.#openLine = openLine;
    this.#settings = settings;
    this.name = settings.name;
    this.#deliveries = new Deliveries({
      name: settings.name,
      clock: settings.clock,
      unacknowledged: (count) => {
        this.statistics.unacknowledged += count;
        if (this.#link !== undefined) void this.#resynchronise(this.#link);
      },
    });
    this.fd = settings.dataBitRate !== undefined;
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.closed = promise;
    this.#resolveClosed = resolve;
  }

  /**
   * Opens the line, sets the adapter up and opens its channel.
   *
   * @throws {RangeError} for settings that cannot be
   * @throws {CanBusError} when the adapter refuses or does not answer
   * @throws what `openLine` throws
   */
  static async open(openLine: OpenLine, options: SlcanBusOptions): Promise<SlcanBus> {
    const bus = new SlcanBus(openLine, checkSettings(options));
    const abort = () => bus.#stop.abort(options.signal?.reason);
    options.signal?.throwIfAborted();
    options.signal?.addEventListener("abort", abort, { once: true });
    try {
      await bus.#connect();
    } catch (error) {
      await bus.#end(error instanceof Error ? error : new Error(String(error)));
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
    return bus;
  }

  /** What the adapter said of itself when it was opened. */
  get identity(): AdapterIdentity {
    return { version: this.#version };
  }

  /** Status flags as last told, in `statusBits`. */
  get status(): number {
    return this.#status;
  }

  /** Whether frames are taken now; not so during recovery from a bus-off and while the adapter is away. */
  get available(): boolean {
    return this.#phase === "open";
  }

  send(frame: CanFrame, options: SendOptions = {}): Promise<void> {
    return this.sendAll([frame], options);
  }

  sendAll(frames: readonly CanFrame[], options: SendOptions = {}): Promise<void> {
    const { timeout = 1000, signal } = options;
    try {
      checkMilliseconds(timeout, "timeout");
      for (const frame of frames) {
        checkFrame(frame);
        if (frame.fd && !this.fd) {
          throw new RangeError(
            `${this.name}: ${showFrame(frame)} is an FD frame, the bus is opened without FD`,
          );
        }
      }
      signal?.throwIfAborted();
      this.#checkAvailable(frames);
    } catch (error) {
      return Promise.reject(error);
    }
    if (frames.length === 0) return Promise.resolve();
    return this.#deliveries.begin(frames, timeout, signal, (delivery) => this.#link?.deliver(delivery));
  }

  listen(receive: (received: ReceivedFrame) => void): () => void {
    // The same function may listen twice: each has its own end.
    const listener = (received: ReceivedFrame) => receive(received);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#end(undefined);
  }

  #checkAvailable(frames: readonly CanFrame[]): void {
    if (this.#phase !== "open") {
      const why = this.#unavailable ?? new CanBusError(`${this.name}: the bus is closed`);
      throw new CanBusError(why.message, { cause: why });
    }
    if (this.#settings.listenOnly) {
      throw new CanBusError(`${this.name}: opened to listen only, nothing is sent`);
    }
    const { queued } = this.#deliveries;
    if (queued + frames.length > this.#settings.queueLimit) {
      throw new CanBusError(
        `${this.name}: ${queued} frames wait already, the limit is ${this.#settings.queueLimit}`,
      );
    }
  }

  /** Opens line and channel; on return frames are taken. */
  async #connect(): Promise<void> {
    const { signal } = this.#stop;
    const stream = await this.#openLine(signal);
    const settings = this.#settings;
    const link = new SlcanLink(stream, {
      name: this.name,
      acknowledgement: settings.acknowledgement,
      window: settings.window,
      clock: settings.clock,
      statistics: this.statistics,
      log: settings.log,
      received: (frame, timestamp) => this.#receive(frame, timestamp),
      state: (answer) => this.#controllerState(link, answer),
      lost: (error) => this.#lost(link, error),
    });
    const abort = () => void link.close(abortError(signal), 0);
    signal.addEventListener("abort", abort, { once: true });
    try {
      signal.throwIfAborted();
      await this.#setUp(link);
      signal.throwIfAborted();
    } catch (error) {
      await link.close(error instanceof Error ? error : new Error(String(error)), 0);
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
    this.#link = link;
    this.#opened(link);
  }

  #opened(link: SlcanLink): void {
    this.#phase = "open";
    this.#unavailable = undefined;
    this.#status = 0;
    link.start();
    this.#pollLater(link);
  }

  /** The opening sequence; each step is answered before the next, where the firmware answers. */
  async #setUp(link: SlcanLink): Promise<void> {
    const settings = this.#settings;
    await link.purge(settings.purgeTime);
    await this.#askVersion(link);
    const say = (command: string) => link.command(command, "acknowledgement", settings.commandTimeout);
    await say(`${settings.bitRateCommand}\r`);
    if (settings.dataBitRateCommand !== undefined) await say(settings.dataBitRateCommand);
    if (settings.timestamps) await say(encodeCommand({ kind: "timestamps", on: true }));
    for (const command of settings.commands) await say(`${command}\r`);
    this.#stamps = new TimestampClock();
    await say(encodeCommand({ kind: settings.listenOnly ? "listenOnly" : "open" }));
    // Firmware that acknowledges nothing still shows by its next answer that it has come this far.
    if (settings.acknowledgement === "none" && this.#version !== undefined) await this.#askVersion(link);
  }

  async #askVersion(link: SlcanLink): Promise<void> {
    try {
      const answer = await link.command(
        encodeCommand({ kind: "version" }),
        "version",
        this.#settings.versionTimeout,
      );
      this.#version = answer?.kind === "version" ? answer.text : undefined;
    } catch (error) {
      // Much firmware tells no version: that alone is no reason to do without the adapter. A line that is gone is.
      if (link.gone) throw error;
      this.#version = undefined;
    }
  }

  #receive(frame: CanFrame, timestamp: number): void {
    const now = this.#settings.clock.now();
    const received = this.#received;
    received.frame = frame;
    received.time = this.#settings.timestamps && timestamp >= 0 ? this.#stamps.time(timestamp, now) : now;
    for (const listener of this.#listeners) {
      try {
        listener(received);
      } catch (error) {
        this.#settings.log(`${this.name}: a listener failed: ${messageOf(error)}`);
      }
    }
  }

  /**
   * After an acknowledgement that did not come nobody knows which frame the next one belongs to. The answer to `V` does:
   * whatever was sent before it will not be acknowledged any more.
   */
  async #resynchronise(link: SlcanLink): Promise<void> {
    if (this.#resyncing || this.#settings.acknowledgement === "none") return;
    this.#resyncing = true;
    const { commandTimeout } = this.#settings;
    try {
      if (this.#version !== undefined) {
        await link.command(encodeCommand({ kind: "version" }), "version", commandTimeout);
      } else link.abandonUnanswered(new CanBusError(`${this.name}: the adapter acknowledges nothing`));
    } catch (error) {
      this.#settings.log(`${this.name}: ${messageOf(error)}`);
      link.abandonUnanswered(new CanBusError(`${this.name}: the adapter answers nothing`, { cause: error }));
    }
    this.#resyncing = false;
  }

  #pollLater(link: SlcanLink): void {
    const { statusInterval, clock } = this.#settings;
    this.#cancelPoll?.();
    this.#cancelPoll = undefined;
    if (statusInterval === 0) return;
    this.#cancelPoll = clock.after(statusInterval, () => void this.#poll(link));
  }

  async #poll(link: SlcanLink): Promise<void> {
    try {
      const answer = await link.command(
        encodeCommand({ kind: "status" }),
        "status",
        this.#settings.commandTimeout,
      );
      if (answer?.kind === "status") this.#told(link, answer.flags);
    } catch (error) {
      if (this.#link !== link || this.#phase !== "open") return;
      this.#settings.log(`${this.name}: no status: ${messageOf(error)}`);
    }
    if (this.#link === link && this.#phase === "open") this.#pollLater(link);
  }

  #told(link: SlcanLink, flags: number): void {
    if (flags !== this.#status) {
      const names = statusNames(flags);
      this.#settings.log(`${this.name}: status ${names.length > 0 ? names.join(", ") : "clear"}`);
    }
    this.#status = flags;
    if (flags & (statusBits.receiveFull | statusBits.transmitFull | statusBits.dataOverrun)) {
      this.statistics.overruns++;
    }
    if ((flags & busOffStatus) === busOffStatus) this.#wentOff(link);
  }

  #controllerState(link: SlcanLink, answer: SlcanAnswer): void {
    if (answer.kind !== "state") return;
    this.#settings.log(
      `${this.name}: controller is error ${answer.state}, ` +
        `${answer.receiveErrors} receive and ${answer.transmitErrors} transmit errors`,
    );
    if (answer.state === "busOff") this.#wentOff(link);
  }

  #wentOff(link: SlcanLink): void {
    if (this.#link !== link || this.#phase !== "open") return;
    this.statistics.busOffs++;
    const error = new CanBusError(
      `${this.name}: bus off: the adapter's controller saw too many errors; check bit rate, wiring and termination`,
    );
    this.#settings.log(error.message);
    this.#unavailable = error;
    this.#phase = "recovering";
    this.#cancelPoll?.();
    link.pause(error);
    this.#deliveries.fail(error);
    void this.#recover(link);
  }

  /** Closes and opens the channel, which resets the controller, until it stays on the bus. */
  async #recover(link: SlcanLink): Promise<void> {
    const { clock, log } = this.#settings;
    for (const delay of delays(this.#settings.busOffRecovery)) {
      try {
        await sleep(clock, delay, this.#stop.signal);
        if (this.#link !== link || this.#phase !== "recovering") return;
        await this.#setUp(link);
        if (this.#link !== link || this.#phase !== "recovering") return;
        if (this.#settings.statusInterval > 0) {
          const answer = await link.command(
            encodeCommand({ kind: "status" }),
            "status",
            this.#settings.commandTimeout,
          );
          if (answer?.kind === "status" && (answer.flags & busOffStatus) === busOffStatus) continue;
        }
        log(`${this.name}: on the bus again`);
        return this.#opened(link);
      } catch (error) {
        if (this.#stop.signal.aborted || this.#link !== link) return;
        log(`${this.name}: not yet on the bus again: ${messageOf(error)}`);
      }
    }
  }

  #lost(link: SlcanLink, error: Error): void {
    // While a connection is being made, whoever makes it sees the error.
    if (this.#link !== link || this.#phase === "closed") return;
    this.#link = undefined;
    this.#cancelPoll?.();
    this.#settings.log(error.message);
    if (this.#settings.reconnect === undefined) {
      void this.#end(error);
      return;
    }
    this.#phase = "reconnecting";
    this.#unavailable = new CanBusError(`${this.name}: the adapter is away: ${error.message}`, {
      cause: error,
    });
    this.#deliveries.fail(this.#unavailable);
    void this.#reconnect(this.#settings.reconnect);
  }

  async #reconnect(backoff: Backoff): Promise<void> {
    const { clock, log } = this.#settings;
    for (const delay of delays(backoff)) {
      try {
        await sleep(clock, delay, this.#stop.signal);
        await this.#connect();
        this.statistics.reconnects++;
        log(`${this.name}: the adapter is back`);
        return;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        log(`${this.name}: ${messageOf(error)}`);
      }
    }
  }

  #end(reason: Error | undefined): Promise<void> {
    this.#ending ??= this.#shut(reason);
    return this.#ending;
  }

  async #shut(reason: Error | undefined): Promise<void> {
    this.#phase = "closed";
    const error = new CanBusError(
      reason === undefined ? `${this.name}: the bus was closed` : reason.message,
      { cause: reason },
    );
    this.#unavailable = error;
    this.#stop.abort(error);
    this.#cancelPoll?.();
    this.#deliveries.fail(error);
    this.#deliveries.stop();
    this.#listeners.clear();
    const link = this.#link;
    this.#link = undefined;
    await link?.close(error, 200);
    this.#resolveClosed(reason);
  }
}

function* delays({ from, to }: Backoff): Generator<number> {
  for (let delay = from;; delay = Math.min(to, 2 * delay)) yield delay;
}

const noFrame: CanFrame = { id: 0, extended: false, data: new Uint8Array(0) };

function abortError(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
