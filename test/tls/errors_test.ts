import assert from "node:assert/strict";
import {
  BadCertificate,
  CertificateExpired,
  CertificateRequired,
  ConnectionFailed,
  NoCommonParameters,
  ProtocolVersion,
  TlsError,
  toTlsError,
  UnknownIssuer,
} from "../../src/tls/errors.ts";

// What the runtime's stack says, as it was seen in handshakes with refused peers.
const seen: [string, string | undefined, new (message: string) => TlsError, string | undefined][] = [
  ["received fatal alert: CertificateRequired", undefined, CertificateRequired, "certificate_required"],
  ["received fatal alert: UnknownCA", "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", UnknownIssuer, "unknown_ca"],
  ["received fatal alert: CertificateExpired", undefined, CertificateExpired, "certificate_expired"],
  ["received fatal alert: ProtocolVersion", undefined, ProtocolVersion, "protocol_version"],
  ["received fatal alert: HandshakeFailure", undefined, NoCommonParameters, "handshake_failure"],
  ["received fatal alert: DecryptError", undefined, TlsError, "decrypt_error"],
  ["peer is incompatible: Tls12NotOfferedOrEnabled", undefined, ProtocolVersion, "protocol_version"],
  ["peer is incompatible: NoKxGroupsInCommon", undefined, NoCommonParameters, "handshake_failure"],
  [
    "peer sent no certificates",
    "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
    CertificateRequired,
    "certificate_required",
  ],
  ["self-signed certificate in certificate chain", "SELF_SIGNED_CERT_IN_CHAIN", UnknownIssuer, "unknown_ca"],
  [
    "unable to verify the first certificate",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    BadCertificate,
    "bad_certificate",
  ],
  ["read ECONNRESET", "ECONNRESET", ConnectionFailed, undefined],
  ["something new", "ERR_NEW", TlsError, undefined],
];
for (const [message, code, expected, alert] of seen) {
  Deno.test(`toTlsError() makes ${expected.name} of "${message}"`, () => {
    const cause = Object.assign(new Error(message), code === undefined ? {} : { code });
    const error = toTlsError(cause, "TLS connection to here");
    assert.equal(error.constructor, expected);
    assert.equal(error.name, expected.name);
    assert.equal(error.alert, alert);
    assert.equal(error.cause, cause);
    assert.match(error.message, /^TLS connection to here: /);
    assert.equal(toTlsError(error, "elsewhere"), error);
  });
}
