// What can go wrong on the way to a TLS connection, as a small tree of errors, and the mapping from what the stack says.

/** Options of every {@link TlsError}. */
export interface TlsErrorOptions extends ErrorOptions {
  /** Name of the alert, as RFC 8446 section 6 spells it, e.g. `certificate_required`. */
  alert?: string;
}

/** Root of the tree: a connection could not be made, or ended, for a reason of TLS. */
export class TlsError extends Error {
  override name = "TlsError";
  /** The alert that the peer sent or that stands for the reason (RFC 8446 section 6), when there is one. */
  readonly alert?: string;

  constructor(message: string, options: TlsErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    if (options.alert !== undefined) this.alert = options.alert;
  }
}

/** The own certificate chain, private key or trusted certificates cannot be used. */
export class BadCredentials extends TlsError {
  override name = "BadCredentials";
}

/** The client showed no certificate. */
export class CertificateRequired extends TlsError {
  override name = "CertificateRequired";
}

/** The chain does not end in a trusted certificate. */
export class UnknownIssuer extends TlsError {
  override name = "UnknownIssuer";
}

/** The certificate's validity has ended. */
export class CertificateExpired extends TlsError {
  override name = "CertificateExpired";
}

/** The certificate's validity has not begun. */
export class CertificateNotYetValid extends TlsError {
  override name = "CertificateNotYetValid";
}

/** The server's certificate does not carry the name that was asked for. */
export class NameMismatch extends TlsError {
  override name = "NameMismatch";
}

/** The certificate's extended key usage does not cover the role that it was shown in. */
export class WrongKeyUsage extends TlsError {
  override name = "WrongKeyUsage";
}

/** The certificate was refused for another reason, for one that the stack does not tell, or cannot be read. */
export class BadCertificate extends TlsError {
  override name = "BadCertificate";
}

/** The peer offers no version of TLS that is accepted here, or does not speak TLS. */
export class ProtocolVersion extends TlsError {
  override name = "ProtocolVersion";
}

/** No common key exchange group, cipher suite or signature scheme. */
export class NoCommonParameters extends TlsError {
  override name = "NoCommonParameters";
}

/** The handshake did not end in time. */
export class HandshakeTimeout extends TlsError {
  override name = "HandshakeTimeout";
}

/** There are as many connections as are allowed. */
export class TooManyConnections extends TlsError {
  override name = "TooManyConnections";
}

/** The network connection below was refused, reset or closed. */
export class ConnectionFailed extends TlsError {
  override name = "ConnectionFailed";
}

/** The peer sent what TLS does not allow. */
export class ProtocolViolation extends TlsError {
  override name = "ProtocolViolation";
}

type TlsErrorClass = new (message: string, options?: TlsErrorOptions) => TlsError;

/** Alerts of RFC 8446 section 6.2 that have a class of their own. */
const alertClasses: Readonly<Record<string, TlsErrorClass>> = {
  unexpected_message: ProtocolViolation,
  bad_record_mac: ProtocolViolation,
  record_overflow: ProtocolViolation,
  handshake_failure: NoCommonParameters,
  bad_certificate: BadCertificate,
  unsupported_certificate: BadCertificate,
  certificate_revoked: BadCertificate,
  certificate_expired: CertificateExpired,
  certificate_unknown: BadCertificate,
  illegal_parameter: ProtocolViolation,
  unknown_ca: UnknownIssuer,
  access_denied: BadCertificate,
  decode_error: ProtocolViolation,
  protocol_version: ProtocolVersion,
  insufficient_security: NoCommonParameters,
  unrecognized_name: NameMismatch,
  certificate_required: CertificateRequired,
};

/** Alert names whose spelling the stack's camel case does not give back. */
const alertSpellings: Readonly<Record<string, string>> = {
  unknown_c_a: "unknown_ca",
  u_n_k_n_o_w_n_c_a: "unknown_ca",
  bad_record_m_a_c: "bad_record_mac",
};

