// One request to all ECUs that listen to a functional address, and the answers of each of them (ISO 14229-2).
import { type Clock, systemClock } from "../clock.ts";
import { belongs } from "./exchange.ts";
import { Nrc, nrcName } from "./nrc.ts";
import { hasSubFunction, serviceName, suppressPositiveResponse } from "./services.ts";
import {
  type FunctionalTransport,
  UdsTimeoutError,
  UdsTransportError,
  type WaitOptions,
} from "./transport.ts";

/** Timing and limits of a {@link FunctionalClient}. Times in milliseconds. */
export interface FunctionalClientOptions {
  /** P2 server (ISO 14229-2 7.2): within it each ECU begins to answer. @default 50 */
  p2?: number;
  /** P2* server: how long an ECU has after its 0x78. @default 5000 */
  p2Star?: number;
  /** Added to P2 and P2* for the way there and back. @default 200 */
  latency?: number;
  /** Longest wait for the bus to take a request. @default 2000 */
  sendTimeout?: number;
  /** Longest wait for all answers together, however often 0x78 comes. @default 30000 */
  pendingLimit?: number;
  /** Answers that are taken at most; further ones are counted and dropped. @default 256 */
  maxAnswers?: number;
  /** Messages passed over at most because they answer another request, before the wait ends. @default 256 */
  maxForeign?: number;
  /** @default the system's clock */
  clock?: Clock;
}

/** Options of one functional request. */
export interface FunctionalRequestOptions {
  /** Ends the wait; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Longest wait for the first answer of each ECU, ms. @default P2 and the latency */
  timeout?: number;
  /** Ends the wait as soon as that many ECUs have given their final answer. @default the time decides */
  expected?: number;
}

/** What one ECU answered. */
export interface FunctionalAnswer {
  /** Address of the ECU, see `ReceivedMessage.source`. */
  readonly source: number;
  /** The whole answer, positive or negative; the last 0x78 when the final answer did not come in time. */
  readonly response: Uint8Array;
  /** Negative response code of a negative answer. */
  readonly nrc?: number;
  /** Its name in the standard. */
  readonly nrcName?: string;
  /** The ECU said 0x78 and then nothing within P2*. */
  readonly unfinished?: true;
}

interface Waiting {
  deadline: number;
  response: Uint8Array;
}

/**
 * Asks several ECUs at once.
 *
 * Silence is an answer: an ECU that does not support the request says nothing (ISO 14229-1:2020 8.7), so a request
 * always waits P2 to its end unless `expected` says how many there are.
 */
export class FunctionalClient {
  readonly #transport: FunctionalTransport;
  readonly #clock: Clock;
  readonly #limits: Required<Omit<FunctionalClientOptions, "clock">>;
  #busy = false;
  /** Messages passed over so far: answers to other requests, and those beyond `maxAnswers`. */
  foreignAnswers = 0;

  constructor(transport: FunctionalTransport, options: FunctionalClientOptions = {}) {
    const { clock = systemClock, ...given } = options;
    this.#limits = {
      p2: 50,
      p2Star: 5_000,
      latency: 200,
      sendTimeout: 2_000,
      pendingLimit: 30_000,
      maxAnswers: 256,
      maxForeign: 256,
      ...given,
    };
    for (const [name, value] of Object.entries(this.#limits)) {
      if (!Number.isFinite(value) || value < 0) {
        throw new RangeError(`${name}: expected 0 or more, got ${value}`);
      }
    }
    this.#transport = transport;
    this.#clock = clock;
  }

