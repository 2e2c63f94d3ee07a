// connectNative(): connect() on the runtime's own TLS stack, which enforces no profile and tells no group.

import { connect as connectTcp, isIP } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  type ConnectionOptions,
  type PeerCertificate,
  type TLSSocket,
} from "node:tls";
import { nativeEngineReport } from "../pqc/native_engine.ts";
import { defaultProfileId } from "../pqc/profiles.ts";
import { checkPort, checkPositive, defaultHandshakeTimeout } from "./checks.ts";
import { checkCredentials } from "./credentials.ts";
import { ConnectionFailed, HandshakeTimeout, NameMismatch, toTlsError } from "./errors.ts";
import { describe, tlsVersion } from "./native.ts";
import { Network, PlaintextStream } from "./native_stream.ts";
import type { ConnectOptions, TlsConnection } from "./types.ts";

/**
 * As {@link connect}.
 *
 * @throws {UnsupportedProfile} for a profile that the stack cannot have at all.
 */
export async function connectNative(options: ConnectOptions): Promise<TlsConnection> {
  const { hostname, port, localAddress, credentials, trust, signal } = options;
  const { serverName = hostname, timeout = defaultHandshakeTimeout } = options;
  checkPort(port, 1);
  checkPositive("timeout", timeout);
  nativeEngineReport([options.profile?.id ?? defaultProfileId]);
  signal?.throwIfAborted();
  checkCredentials(credentials, trust);
  const where = `TLS connection to ${hostname}:${port}`;

  /** Whatever goes wrong before the handshake is complete. */
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {}); // It is looked at where something is waited for.
  const failed = (error: unknown) => failure.reject(toTlsError(error, where));
  const aborted = () => failure.reject(signal?.reason);
  signal?.addEventListener("abort", aborted, { once: true });
  const timer = setTimeout(
    () => failed(new HandshakeTimeout(`${where}: not made within ${timeout} ms`)),
    timeout,
  );

  const raw = connectTcp({ host: hostname, port, localAddress, allowHalfOpen: true, noDelay: true });
  const network = new Network(raw);
  raw.on("error", failed);
  const closed = () => failed(new ConnectionFailed(`${where}: closed before the handshake was complete`));
  raw.on("close", closed);
  let tls: TLSSocket | undefined;
  try {
    const connected = Promise.withResolvers<void>();
    raw.once("connect", connected.resolve);
    await Promise.race([connected.promise, failure.promise]);

    const secured = Promise.withResolvers<TlsConnection>();
    // The stack's published types leave out allowHalfOpen, which it takes as net.connect() does.
    const settings: ConnectionOptions & { allowHalfOpen: boolean } = {
      socket: raw,
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
    const socket = connectTls(settings);
    tls = socket;
    const stream = new PlaintextStream(socket, network, where);
    socket.once("end", closed);
    socket.on("error", failed);
    socket.once("secureConnect", () => {
      try {
        const mismatch = nameMismatch(serverName, socket.getPeerCertificate());
        if (mismatch !== undefined) throw mismatch;
        secured.resolve(describe({ network, socket, stream }, "server"));
      } catch (error) {
        failed(error);
      }
    });
    return await Promise.race([secured.promise, failure.promise]);
  } catch (error) {
    network.close(tls?.destroyed !== true);
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", aborted);
  }
}

/** Why the certificate is not for that name, if it is not. The common name is no place for one (RFC 9525 section 2). */
function nameMismatch(serverName: string, certificate: PeerCertificate): Error | undefined {
  const { subjectaltname } = certificate;
  const found = /(?:^|, )(?:DNS|IP Address):/.test(subjectaltname ?? "")
    ? checkServerIdentity(serverName, certificate)
    : new Error("it carries no name or address");
  if (found === undefined) return undefined;
  return new NameMismatch(
    `expected a certificate for ${serverName}, got one for ${subjectaltname || "no name"}: ${found.message}`,
    { cause: found, alert: "bad_certificate" },
  );
}
