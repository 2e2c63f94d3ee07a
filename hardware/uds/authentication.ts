// What both sides of Authentication (0x29) agree on and the standard leaves open: what a proof of ownership signs, and
// the functions that sign and verify. How keys and certificates are made is not this stack's affair.
import { Buffer } from "node:buffer";

/** Signs as the owner of a certificate. */
export interface AuthenticationIdentity {
  /** As it goes over the wire, e.g. X.509 in DER. */
  readonly certificate: Uint8Array;
  /** Object identifier of the signature algorithm, dotted; the algorithmIndicator of challenge-response. */
  readonly algorithm: string;
  sign(data: Uint8Array): Promise<Uint8Array>;
}

/** A certificate that was found good. */
export interface VerifiedCertificate {
  /** Whose it is, for messages and logs. */
  readonly subject: string;
  /** Object identifier of the algorithm that its key signs with, dotted. */
  readonly algorithm: string;
  /** Whether its key signed the data. */
  verify(data: Uint8Array, signature: Uint8Array): Promise<boolean>;
}

/** Why a certificate is not good; each has its negative response code (0x50–0x57). */
export type CertificateFault =
  | "timePeriod"
  | "signature"
  | "chainOfTrust"
  | "type"
  | "format"
  | "content"
  | "scope"
  | "certificate";

/** Thrown by a {@link CertificateCheck}. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
  constructor(readonly fault: CertificateFault, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Checks a certificate against whatever is trusted. @throws {CertificateError} */
export type CertificateCheck = (certificate: Uint8Array) => Promise<VerifiedCertificate>;

/** Who proves to whom: the two proofs of a bidirectional exchange never look alike. */
export type ProofSide = "client" | "server";

/**
 * What a proof of ownership signs: the side, then the challenges of the two sides, each behind its length. The peer's
 * challenge makes it fresh, the own one keeps anybody from having chosen text signed, the side stops reflection.
 */
export function proofInput(
  side: ProofSide,
  challengeServer: Uint8Array,
  challengeClient: Uint8Array,
): Uint8Array {
  const parts = [Buffer.from(`UDS 0x29 ${side}`, "latin1"), challengeServer, challengeClient];
  const bytes: number[] = [];
  for (const part of parts) bytes.push(part.length >> 8, part.length & 0xff, ...part);
  return Uint8Array.from(bytes);
}

/** A dotted object identifier as algorithmIndicator: its BER encoding, filled with 00 to 16 bytes (10.6.2.3). */
export function algorithmIndicator(oid: string): Uint8Array {
  const arcs = oid.split(".").map(Number);
  if (arcs.length < 2 || arcs.some((arc) => !Number.isInteger(arc) || arc < 0)) {
    throw new RangeError(`algorithm: expected a dotted object identifier, got ${JSON.stringify(oid)}`);
  }
  const body: number[] = [];
  for (const arc of [arcs[0] * 40 + arcs[1], ...arcs.slice(2)]) {
    const groups = [arc & 0x7f];
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) {
      groups.unshift(rest & 0x7f | 0x80);
    }
    body.push(...groups);
  }
  if (body.length > 14) {
    throw new RangeError(`algorithm: expected at most 14 bytes, got ${body.length} of ${oid}`);
  }
  const indicator = new Uint8Array(16);
  indicator.set([0x06, body.length, ...body]);
  return indicator;
}
