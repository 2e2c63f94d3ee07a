// Reads the authority's directory: the credentials of one holder, and the list of all certificates.

import "reflect-metadata";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { PemConverter, X509Certificate } from "@peculiar/x509";
import { belongsTogether, keyAlgorithmOf, namesOf, readPrivateKey } from "./certificates.ts";
import { BadPkiFile, CredentialsMissing } from "./errors.ts";
import { readIfPresent } from "./files.ts";
import { type CertificateAlgorithm, certificateAlgorithms, fileNameOf } from "./profiles.ts";

/** What one holder shows and what it trusts, PEM. It has the shape of the TLS module's credentials. */
export interface LoadedCredentials {
  readonly certificateChain: string;
  readonly privateKey: string;
  /** The authorities' certificates. */
  readonly trust: string;
  /** Of the certificate's key, e.g. `ECDSA P-256` or `ML-DSA-65`. */
  readonly algorithm: string;
}

/** Name of the file that a certificate's key is in. */
function keyFileOf(file: string, algorithm: string): string {
  if (file !== "ca.crt") return file.replace(/\.crt$/, ".key");
  return authorityKeyName(certificateAlgorithms.find((name) => name === algorithm) ?? "ECDSA P-256");
}

/** `ca.key`, `ca-ml-dsa-65.key` … */
export function authorityKeyName(algorithm: CertificateAlgorithm): string {
  return algorithm === "ECDSA P-256" ? "ca.key" : `ca-${fileNameOf(algorithm)}.key`;
}

/** One certificate of the directory. */
export interface CertificateSummary {
  /** File name within the directory, e.g. `server.crt`. */
  readonly file: string;
  /** e.g. `O=Zonebench, CN=server` */
  readonly subject: string;
  readonly issuer: string;
  /** Lower-case hex. */
  readonly serialNumber: string;
  /** Of its key, e.g. `ECDSA P-256`. */
  readonly algorithm: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DNS names and addresses that it covers. */
  readonly names: readonly string[];
  /** SHA-256 over the DER, lower-case hex. */
  readonly fingerprint: string;
  /** Whole days until it ends, negative when it has ended. */
  readonly daysLeft: number;
  /** Whether its private key is in the directory too. */
  readonly hasKey: boolean;
}

const day = 24 * 60 * 60 * 1000;

/**
 * The first certificate of a PEM file.
 *
 * @throws {CredentialsMissing} when there is no such file.
 * @throws {BadPkiFile} when it holds no certificate.
 */
export async function readCertificate(file: string): Promise<X509Certificate> {
  const [first] = await readCertificates(file);
  return first;
}

/**
 * The certificates of a PEM file, at least one.
 *
 * @throws {CredentialsMissing} when there is no such file.
 * @throws {BadPkiFile} when it holds none, or something else.
 */
export async function readCertificates(file: string): Promise<X509Certificate[]> {
  const text = await readIfPresent(file);
  if (text === undefined) throw new CredentialsMissing(`${file}: not there`);
  try {
    const blocks = PemConverter.decodeWithHeaders(text);
    const wrong = blocks.find(({ type }) => type !== "CERTIFICATE");
    if (wrong !== undefined || blocks.length === 0) throw new Error(`got ${wrong?.type ?? "no PEM block"}`);
    return blocks.map(({ rawData }) => new X509Certificate(rawData));
  } catch (cause) {
    throw new BadPkiFile(`${file}: expected a certificate as PEM`, { cause });
  }
}

/**
 * The common name in a certificate's file; undefined when there is no such file, or no common name in it.
 *
 * @throws {BadPkiFile} when it holds no certificate.
 */
export async function commonNameOf(file: string): Promise<string | undefined> {
  try {
    return (await readCertificate(file)).subjectName.getField("CN")[0];
  } catch (error) {
    if (error instanceof CredentialsMissing) return undefined;
    throw error;
  }
}

/**
 * What `{name}.crt` and `{name}.key` hold, with the authority to trust.
 *
 * @param name e.g. `server`, `vehicle-KMH…`, `operator-bench`.
 * @throws {CredentialsMissing} when a file is not there.
 * @throws {BadPkiFile} when a file is not what it should be, or key and certificate do not belong together.
 */
export async function loadCredentials(directory: string, name: string): Promise<LoadedCredentials> {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
    throw new CredentialsMissing(
      `credentials: expected a name such as server or operator-bench, got ${JSON.stringify(name)}`,
    );
  }
  const read = async (file: string) => {
    const text = await readIfPresent(join(directory, file));
    if (text === undefined) throw new CredentialsMissing(`${join(directory, file)}: not there`);
    return text;
  };
  const certificateChain = await read(`${name}.crt`);
  const privateKey = await read(`${name}.key`);
  const trust = await read("ca.crt");
  await readCertificate(join(directory, "ca.crt"));
  const certificate = await readCertificate(join(directory, `${name}.crt`));
  let publicKey;
  try {
    ({ publicKey } = await readPrivateKey(privateKey));
  } catch (cause) {
    throw new BadPkiFile(`${join(directory, `${name}.key`)}: expected a private key as PEM`, { cause });
  }
  if (!await belongsTogether(certificate, publicKey)) {
    throw new BadPkiFile(
      `${
        join(directory, `${name}.key`)
      }: expected the private key of ${name}.crt, got another one; issue it anew`,
    );
  }
  return { certificateChain, privateKey, trust, algorithm: keyAlgorithmOf(certificate) };
}

/**
 * All certificates of the directory, the authority first, then by name.
 *
 * @param now The time that days left count from. @default the system's clock
 * @throws {CredentialsMissing} when there is no such directory.
 * @throws {BadPkiFile} when a `.crt` file holds no certificate.
 */
export async function showCertificates(
  directory: string,
  now: Date = new Date(),
): Promise<CertificateSummary[]> {
  const files = new Set<string>();
  try {
    for await (const entry of Deno.readDir(directory)) if (!entry.isDirectory) files.add(entry.name);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new CredentialsMissing(`${directory}: not there; "pki init" makes the authority`, { cause });
  }
  const rank = (file: string) => file === "ca.crt" ? `0${file}` : `1${file}`;
  const certificates = [...files].filter((file) => file.endsWith(".crt"))
    .sort((a, b) => rank(a) < rank(b) ? -1 : 1);
  const found = await Promise.all(certificates.map(async (file) => {
    const all = await readCertificates(join(directory, file));
    // The authorities stand in one file; of a chain only the leaf is the directory's own.
    return (file === "ca.crt" ? all : all.slice(0, 1)).map((certificate) => ({
      file,
      subject: certificate.subject,
      issuer: certificate.issuer,
      serialNumber: certificate.serialNumber.toLowerCase(),
      algorithm: keyAlgorithmOf(certificate),
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      names: namesOf(certificate),
      fingerprint: createHash("sha256").update(new Uint8Array(certificate.rawData)).digest("hex"),
      daysLeft: Math.floor((certificate.notAfter.getTime() - now.getTime()) / day),
      hasKey: files.has(keyFileOf(file, keyAlgorithmOf(certificate))),
    }));
  }));
  return found.flat();
}
