// Reads from a verified certificate who is at the other end, and whether the certificate may be shown in that role.

import "reflect-metadata";
import { createHash } from "node:crypto";
import { ExtendedKeyUsageExtension, X509Certificate } from "@peculiar/x509";
import { BadCertificate, WrongKeyUsage } from "./errors.ts";
import type { PeerIdentity } from "./types.ts";

/** Key purposes of RFC 5280 section 4.2.1.12. */
const keyPurposes = {
  server: { oid: "1.3.6.1.5.5.7.3.1", name: "serverAuth" },
  client: { oid: "1.3.6.1.5.5.7.3.2", name: "clientAuth" },
} as const;

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
  const certificate = parse(der);
  const commonName = certificate.subjectName.getField("CN")[0] ?? "";
  const usage = certificate.getExtension(ExtendedKeyUsageExtension);
  const purpose = keyPurposes[role];
  if (usage !== null && !usage.usages.map(String).includes(purpose.oid)) {
    throw new WrongKeyUsage(
      `the certificate of ${
        JSON.stringify(commonName)
      } was shown as a ${role}'s, but its extended key usage is ` +
        `[${usage.usages.join(", ")}] without ${purpose.name} (${purpose.oid})`,
      { alert: "unsupported_certificate" },
    );
  }
  return {
    commonName,
    organizationalUnits: certificate.subjectName.getField("OU"),
    fingerprint: createHash("sha256").update(der).digest("hex"),
    serialNumber: certificate.serialNumber.toLowerCase(),
    notAfter: certificate.notAfter,
  };
}
