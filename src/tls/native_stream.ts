// Streams around the runtime's TLS socket that hold a fast sender back. The socket itself reads whatever the network
// brings, buffers it without bound while nobody reads, and then forgets the end of the stream: so it is kept
// flowing at all times, and it is the bytes before it that wait.

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { ConnectionFailed, toTlsError } from "./errors.ts";
import { IdleTimer } from "./idle_timer.ts";

/** Most plaintext that waits to be read before the network is held, bytes: four records (RFC 8446 section 5.1). */
const plaintextLimit = 4 * 16_384;

/** Longest wait for the stack to close the network's socket itself, once a connection is being destroyed, ms. */
const closeLimit = 1_000;

type Callback = (error?: Error | null) => void;

/** The network's socket below a TLS socket: reading from it can be held. */
export class Network {
  readonly raw: Socket;

  constructor(raw: Socket) {
    this.raw = raw;
    raw.on("error", () => {}); // The TLS socket above reports it.
  }

  /** Takes nothing more from the network. */
  hold(): void {
    this.#reading("readStop");
  }

  /** Goes on taking. */
  release(): void {
    this.#reading("readStart");
  }

  /** The TLS socket reads past the socket's own streams, from its handle: only that one can be stopped. */
  #reading(method: "readStop" | "readStart"): void {
    const handle: unknown = Reflect.get(this.raw, "_handle");
    if (typeof handle !== "object" || handle === null) return; // Closed: nothing is read any more.
    const change: unknown = Reflect.get(handle, method);
    if (typeof change !== "function") {
      throw new TypeError(`expected ${method}() on the socket's handle, got ${change}`);
    }
    Reflect.apply(change, handle, []);
  }

  /** Has the socket closed, after the stack has sent its alert; at once when `now`. */
  close(now: boolean): void {
    const { raw } = this;
    if (now) raw.destroy();
    if (raw.closed) return;
    const limit = setTimeout(() => raw.destroy(), closeLimit);
    raw.once("close", () => clearTimeout(limit));
  }
}

/** The decrypted bytes in both directions, with back-pressure and half-close; its errors are of the TLS error tree. */
export class PlaintextStream extends Duplex {
  readonly #socket: TLSSocket;
  readonly #network: Network;
  readonly #where: string;
  /** The peer has ended its direction. */
  #ended = false;
  readonly #idle = new IdleTimer(this);

  /**
   * Made before the handshake, so that no byte comes before its listeners.
   *
   * @param where What the connection is, for error messages.
   */
  constructor(socket: TLSSocket, network: Network, where: string) {
    super({ allowHalfOpen: true, readableHighWaterMark: plaintextLimit });
    this.#socket = socket;
    this.#network = network;
    this.#where = where;
    // An error that nobody listens to would end the process; the owner's own listeners hear it, and 'close' follows.
    this.on("error", () => {});
    socket.on("data", (bytes: Uint8Array) => {
      this.#idle.active();
      if (!this.push(bytes)) network.hold();
    });
    socket.on("end", () => {
      this.#ended = true;
      this.push(null);
    });
    socket.on("error", (error) => this.destroy(toTlsError(error, where)));
    socket.on("close", () => this.#closed());
  }

  /** See {@link IdleTimer.set}. */
  setTimeout(limit: number, heard?: () => void): this {
    this.#idle.set(limit, heard);
    return this;
  }

  /** The connection below is gone: what has arrived can still be read, nothing more be written. */
  #closed(): void {
    if (!this.#ended) {
      this.destroy(new ConnectionFailed(`${this.#where}: closed before the peer ended the stream`));
    } else if (this.readableEnded) this.destroy();
    else this.once("end", () => this.destroy());
  }

  override _read(): void {
    this.#network.release();
  }

  override _write(bytes: Uint8Array, _encoding: string, done: Callback): void {
    // The stack never calls back for an empty write, which node:http makes after each answer.
    if (bytes.length === 0) return done();
    this.#idle.active();
    this.#socket.write(bytes, (error) => done(error ? toTlsError(error, this.#where) : null));
  }

  override _final(done: Callback): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: Callback): void {
    this.#idle.stop();
    this.#socket.destroy();
    this.#network.close(false);
    done(error);
  }
}