  /**
   * Sends a request and collects what comes back, one entry an ECU in the order of their final answers.
   *
   * @returns none when nobody answered; a request with the suppress bit gets refusals and late answers only
   * @throws {UdsTransportError} when the path fails, the request is too long, or one is under way already
   */
  async requestAll(
    request: Uint8Array,
    options: FunctionalRequestOptions = {},
  ): Promise<FunctionalAnswer[]> {
    const { signal } = options;
    const { name, maxRequestLength } = this.#transport;
    if (request.length === 0) throw new RangeError(`${name}: expected a request of at least 1 byte, got 0`);
    if (request.length > maxRequestLength) {
      throw new UdsTransportError(
        `${name}: ${
          serviceName(request[0])
        } of ${request.length} bytes is longer than a functional request ` +
          `may be (${maxRequestLength})`,
      );
    }
    signal?.throwIfAborted();
    if (this.#busy) throw new UdsTransportError(`${name}: a functional request is under way already`);
    this.#busy = true;
    try {
      this.foreignAnswers += this.#transport.discardReceived();
      await this.#transport.send(request, { timeout: this.#limits.sendTimeout, signal });
      return await this.#collect(request, options);
    } finally {
      this.#busy = false;
    }
  }

  /** Sends a request that asks for no positive answer, such as TesterPresent 3E 80, and waits for none. */
  async notify(request: Uint8Array, options: { signal?: AbortSignal } = {}): Promise<void> {
    const suppressed = request.length > 1 && hasSubFunction(request[0]) &&
      (request[1] & suppressPositiveResponse) !== 0;
    if (!suppressed) throw new RangeError("notify: expected a request with bit 7 of its sub-function set");
    if (this.#busy) {
      throw new UdsTransportError(`${this.#transport.name}: a functional request is under way already`);
    }
    this.#busy = true;
    try {
      await this.#transport.send(request, { timeout: this.#limits.sendTimeout, signal: options.signal });
    } finally {
      this.#busy = false;
    }
  }

  async #collect(request: Uint8Array, options: FunctionalRequestOptions): Promise<FunctionalAnswer[]> {
    const { p2, p2Star, latency, pendingLimit, maxAnswers, maxForeign } = this.#limits;
    const began = this.#clock.now();
    const firstUntil = began + (options.timeout ?? p2 + latency);
    const hardLimit = Math.max(firstUntil, began + pendingLimit);
    const pending = new Map<number, Waiting>();
    const answers: FunctionalAnswer[] = [];
    const answered = new Set<number>();
    const wait: WaitOptions = { timeout: 0, signal: options.signal };
    for (let foreign = 0; foreign <= maxForeign && answers.length < maxAnswers;) {
      if (pending.size === 0 && options.expected !== undefined && answers.length >= options.expected) break;
      let until = firstUntil;
      for (const { deadline } of pending.values()) until = Math.max(until, deadline);
      const left = Math.min(until, hardLimit) - this.#clock.now();
      if (left <= 0) break;
      wait.timeout = left;
      let received;
      try {
        received = await this.#transport.receiveFrom(wait);
      } catch (error) {
        if (error instanceof UdsTimeoutError) break;
        throw error;
      }
      const { source, message } = received;
      const kind = answered.has(source) ? "foreign" : belongs(message, request);
      if (kind === "foreign") {
        foreign++;
        this.foreignAnswers++;
      } else if (kind === "negative" && message[2] === Nrc.requestCorrectlyReceivedResponsePending) {
        // Each ECU that takes longer has P2* of its own (ISO 14229-2 7.2), bounded in number by maxAnswers.
        if (pending.size < maxAnswers || pending.has(source)) {
          pending.set(source, { deadline: this.#clock.now() + p2Star + latency, response: message });
        }
      } else {
        pending.delete(source);
        answered.add(source);
        answers.push(answerOf(source, message, kind === "negative"));
      }
    }
    for (const [source, { response }] of pending) {
      answers.push({ ...answerOf(source, response, true), unfinished: true });
    }
    return answers;
  }
}

function answerOf(source: number, response: Uint8Array, negative: boolean): FunctionalAnswer {
  if (!negative) return { source, response };
  return { source, response, nrc: response[2], nrcName: nrcName(response[2]) };
}
