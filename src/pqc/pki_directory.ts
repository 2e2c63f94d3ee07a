// Reads the authority's directory: the credentials of one holder, and the list of all certificates.

import "reflect-metadata";
import { createHash, createPrivateKey, createPublicKey } from "node:crypto";
import { join } from "node:path";
import { PemConverter, X509Certificate } from "@peculiar/x509";
import { namesOf } from "./certificates.ts";
import { BadPkiFile, CredentialsMissing } from "./errors.ts";
import { readIfPresent } from "./files.ts";

/** What one holder shows and what it trusts, PEM. It has the shape of the TLS module's credentials. */
export interface LoadedCredentials {
  readonly certificateChain: string;
  readonly privateKey: string;
  /** The authority's certificate. */
  readonly trust: string;
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
  const text = await readIfPresent(file);
  if (text === undefined) throw new CredentialsMissing(`${file}: not there`);
  try {
    const [first] = PemConverter.decodeWithHeaders(text);
    if (first?.type !== "CERTIFICATE") {
      throw new Error(`got ${first === undefined ? "no PEM block" : first.type}`);
    }
    return new X509Certificate(first.rawData);
  } catch (cause) {
    throw new BadPkiFile(`${file}: expected a certificate as PEM`, { cause });
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
  let spki;
  try {
    spki = createPublicKey(createPrivateKey(privateKey)).export({ type: "spki", format: "der" });
  } catch (cause) {
    throw new BadPkiFile(`${join(directory, `${name}.key`)}: expected a private key as PEM`, { cause });
  }
  if (!spki.equals(new Uint8Array(certificate.publicKey.rawData))) {
    throw new BadPkiFile(
      `${
        join(directory, `${name}.key`)
      }: expected the private key of ${name}.crt, got another one; issue it anew`,
    );
  }
  return { certificateChain, privateKey, trust };
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
  return await Promise.all(certificates.map(async (file) => {
    const certificate = await readCertificate(join(directory, file));
    return {
      file,
      subject: certificate.subject,
      issuer: certificate.issuer,
      serialNumber: certificate.serialNumber.toLowerCase(),
      algorithm: algorithmOf(certificate),
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      names: namesOf(certificate),
      fingerprint: createHash("sha256").update(new Uint8Array(certificate.rawData)).digest("hex"),
      daysLeft: Math.floor((certificate.notAfter.getTime() - now.getTime()) / day),
      hasKey: files.has(file.replace(/\.crt$/, ".key")),
    };
  }));
}

function algorithmOf(certificate: X509Certificate): string {
  const { algorithm } = certificate.publicKey;
  const curve: unknown = "namedCurve" in algorithm ? algorithm.namedCurve : undefined;
  return typeof curve === "string" ? `${algorithm.name} ${curve}` : algorithm.name;
}
