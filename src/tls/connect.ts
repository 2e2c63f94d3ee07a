// connect(): opens a TLS 1.3 connection, shows the own certificate and verifies the server's.

import { isIP } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  type ConnectionOptions,
  type PeerCertificate,
  type TLSSocket,
} from "node:tls";
import { checkCredentials } from "./credentials.ts";
import { HandshakeTimeout, NameMismatch, toTlsError } from "./errors.ts";
import { checkPort, checkPositive, defaultHandshakeTimeout, describe, guard, tlsVersion } from "./native.ts";
import type { ConnectOptions, TlsConnection } from "./types.ts";

/**
 * Connects with mutual TLS 1.3.
 *
 * In TLS 1.3 the client is done before the server has looked at the client's certificate: a server that refuses it
 * ends the stream a moment later, with an error that {@link toTlsError} explains.
 *
 * @throws {RangeError} when an option is out of range.
 * @throws {TlsError} of the kind that fits when it does not come about; the signal's reason when that was aborted.
 */
export async function connect(options: ConnectOptions): Promise<TlsConnection> {
  const { hostname, port, credentials, trust, signal } = options;
  const { serverName = hostname, timeout = defaultHandshakeTimeout } = options;
  checkPort(port, 1);
  checkPositive("timeout", timeout);
  signal?.throwIfAborted();
  checkCredentials(credentials, trust);
  const where = `TLS connection to ${hostname}:${port}`;

  // The stack's published types leave out allowHalfOpen, which it takes as net.connect() does.
  const settings: ConnectionOptions & { allowHalfOpen: boolean } = {
    host: hostname,
    port,
    cert: credentials.certificateChain,
    key: credentials.privateKey,
    ca: trust,
    rejectUnauthorized: true,
    minVersion: tlsVersion,
    allowHalfOpen: true,
    // RFC 6066 section 3: an address is no server name.
    ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
    checkServerIdentity: (_host, certificate) => nameMismatch(serverName, certificate),
  };
  let socket: TLSSocket;
  try {
    socket = connectTls(settings);
  } catch (error) {
    throw toTlsError(error, where);
  }
  guard(socket);

  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    reject(new HandshakeTimeout(`${where}: not connected after ${timeout} ms`));
  }, timeout);
  const aborted = () => reject(signal?.reason);
  const failed = (error: Error) => reject(toTlsError(error, where));
  const closed = () => failed(Object.assign(new Error("closed by the peer"), { code: "ECONNRESET" }));
  signal?.addEventListener("abort", aborted, { once: true });
  socket.once("secureConnect", resolve).once("error", failed).once("close", closed);
  try {
    await promise;
    socket.setNoDelay(true);
    const mismatch = nameMismatch(serverName, socket.getPeerCertificate());
    if (mismatch !== undefined) {
      throw new NameMismatch(`${where}: ${mismatch.message}`, { cause: mismatch, alert: "bad_certificate" });
    }
    return describe(socket, "server");
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", aborted);
    socket.off("secureConnect", resolve).off("error", failed).off("close", closed);
  }
}

/** Why the certificate is not for that name, if it is not. The common name is no place for one (RFC 9525 section 2). */
function nameMismatch(serverName: string, certificate: PeerCertificate): Error | undefined {
  if (!/(?:^|, )(?:DNS|IP Address):/.test(certificate.subjectaltname ?? "")) {
    return new NameMismatch(`expected a certificate for ${serverName}, got one without a name or address`, {
      alert: "bad_certificate",
    });
  }
  return checkServerIdentity(serverName, certificate);
}
