// Authentication (0x29) with X.509 certificates by WebCrypto: ECDSA on P-256 with SHA-256, and ML-DSA. A certificate is
// good when a trust anchor issued it directly, its time is now, and what it says is what is asked for.
import { sameBytes } from "../same_bytes.ts";
import type { AuthenticationIdentity, CertificateCheck, VerifiedCertificate } from "./authentication.ts";
import { CertificateError } from "./authentication.ts";
import { derBytes, derChildren, type DerElement, derOid, derTime, readDer } from "./der.ts";

/** Object identifiers of the signature algorithms, RFC 5758 3.2 and RFC 9881 2. */
export const SignatureOid = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  mlDsa44: "2.16.840.1.101.3.4.3.17",
  mlDsa65: "2.16.840.1.101.3.4.3.18",
  mlDsa87: "2.16.840.1.101.3.4.3.19",
} as const;

/** Object identifiers within key and certificate, RFC 5480 2.1, RFC 5280 A.1. */
const Oid = {
  ecPublicKey: "1.2.840.10045.2.1",
  prime256v1: "1.2.840.10045.3.1.7",
  commonName: "2.5.4.3",
  basicConstraints: "2.5.29.19",
  keyUsage: "2.5.29.15",
} as const;

/** Extensions that are looked at, or need not be; any other critical one makes a certificate unusable (RFC 5280 4.2). */
const understood: readonly string[] = [Oid.basicConstraints, Oid.keyUsage, "2.5.29.37", "2.5.29.17"];

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
type SignatureKind = typeof ecdsa | { readonly name: string };

/** What WebCrypto is told, by the signature algorithm. */
const kinds: ReadonlyMap<string, SignatureKind> = new Map<string, SignatureKind>([
  [SignatureOid.ecdsaWithSha256, ecdsa],
  [SignatureOid.mlDsa44, { name: "ML-DSA-44" }],
  [SignatureOid.mlDsa65, { name: "ML-DSA-65" }],
  [SignatureOid.mlDsa87, { name: "ML-DSA-87" }],
]);

/** What a trust anchor vouches for. */
export interface CertificateCheckOptions {
  /** Certificates of the authorities, DER. */
  trustAnchors: readonly Uint8Array[];
  /** Whether a certificate of this subject may do this. @default all that the authorities issue */
  inScope?: (subject: string) => boolean;
  /** @default the system's time */
  now?: () => Date;
}

interface Certificate {
  tbs: Uint8Array;
  signatureOid: string;
  signature: Uint8Array;
  issuer: Uint8Array;
  subject: Uint8Array;
  commonName: string;
  notBefore: Date;
  notAfter: Date;
  spki: Uint8Array;
  keyOid: string;
  isAuthority: boolean;
  /** Bits of keyUsage, undefined without the extension. */
  keyUsage: number | undefined;
}

/** digitalSignature and keyCertSign in the first byte of keyUsage, RFC 5280 4.2.1.3. */
const digitalSignature = 0x80;
const keyCertSign = 0x04;

/**
 * A check against trust anchors.
 * @throws {CertificateError} at once, when an anchor is not an authority's certificate
 */
