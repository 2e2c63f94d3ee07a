// Transports without a bus: a client's path straight into a server, and one whose answers a test writes by hand.
import { type Clock, systemClock } from "../../../hardware/clock.ts";
import {
  type Addressing,
  type DiagnosticEndpoint,
  UdsTimeoutError,
  type UdsTransport,
  UdsTransportError,
  type WaitOptions,
} from "../../../hardware/uds/transport.ts";

/** A queue of messages with waits that end. */
class Inbox {
  readonly #messages: Uint8Array[] = [];
  #waiting: ((message: Uint8Array | Error) => void) | undefined;

  deliver(message: Uint8Array): void {
    if (this.#waiting === undefined) this.#messages.push(message.slice());
    else this.#waiting(message.slice());
  }

  fail(error: Error): void {
    this.#waiting?.(error);
  }

  discard(): number {
    return this.#messages.splice(0).length;
  }

  take(name: string, clock: Clock, { timeout, signal }: WaitOptions): Promise<Uint8Array> {
    const next = this.#messages.shift();
    if (next !== undefined) return Promise.resolve(next);
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const end = (result: Uint8Array | Error) => {
        this.#waiting = undefined;
        cancel();
        signal?.removeEventListener("abort", abort);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const abort = () => end(signal?.reason);
      const cancel = clock.after(timeout, () => end(new UdsTimeoutError(name, timeout, "message")));
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting = end;
    });
  }
}

/** A client's path into a server in the same program. */
export class LoopbackTransport implements UdsTransport {
  readonly name = "loopback";
  readonly maxRequestLength: number;
  /** Requests that were sent, oldest first. */
  readonly sent: Uint8Array[] = [];
  readonly #endpoint: DiagnosticEndpoint;
  readonly #clock: Clock;
  readonly #addressing: Addressing;
  readonly #inbox = new Inbox();
  #closed = false;

  constructor(
    endpoint: DiagnosticEndpoint,
    options: { clock?: Clock; addressing?: Addressing; maxRequestLength?: number } = {},
  ) {
    this.#endpoint = endpoint;
    this.#clock = options.clock ?? systemClock;
    this.#addressing = options.addressing ?? "physical";
    this.maxRequestLength = options.maxRequestLength ?? 0x1_0000;
  }

  /** The connection is gone. */
  close(): void {
    this.#closed = true;
    this.#inbox.fail(new UdsTransportError("loopback: the connection is closed"));
  }

  send(request: Uint8Array): Promise<void> {
    if (this.#closed) return Promise.reject(new UdsTransportError("loopback: the connection is closed"));
    this.sent.push(request.slice());
    this.#endpoint.handle(request, { tester: 0x0e00, addressing: this.#addressing }, (response) => {
      if (!this.#closed) this.#inbox.deliver(response);
    });
    if (this.#closed) return Promise.reject(new UdsTransportError("loopback: the connection is closed"));
    return Promise.resolve();
  }

  receive(options: WaitOptions): Promise<Uint8Array> {
    if (this.#closed) return Promise.reject(new UdsTransportError("loopback: the connection is closed"));
    return this.#inbox.take(this.name, this.#clock, options);
  }

  discardReceived(): number {
    return this.#inbox.discard();
  }
}

/** A path whose other end is the test. */
export class ScriptedTransport implements UdsTransport {
  readonly name = "scripted";
  readonly maxRequestLength = 4_095;
  readonly sent: Uint8Array[] = [];
  readonly #clock: Clock;
  readonly #inbox = new Inbox();
  /** What comes back for each request, in order; each a list of messages in hexadecimal. */
  answers: string[][] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Delivers a message now. */
  deliver(hex: string): void {
    this.#inbox.deliver(bytes(hex));
  }

  send(request: Uint8Array): Promise<void> {
    this.sent.push(request.slice());
    for (const answer of this.answers.shift() ?? []) this.deliver(answer);
    return Promise.resolve();
  }

  receive(options: WaitOptions): Promise<Uint8Array> {
    return this.#inbox.take(this.name, this.#clock, options);
  }

  discardReceived(): number {
    return this.#inbox.discard();
  }
}

/** Bytes of hexadecimal digits, spaces between them as you like. */
export function bytes(hex: string): Uint8Array {
  const digits = hex.replaceAll(" ", "");
  return Uint8Array.from(
    { length: digits.length / 2 },
    (_, at) => parseInt(digits.slice(2 * at, 2 * at + 2), 16),
  );
}

/** Hexadecimal digits of bytes, pairs separated by a space. */
export function text(data: Uint8Array): string {
  return Array.from(data, (value) => value.toString(16).padStart(2, "0")).join(" ").toUpperCase();
}
