// Makes X.509 certificates (RFC 5280) of the authority, the server and its clients by WebCrypto, with ECDSA P-256 or
// ML-DSA (RFC 9881; private keys are written as its seed form).

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
import { type CertificateAlgorithm, certificateAlgorithms } from "./profiles.ts";

/** WebCrypto's parameters by the certificates' algorithm. */
const algorithms = {
  "ECDSA P-256": {
    key: { name: "ECDSA", namedCurve: "P-256" },
    signing: { name: "ECDSA", hash: "SHA-256" },
  },
  "ML-DSA-44": { key: { name: "ML-DSA-44" }, signing: { name: "ML-DSA-44" } },
  "ML-DSA-65": { key: { name: "ML-DSA-65" }, signing: { name: "ML-DSA-65" } },
  "ML-DSA-87": { key: { name: "ML-DSA-87" }, signing: { name: "ML-DSA-87" } },
} as const satisfies Record<CertificateAlgorithm, unknown>;

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
  /** What the leaf's own key is. @default the authority's */
  readonly algorithm?: CertificateAlgorithm;
}

/**
 * Makes a key pair whose private key can be written to a file.
 *
 * @param algorithm What certificates with it will be signed by. @default "ECDSA P-256"
 */
export async function generateKeyPair(
  algorithm: CertificateAlgorithm = "ECDSA P-256",
): Promise<CryptoKeyPair> {
  const made = await crypto.subtle.generateKey(algorithms[algorithm].key, true, ["sign", "verify"]);
  if (!("privateKey" in made)) throw new TypeError(`${algorithm}: expected a key pair, got a single key`);
  return made;
}

/**
 * What a key is.
 *
 * @throws {TypeError} when certificates are not made with such keys here.
 */
export function algorithmOfKey(key: CryptoKey): CertificateAlgorithm {
  const found = certificateAlgorithms.find((name) => algorithms[name].key.name === key.algorithm.name);
  if (found === undefined) {
    throw new TypeError(`expected a key of ${certificateAlgorithms.join(", ")}, got ${key.algorithm.name}`);
  }
  return found;
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
    signingAlgorithm: algorithms[algorithmOfKey(keys.privateKey)].signing,
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
  const authorityAlgorithm = algorithmOfKey(authority.privateKey);
  const keys = await generateKeyPair(request.algorithm ?? authorityAlgorithm);
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
    signingAlgorithm: algorithms[authorityAlgorithm].signing,
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

/** What a certificate's key is, e.g. `ECDSA P-256`, `ML-DSA-65`; also what is not made here, e.g. `RSASSA-PKCS1-v1_5`. */
export function keyAlgorithmOf(certificate: X509Certificate): string {
  const { algorithm } = certificate.publicKey;
  const curve: unknown = "namedCurve" in algorithm ? algorithm.namedCurve : undefined;
  return typeof curve === "string" ? `${algorithm.name} ${curve}` : algorithm.name;
}

/** When the first certificate of a PEM text begins and ends to be good. */
export function validityOf(pem: string): { notBefore: Date; notAfter: Date } {
  const { notBefore, notAfter } = new X509Certificate(pem);
  return { notBefore, notAfter };
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
 * A private key from PKCS#8 PEM, with its public half: ECDSA P-256, or ML-DSA.
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
  const failures: unknown[] = [];
  for (const name of certificateAlgorithms) {
    const { key } = algorithms[name];
    let privateKey: CryptoKey;
    try {
      privateKey = await crypto.subtle.importKey("pkcs8", blocks[0].rawData, key, true, ["sign"]);
    } catch (error) {
      failures.push(error); // A key of another algorithm, or of none.
      continue;
    }
    // What is left without the private members is the public key.
    const { d: _d, priv: _priv, key_ops: _operations, ...publicHalf } = privateMembers(
      await crypto.subtle.exportKey("jwk", privateKey),
    );
    const publicKey = await crypto.subtle.importKey("jwk", publicHalf, key, true, ["verify"]);
    return { privateKey, publicKey };
  }
  throw new Error(`expected a private key of ${certificateAlgorithms.join(", ")}, got another one`, {
    cause: new AggregateError(failures),
  });
}

/** The members of a JWK; WebCrypto's types do not know ML-DSA's `priv` yet. */
function privateMembers(jwk: JsonWebKey): JsonWebKey & { priv?: string } {
  return jwk;
}

/** Whether the certificate is for this public key. */
export async function belongsTogether(certificate: X509Certificate, publicKey: CryptoKey): Promise<boolean> {
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
  const own = new Uint8Array(certificate.publicKey.rawData);
  return spki.length === own.length && spki.every((byte, index) => byte === own[index]);
}
