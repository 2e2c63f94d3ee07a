// What listen() and connect() share of the engine: offers as the engine takes them, and connections as the product sees them.

import { type CertificateAlgorithm, type Profile, signatureSchemes } from "../pqc/profiles.ts";
import { certificatesFromPem, privateKeyFromPem } from "./engine/pem.ts";
import type { Offer as EngineOffer } from "./engine/settings.ts";
import type { EngineSocket } from "./engine_socket.ts";
import { BadCertificate } from "./errors.ts";
import { identify, type Role } from "./identity.ts";
import type { Credentials, PeerIdentity, TlsConnection } from "./types.ts";

/**
 * A profile with credentials, for the engine.
 *
 * @throws {BadCredentials} when the PEM cannot be read.
 */
export function engineOffer(profile: Profile, credentials: Credentials): EngineOffer {
  return {
    groups: profile.groups,
    signatureSchemes: [signatureSchemes[profile.certificateAlgorithm]],
    certificateChain: certificatesFromPem("credentials.certificateChain", credentials.certificateChain),
    privateKey: privateKeyFromPem("credentials.privateKey", credentials.privateKey),
  };
}

/** What an established connection came to, but for its stream, which must not begin to read before this is judged. */
export type Facts = Omit<TlsConnection, "stream">;

function isCertificateAlgorithm(name: string): name is CertificateAlgorithm {
  return Object.hasOwn(signatureSchemes, name);
}

/**
 * What the handshake came to.
 *
 * @param peerRole What the other end is.
 * @throws {BadCertificate} when the peer's certificate is missing or unreadable.
 * @throws {WrongKeyUsage} when the peer's certificate is not made for its role.
 */
export function factsOf(socket: EngineSocket, peerRole: Role): Facts {
  const negotiated = socket.engine.negotiated();
  const leaf = negotiated?.peerCertificates.at(0);
  if (negotiated === undefined || leaf === undefined) {
    throw new BadCertificate("the handshake is complete but shows no certificate of the peer", {
      alert: "bad_certificate",
    });
  }
  const peer = identify(leaf, peerRole);
  const { protocol, cipherSuite, group, resumed, alpn } = negotiated;
  const signed = peerRole === "server" ? negotiated.peerSignatureScheme : negotiated.ownSignatureScheme;
  return {
    peer,
    negotiated: {
      protocol,
      cipherSuite,
      group,
      signatureScheme: signed ?? firstScheme(peer),
      resumed,
      ...(alpn === undefined ? {} : { alpn }),
    },
    localAddress: socket.localAddress.hostname,
    localPort: socket.localAddress.port,
    remoteAddress: socket.remoteAddress.hostname,
    remotePort: socket.remoteAddress.port,
  };
}

/**
 * The scheme of the handshake that a session began with. Both ends' certificates are of one algorithm, the offer's, which
 * the engine insists on, and each has one scheme: so the peer's verified certificate tells.
 */
function firstScheme({ keyAlgorithm }: PeerIdentity): string {
  return isCertificateAlgorithm(keyAlgorithm) ? signatureSchemes[keyAlgorithm] : "unknown";
}

/** A DER key in memory is overwritten once the engine has its copy. */
export function forget(offers: readonly EngineOffer[]): void {
  for (const { privateKey } of offers) privateKey.fill(0);
}
