// One request and its answer, as ISO 14229-2 times it: P2 and P2*, response pending (0x78), busy (0x21), suppressed
// answers, answers that belong to another request, TesterPresent in the background, and messages that come unasked.
import { type Clock, sleep, systemClock } from "../clock.ts";
import { NegativeResponseError, UdsProtocolError } from "./errors.ts";
import { Nrc } from "./nrc.ts";
import {
  echoLength,
  hasSubFunction,
  hex,
  negativeResponse,
  positiveOffset,
  serviceName,
  Session,
  Sid,
  suppressPositiveResponse,
} from "./services.ts";
import { UdsTimeoutError, type UdsTransport, UdsTransportError, type WaitOptions } from "./transport.ts";

/** Timing and limits of a client. Times in milliseconds. */
export interface ExchangeOptions {
  /** How messages name the ECU. @default the transport's name */
  ecu?: string;
  /** P2 server until the ECU tells its own (ISO 14229-2 7.2). @default 50 */
  p2?: number;
  /** P2* server until the ECU tells its own. @default 5000 */
  p2Star?: number;
  /** Added to P2 and P2* for the way there and back: gateways, busy hosts. @default 1000 */
  latency?: number;
  /** Longest wait for the bus to take a request. @default 2000 */
  sendTimeout?: number;
  /** Longest wait for a final answer, however often 0x78 comes. @default 120000 */
  pendingLimit?: number;
  /** How often a request is repeated on 0x21. @default 10 */
  busyRepeats?: number;
  /** Wait before a repeat on 0x21. @default 200 */
  busyDelay?: number;
  /** Answers to other requests that are passed over while one waits for its own. @default 32 */
  maxForeign?: number;
  /** Idle time after which a non-default session is held by TesterPresent (3E 80); 0: never. @default 2000 */
  testerPresentInterval?: number;
  /** Told of what goes wrong in the background. @default nothing is said */
  log?: (message: string) => void;
  /** @default the system's clock */
  clock?: Clock;
}

/** Options of one request. */
export interface RequestOptions {
  /** Ends the wait; the answer, should it come, is passed over later. */
  signal?: AbortSignal;
  /** What the caller is doing, named in errors. */
  step?: string;
  /** Longest wait for the first answer, ms. @default P2 and the latency */
  timeout?: number;
}

/** Takes messages that come unasked: periodic data, events. */
export interface UnaskedListener {
  /** Looks at a message that answers no request under way. @returns whether it was for this listener */
  take(message: Uint8Array): boolean;
  /** The path failed or the client was closed: nothing more will come. */
  fail(error: Error): void;
}

/** Longest single wait for unasked messages; then the next one begins. */
const unaskedWait = 60_000;

/** The requests of one client over one path, one at a time. */
export class Exchange {
  readonly ecu: string;
  /** Answers passed over so far because they belonged to no request under way. */
  foreignAnswers = 0;

  readonly #transport: UdsTransport;
  readonly #clock: Clock;
  readonly #limits: Required<Omit<ExchangeOptions, "ecu" | "clock" | "log">>;
  readonly #log: (message: string) => void;
  // One object a direction for all waits: a transfer makes thousands a second.
  readonly #sendWait: WaitOptions = { timeout: 0 };
  readonly #receiveWait: WaitOptions = { timeout: 0 };
  readonly #waiting: (() => void)[] = [];
  readonly #listeners = new Set<UnaskedListener>();
  // Receives for the listeners while no request is under way.
  #pump: { stop: AbortController; ended: Promise<void> } | undefined;
  #busy = false;
  #closed = false;
  #p2: number;
  #p2Star: number;
  #session: number = Session.default;
  #lastActivity = 0;
  #cancelTick: (() => void) | undefined;

  constructor(transport: UdsTransport, options: ExchangeOptions = {}) {
    const limits = {
      p2: options.p2 ?? 50,
      p2Star: options.p2Star ?? 5_000,
      latency: options.latency ?? 1_000,
      sendTimeout: options.sendTimeout ?? 2_000,
      pendingLimit: options.pendingLimit ?? 120_000,
      busyRepeats: options.busyRepeats ?? 10,
      busyDelay: options.busyDelay ?? 200,
      maxForeign: options.maxForeign ?? 32,
      testerPresentInterval: options.testerPresentInterval ?? 2_000,
    };
    for (const [name, value] of Object.entries(limits)) {
      if (!Number.isFinite(value) || value < 0) {
        throw new RangeError(`${name}: expected 0 or more, got ${value}`);
      }
    }
    this.#limits = limits;
    this.#transport = transport;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? (() => {});
    this.#p2 = limits.p2;
    this.#p2Star = limits.p2Star;
    this.ecu = options.ecu ?? transport.name;
  }