export function x509Check(options: CertificateCheckOptions): CertificateCheck {
  const { inScope = () => true, now = () => new Date() } = options;
  const anchors = options.trustAnchors.map(parseCertificate);
  for (const anchor of anchors) {
    if (!anchor.isAuthority) {
      throw new CertificateError(
        "type",
        `trust anchor ${anchor.commonName}: it is no authority's certificate`,
      );
    }
  }
  return async function checkX509(der) {
    const certificate = parseCertificate(der);
    const issuers = anchors.filter(({ subject }) => sameBytes(subject, certificate.issuer));
    if (issuers.length === 0) {
      throw new CertificateError(
        "chainOfTrust",
        `${certificate.commonName}: issued by none of the trust anchors`,
      );
    }
    let issuer: Certificate | undefined;
    for (const candidate of issuers) {
      if (candidate.keyUsage !== undefined && (candidate.keyUsage & keyCertSign) === 0) continue;
      const { signatureOid, tbs, signature } = certificate;
      if (await verifySignature(candidate, signatureOid, tbs, signature)) issuer = candidate;
    }
    if (issuer === undefined) {
      throw new CertificateError("signature", `${certificate.commonName}: not signed by its issuer's key`);
    }
    const time = now();
    for (const { commonName, notBefore, notAfter } of [certificate, issuer]) {
      if (time < notBefore || time > notAfter) {
        throw new CertificateError(
          "timePeriod",
          `${commonName}: valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}, now is ${time.toISOString()}`,
        );
      }
    }
    if (certificate.isAuthority) {
      throw new CertificateError(
        "type",
        `${certificate.commonName}: an authority's certificate proves no tester`,
      );
    }
    if (certificate.keyUsage !== undefined && (certificate.keyUsage & digitalSignature) === 0) {
      throw new CertificateError("content", `${certificate.commonName}: its key may not sign`);
    }
    if (!inScope(certificate.commonName)) {
      throw new CertificateError("scope", `${certificate.commonName}: not allowed to do this`);
    }
    return verified(certificate);
  };
}

/** Takes a certificate as trusted as it stands: a tester that an ECU knows, for challenge-response. */
export function knownX509(der: Uint8Array): VerifiedCertificate {
  return verified(parseCertificate(der));
}

/** Signs with a private key. @param privateKey PKCS #8 in DER, for the certificate's key */
export async function x509Identity(
  certificate: Uint8Array,
  privateKey: Uint8Array<ArrayBuffer>,
): Promise<AuthenticationIdentity> {
  const { keyOid } = parseCertificate(certificate);
  const algorithm = signatureOidOf(keyOid);
  const kind = kindOf(algorithm);
  const key = await crypto.subtle.importKey("pkcs8", privateKey, kind, false, ["sign"]);
  return {
    certificate,
    algorithm,
    sign: async (data) => new Uint8Array(await crypto.subtle.sign(kind, key, data.slice())),
  };
}

function verified(certificate: Certificate): VerifiedCertificate {
  const algorithm = signatureOidOf(certificate.keyOid);
  return {
    subject: certificate.commonName,
    algorithm,
    verify: (data, signature) => verifySignature(certificate, algorithm, data, signature),
  };
}

/** Whether the certificate's key made the signature. Never throws for what the signature holds. */
async function verifySignature(
  { keyOid, spki }: Certificate,
  signatureOid: string,
  data: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (signatureOidOf(keyOid) !== signatureOid) return false;
  const kind = kindOf(signatureOid);
  // X.509 has r and s as DER, WebCrypto as 64 bytes; testers use either in a proof.
  const raw = kind === ecdsa ? rawEcdsa(signature) : signature;
  if (raw === undefined) return false;
  try {
    const key = await crypto.subtle.importKey("spki", spki.slice(), kind, false, ["verify"]);
    return await crypto.subtle.verify(kind, key, raw.slice(), data.slice());
  } catch (cause) {
    if (!(cause instanceof DOMException)) throw cause;
    throw new CertificateError("content", "its public key cannot be used", { cause });
  }
}

function kindOf(signatureOid: string): SignatureKind {
  const kind = kinds.get(signatureOid);
  if (kind === undefined) {
    throw new CertificateError("content", `signature algorithm ${signatureOid}: not known`);
  }
  return kind;
}

function signatureOidOf(keyOid: string): string {
  return keyOid === Oid.ecPublicKey ? SignatureOid.ecdsaWithSha256 : keyOid;
}

function rawEcdsa(signature: Uint8Array): Uint8Array | undefined {
  if (signature.length === 64) return signature;
  try {
    const [r, s] = derChildren(readDer(signature, 0x30));
    const raw = new Uint8Array(64);
    [r, s].forEach((part, index) => {
      const number = derBytes(part, 0x02);
      const short = number.subarray(number.findIndex((byte) => byte !== 0));
      if (short.length > 32) throw new CertificateError("format", "signature: a number is too long");
      raw.set(short, 32 * (index + 1) - short.length);
    });
    return raw;
  } catch (error) {
    // Not a signature in either form, so not a good one.
    if (error instanceof CertificateError) return undefined;
    throw error;
  }
}

