// The path to one logical address over a shared DoIP connection: its requests, its receive queue, its waits.

import { UdsTimeoutError, type UdsTransport, type WaitOptions } from "../uds/transport.ts";
import { hex, isFunctionalAddress } from "./constants.ts";
import { DiagnosticNackError, DoipConnectionError, DoipError } from "./errors.ts";
import type { FrameWriter } from "./frame_writer.ts";
import { checkMilliseconds, type Clock } from "../clock.ts";
import { Wait } from "./wait.ts";

/** What a transport needs of its connection. */
export interface TransportHost {
  readonly name: string;
  readonly clock: Clock;
  readonly writer: FrameWriter;
  readonly version: number;
  readonly sourceAddress: number;
  /** Set when the connection is gone. */
  readonly failure: DoipError | undefined;
  /** Milliseconds. */
  readonly acknowledgeTimeout: number;
  readonly maxRequestLength: number;
  readonly maxQueuedMessages: number;
  readonly maxQueuedBytes: number;
  warn(message: string): void;
  /** Calls {@link DoipTransport.expire} no later than this. */
  wakeAt(deadline: number): void;
  /** A request went out; remembered for answers to functional requests. */
  requested(transport: DoipTransport): void;
}

/** A diagnostic message with the ECU that sent it. */
export interface ReceivedMessage {
  source: number;
  /** Belongs to the receiver. */
  message: Uint8Array;
}

/**
 * How long the acknowledgement may still be outstanding when the answer is already here, in milliseconds: the
 * target of A_DoIP_Diagnostic_Message, within which an entity acknowledges.
 */
const overtakenAcknowledgement = 50;

/** What {@link DoipConnection.transport} gives. */
export class DoipTransport implements UdsTransport {
  readonly name: string;
  readonly targetAddress: number;
  readonly #host: TransportHost;
  readonly #taken = new Wait<void>();
  readonly #arrival = new Wait<ReceivedMessage>();
  #queue: ReceivedMessage[] = [];
  #queuedBytes = 0;
  #dropped = 0;
  /** Whether the entity has been seen to acknowledge nothing: sends do not wait for 0x8002 then. */
  #acknowledgesNothing = false;
  #warned = false;
  /** When the wait for the acknowledgement alone is over; the caller's own limit may come earlier. */
  #acknowledgeBy = Infinity;
  #receiveTimeout = 0;

  constructor(host: TransportHost, targetAddress: number) {
    this.#host = host;
    this.targetAddress = targetAddress;
    this.name = `${host.name} ${hex(host.sourceAddress)}→${hex(targetAddress)}`;
  }

  get maxRequestLength(): number {
    return this.#host.maxRequestLength;
  }

  /** Whether requests go to a functional group, which answers from the addresses of its members. */
  get functional(): boolean {
    return isFunctionalAddress(this.targetAddress);
  }

  /** Whether a send or receive is under way. */
  get busy(): boolean {
    return this.#taken.active || this.#arrival.active;
  }

  /** Whether somebody waits for a message. */
  get receiving(): boolean {
    return this.#arrival.active;
  }

