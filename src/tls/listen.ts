// listen(): accepts TLS 1.3 connections whose clients show a certificate that ends in the trusted ones.

import { createServer as createTcpServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { BadCertificate, TooManyConnections, toTlsError } from "./errors.ts";
import { checkPort, checkPositive, defaultHandshakeTimeout, describe, guard, tlsVersion } from "./native.ts";
import type { ListenOptions, TlsListener } from "./types.ts";

/** Where a socket came from, noted while the stack still knows it. */
interface Origin {
  readonly address: string;
  readonly port: number;
}

/** Codes of a verification that failed after the handshake, as the stack leaves them on the socket. */
function verificationFailure(socket: TLSSocket): Error | undefined {
  const code: unknown = socket.authorizationError;
  if (code === null || code === undefined) return undefined;
  const text = code instanceof Error ? code.message : String(code);
  return Object.assign(new Error(`the client's certificate was refused: ${text}`), { code: text });
}

/**
 * Listens for mutual TLS 1.3.
 *
 * A connection reaches `onConnection` only after its client's certificate was verified against `trust` and found fit
 * for a client; whatever else happens goes to `onRefused`, and the listener serves on. An error that `onConnection`
 * throws closes that connection and goes to `onRefused` too.
 *
 * @throws {RangeError} when an option is out of range.
 * @throws {TlsError} when the address cannot be bound or the credentials cannot be used.
 */
export async function listen(options: ListenOptions): Promise<TlsListener> {
  const { hostname, port, credentials, trust, onConnection } = options;
  const { handshakeTimeout = defaultHandshakeTimeout, maxConnections = 10_000 } = options;
  checkPort(port, 0);
  checkPositive("handshakeTimeout", handshakeTimeout);
  checkPositive("maxConnections", maxConnections);
  const here = `TLS connection to ${hostname}`;

  /** Every accepted socket until it closes; true once its handshake is complete. */
  const sockets = new Map<Socket, boolean>();
  const origins = new WeakMap<object, Origin>();

  const refused = (error: unknown, origin: Origin | undefined) => {
    const from = origin === undefined ? "an unknown address" : `${origin.address}:${origin.port}`;
    options.onRefused?.(toTlsError(error, `${here} from ${from}`), origin?.address ?? "unknown");
  };

  let tls;
  try {
    tls = createTlsServer({
      cert: credentials.certificateChain,
      key: credentials.privateKey,
      ca: trust,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: tlsVersion,
      handshakeTimeout,
      allowHalfOpen: true,
    });
  } catch (error) {
    throw toTlsError(error, `listen on ${hostname}:${port}`);
  }

  tls.on("secureConnection", (socket: TLSSocket) => {
    guard(socket);
    const origin = { address: socket.remoteAddress ?? "unknown", port: socket.remotePort ?? 0 };
    try {
      if (!socket.authorized) {
        throw verificationFailure(socket) ??
          new BadCertificate("the stack did not verify the client's certificate");
      }
      const raw: unknown = Reflect.get(socket, "_parent");
      for (const known of sockets.keys()) if (known === raw) sockets.set(known, true);
      onConnection(describe(socket, "client"));
    } catch (error) {
      socket.destroy();
      refused(error, origin);
    }
  });
  tls.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    guard(socket);
    // The stack forgets the address once the socket is closed; the socket below it is the way to our own note.
    const raw: unknown = Reflect.get(socket, "_parent");
    const origin = typeof raw === "object" && raw !== null ? origins.get(raw) : undefined;
    // The stack reports a failed verification as a hang-up of its own and leaves the reason on the socket.
    refused(verificationFailure(socket) ?? error, origin);
    socket.destroy();
  });

  const tcp = createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const origin = { address: socket.remoteAddress ?? "unknown", port: socket.remotePort ?? 0 };
    if (sockets.size >= maxConnections) {
      socket.on("error", () => {}); // It is being closed anyway.
      socket.destroy();
      refused(new TooManyConnections(`${here}: there are ${maxConnections} already`), origin);
      return;
    }
    origins.set(socket, origin);
    sockets.set(socket, false);
    socket.once("close", () => sockets.delete(socket));
    tls.emit("connection", socket);
  });

  await new Promise<void>((resolve, reject) => {
    tcp.once("error", (error) => reject(toTlsError(error, `listen on ${hostname}:${port}`)));
    tcp.listen({ host: hostname, port }, resolve);
  });
  const bound = tcp.address();
  if (bound === null || typeof bound === "string") {
    throw new TypeError(`no address after binding ${hostname}:${port}`);
  }

  return {
    hostname: bound.address,
    port: bound.port,
    close() {
      tcp.close();
      for (const [socket, established] of sockets) if (!established) socket.destroy();
      return Promise.resolve();
    },
  };
}
