// HTTP/1.1 on our TLS connections: who is at the other end of each, and how long a connection may take for what.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import { describeNegotiated } from "../../pqc/profiles.ts";
import { listen } from "../../tls/listen.ts";
import type { Offer, TlsConnection, TlsEngine, TlsListener } from "../../tls/types.ts";
import type { Metrics } from "../metrics.ts";
import { HttpProblem, problemResponse } from "./problem.ts";

export interface HttpsServerOptions {
  hostname: string;
  port: number;
  offers: readonly Offer[];
  tlsEngine?: TlsEngine;
  trust: string;
  handshakeTimeout?: number;
  resumption?: boolean;
  maxConnections: number;
  /** Longest time for a request's head, in milliseconds. */
  headerTimeout: number;
  /** Longest silence of a client that an answer waits for, in milliseconds. */
  idleTimeout: number;
  /** How long a connection is kept without a request, in milliseconds. */
  keepAliveTimeout: number;
  handle: (incoming: IncomingMessage, outgoing: ServerResponse) => void;
  onConnection?(connection: TlsConnection): void;
  metrics: Metrics;
  log: Logger;
}

/** Bytes of a request's head at most. */
const maxHeaderSize = 16 * 1024;

export class HttpsServer {
  readonly #options: HttpsServerOptions;
  readonly #http: Server;
  readonly #connections = new Map<Duplex, TlsConnection>();
  /** Requests whose answer has not ended, by connection. */
  readonly #busy = new Map<Duplex, number>();
  #listener: TlsListener | undefined;
  #stopping = false;

  constructor(options: HttpsServerOptions) {
    this.#options = options;
    this.#http = createServer(
      { maxHeaderSize, keepAliveTimeout: options.keepAliveTimeout },
      (incoming, outgoing) => {
        this.#track(incoming, outgoing);
        options.handle(incoming, outgoing);
      },
    );
    // The runtime's server ends a connection after one answer unless it listens itself; here src/tls listens for it.
    Object.defineProperty(this.#http, "listening", { get: () => !this.#stopping });
    this.#http.on("clientError", (error: Error, stream: Duplex) => this.#malformed(error, stream));
  }

  get hostname(): string {
    return this.#listener?.hostname ?? "";
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** The TLS connection that a request came over. */
  connectionOf(incoming: IncomingMessage): TlsConnection | undefined {
    return this.#connections.get(incoming.socket);
  }

  /** Stops accepting, lets requests under way end within `limit` ms, closes what is left. */
  async stop(limit: number): Promise<void> {
    this.#stopping = true;
    await this.#listener?.close();
    const deadline = Date.now() + limit;
    for (const stream of this.#connections.keys()) if (!this.#busy.has(stream)) stream.destroy();
    while (this.#busy.size > 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      for (const stream of this.#connections.keys()) if (!this.#busy.has(stream)) stream.end();
    }
    for (const stream of this.#connections.keys()) stream.destroy();
    this.#http.close();
  }

  /** Listens. @throws when the address cannot be bound */
  async open(): Promise<void> {
    const { hostname, port, offers, tlsEngine, trust, handshakeTimeout, resumption } = this.#options;
    this.#listener = await listen({
      hostname,
      port,
      offers,
      engine: tlsEngine,
      trust,
      handshakeTimeout,
      resumption,
      maxConnections: this.#options.maxConnections,
      onConnection: (connection) => this.#accept(connection),
      onRefused: (error, address) => {
        this.#options.metrics.refused.inc({ listener: "https", reason: error.name });
        this.#options.log.warn(`Connection from ${address} refused: ${error.message}`);
      },
    });
  }

  #accept(connection: TlsConnection): void {
    const { stream, peer, negotiated, remoteAddress } = connection;
    if (this.#stopping) {
      stream.destroy();
      return;
    }
    this.#connections.set(stream, connection);
    this.#gauge();
    stream.once("close", () => {
      this.#connections.delete(stream);
      this.#busy.delete(stream);
      this.#gauge();
    });
    this.#options.log.debug(
      `Connection from ${remoteAddress}: TLS handshake successful (${
        describeNegotiated(negotiated)
      }) ${peer.commonName}`,
    );
    this.#options.onConnection?.(connection);
    this.#http.emit("connection", stream);
    this.#awaitHead(stream, this.#options.headerTimeout);
  }

  /**
   * Ends the connection unless a whole request head comes in time, however slowly its bytes trickle. The HTTP server below
   * has such a limit for sockets of its own only.
   */
  #awaitHead(stream: Duplex, limit: number): void {
    const timer = setTimeout(() => stream.destroy(), limit);
    const done = () => {
      clearTimeout(timer);
      stream.off("close", done);
      this.#heads.delete(stream);
    };
    this.#heads.set(stream, done);
    stream.once("close", done);
  }

  readonly #heads = new Map<Duplex, () => void>();

  #track(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const stream = incoming.socket;
    this.#heads.get(stream)?.();
    this.#busy.set(stream, (this.#busy.get(stream) ?? 0) + 1);
    if (this.#stopping) outgoing.setHeader("connection", "close");
    // A client that does not read its answer holds a connection and what the answer holds.
    const { idleTimeout, headerTimeout, keepAliveTimeout } = this.#options;
    let written = 0;
    const watch = setInterval(() => {
      const now = stream.writableLength;
      if (outgoing.writableNeedDrain && now > 0 && now === written) stream.destroy();
      written = now;
    }, idleTimeout);
    outgoing.once("close", () => {
      clearInterval(watch);
      const left = (this.#busy.get(stream) ?? 1) - 1;
      if (left > 0) {
        this.#busy.set(stream, left);
        return;
      }
      this.#busy.delete(stream);
      if (stream.destroyed) return;
      if (this.#stopping) stream.end();
      else this.#awaitHead(stream, keepAliveTimeout + headerTimeout);
    });
  }

  #malformed(error: Error, stream: Duplex): void {
    const code = "code" in error ? String(error.code) : "";
    if (code === "ECONNRESET" || !stream.writable) {
      stream.destroy();
      return;
    }
    this.#options.log.warn(`Malformed HTTP: ${describeError(error)}`);
    const overflow = code === "HPE_HEADER_OVERFLOW";
    const problem = overflow
      ? new HttpProblem(431, `expected a request head of at most ${maxHeaderSize} bytes`, {
        code: "head_too_large",
      })
      : new HttpProblem(400, `expected HTTP/1.1: ${error.message}`, { code: "malformed_http" });
    problemResponse(problem, "/").text().then((body) => {
      const phrase = overflow ? "Request Header Fields Too Large" : "Bad Request";
      stream.end(
        `HTTP/1.1 ${problem.status} ${phrase}\r\nContent-Type: application/problem+json\r\n` +
          `Content-Length: ${new TextEncoder().encode(body).length}\r\nConnection: close\r\n\r\n${body}`,
      );
    }, () => stream.destroy());
  }

  #gauge(): void {
    this.#options.metrics.connections.set({ listener: "https" }, this.#connections.size);
  }
}