  /** Messages that were thrown away because nobody received them. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Sends one request and waits for the entity's acknowledgement.
   *
   * An entity that never acknowledges is put up with: after A_DoIP_Diagnostic_Message (or 50 ms once the answer is
   * there) one warning is given, the send counts as done, and later ones do not wait.
   *
   * @throws {DiagnosticNackError} 0x8003, with the code
   * @throws {HeaderNackError} 0x0000, with the code
   * @throws {DoipConnectionError} when the connection is or goes down, or does not take the bytes in time
   */
  send(request: Uint8Array, options: WaitOptions): Promise<void> {
    const host = this.#host;
    try {
      checkMilliseconds(options.timeout, "timeout");
      options.signal?.throwIfAborted();
      if (host.failure !== undefined) throw host.failure;
      if (this.#taken.active) throw new DoipError(`${this.name}: a request is being sent already`);
      if (request.length === 0) throw new DoipError(`${this.name}: a request has at least one byte`);
      if (request.length > host.maxRequestLength) {
        throw new DoipError(
          `${this.name}: request of ${request.length} bytes, at most ${host.maxRequestLength} can be sent`,
        );
      }
      const { writer } = host;
      if (!writer.diagnosticMessage(host.version, host.sourceAddress, this.targetAddress, request)) {
        throw new DoipConnectionError(
          `${this.name}: the entity takes no bytes, ${writer.pending} are waiting`,
        );
      }
      writer.flush();
    } catch (error) {
      return Promise.reject(error);
    }
    host.requested(this);
    const now = host.clock.now();
    this.#acknowledgeBy = now + host.acknowledgeTimeout;
    const taken = this.#taken.begin(now + options.timeout, options.signal);
    if (this.#acknowledgesNothing) host.writer.drained().then(() => this.#taken.resolve());
    host.wakeAt(Math.min(this.#taken.deadline, this.#acknowledgeBy));
    return taken;
  }

  /** The next message from the ECU. */
  receive(options: WaitOptions): Promise<Uint8Array> {
    return this.receiveFrom(options).then(messageOf);
  }

  /** The next message with the address of the ECU that sent it: a functional request is answered by several. */
  receiveFrom(options: WaitOptions): Promise<ReceivedMessage> {
    try {
      checkMilliseconds(options.timeout, "timeout");
      options.signal?.throwIfAborted();
      const next = this.#queue.shift();
      if (next !== undefined) {
        this.#queuedBytes -= next.message.length;
        return Promise.resolve(next);
      }
      if (this.#host.failure !== undefined) throw this.#host.failure;
      if (this.#arrival.active) throw new DoipError(`${this.name}: a receive is under way already`);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#receiveTimeout = options.timeout;
    const deadline = this.#host.clock.now() + options.timeout;
    const arrival = this.#arrival.begin(deadline, options.signal);
    this.#host.wakeAt(deadline);
    return arrival;
  }

  discardReceived(): number {
    const discarded = this.#queue.length;
    this.#queue = [];
    this.#queuedBytes = 0;
    return discarded;
  }

  /** The entity took the request (0x8002). */
  acknowledged(): void {
    this.#acknowledgesNothing = false;
    this.#taken.resolve();
  }

  /** The entity refused the request (0x8003). */
  refused(code: number): void {
    const error = new DiagnosticNackError(this.name, code);
    if (this.#taken.active) this.#taken.reject(error);
    // Without acknowledgements the send is done already: the refusal is what came instead of an answer.
    else if (this.#arrival.active) this.#arrival.reject(error);
    else this.#host.warn(`${error.message}; nobody waits for it any more`);
  }

  /** The entity refused a header (0x0000): whichever request is not acknowledged may be meant. */
  headerRefused(error: DoipError): void {
    this.#taken.reject(error);
  }

  /** A message of an ECU. The view is copied here, once. */
  arrived(source: number, view: Uint8Array): void {
    const message = view.slice();
    if (this.#taken.active) {
      const grace = this.#host.clock.now() + overtakenAcknowledgement;
      if (grace < this.#acknowledgeBy) {
        this.#acknowledgeBy = grace;
        this.#host.wakeAt(grace);
      }
    }
    if (this.#arrival.active) {
      this.#arrival.resolve({ source, message });
      return;
    }
    const { maxQueuedMessages, maxQueuedBytes } = this.#host;
    this.#queue.push({ source, message });
    this.#queuedBytes += message.length;
    while (
      this.#queue.length > maxQueuedMessages || (this.#queuedBytes > maxQueuedBytes && this.#queue.length > 1)
    ) {
      const oldest = this.#queue.shift();
      this.#queuedBytes -= oldest?.message.length ?? 0;
      this.#dropped++;
      if (this.#dropped === 1) {
        this.#host.warn(`${this.name}: messages arrive and nobody receives them; the oldest are dropped`);
      }
    }
  }

  /** The connection is gone. What arrived before can still be received. */
  disconnected(error: DoipError): void {
    this.#taken.reject(error);
    this.#arrival.reject(error);
    this.#taken.release();
    this.#arrival.release();
  }

  /** Ends the waits whose time is up; gives the time of the next one, Infinity when there is none. */
  expire(now: number): number {
    let next = Infinity;
    if (this.#taken.active) {
      const due = Math.min(this.#taken.deadline, this.#acknowledgeBy);
      if (now >= due) this.#unacknowledged();
      else next = due;
    }
    if (this.#arrival.active) {
      if (now >= this.#arrival.deadline) {
        this.#arrival.reject(new UdsTimeoutError(this.name, this.#receiveTimeout, "message"));
      } else next = Math.min(next, this.#arrival.deadline);
    }
    return next;
  }

  #unacknowledged(): void {
    if (this.#host.writer.pending > 0) {
      this.#taken.reject(
        new DoipConnectionError(`${this.name}: the entity did not take the request in time`),
      );
      return;
    }
    this.#acknowledgesNothing = true;
    if (!this.#warned) {
      this.#warned = true;
      this.#host.warn(
        `${this.name}: no acknowledgement (0x8002) of a diagnostic message; going on without for this ECU`,
      );
    }
    this.#taken.resolve();
  }
}

function messageOf({ message }: ReceivedMessage): Uint8Array {
  return message;
}
