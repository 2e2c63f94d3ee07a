// What the runtime's own TLS stack (node:tls) tells about a connection, and what is common to both of its ends.

import type { TLSSocket } from "node:tls";
import { BadCertificate } from "./errors.ts";
import { identify, type Role } from "./identity.ts";
import type { Network, PlaintextStream } from "./native_stream.ts";
import type { Negotiated, TlsConnection } from "./types.ts";

/** The one version that either end speaks. */
export const tlsVersion = "TLSv1.3";

/** What the stack cannot see stays unknown: it reports neither the group nor the signature scheme. */
function negotiated(socket: TLSSocket): Negotiated {
  const alpn = socket.alpnProtocol;
  return {
    protocol: socket.getProtocol() ?? "unknown",
    cipherSuite: socket.getCipher()?.standardName ?? "unknown",
    group: "unknown",
    signatureScheme: "unknown",
    resumed: false,
    ...(typeof alpn === "string" && alpn !== "" ? { alpn } : {}),
  };
}

/** The peer's leaf certificate, DER; undefined when the stack has none. */
export function peerCertificate(socket: TLSSocket): Uint8Array | undefined {
  const der: unknown = socket.getPeerCertificate()?.raw;
  return der instanceof Uint8Array ? der : undefined;
}

/** What one connection is made of, from the network up. */
export interface Layers {
  readonly network: Network;
  readonly socket: TLSSocket;
  readonly stream: PlaintextStream;
}

/**
 * The connection as the rest of the product sees it.
 *
 * @param peerRole What the other end is.
 * @throws {BadCertificate} when the peer's certificate is missing or unreadable.
 * @throws {WrongKeyUsage} when the peer's certificate is not made for its role.
 */
export function describe({ network, socket, stream }: Layers, peerRole: Role): TlsConnection {
  const der = peerCertificate(socket);
  if (der === undefined) {
    throw new BadCertificate("the stack completed the handshake but shows no certificate of the peer", {
      alert: "bad_certificate",
    });
  }
  const peer = identify(der, peerRole);
  const { raw } = network;
  return {
    stream,
    peer,
    negotiated: negotiated(socket),
    localAddress: raw.localAddress ?? "",
    localPort: raw.localPort ?? 0,
    remoteAddress: raw.remoteAddress ?? "",
    remotePort: raw.remotePort ?? 0,
  };
}
