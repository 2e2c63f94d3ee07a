// Streams around the runtime's TLS socket that hold a fast sender back. The socket itself reads whatever the network
// brings, buffers it without bound while nobody reads, and then forgets the end of the stream: so it is kept
// flowing at all times, and it is the bytes before it that wait.

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { ConnectionFailed, toTlsError } from "./errors.ts";

/** Most plaintext that waits to be read before the network is held, bytes: four records (RFC 8446 section 5.1). */
const plaintextLimit = 4 * 16_384;

/** Longest wait for what was written to leave, once a connection is being destroyed, ms. */
const flushLimit = 1_000;

type Callback = (error?: Error | null) => void;

/** The encrypted bytes between the network's socket and the TLS socket; reading stops while it is held. */
export class CiphertextGate extends Duplex {
  readonly #raw: Socket;
  #held = false;

  constructor(raw: Socket) {
    super({ allowHalfOpen: true });
    this.#raw = raw;
    raw.on("data", (bytes: Uint8Array) => {
      if (!this.push(bytes)) raw.pause();
    });
    raw.on("end", () => this.push(null));
    raw.on("error", (error) => this.destroy(error));
    raw.on("close", () => this.destroy());
  }

  /** Takes nothing more from the network. */
  hold(): void {
    this.#held = true;
    this.#raw.pause();
  }

  /** Goes on taking. */
  release(): void {
    this.#held = false;
    this.#raw.resume();
  }

  override _read(): void {
    if (!this.#held) this.#raw.resume();
  }

  override _write(bytes: Uint8Array, _encoding: string, done: Callback): void {
    this.#raw.write(bytes, done);
  }

  override _final(done: Callback): void {
    this.#raw.end(() => done());
  }

  override _destroy(error: Error | null, done: Callback): void {
    // An alert may still be on its way out; a peer that does not take it is not waited for.
    const raw = this.#raw;
    const limit = setTimeout(() => raw.destroy(), flushLimit);
    raw.once("close", () => clearTimeout(limit));
    raw.destroySoon();
    done(error);
  }
}

/** The decrypted bytes in both directions, with back-pressure and half-close; its errors are of the TLS error tree. */
export class PlaintextStream extends Duplex {
  readonly #socket: TLSSocket;
  readonly #gate: CiphertextGate;
  readonly #where: string;
  /** The peer has ended its direction. */
  #ended = false;

  /** @param where What the connection is, for error messages. */
  constructor(socket: TLSSocket, gate: CiphertextGate, where: string) {
    super({ allowHalfOpen: true, readableHighWaterMark: plaintextLimit });
    this.#socket = socket;
    this.#gate = gate;
    this.#where = where;
    // An error that nobody listens to would end the process; the owner's own listeners hear it, and 'close' follows.
    this.on("error", () => {});
    socket.on("data", (bytes: Uint8Array) => {
      if (!this.push(bytes)) gate.hold();
    });
    socket.on("end", () => {
      this.#ended = true;
      this.push(null);
    });
    socket.on("error", (error) => this.destroy(toTlsError(error, where)));
    socket.on("close", () => this.#closed());
  }

  /** The connection below is gone: what has arrived can still be read, nothing more be written. */
  #closed(): void {
    if (!this.#ended) {
      this.destroy(new ConnectionFailed(`${this.#where}: closed before the peer ended the stream`));
    } else if (this.readableEnded) this.destroy();
    else this.once("end", () => this.destroy());
  }

  override _read(): void {
    this.#gate.release();
  }

  override _write(bytes: Uint8Array, _encoding: string, done: Callback): void {
    this.#socket.write(bytes, (error) => done(error ? toTlsError(error, this.#where) : null));
  }

  override _final(done: Callback): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: Callback): void {
    this.#socket.destroy();
    this.#gate.destroy();
    done(error);
  }
}