  /** The session that the ECU was last told to enter, or fell back to by a reset. */
  get session(): number {
    return this.#session;
  }

  /** P2 and P2* of the server as they are in force, in milliseconds. */
  get timing(): { p2: number; p2Star: number } {
    return { p2: this.#p2, p2Star: this.#p2Star };
  }

  /** Longest request that the path carries, bytes. */
  get maxRequestLength(): number {
    return this.#transport.maxRequestLength;
  }

  /** Time of the clock that rules this client. */
  get clock(): Clock {
    return this.#clock;
  }

  /**
   * Sends a request and waits for its positive answer.
   *
   * @returns the answer, or undefined when the request suppressed it and none came within P2
   * @throws {NegativeResponseError} {@link UdsProtocolError} {@link UdsTimeoutError} {@link UdsTransportError}
   */
  async request(request: Uint8Array, options: RequestOptions = {}): Promise<Uint8Array | undefined> {
    const { signal } = options;
    if (request.length === 0) {
      throw new RangeError(`${this.ecu}: expected a request of at least 1 byte, got 0`);
    }
    if (request.length > this.#transport.maxRequestLength) {
      throw new UdsTransportError(
        `${this.ecu}: ${
          serviceName(request[0])
        } of ${request.length} bytes is longer than the path carries ` +
          `(${this.#transport.maxRequestLength})`,
      );
    }
    signal?.throwIfAborted();
    if (this.#busy) await this.#turn(signal);
    else this.#take();
    try {
      if (this.#listeners.size > 0) await this.#stopPump();
      for (let repeats = 0;; repeats++) {
        const answer = await this.#once(request, options);
        if (answer === undefined || answer[0] !== negativeResponse) {
          if (answer !== undefined) this.#adopt(answer);
          return answer;
        }
        if (answer[2] !== Nrc.busyRepeatRequest || repeats >= this.#limits.busyRepeats) {
          throw new NegativeResponseError(this.ecu, request[0], answer[2], answer, options.step);
        }
        await sleep(this.#clock, this.#limits.busyDelay, signal);
      }
    } finally {
      this.#release();
    }
  }

  /** Stops TesterPresent, ends listeners and refuses further requests. The transport stays the caller's. */
  close(): void {
    this.#closed = true;
    this.#cancelTick?.();
    this.#cancelTick = undefined;
    this.#failListeners(new UdsTransportError(`${this.ecu}: the UDS client is closed`));
    this.#pump?.stop.abort();
  }

  /** Takes over timing that was agreed on with the ECU (0x83), ms. @param timing undefined: as before any was told */
  adoptTiming(timing: { p2: number; p2Star: number } | undefined): void {
    const { p2, p2Star } = timing ?? this.#limits;
    this.#p2 = p2;
    this.#p2Star = p2Star;
  }

  /**
   * Has a listener see every message that answers no request, during requests and between them.
   * Between requests this client then receives from the transport all the time.
   * @returns what takes the listener off again
   */
  listen(listener: UnaskedListener): () => void {
    if (this.#closed) throw new UdsTransportError(`${this.ecu}: the UDS client is closed`);
    this.#listeners.add(listener);
    if (!this.#busy) this.#startPump();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#pump?.stop.abort();
    };
  }

  /** One send and what comes back: the positive answer, a final negative one, or undefined if suppressed. */
  async #once(request: Uint8Array, options: RequestOptions): Promise<Uint8Array | undefined> {
    const { signal } = options;
    const sid = request[0];
    let suppressed = request.length > 1 && (request[1] & suppressPositiveResponse) !== 0 &&
      hasSubFunction(sid);
    // With listeners nothing is thrown away: what came meanwhile is offered to them below, and between requests they
    // have had everything, so that no late answer is left over.
    if (this.#listeners.size === 0) this.foreignAnswers += this.#transport.discardReceived();
    const send = this.#sendWait;
    send.timeout = this.#limits.sendTimeout;
    send.signal = signal;
    await this.#transport.send(request, send);
    const receive = this.#receiveWait;
    receive.signal = signal;
    // A suppressed answer is waited for no longer than P2: what is refused later than that finds no reader.
    let limit = options.timeout ?? (suppressed ? this.#p2 : this.#p2 + this.#limits.latency);
    let began = this.#clock.now();
    receive.timeout = limit;
    let pendingSince: number | undefined;
    for (let foreign = 0;;) {
      let answer: Uint8Array;
      try {
        answer = await this.#transport.receive(receive);
      } catch (error) {
        if (!(error instanceof UdsTimeoutError)) throw error;
        if (suppressed) return undefined;
        throw this.#timeout(request, options, limit, foreign, pendingSince, error);
      }
      switch (belongs(answer, request)) {
        case "positive":
          return answer;
        case "negative": {
          if (answer[2] !== Nrc.requestCorrectlyReceivedResponsePending) return answer;
          const now = this.#clock.now();
          pendingSince ??= now;
          const left = this.#limits.pendingLimit - (now - pendingSince);
          if (left <= 0) {
            throw this.#timeout(request, options, this.#limits.pendingLimit, foreign, pendingSince);
          }
          began = now;
          limit = Math.min(this.#p2Star + this.#limits.latency, left);
          receive.timeout = limit;
          // After 0x78 the final answer is sent, suppressed or not (8.2.2).
          suppressed = false;
          break;
        }
        case "foreign":
          if (!this.#offer(answer)) {
            this.foreignAnswers++;
            foreign++;
          }
          if (foreign > this.#limits.maxForeign) {
            throw new UdsProtocolError(
              `${this.ecu}: ${
                where(request, options)
              }: gave up after ${foreign} answers to other requests, ` +
                `the last ${preview(answer)}`,
            );
          }
          // It does not lengthen the wait for the one that is due.
          receive.timeout = Math.max(0, began + limit - this.#clock.now());
      }
    }
  }

  /** Whether a listener took the message. */
  #offer(message: Uint8Array): boolean {
    for (const listener of this.#listeners) if (listener.take(message)) return true;
    return false;
  }

  #failListeners(error: Error): void {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener.fail(error);
  }

  #startPump(): void {
    if (this.#pump !== undefined || this.#listeners.size === 0 || this.#closed) return;
    const stop = new AbortController();
    this.#pump = { stop, ended: this.#receiveUnasked(stop.signal) };
  }

  async #stopPump(): Promise<void> {
    this.#pump?.stop.abort();
    await this.#pump?.ended;
  }

  async #receiveUnasked(stop: AbortSignal): Promise<void> {
    try {
      while (!stop.aborted) {
        try {
          const message = await this.#transport.receive({ timeout: unaskedWait, signal: stop });
          if (!this.#offer(message)) this.foreignAnswers++;
        } catch (error) {
          if (!(error instanceof UdsTimeoutError)) throw error;
        }
      }
    } catch (error) {
      // Stopping rejects the wait; that is how it ends. Anything else is the end of the path.
      if (!stop.aborted) this.#failListeners(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#pump = undefined;
      // A listener that came after the stop, with no request under way, is served by a new round.
      if (!this.#busy) this.#startPump();
    }
  }

  /** Takes over what a positive answer says about session and timing. */
  #adopt(answer: Uint8Array): void {
    if (answer[0] === Sid.diagnosticSessionControl + positiveOffset) {
      this.#session = answer[1] & ~suppressPositiveResponse;
      if (answer.length >= 6) {
        this.#p2 = answer[2] << 8 | answer[3];
        // P2* comes in units of 10 ms (10.2.3.2).
        this.#p2Star = (answer[4] << 8 | answer[5]) * 10;
      }
      this.#hold();
    } else if (answer[0] === Sid.ecuReset + positiveOffset && answer[1] <= 0x03) {
      this.#session = Session.default;
      this.#p2 = this.#limits.p2;
      this.#p2Star = this.#limits.p2Star;
      this.#hold();
    }
  }

  /** Starts or stops TesterPresent as the session asks for. */
  #hold(): void {
    const interval = this.#limits.testerPresentInterval;
    if (this.#session === Session.default || interval === 0 || this.#closed) {
      this.#cancelTick?.();
      this.#cancelTick = undefined;
    } else {
      this.#cancelTick ??= this.#clock.after(interval, () => this.#tick());
    }
  }

  async #tick(): Promise<void> {
    const interval = this.#limits.testerPresentInterval;
    const idle = this.#clock.now() - this.#lastActivity;
    let next = interval - idle;
    if (this.#busy) {
      // Never between a request and its answer; that request holds the session by itself.
      next = interval / 4;
    } else if (next <= 0) {
      next = interval;
      this.#take();
      try {
        await this.#transport.send(Uint8Array.of(Sid.testerPresent, suppressPositiveResponse), {
          timeout: this.#limits.sendTimeout,
        });
      } catch (error) {
        // The next request meets the same broken path and fails by it; here there is nobody to tell but the log.
        this.#log(`${this.ecu}: TesterPresent: ${error instanceof Error ? error.message : String(error)}`);
      } finally {
        this.#release();
      }
    }
    this.#cancelTick = undefined;
    if (this.#session !== Session.default && !this.#closed) {
      this.#cancelTick = this.#clock.after(next, () => this.#tick());
    }
  }

  #take(): void {
    if (this.#closed) throw new UdsTransportError(`${this.ecu}: the UDS client is closed`);
    this.#busy = true;
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        signal?.removeEventListener("abort", abort);
        if (this.#closed) {
          reject(new UdsTransportError(`${this.ecu}: the UDS client is closed`));
          this.#waiting.shift()?.();
        } else {
          this.#busy = true;
          resolve();
        }
      };
      const abort = () => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(go);
    });
  }

  #release(): void {
    this.#busy = false;
    this.#lastActivity = this.#clock.now();
    const next = this.#waiting.shift();
    if (next !== undefined) next();
    else if (this.#listeners.size > 0) this.#startPump();
  }

  #timeout(
    request: Uint8Array,
    options: RequestOptions,
    waited: number,
    foreign: number,
    pendingSince: number | undefined,
    cause?: UdsTimeoutError,
  ): UdsTimeoutError {
    const pending = pendingSince === undefined ? "" : "final ";
    const skipped = foreign === 0 ? "" : ` (${foreign} answers to other requests passed over)`;
    const error = new UdsTimeoutError(
      `${this.ecu}: ${where(request, options)}${skipped}`,
      waited,
      `${pending}answer to ${serviceName(request[0])}`,
    );
    if (cause !== undefined) error.cause = cause;
    return error;
  }
}

