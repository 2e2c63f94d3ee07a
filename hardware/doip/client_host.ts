// The machinery of a tester's DoIP connection: the read loop, the one timer, and who gets which message.

import { DoipTransport, type TransportHost } from "./client_transport.ts";
import { hex, payloadTypes, routingActivationCodes } from "./constants.ts";
import { DoipConnectionError, type DoipError, HeaderNackError, RoutingActivationError } from "./errors.ts";
import { FrameWriter } from "./frame_writer.ts";
import { DoipFramer, type DoipViolation } from "./framer.ts";
import { decodeMessage, type DoipFrame, encodeMessage, readU16 } from "./message.ts";
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import type { Clock } from "../clock.ts";

/** What an entity may send us over TCP; anything else is skipped. */
const acceptedTypes: ReadonlySet<number> = new Set([
  payloadTypes.headerNack,
  payloadTypes.routingActivationResponse,
  payloadTypes.aliveCheckRequest,
  payloadTypes.diagnosticMessage,
  payloadTypes.diagnosticAck,
  payloadTypes.diagnosticNack,
]);

/** A timer that comes so much later than it was set for, in milliseconds, shows that the program stood still. */
const standstill = 50;
/** Time to read what came while it did, in milliseconds. */
const readingTime = 10;

/** Limits and identity of a connection, checked by the caller. */
export interface ClientHostOptions {
  name: string;
  clock: Clock;
  version: number;
  sourceAddress: number;
  acknowledgeTimeout: number;
  maxRequestLength: number;
  maxPayloadLength: number;
  maxQueuedMessages: number;
  maxQueuedBytes: number;
  warn: (message: string) => void;
}

/** One per connection; reads from the moment that it is made. */
export class ClientHost implements TransportHost {
  readonly name: string;
  readonly clock: Clock;
  readonly writer: FrameWriter;
  readonly version: number;
  readonly sourceAddress: number;
  readonly acknowledgeTimeout: number;
  readonly maxRequestLength: number;
  readonly maxQueuedMessages: number;
  readonly maxQueuedBytes: number;
  readonly warn: (message: string) => void;
  readonly closed: Promise<DoipError | undefined>;
  readonly #stream: ByteStream;
  readonly #framer: DoipFramer;
  readonly #transports = new Map<number, DoipTransport>();
  readonly #resolveClosed: (error: DoipError | undefined) => void;
  #failure: DoipError | undefined;
  /** The functional transport that sent last: unclaimed answers are its own. */
  #functional: DoipTransport | undefined;
  #activation: ((code: number, entityAddress: number) => void) | undefined;
  #cancelTimer: () => void = () => {};
  #timerAt = Infinity;
  #stoodStill = false;
  #heardAt: number;
  #warnedUnclaimed = false;

  constructor(stream: ByteStream, options: ClientHostOptions) {
    this.#stream = stream;
    this.name = options.name;
    this.clock = options.clock;
    this.version = options.version;
    this.sourceAddress = options.sourceAddress;
    this.acknowledgeTimeout = options.acknowledgeTimeout;
    this.maxRequestLength = options.maxRequestLength;
    this.maxQueuedMessages = options.maxQueuedMessages;
    this.maxQueuedBytes = options.maxQueuedBytes;
    this.warn = options.warn;
    this.#framer = new DoipFramer({ accepts: acceptedTypes, maxPayloadLength: options.maxPayloadLength });
    // Each transport has one request under way, so this bounds a peer that does not read, not normal use.
    this.writer = new FrameWriter(
      stream,
      2 * options.maxRequestLength,
      (cause) => this.fail(new DoipConnectionError(`${this.name}: sending failed`, { cause })),
    );
    this.#heardAt = options.clock.now();
    const { promise, resolve } = Promise.withResolvers<DoipError | undefined>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    this.#read();
  }

  get failure(): DoipError | undefined {
    return this.#failure;
  }

