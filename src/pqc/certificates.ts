// Makes X.509 certificates (RFC 5280) of the authority, the server and its clients, with ECDSA P-256 by WebCrypto.

import "reflect-metadata";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralNames,
  type JsonName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { isIP } from "node:net";

const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256" } as const;
const signingAlgorithm = { name: "ECDSA", hash: "SHA-256" } as const;

const day = 24 * 60 * 60 * 1000;
/** How far a certificate's validity begins in the past, ms: clocks on a bench differ. */
const backdating = 60 * 60 * 1000;
/** Octets of a serial number; RFC 5280 section 4.1.2.2 allows 20. */
const serialLength = 16;

/** A certificate and the private key that belongs to it. */
export interface Issued {
  readonly certificate: X509Certificate;
  readonly privateKey: CryptoKey;
}

/** What a leaf is for. */
export interface LeafRequest {
  /** Subject, e.g. `[{ CN: ["vehicle-…"] }]`. */
  readonly subject: JsonName;
  /** DNS names and addresses for the subject alternative name; none for a client. */
  readonly names: readonly string[];
  readonly purpose: "server" | "client";
  /** Length of validity in days; cut at the authority's own end. */
  readonly days: number;
}

/** Makes a P-256 key pair whose private key can be written to a file. */
export async function generateKeyPair(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
}

/** A random, positive serial number of constant length, hexadecimal. */
function randomSerial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(serialLength));
  // DER integers are signed: the top bit stays clear. The next one is set, so that no leading zero is dropped.
  bytes[0] = (bytes[0] & 0x7f) | 0x40;
  return bytes.toHex();
}

/** Whole seconds, as certificates hold them. */
function validity(now: Date, days: number): { notBefore: Date; notAfter: Date } {
  const start = Math.floor(now.getTime() / 1000) * 1000;
  return { notBefore: new Date(start - backdating), notAfter: new Date(start + days * day) };
}

/** A self-signed authority that may sign leaves and nothing that signs further. */
export async function makeAuthority(
  keys: CryptoKeyPair,
  subject: JsonName,
  days: number,
  now: Date,
): Promise<X509Certificate> {
  const keyIdentifier = await SubjectKeyIdentifierExtension.create(keys.publicKey);
  return await X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject,
    issuer: subject,
    ...validity(now, days),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      keyIdentifier,
      await AuthorityKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
}

/** A leaf with a new key, signed by the authority. */
export async function makeLeaf(authority: Issued, request: LeafRequest, now: Date): Promise<Issued> {
  const keys = await generateKeyPair();
  const issuer = authority.certificate;
  const { notBefore, notAfter } = validity(now, request.days);
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([
      request.purpose === "server" ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth,
    ]),
    await SubjectKeyIdentifierExtension.create(keys.publicKey),
    await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
  ];
  if (request.names.length > 0) {
    extensions.push(new SubjectAlternativeNameExtension(generalNames(request.names)));
  }
  const certificate = await X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: request.subject,
    issuer: issuer.subjectName.toJSON(),
    notBefore: notBefore < issuer.notBefore ? issuer.notBefore : notBefore,
    notAfter: notAfter > issuer.notAfter ? issuer.notAfter : notAfter,
    publicKey: keys.publicKey,
    signingKey: authority.privateKey,
    signingAlgorithm,
    extensions,
  });
  return { certificate, privateKey: keys.privateKey };
}

function generalNames(names: readonly string[]): JsonGeneralNames {
  return names.map((value) => isIP(value) === 0 ? { type: "dns", value } : { type: "ip", value });
}

/** DNS names and addresses that a certificate covers, lower case. */
export function namesOf(certificate: X509Certificate): string[] {
  const extension = certificate.getExtension(SubjectAlternativeNameExtension);
  return extension === null
    ? []
    : extension.names.items.filter(({ type }) => type === "dns" || type === "ip").map(({ value }) =>
      value.toLowerCase()
    );
}

/** A certificate as PEM, with the newline that ends a text file. */
export function certificatePem(certificate: X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

/** A private key as PKCS#8 PEM. */
export async function privateKeyPem(key: CryptoKey): Promise<string> {
  return `${PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}

/**
 * A P-256 private key from PKCS#8 PEM, with its public half.
 *
 * @throws {Error} when the text is something else; the message does not repeat it.
 */
export async function readPrivateKey(text: string): Promise<CryptoKeyPair> {
  const blocks = PemConverter.decodeWithHeaders(text);
  if (blocks.length !== 1 || blocks[0].type !== "PRIVATE KEY") {
    throw new Error(
      `expected one PEM block PRIVATE KEY, got ${blocks.map(({ type }) => type).join(", ") || "none"}`,
    );
  }
  const privateKey = await crypto.subtle.importKey("pkcs8", blocks[0].rawData, keyAlgorithm, true, ["sign"]);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await crypto.subtle.importKey("jwk", { kty, crv, x, y }, keyAlgorithm, true, ["verify"]);
  return { privateKey, publicKey };
}

/** Whether the certificate is for this public key. */
export async function belongsTogether(certificate: X509Certificate, publicKey: CryptoKey): Promise<boolean> {
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
  const own = new Uint8Array(certificate.publicKey.rawData);
  return spki.length === own.length && spki.every((byte, index) => byte === own[index]);
}