/** Whose answer this is: positive ones repeat part of the request (see the table in services.ts). */
export function belongs(answer: Uint8Array, request: Uint8Array): "positive" | "negative" | "foreign" {
  const sid = request[0];
  if (answer[0] === sid + positiveOffset) {
    switch (sid) {
      case Sid.readDataByPeriodicIdentifier:
        // The answer is the service identifier alone (11.5.3); with bytes behind it, it is periodic data.
        return answer.length === 1 ? "positive" : "foreign";
      case Sid.readDataByIdentifier:
        return repeatsOneIdentifier(answer, request) ? "positive" : "foreign";
    }
    const echo = echoLength(sid);
    if (answer.length <= echo || request.length <= echo) return echo === 0 ? "positive" : "foreign";
    for (let at = 1; at <= echo; at++) {
      const expected = at === 1 && hasSubFunction(sid) ? request[1] & ~suppressPositiveResponse : request[at];
      if (answer[at] !== expected) return "foreign";
    }
    return "positive";
  }
  return answer[0] === negativeResponse && answer.length === 3 && answer[1] === sid ? "negative" : "foreign";
}

/** Of several identifiers an ECU leaves out those that it does not support (11.2.4): any of them may come first. */
function repeatsOneIdentifier(answer: Uint8Array, request: Uint8Array): boolean {
  if (answer.length < 3) return false;
  for (let at = 1; at + 1 < request.length; at += 2) {
    if (answer[1] === request[at] && answer[2] === request[at + 1]) return true;
  }
  return false;
}

function where(request: Uint8Array, options: RequestOptions): string {
  return options.step ?? `${serviceName(request[0])} ${preview(request)}`;
}

/** The first bytes for a message; longer requests may carry an image. SecurityAccess keys are not shown. */
function preview(bytes: Uint8Array): string {
  if (bytes[0] === Sid.securityAccess) return `${hex(bytes[0], 2)} …`;
  const shown = Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).toUpperCase().padStart(2, "0"));
  return shown.join(" ") + (bytes.length > 6 ? " …" : "");
}
