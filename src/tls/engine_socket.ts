// A connection of the engine on a TCP connection: moves ciphertext between the two, during the handshake and after it.

import type { TcpStream } from "./bound_connection.ts";
import { ConnectionFailed, ProtocolViolation, type TlsError } from "./errors.ts";
import type { EngineConnection } from "./engine/connection.ts";
import type { WireTap, WireTapSource } from "./types.ts";

/** Size of the buffer that a connection reads into while little comes, bytes: most connections are idle. */
const smallRead = 4_096;
/** And while much comes. */
const largeRead = 131_072;

/** Longest wait for a peer to take its alert, ms, and most bytes of it that are thrown away meanwhile. */
const lingerLimit = { time: 1_000, bytes: 1_048_576 } as const;

/** The pair of them. */
export class EngineSocket {
  readonly engine: EngineConnection;
  readonly #conn: TcpStream;
  readonly #onClosed: () => void;
  readonly #tap: WireTap | undefined;
  #buffer = new Uint8Array(smallRead);
  #flushing: Promise<void> | undefined;
  #closed = false;
  #leaving = false;

  /** @param onClosed Called once, when the TCP connection has been closed. */
  constructor(
    conn: TcpStream,
    engine: EngineConnection,
    onClosed: () => void = () => {},
    tap?: WireTapSource,
  ) {
    this.#conn = conn;
    this.engine = engine;
    this.#onClosed = onClosed;
    if (tap !== undefined) {
      engine.logKeys();
      this.#tap = tap(conn.localAddr, conn.remoteAddr);
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  get localAddress(): Deno.NetAddr {
    return this.#conn.localAddr;
  }

  get remoteAddress(): Deno.NetAddr {
    return this.#conn.remoteAddr;
  }

  /**
   * Reads from the network once and gives the engine what came.
   *
   * @param deliver Takes plaintext, in order; the bytes are the callee's.
   * @returns {Promise<boolean>} false at the network's end, or when the socket was closed meanwhile.
   */
  async receive(deliver: (plaintext: Uint8Array) => void): Promise<boolean> {
    const buffer = this.#buffer;
    const length = await this.#conn.read(buffer);
    if (this.#closed || this.#leaving) return false;
    if (length === null) {
      this.engine.endOfInput();
      return false;
    }
    let shown = 0;
    for (let fed = 0;;) {
      const taken = this.engine.feed(buffer.subarray(fed, length));
      fed += taken;
      // After the engine has had it: the secrets that it gives stand before the bytes that need them.
      if (this.#tap !== undefined) shown = this.#show(this.#tap, buffer, shown, fed);
      const plaintext = this.engine.read();
      if (plaintext !== undefined) deliver(plaintext);
      // What comes after a failure, or after the peer's close_notify, is not taken any more.
      if (fed === length || (taken === 0 && plaintext === undefined)) break;
    }
    if (length === smallRead && buffer.length === smallRead) this.#buffer = new Uint8Array(largeRead);
    else if (length < smallRead / 2 && buffer.length === largeRead) this.#buffer = new Uint8Array(smallRead);
    return true;
  }

  /** Shows what came, after the secrets for it; gives how far that was. */
  #show(tap: WireTap, buffer: Uint8Array, from: number, to: number): number {
    const keys = this.engine.loggedKeys();
    if (keys.length > 0) {
      tap.secrets(keys);
      keys.fill(0);
    }
    if (to > from) tap.received(buffer.subarray(from, to));
    return to;
  }

  /** Sends all ciphertext that waits, and what comes to wait meanwhile. */
  flush(): Promise<void> {
    if (this.#flushing === undefined) {
      if (this.#closed || this.engine.takable === 0) return Promise.resolve();
      this.#flushing = this.#send();
    }
    return this.#flushing;
  }

  async #send(): Promise<void> {
    try {
      while (!this.#closed) {
        const ciphertext = this.engine.take();
        if (ciphertext === undefined) break;
        this.#tap?.sent(ciphertext);
        for (let sent = 0; sent < ciphertext.length;) {
          sent += await this.#conn.write(ciphertext.subarray(sent));
        }
      }
    } finally {
      // In the same turn as the last look at the engine: what is written later begins anew.
      this.#flushing = undefined;
    }
  }

  /**
   * Does the handshake. Plaintext that came with its end is given to `deliver`.
   *
   * @throws {TlsError} why it failed; an alert for the peer may still wait, see {@link leave}.
   */
  async handshake(deliver: (plaintext: Uint8Array) => void): Promise<void> {
    await this.flush();
    while (!this.engine.established) {
      const more = await this.receive(deliver);
      if (this.engine.failure !== undefined) throw this.engine.failure;
      if (!more) throw new ProtocolViolation("closed before the handshake was complete");
      // What is left to send at the end of it, a failing peer's verdict may overtake: it is not waited for here.
      if (!this.engine.established) await this.flush();
    }
    await this.flush();
  }

  /** Tells the peer that nothing more comes. Reading goes on. */
  async endWriting(): Promise<void> {
    this.engine.closeNotify();
    await this.flush();
    if (!this.#closed) await this.#conn.closeWrite();
  }

  /**
   * Closes after what waits, an alert for instance, has gone out. Bytes that lie unread when a socket is closed make the
   * system reset the connection, and the peer would lose the last words: so they are read and thrown away for a while.
   */
  leave(): void {
    if (this.#closed || this.#leaving) return;
    const nothingSaid = this.engine.takable === 0 && this.#flushing === undefined && !this.engine.closeSent;
    if (nothingSaid || this.engine.failure instanceof ConnectionFailed) return this.close();
    this.#leaving = true;
    const limit = setTimeout(() => this.close(), lingerLimit.time);
    Deno.unrefTimer(limit);
    const drain = async () => {
      await this.flush();
      await this.#conn.closeWrite();
      const buffer = new Uint8Array(smallRead);
      for (let read = 0; read < lingerLimit.bytes && !this.#closed;) {
        const length = await this.#conn.read(buffer);
        if (length === null) break;
        read += length;
      }
    };
    // A network that fails here changes nothing: the connection is over either way.
    drain().catch(() => {}).finally(() => {
      clearTimeout(limit);
      this.close();
    });
  }

  /** Closes now. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#tap?.closed();
    try {
      this.#conn.close();
    } catch (error) {
      // A system that has closed it by itself leaves nothing to close.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    } finally {
      this.engine.free();
      this.#onClosed();
    }
  }
}

/** Puts where it happened before what the engine says. */
export function located<E extends TlsError>(error: E, where: string, more = ""): E {
  error.message = `${where}: ${error.message}${more}`;
  return error;
}
