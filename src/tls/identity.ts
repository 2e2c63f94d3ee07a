// Reads from a verified certificate who is at the other end, and whether the certificate may be shown in that role.

import "reflect-metadata";
import { createHash } from "node:crypto";
import { ExtendedKeyUsageExtension, X509Certificate } from "@peculiar/x509";
import { keyAlgorithmOf } from "../pqc/certificates.ts";
import {
  BadCertificate,
  CertificateExpired,
  CertificateNotYetValid,
  type TlsError,
  UnknownIssuer,
  WrongKeyUsage,
} from "./errors.ts";
import type { PeerIdentity } from "./types.ts";

/** Key purposes of RFC 5280 section 4.2.1.12. */
const keyPurposes = {
  server: { oid: "1.3.6.1.5.5.7.3.1", name: "serverAuth" },
  client: { oid: "1.3.6.1.5.5.7.3.2", name: "clientAuth" },
} as const;

/** Who the last certificates named, by role and fingerprint: peers come back, and reading a certificate takes its time. */
const identities = new Map<string, PeerIdentity>();
const mostIdentities = 1_000;

/** What a peer shows its certificate as. */
export type Role = keyof typeof keyPurposes;

/** A certificate's DER, parsed. */
function parse(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(new Uint8Array(der));
  } catch (cause) {
    throw new BadCertificate(`the peer's certificate (${der.length} bytes of DER) cannot be read`, {
      cause,
      alert: "bad_certificate",
    });
  }
}

/** Why the certificate may not be shown in that role, if it may not. */
function wrongUsage(certificate: X509Certificate, role: Role): WrongKeyUsage | undefined {
  const usage = certificate.getExtension(ExtendedKeyUsageExtension);
  const purpose = keyPurposes[role];
  if (usage === null || usage.usages.map(String).includes(purpose.oid)) return undefined;
  return new WrongKeyUsage(
    `the certificate of ${certificate.subject} was shown as a ${role}'s, but its extended key usage is ` +
      `[${usage.usages.join(", ")}] without ${purpose.name} (${purpose.oid})`,
    { alert: "unsupported_certificate" },
  );
}

/**
 * Who a certificate names.
 *
 * @param der The leaf certificate, DER, already verified by the handshake.
 * @param role What it was shown as. An extended key usage that is present must contain the purpose (RFC 5280
 * section 4.2.1.12): it is what stops a vehicle from posing as the server.
 * @throws {BadCertificate} when it cannot be parsed.
 * @throws {WrongKeyUsage} when its extended key usage excludes the role.
 */
export function identify(der: Uint8Array, role: Role): PeerIdentity {
  const fingerprint = createHash("sha256").update(der).digest("hex");
  const key = `${role} ${fingerprint}`;
  const known = identities.get(key);
  if (known !== undefined) return known;
  const certificate = parse(der);
  const wrong = wrongUsage(certificate, role);
  if (wrong !== undefined) throw wrong;
  const identity = {
    commonName: certificate.subjectName.getField("CN")[0] ?? "",
    organizationalUnits: certificate.subjectName.getField("OU"),
    fingerprint,
    serialNumber: certificate.serialNumber.toLowerCase(),
    notAfter: certificate.notAfter,
    keyAlgorithm: keyAlgorithmOf(certificate),
  };
  const [oldest] = identities.keys();
  if (identities.size >= mostIdentities && oldest !== undefined) identities.delete(oldest);
  identities.set(key, identity);
  return identity;
}

/**
 * Why a certificate was refused, where the stack only says that it was.
 *
 * @param der The refused leaf certificate, DER.
 * @param role What it was shown as.
 * @param cause What the stack said.
 * @param now The time that validity is judged by.
 */
export function explainRefusal(der: Uint8Array, role: Role, cause: unknown, now: Date): TlsError {
  const certificate = parse(der);
  const { subject, issuer, notBefore, notAfter } = certificate;
  if (now > notAfter) {
    return new CertificateExpired(`the certificate of ${subject} ended at ${notAfter.toISOString()}`, {
      cause,
      alert: "certificate_expired",
    });
  }
  if (now < notBefore) {
    return new CertificateNotYetValid(`the certificate of ${subject} begins at ${notBefore.toISOString()}`, {
      cause,
      alert: "bad_certificate",
    });
  }
  return wrongUsage(certificate, role) ??
    new UnknownIssuer(`the certificate of ${subject}, issued by ${issuer}, does not end in a trusted one`, {
      cause,
      alert: "unknown_ca",
    });
}