/** The stack's error codes: those of X.509 verification and of sockets, with the alert that stands for them. */
const codeClasses: Readonly<Record<string, { type: TlsErrorClass; alert?: string }>> = {
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: { type: CertificateRequired, alert: "certificate_required" },
  CERT_HAS_EXPIRED: { type: CertificateExpired, alert: "certificate_expired" },
  CERT_NOT_YET_VALID: { type: CertificateNotYetValid, alert: "bad_certificate" },
  DEPTH_ZERO_SELF_SIGNED_CERT: { type: UnknownIssuer, alert: "unknown_ca" },
  SELF_SIGNED_CERT_IN_CHAIN: { type: UnknownIssuer, alert: "unknown_ca" },
  UNABLE_TO_GET_ISSUER_CERT: { type: UnknownIssuer, alert: "unknown_ca" },
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: { type: UnknownIssuer, alert: "unknown_ca" },
  CERT_SIGNATURE_FAILURE: { type: BadCertificate, alert: "bad_certificate" },
  INVALID_PURPOSE: { type: WrongKeyUsage, alert: "unsupported_certificate" },
  ERR_TLS_CERT_ALTNAME_INVALID: { type: NameMismatch, alert: "bad_certificate" },
  ERR_TLS_HANDSHAKE_TIMEOUT: { type: HandshakeTimeout },
  ERR_SSL_WRONG_VERSION_NUMBER: { type: ProtocolVersion, alert: "protocol_version" },
  ECONNREFUSED: { type: ConnectionFailed },
  ECONNRESET: { type: ConnectionFailed },
  ECONNABORTED: { type: ConnectionFailed },
  EPIPE: { type: ConnectionFailed },
  ENOTFOUND: { type: ConnectionFailed },
  EAI_AGAIN: { type: ConnectionFailed },
  EHOSTUNREACH: { type: ConnectionFailed },
  ENETUNREACH: { type: ConnectionFailed },
  ENETDOWN: { type: ConnectionFailed },
  EADDRNOTAVAIL: { type: ConnectionFailed },
  ETIMEDOUT: { type: ConnectionFailed },
};

function codeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** `CertificateRequired` → `certificate_required`. */
function alertName(camelCase: string): string {
  const snake = camelCase.replace(
    /[A-Z]/g,
    (letter, index: number) => (index > 0 ? "_" : "") + letter.toLowerCase(),
  );
  return alertSpellings[snake] ?? snake;
}

/**
 * Puts what the stack reports (an error of `node:tls` or `node:net`, also one that a connected stream emits later)
 * into the tree. What is not known becomes a plain {@link TlsError}; the stack's error stays as `cause`.
 *
 * @param error What was caught; a {@link TlsError} comes back as it is.
 * @param where What was being done, for the message, e.g. `connect to 127.0.0.1:8443`.
 */
export function toTlsError(error: unknown, where: string): TlsError {
  if (error instanceof TlsError) return error;
  const said = error instanceof Error ? error.message : String(error);
  const alert = /received fatal alert: (\w+)/.exec(said)?.[1];
  if (alert !== undefined) {
    const name = alertName(alert);
    const Type = alertClasses[name] ?? TlsError;
    return new Type(`${where}: the peer ended it with the alert ${name}`, { cause: error, alert: name });
  }
  if (/^peer is incompatible: (Tls12NotOffered|Tls13.*NotOffered|SupportedVersions)/.test(said)) {
    return new ProtocolVersion(`${where}: the peer offers no TLS 1.3`, {
      cause: error,
      alert: "protocol_version",
    });
  }
  if (/^peer is incompatible: /.test(said)) {
    return new NoCommonParameters(`${where}: nothing in common with the peer: ${said}`, {
      cause: error,
      alert: "handshake_failure",
    });
  }
  const code = codeOf(error);
  if (code === "UNABLE_TO_VERIFY_LEAF_SIGNATURE") {
    return new BadCertificate(
      `${where}: the peer's certificate was refused (ended, not yet valid, not made for its role or wrongly signed: ` +
        "the stack does not tell which)",
      { cause: error, alert: "bad_certificate" },
    );
  }
  const known = code === undefined ? undefined : codeClasses[code];
  if (known !== undefined) {
    return new known.type(`${where}: ${said} (${code})`, { cause: error, alert: known.alert });
  }
  if (/TLS handshake timeout/i.test(said)) {
    return new HandshakeTimeout(`${where}: the handshake did not end in time`, { cause: error });
  }
  return new TlsError(`${where}: ${said}${code === undefined ? "" : ` (${code})`}`, { cause: error });
}
