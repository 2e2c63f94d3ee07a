// listen(): accepts TLS 1.3 connections whose clients show a certificate that ends in the trusted ones.

import type { Offered } from "./engine/connection.ts";
import { EngineServer } from "./engine/endpoint.ts";
import { EngineTrap } from "./engine/failures.ts";
import { certificatesFromPem } from "./engine/pem.ts";
import {
  checkNoTap,
  checkPort,
  checkPositive,
  checkResumption,
  defaultHandshakeTimeout,
  defaultMaxConnections,
} from "./checks.ts";
import { engineOffer, factsOf, forget } from "./engine_link.ts";
import { EngineSocket, located } from "./engine_socket.ts";
import { EngineStream } from "./engine_stream.ts";
import {
  ConnectionFailed,
  HandshakeTimeout,
  NoCommonParameters,
  ProtocolVersion,
  TlsError,
  TooManyConnections,
  toTlsError,
} from "./errors.ts";
import { listenNative } from "./native_listen.ts";
import type { ListenOptions, TlsListener } from "./types.ts";

/** Pause after the system could not hand over a connection, out of file descriptors for instance, ms. */
const acceptPause = 100;

/**
 * Listens for mutual TLS 1.3.
 *
 * A connection reaches `onConnection` only after its client's certificate was verified against `trust` and found fit
 * for a client; whatever else happens goes to `onRefused`, and the listener serves on. An error that `onConnection`
 * throws closes that connection and goes to `onRefused` too.
 *
 * @throws {RangeError} when an option is out of range.
 * @throws {BadCredentials} when the credentials or the trusted certificates cannot be used.
 * @throws {TlsError} when the address cannot be bound.
 */
export function listen(options: ListenOptions): Promise<TlsListener> {
  try {
    const { port, offers, handshakeTimeout = defaultHandshakeTimeout } = options;
    const { maxConnections = defaultMaxConnections } = options;
    checkPort(port, 0);
    checkPositive("handshakeTimeout", handshakeTimeout);
    checkPositive("maxConnections", maxConnections);
    if (offers.length === 0) throw new RangeError("offers: expected at least one, got none");
    if (options.engine === "native") {
      checkNoTap(options.tap);
      checkResumption(options.resumption);
      return listenNative(options);
    }
    return Promise.resolve(new Listener(options, handshakeTimeout, maxConnections));
  } catch (error) {
    return Promise.reject(error);
  }
}

class Listener implements TlsListener {
  readonly hostname: string;
  readonly port: number;
  readonly #options: ListenOptions;
  readonly #handshakeTimeout: number;
  readonly #maxConnections: number;
  readonly #server: EngineServer;
  readonly #listener: Deno.TcpListener;
  readonly #accepting: Promise<void>;
  /** Every accepted connection until it closes; those whose handshake is under way with the way to end it. */
  readonly #open = new Map<EngineSocket, ((error: TlsError) => void) | undefined>();
  #closed = false;

  constructor(options: ListenOptions, handshakeTimeout: number, maxConnections: number) {
    const { hostname, port, trust, resumption = true } = options;
    this.#options = options;
    this.#handshakeTimeout = handshakeTimeout;
    this.#maxConnections = maxConnections;
    const offers = options.offers.map(({ profile, credentials }) => engineOffer(profile, credentials));
    this.#server = new EngineServer({
      offers,
      trust: certificatesFromPem("trust", trust),
      ...(resumption ? {} : { sessions: 0 }),
    });
    forget(offers);
    try {
      this.#listener = Deno.listen({ hostname, port });
    } catch (error) {
      this.#server.free();
      throw toTlsError(error, `listen on ${hostname}:${port}`);
    }
    this.hostname = this.#listener.addr.hostname;
    this.port = this.#listener.addr.port;
    this.#accepting = this.#accept();
  }

  async close(): Promise<void> {
    if (this.#closed) return await this.#accepting;
    this.#closed = true;
    this.#listener.close();
    for (const refuse of this.#open.values()) refuse?.(new ConnectionFailed("the listener was closed"));
    await this.#accepting;
    this.#server.free();
  }

  async #accept(): Promise<void> {
    while (!this.#closed) {
      let conn: Deno.TcpConn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        if (this.#closed) break;
        const { hostname, port } = this;
        this.#options.onRefused?.(toTlsError(error, `accept on ${hostname}:${port}`), "unknown");
        await new Promise((resolve) => setTimeout(resolve, acceptPause));
        continue;
      }
      void this.#serve(conn);
    }
  }

  /** One connection until its handshake has ended in one way or another. It never rejects. */
  async #serve(conn: Deno.TcpConn): Promise<void> {
    const { hostname: address, port } = conn.remoteAddr;
    const where = `TLS connection from ${address}:${port}`;
    const { onConnection, onRefused } = this.#options;
    if (this.#open.size >= this.#maxConnections) {
      conn.close();
      onRefused?.(new TooManyConnections(`${where}: there are ${this.#maxConnections} already`), address);
      return;
    }
    let socket: EngineSocket;
    try {
      conn.setNoDelay(true);
      socket = new EngineSocket(
        conn,
        this.#server.accept(),
        () => this.#open.delete(socket),
        this.#options.tap,
      );
    } catch (error) {
      conn.close();
      onRefused?.(toTlsError(error, where), address);
      return;
    }
    /** Why this end gave up, which counts more than what follows from it. */
    let givenUp: TlsError | undefined;
    const giveUp = (error: TlsError) => {
      givenUp ??= error;
      socket.close();
    };
    this.#open.set(socket, giveUp);
    const timer = setTimeout(() => {
      giveUp(new HandshakeTimeout(`${where}: no handshake within ${this.#handshakeTimeout} ms`));
    }, this.#handshakeTimeout);
    const early: Uint8Array[] = [];
    let stream: EngineStream | undefined;
    try {
      await socket.handshake((plaintext) => early.push(plaintext));
      const facts = factsOf(socket, "client");
      clearTimeout(timer);
      this.#open.set(socket, undefined);
      stream = new EngineStream(socket, early, where);
      onConnection({ ...facts, stream });
    } catch (error) {
      const reason = givenUp ?? refusal(error, where, socket);
      if (stream === undefined) socket.leave();
      else stream.destroy();
      onRefused?.(reason, address);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Why a connection was refused, with what the client offered where that is the reason. */
function refusal(error: unknown, where: string, socket: EngineSocket): TlsError {
  // The engine's own end is shared by all of its connections: each tells it for itself.
  if (error instanceof EngineTrap) return new EngineTrap(`${where}: ${error.message}`, { cause: error });
  if (!(error instanceof TlsError)) return toTlsError(error, where);
  const tells = error instanceof NoCommonParameters || error instanceof ProtocolVersion;
  const offered = tells && !socket.closed ? socket.engine.offered() : undefined;
  return located(
    error,
    where,
    offered === undefined ? "" : `; the client offered ${describeOffered(offered)}`,
  );
}

function describeOffered({ versions, groups, signatureSchemes }: Offered): string {
  const list = (names: readonly string[]) => names.join(", ") || "none";
  return `versions ${list(versions)}; groups ${list(groups)}; signature schemes ${list(signatureSchemes)}`;
}