/** RFC 5280 4.1. @throws {CertificateError} "format" */
function parseCertificate(der: Uint8Array): Certificate {
  const [tbs, algorithm, signature] = derChildren(readDer(der, 0x30));
  const fields = derChildren(expectElement(tbs, "tbsCertificate"));
  // The version is explicit and left out in version 1.
  if (fields[0]?.tag === 0xa0) fields.shift();
  const [, innerAlgorithm, issuer, validity, subject, spki, ...rest] = fields;
  const signatureOid = derOid(derChildren(expectElement(algorithm, "signatureAlgorithm"))[0]);
  // RFC 5280 4.1.1.2: both say the same, or one of them was exchanged.
  if (derOid(derChildren(expectElement(innerAlgorithm, "signature"))[0]) !== signatureOid) {
    throw new CertificateError("format", "certificate: its two signature algorithms differ");
  }
  const [notBefore, notAfter] = derChildren(expectElement(validity, "validity"));
  const key = derChildren(derChildren(expectElement(spki, "subjectPublicKeyInfo"))[0]);
  const keyOid = derOid(key[0]);
  if (keyOid === Oid.ecPublicKey ? derOid(key[1]) !== Oid.prime256v1 : !kinds.has(keyOid)) {
    throw new CertificateError("content", `certificate: expected a key of P-256 or ML-DSA, got ${keyOid}`);
  }
  const bits = derBytes(signature, 0x03);
  return {
    tbs: expectElement(tbs, "tbsCertificate").whole,
    signatureOid,
    signature: bits.subarray(1),
    issuer: expectElement(issuer, "issuer").whole,
    subject: expectElement(subject, "subject").whole,
    commonName: commonNameOf(expectElement(subject, "subject")),
    notBefore: derTime(notBefore),
    notAfter: derTime(notAfter),
    spki: expectElement(spki, "subjectPublicKeyInfo").whole,
    keyOid,
    ...extensionsOf(rest),
  };
}

function extensionsOf(rest: DerElement[]): { isAuthority: boolean; keyUsage: number | undefined } {
  let isAuthority = false;
  let keyUsage: number | undefined;
  const wrapper = rest.find(({ tag }) => tag === 0xa3);
  if (wrapper === undefined) return { isAuthority, keyUsage };
  for (const extension of derChildren(expectElement(derChildren(wrapper)[0], "extensions"))) {
    const parts = derChildren(extension);
    const oid = derOid(parts[0]);
    const critical = parts.length === 3 && derBytes(parts[1], 0x01)[0] !== 0;
    const value = derBytes(parts[parts.length - 1], 0x04);
    if (oid === Oid.basicConstraints) {
      const [authority] = derChildren(readDer(value, 0x30));
      isAuthority = authority?.tag === 0x01 && authority.value[0] !== 0;
    } else if (oid === Oid.keyUsage) keyUsage = derBytes(readDer(value, 0x03), 0x03)[1] ?? 0;
    if (critical && !understood.includes(oid)) {
      throw new CertificateError("content", `certificate: critical extension ${oid} is not understood`);
    }
  }
  return { isAuthority, keyUsage };
}

function commonNameOf(name: DerElement): string {
  for (const set of derChildren(name)) {
    for (const attribute of derChildren(set)) {
      const [type, value] = derChildren(attribute);
      if (derOid(type) === Oid.commonName) {
        return new TextDecoder().decode(expectElement(value, "common name").value);
      }
    }
  }
  return "(no common name)";
}

function expectElement(element: DerElement | undefined, what: string): DerElement {
  if (element === undefined) {
    throw new CertificateError("format", `certificate: expected ${what}, got nothing`);
  }
  return element;
}