  /** When the entity last sent anything, by the connection's clock. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** Routing activation (ISO 13400-2:2019, Tables 46 to 49); gives the entity's address. */
  async activate(
    activationType: number,
    oem: number | undefined,
    timeout: number,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const request = encodeMessage(this.version, {
      type: payloadTypes.routingActivationRequest,
      sourceAddress: this.sourceAddress,
      activationType,
      oem,
    });
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const aborted = (): void => reject(signal?.reason);
    const cancelTimer = this.clock.after(
      timeout,
      () =>
        reject(new DoipConnectionError(`${this.name}: no routing activation response within ${timeout} ms`)),
    );
    signal?.addEventListener("abort", aborted);
    this.#activation = (code, entityAddress) => {
      if (code === routingActivationCodes.success) resolve(entityAddress);
      // Somebody has to confirm at the vehicle; the final response follows on this socket.
      else if (code !== routingActivationCodes.confirmationRequired) {
        reject(new RoutingActivationError(this.name, code));
      }
    };
    this.closed.then((error) => reject(error ?? new DoipConnectionError(`${this.name}: closed`)));
    try {
      if (signal?.aborted) aborted();
      this.writer.message(request);
      this.writer.flush();
      return await promise;
    } catch (error) {
      this.close();
      throw error;
    } finally {
      this.#activation = undefined;
      cancelTimer();
      signal?.removeEventListener("abort", aborted);
    }
  }

  transport(targetAddress: number): DoipTransport {
    let transport = this.#transports.get(targetAddress);
    if (transport === undefined) {
      transport = new DoipTransport(this, targetAddress);
      this.#transports.set(targetAddress, transport);
    }
    return transport;
  }

  requested(transport: DoipTransport): void {
    if (transport.functional) this.#functional = transport;
  }

  /** One timer serves all waits: it is set for the earliest and looks again when it fires. */
  wakeAt(deadline: number): void {
    if (deadline >= this.#timerAt || deadline === Infinity) return;
    this.#cancelTimer();
    this.#timerAt = deadline;
    this.#cancelTimer = this.clock.after(
      Math.max(0, Math.ceil(deadline - this.clock.now())),
      () => this.#wake(),
    );
  }

  close(): void {
    this.#end(new DoipConnectionError(`${this.name}: closed by us`), undefined);
  }

  fail(error: DoipError): void {
    this.#end(error, error);
  }

  #end(failure: DoipError, reason: DoipError | undefined): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#cancelTimer();
    closeQuietly(this.#stream);
    for (const transport of this.#transports.values()) transport.disconnected(failure);
    this.#resolveClosed(reason);
  }

  #wake(): void {
    const now = this.clock.now();
    // A program that stood still finds its timers due before it has read what came meanwhile: reading comes first.
    if (!this.#stoodStill && now - this.#timerAt > standstill) {
      this.#stoodStill = true;
      this.#timerAt = now;
      this.#cancelTimer = this.clock.after(readingTime, () => this.#wake());
      return;
    }
    this.#stoodStill = false;
    this.#timerAt = Infinity;
    let next = Infinity;
    for (const transport of this.#transports.values()) next = Math.min(next, transport.expire(now));
    this.wakeAt(next);
  }

  async #read(): Promise<void> {
    try {
      while (this.#failure === undefined) {
        const read = await this.#stream.read(this.#framer.writable());
        if (read === null) return this.fail(new DoipConnectionError(`${this.name}: closed by the entity`));
        this.#heardAt = this.clock.now();
        this.#framer.commit(read);
        let item = this.#framer.next();
        while (item !== null && this.#failure === undefined) {
          if (item.nack === undefined) this.#handle(item);
          else this.#violated(item);
          item = this.#framer.next();
        }
        this.writer.flush();
      }
    } catch (cause) {
      // After close() the pending read fails: that is how it ends.
      this.fail(new DoipConnectionError(`${this.name}: receiving failed`, { cause }));
    }
  }

  #handle(frame: DoipFrame): void {
    const { payloadType, payload } = frame;
    switch (payloadType) {
      case payloadTypes.diagnosticMessage:
        return this.#deliver(readU16(payload, 0), readU16(payload, 2), payload);
      case payloadTypes.diagnosticAck:
        if (this.#isForUs(readU16(payload, 2))) this.#transports.get(readU16(payload, 0))?.acknowledged();
        return;
      case payloadTypes.diagnosticNack:
        if (this.#isForUs(readU16(payload, 2))) {
          this.#transports.get(readU16(payload, 0))?.refused(payload[4]);
        }
        return;
      case payloadTypes.aliveCheckRequest:
        this.writer.message(
          encodeMessage(this.version, {
            type: payloadTypes.aliveCheckResponse,
            sourceAddress: this.sourceAddress,
          }),
        );
        return;
      case payloadTypes.routingActivationResponse: {
        const message = decodeMessage(frame);
        if (message.type !== payloadTypes.routingActivationResponse) return;
        if (this.#isForUs(message.testerAddress)) this.#activation?.(message.code, message.entityAddress);
        return;
      }
      case payloadTypes.headerNack: {
        const error = new HeaderNackError(this.name, payload[0]);
        // Without routing there is no transport that could be told: the activation request was refused.
        if (this.#activation !== undefined) return this.fail(error);
        for (const transport of this.#transports.values()) transport.headerRefused(error);
        return;
      }
    }
  }

  #deliver(source: number, target: number, payload: Uint8Array): void {
    if (!this.#isForUs(target)) return;
    const physical = this.#transports.get(source);
    const functional = this.#functional;
    const receiver = physical?.busy ? physical : functional?.receiving ? functional : physical ?? functional;
    if (receiver !== undefined) return receiver.arrived(source, payload.subarray(4));
    this.#warnUnclaimed(`a message from ${hex(source)}, to which nothing was sent`);
  }

  #isForUs(target: number): boolean {
    if (target === this.sourceAddress) return true;
    this.#warnUnclaimed(`a message to ${hex(target)}, we are ${hex(this.sourceAddress)}`);
    return false;
  }

  #warnUnclaimed(what: string): void {
    if (this.#warnedUnclaimed) return;
    this.#warnedUnclaimed = true;
    this.warn(`${this.name}: ignoring ${what}; further ones are ignored in silence`);
  }

  /** A tester answers no header NACK (entities do): what it cannot read ends the connection or is skipped. */
  #violated({ nack, version, payloadType, payloadLength }: DoipViolation): void {
    const what = `version ${hex(version, 2)}, type ${hex(payloadType)}, length ${payloadLength}`;
    if (this.#framer.outOfStep) {
      return this.fail(new DoipConnectionError(`${this.name}: the entity sent a broken header (${what})`));
    }
    if (acceptedTypes.has(payloadType)) {
      return this.fail(
        new DoipConnectionError(`${this.name}: the entity sent a message too large (${what})`),
      );
    }
    this.#warnUnclaimed(`a message of unknown type (${what}, NACK ${hex(nack, 2)})`);
  }
}
