// The decrypted bytes of an engine's connection as a Duplex, with back-pressure and half-close.

import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";
import { EngineTrap } from "./engine/failures.ts";
import { type EngineSocket, located } from "./engine_socket.ts";
import { ConnectionFailed, TlsError, toTlsError } from "./errors.ts";
import { IdleTimer } from "./idle_timer.ts";

/** Most plaintext that waits in the stream in each direction before the other end is held, bytes. */
const plaintextLimit = 65_536;

/** A record's plaintext at most (RFC 8446 section 5.1): what is as long as that is not worth copying together. */
const recordLimit = 16_384;

type Callback = (error?: Error | null) => void;

/**
 * Its errors are of the TLS error tree. The peer's close_notify is its end; a network that ends without one is an error,
 * because what came may be a part only.
 */
export class EngineStream extends Duplex {
  readonly #socket: EngineSocket;
  readonly #where: string;
  readonly #idle = new IdleTimer(this);
  /** Nothing is read from the network: what came waits to be taken. */
  #held = false;
  #receiving = false;
  /** The peer has ended its direction. */
  #ended = false;

  /**
   * @param early Plaintext that came with the end of the handshake.
   * @param where What the connection is, for error messages.
   */
  constructor(socket: EngineSocket, early: readonly Uint8Array[], where: string) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: plaintextLimit,
      writableHighWaterMark: plaintextLimit,
    });
    this.#socket = socket;
    this.#where = where;
    // An error that nobody listens to would end the process; the owner's own listeners hear it, and 'close' follows.
    this.on("error", () => {});
    for (const plaintext of early) this.#deliver(plaintext);
    if (socket.engine.peerClosed) this.#end();
    else void this.#receive();
  }

  /** See {@link IdleTimer.set}. */
  setTimeout(limit: number, heard?: () => void): this {
    this.#idle.set(limit, heard);
    return this;
  }

  /** As `net.Socket` has it, for node:http: closes once all that was written, and the end of it, has gone out. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  #deliver(plaintext: Uint8Array): void {
    this.#idle.active();
    if (!this.push(plaintext)) this.#held = true;
  }

  #end(): void {
    this.#ended = true;
    this.push(null);
  }

  async #receive(): Promise<void> {
    if (this.#receiving || this.#ended) return;
    this.#receiving = true;
    const { engine } = this.#socket;
    try {
      while (!this.#held && !this.destroyed) {
        await this.#socket.receive((plaintext) => this.#deliver(plaintext));
        if (this.destroyed) return;
        if (engine.failure !== undefined) throw engine.failure;
        // An answer to a key update, say. It is not waited for: the peer may not read before it has written.
        if (engine.takable > 0) this.#socket.flush().catch((error: unknown) => this.#fail(error));
        if (engine.peerClosed) return this.#end();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#receiving = false;
    }
  }

  #fail(error: unknown): void {
    if (!this.destroyed) this.destroy(this.#explained(error));
  }

  /** The error of the tree for what went wrong, with where. */
  #explained(error: unknown): TlsError {
    if (!(error instanceof TlsError)) return toTlsError(error, this.#where);
    // An engine that stopped has one error for all of its connections; a failure is told by reading and writing alike.
    if (error instanceof EngineTrap) {
      return new EngineTrap(`${this.#where}: ${error.message}`, { cause: error });
    }
    return error.message.startsWith(this.#where) ? error : located(error, this.#where);
  }

  override _read(): void {
    this.#held = false;
    void this.#receive();
  }

  override _write(bytes: Uint8Array, _encoding: string, done: Callback): void {
    this.#send([bytes]).then(() => done(), (error: unknown) => done(this.#explained(error)));
  }

  override _writev(chunks: { chunk: Uint8Array }[], done: Callback): void {
    this.#send(chunks.map(({ chunk }) => chunk)).then(
      () => done(),
      (error: unknown) => done(this.#explained(error)),
    );
  }

  async #send(parts: readonly Uint8Array[]): Promise<void> {
    const { engine } = this.#socket;
    for (const bytes of joined(parts)) {
      for (let written = 0; written < bytes.length;) {
        if (this.#socket.closed) throw new ConnectionFailed(`${this.#where}: closed while it was written to`);
        const taken = engine.write(bytes.subarray(written));
        if (engine.failure !== undefined) throw engine.failure;
        // With nothing left to send the engine takes at least something, unless it takes nothing any more.
        if (taken === 0 && engine.takable === 0) {
          throw new ConnectionFailed(`${this.#where}: it takes nothing more`);
        }
        written += taken;
        await this.#socket.flush();
        this.#idle.active();
      }
    }
  }

  override _final(done: Callback): void {
    this.#socket.endWriting().then(() => done(), (error: unknown) => {
      // A peer that has said its last word need not wait for ours.
      done(this.#ended ? null : this.#explained(error));
    });
  }

  override _destroy(error: Error | null, done: Callback): void {
    this.#idle.stop();
    // A failure's alert and a stream's end shall arrive; what else waits belongs to a stream that nobody wants.
    if (error !== null || (this.writableFinished && !this.#ended)) this.#socket.leave();
    else this.#socket.close();
    done(error);
  }
}

/** Small parts together, so that they share records; large ones as they are; empty ones not at all. */
function* joined(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  let small: Uint8Array[] = [];
  let length = 0;
  for (const part of parts) {
    if (part.length === 0) continue;
    if (length > 0 && length + part.length > plaintextLimit) {
      yield Buffer.concat(small, length);
      small = [];
      length = 0;
    }
    if (length === 0 && part.length >= recordLimit) yield part;
    else {
      small.push(part);
      length += part.length;
    }
  }
  if (length > 0) yield small.length === 1 ? small[0] : Buffer.concat(small, length);
}
