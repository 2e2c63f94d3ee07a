// Puts the engine's failures into the tree of TLS errors. The kinds' numbers are the engine's and never change.

import {
  BadCertificate,
  CertificateExpired,
  CertificateNotYetValid,
  CertificateRequired,
  ConnectionFailed,
  NameMismatch,
  NoCommonParameters,
  ProtocolVersion,
  ProtocolViolation,
  TlsError,
  type TlsErrorOptions,
  UnknownIssuer,
  WrongKeyUsage,
} from "../errors.ts";
import { alerts } from "./numbers.ts";

/** No key exchange group in common, or none together with a signature scheme in one profile. */
export class NoCommonGroup extends NoCommonParameters {
  override name = "NoCommonGroup";
}

/** No signature scheme in common: the peer cannot check the own certificate, or has none that could be checked here. */
export class NoCommonSignatureScheme extends NoCommonParameters {
  override name = "NoCommonSignatureScheme";
}

/** No cipher suite in common. */
export class NoCommonCipherSuite extends NoCommonParameters {
  override name = "NoCommonCipherSuite";
}

/** No application protocol in common. */
export class NoCommonProtocol extends NoCommonParameters {
  override name = "NoCommonProtocol";
}

/** A certificate's signature is not its issuer's: it was tampered with. */
export class BadCertificateSignature extends BadCertificate {
  override name = "BadCertificateSignature";
}

/** The handshake's signature is not that of the certificate's key. */
export class BadHandshakeSignature extends ProtocolViolation {
  override name = "BadHandshakeSignature";
}

/** Finished does not fit: the two ends have not seen the same handshake. */
export class BadFinished extends ProtocolViolation {
  override name = "BadFinished";
}

/** A record does not decrypt: it was tampered with, or belongs elsewhere. */
export class BadRecord extends ProtocolViolation {
  override name = "BadRecord";
}

/** A record, or a message, is longer than is allowed. */
export class RecordOverflow extends ProtocolViolation {
  override name = "RecordOverflow";
}

/** A message came where another was expected. */
export class UnexpectedMessage extends ProtocolViolation {
  override name = "UnexpectedMessage";
}

/** The peer ended the connection with an alert; `alert` names it. */
export class PeerAlert extends TlsError {
  override name = "PeerAlert";
}

/** The network connection ended without close_notify: what came may be a part only (RFC 8446 section 6.1). */
export class Truncated extends ConnectionFailed {
  override name = "Truncated";
}

/** The engine itself failed; its connections with it. */
export class EngineTrap extends TlsError {
  override name = "EngineTrap";
}

type ErrorClass = new (message: string, options?: TlsErrorOptions) => TlsError;

/** Classes by the kind's number in wasm/tls/src/failure.rs. */
const classes: ReadonlyMap<number, ErrorClass> = new Map<number, ErrorClass>([
  [1, NoCommonGroup],
  [2, NoCommonSignatureScheme],
  [3, NoCommonCipherSuite],
  [4, NoCommonGroup],
  [5, ProtocolVersion],
  [6, CertificateRequired],
  [7, UnknownIssuer],
  [8, CertificateExpired],
  [9, CertificateNotYetValid],
  [10, NameMismatch],
  [11, WrongKeyUsage],
  [12, BadCertificateSignature],
  [13, BadCertificate],
  [14, BadHandshakeSignature],
  [15, BadFinished],
  [16, BadRecord],
  [17, RecordOverflow],
  [18, UnexpectedMessage],
  [19, ProtocolViolation],
  [20, NoCommonProtocol],
  [21, PeerAlert],
  [22, Truncated],
  [23, RecordOverflow],
]);

/** What `failure_alert` holds when there was no alert. */
const noAlert = 256;

/**
 * The error for a failed connection.
 *
 * @param kind The engine's number of the kind.
 * @param alert Number of the alert that was sent, or received (kind 21), or 256.
 * @param text What the engine says.
 */
export function toFailure(kind: number, alert: number, text: string): TlsError {
  const Type = classes.get(kind) ?? TlsError;
  if (alert === noAlert) return new Type(text);
  const name = alerts.nameOf(alert);
  return new Type(Type === PeerAlert ? `the peer ended it with the alert ${name}` : text, { alert: name });
}
