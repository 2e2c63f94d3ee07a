// listenNative(): listen() on the runtime's own TLS stack, which enforces no profile and tells no group.

import { createServer, type Socket } from "node:net";
import { createSecureContext, TLSSocket, type TLSSocketOptions } from "node:tls";
import { nativeEngineReport } from "../pqc/native_engine.ts";
import { checkPort, checkPositive, defaultHandshakeTimeout, defaultMaxConnections } from "./checks.ts";
import { checkCredentials } from "./credentials.ts";
import { ConnectionFailed, HandshakeTimeout, TlsError, TooManyConnections, toTlsError } from "./errors.ts";
import { explainRefusal } from "./identity.ts";
import { describe, peerCertificate, tlsVersion } from "./native.ts";
import { Network, PlaintextStream } from "./native_stream.ts";
import type { ListenOptions, TlsListener } from "./types.ts";

/**
 * As {@link listen}, with one chain for all profiles, that of the first offer.
 *
 * @throws {UnsupportedProfile} for a profile that the stack cannot have at all.
 */
export async function listenNative(options: ListenOptions): Promise<TlsListener> {
  const { hostname, port, offers, trust, onConnection } = options;
  const { handshakeTimeout = defaultHandshakeTimeout, maxConnections = defaultMaxConnections } = options;
  checkPort(port, 0);
  checkPositive("handshakeTimeout", handshakeTimeout);
  checkPositive("maxConnections", maxConnections);
  nativeEngineReport(offers.map(({ profile }) => profile.id));
  const { credentials } = offers[0];
  checkCredentials(credentials, trust);

  const settings: TLSSocketOptions & { allowHalfOpen: boolean } = {
    isServer: true,
    secureContext: createSecureContext({
      cert: credentials.certificateChain,
      key: credentials.privateKey,
      ca: trust,
      minVersion: tlsVersion,
    }),
    requestCert: true,
    rejectUnauthorized: true,
    allowHalfOpen: true,
  };
  /** Every accepted socket until it closes; those whose handshake is under way with the way to end it. */
  const sockets = new Map<Socket, ((error: TlsError) => void) | undefined>();

  const accept = (raw: Socket) => {
    const address = raw.remoteAddress ?? "unknown";
    const from = `TLS connection from ${address}:${raw.remotePort ?? "unknown"}`;
    if (sockets.size >= maxConnections) {
      raw.on("error", () => {}); // It is being closed anyway.
      raw.destroy();
      options.onRefused?.(new TooManyConnections(`${from}: there are ${maxConnections} already`), address);
      return;
    }

    const network = new Network(raw);
    const socket = new TLSSocket(raw, settings);
    const stream = new PlaintextStream(socket, network, from);
    const refuse = (error: unknown) => {
      if (!settle()) return;
      // A socket that the stack has given up on has an alert to send; any other is closed by us, at once.
      network.close(!socket.destroyed);
      socket.destroy();
      options.onRefused?.(toTlsError(error, from), address);
    };
    const closed = () => refuse(new ConnectionFailed(`${from}: closed before the handshake was complete`));
    const timer = setTimeout(() => {
      refuse(new HandshakeTimeout(`${from}: no handshake within ${handshakeTimeout} ms`));
    }, handshakeTimeout);
    /** The handshake has ended in one way or another; false when it had already. */
    const settle = () => {
      if (sockets.get(raw) === undefined) return false;
      sockets.set(raw, undefined);
      clearTimeout(timer);
      return true;
    };
    sockets.set(raw, refuse);
    raw.once("close", () => {
      closed();
      sockets.delete(raw);
    });
    socket.once("close", closed).once("end", closed).on("error", refuse);
    socket.once("secure", () => {
      if (sockets.get(raw) === undefined) return;
      try {
        const refusal = verificationFailure(socket);
        if (refusal !== undefined) throw refusal;
        const connection = describe({ network, socket, stream }, "client");
        settle();
        onConnection(connection);
      } catch (error) {
        // An error of onConnection comes after the handshake was settled: it is reported all the same.
        if (sockets.get(raw) !== undefined) return refuse(error);
        socket.destroy();
        network.close(true);
        options.onRefused?.(toTlsError(error, from), address);
      }
    });
  };

  const server = createServer({ allowHalfOpen: true, noDelay: true }, accept);
  const bound = await bind(server, hostname, port);

  return {
    hostname: bound.address,
    port: bound.port,
    close() {
      server.close();
      for (const refuse of sockets.values()) refuse?.(new ConnectionFailed("the listener was closed"));
      return Promise.resolve();
    },
  };
}

function bind(
  server: ReturnType<typeof createServer>,
  hostname: string,
  port: number,
): Promise<{ address: string; port: number }> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(toTlsError(error, `listen on ${hostname}:${port}`)));
    server.listen({ host: hostname, port }, () => {
      const bound = server.address();
      if (bound === null || typeof bound === "string") {
        reject(new TlsError(`listen on ${hostname}:${port}: no address`));
      } else resolve(bound);
    });
  });
}

/**
 * Why the client's certificate was refused, if it was. The stack completes the handshake first and judges the chain
 * afterwards, and only its handle tells the verdict while the certificate can still be read: a stack whose handle tells
 * none is taken to have refused.
 */
function verificationFailure(socket: TLSSocket): TlsError | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  const verifyError: unknown = typeof handle === "object" && handle !== null
    ? Reflect.get(handle, "verifyError")
    : undefined;
  if (typeof verifyError !== "function") {
    return new TlsError("the stack does not say whether it verified the client");
  }
  // A code such as CERT_HAS_EXPIRED; nothing or an empty text when the chain is good.
  const code: unknown = Reflect.apply(verifyError, handle, []);
  if (code === "" || code === null || code === undefined) return undefined;
  const cause = Object.assign(new Error(`the stack refused it with ${code}`), { code });
  const der = peerCertificate(socket);
  return der === undefined
    ? toTlsError(cause, "the client's certificate")
    : explainRefusal(der, "client", cause, new Date());
}
