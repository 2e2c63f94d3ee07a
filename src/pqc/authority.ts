// The bench's certificate authority: makes it, and issues what servers, vehicles and operators show each other.

import { hostname as systemHostname } from "node:os";
import { isIP } from "node:net";
import { join } from "node:path";
import type { JsonName, X509Certificate } from "@peculiar/x509";
import { vin as vinSchema } from "../contract/identifiers.ts";
import {
  belongsTogether,
  certificatePem,
  generateKeyPair,
  type Issued,
  keyAlgorithmOf,
  type LeafRequest,
  makeAuthority,
  makeLeaf,
  namesOf,
  privateKeyPem,
  readPrivateKey,
} from "./certificates.ts";
import { AuthorityMissing, BadPkiFile, CredentialsMissing, InvalidName } from "./errors.ts";
import {
  makePrivateDirectory,
  privateMode,
  publicMode,
  readIfPresent,
  withLock,
  writeWhole,
} from "./files.ts";
import { authorityKeyName, readCertificate, readCertificates } from "./pki_directory.ts";
import { type CertificateAlgorithm, fileNameOf } from "./profiles.ts";
import { exportSigningKey, exportVerifyKey, generateSigningKey, importSigningKey } from "./signature.ts";

/** Options of everything that writes to the directory. */
export interface PkiOptions {
  /** Where the authority lives, e.g. `data/pki`. */
  directory: string;
  /** Longest wait for another program that is writing there, in milliseconds. @default 30000 */
  lockTimeout?: number;
  /** The time that validity counts from. @default the system's clock */
  now?: () => Date;
}

/** Options of {@link initAuthority}. */
export interface AuthorityOptions extends PkiOptions {
  /** Algorithms that certificates are wanted of; ECDSA P-256 is always among them. @default ["ECDSA P-256"] */
  algorithms?: readonly CertificateAlgorithm[];
  /** Length of the authority's validity in days. @default 3652 (ten years) */
  days?: number;
}

/** Options of the functions that issue. */
export interface IssueOptions extends PkiOptions {
  /** Of the certificate and of all that it is signed by. What is there in another algorithm is issued anew. @default "ECDSA P-256" */
  algorithm?: CertificateAlgorithm;
  /** Length of validity in days, cut at the authority's own end. @default 730 (two years) */
  days?: number;
  /** Issues anew even when what is there would do. @default false */
  force?: boolean;
}

/** Options of {@link issueServer}. */
export interface IssueServerOptions extends IssueOptions {
  /** Names and addresses to cover besides localhost, 127.0.0.1, ::1 and the host's name. @default [] */
  names?: readonly string[];
  /** The host's name. @default what the system says */
  hostname?: string;
}

/** What issuing came to. */
export interface IssueResult {
  /** Base name of the files, e.g. `vehicle-KMH…`; {@link loadCredentials} takes it. */
  readonly name: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** False when what was there is still good. */
  readonly issued: boolean;
  readonly notAfter: Date;
}

/** A certificate that ends sooner than this is issued anew, ms. */
const renewalWindow = 30 * 24 * 60 * 60 * 1000;

const defaultLockTimeout = 30_000;
const defaultAuthorityDays = 3652;
const defaultLeafDays = 730;
/** Longest validity, in days: dates of a certificate end with the year 9999, these are far from it. */
const mostDays = 36_525;

function checkDays(days: number): void {
  if (!Number.isInteger(days) || days < 1 || days > mostDays) {
    throw new RangeError(`days: expected a whole number from 1 to ${mostDays}, got ${days}`);
  }
}

/**
 * Makes the authority and the package signing key in `directory`, as far as they are not there. An authority that
 * exists is never overwritten: one whose certificate alone is there (issued elsewhere) is left as it is, one of which
 * only the key is there (an interrupted start, nothing was issued by it) gets its certificate.
 *
 * Each algorithm has an authority of its own, so that a chain is of one algorithm. `ca.crt` holds the certificates of all
 * of them, ECDSA's first: it is what everybody trusts. Where ECDSA's key is kept elsewhere, no further ones are made here:
 * whoever keeps it decides what is trusted.
 *
 * Files: `ca.crt`, `ca.key`, `ca-ml-dsa-65.key` and so on, `signing.key`, `signing.pub`; keys have mode 0600.
 *
 * @returns {Promise<object>} `created`: whether an authority was made.
 * @throws {BadPkiFile} when a file is there that is not what it should be.
 * @throws {PkiLocked} when another program keeps the directory locked.
 */
export async function initAuthority(options: AuthorityOptions): Promise<{ created: boolean }> {
  const { directory, lockTimeout = defaultLockTimeout, now = () => new Date(), days = defaultAuthorityDays } =
    options;
  const { algorithms = [] } = options;
  checkDays(days);
  await makePrivateDirectory(directory);
  return await withLock(directory, lockTimeout, async () => {
    await ensureSigningKey(directory);
    let created = false;
    for (const algorithm of new Set<CertificateAlgorithm>([firstAlgorithm, ...algorithms])) {
      created = await ensureAuthority(directory, algorithm, days, now()) || created;
    }
    return { created };
  });
}

/** The algorithm whose authority stands first in `ca.crt`: clients that know no other read that one. */
const firstAlgorithm: CertificateAlgorithm = "ECDSA P-256";

function bundleFile(directory: string): string {
  return join(directory, "ca.crt");
}

/** Makes the authority of an algorithm unless it is there; false when it is. */
async function ensureAuthority(
  directory: string,
  algorithm: CertificateAlgorithm,
  days: number,
  now: Date,
): Promise<boolean> {
  const keyFile = join(directory, authorityKeyName(algorithm));
  const keyText = await readIfPresent(keyFile);
  const bundle = await readBundle(directory);
  if (authorityOf(bundle, algorithm) !== undefined) {
    if (keyText !== undefined) await readAuthority(directory, algorithm);
    return false;
  }
  if (algorithm === firstAlgorithm && bundle.length > 0) {
    if (keyText === undefined) return false; // Issued elsewhere, of whatever kind.
    throw new BadPkiFile(
      `${bundleFile(directory)}: expected the ${algorithm} authority of ca.key in it, got none`,
    );
  }
  if (algorithm !== firstAlgorithm && await readIfPresent(join(directory, "ca.key")) === undefined) {
    throw new AuthorityMissing(
      `${directory}: no ${algorithm} authority in ca.crt; it is made where ca.key is, by "pki issue … --profile N"`,
    );
  }
  const keys = keyText === undefined ? await generateKeyPair(algorithm) : await readKey(keyFile, keyText);
  // Distinct names let a verifier tell two benches' authorities apart: "unknown issuer", not "bad signature".
  const suffix = crypto.getRandomValues(new Uint8Array(4)).toHex();
  const kind = algorithm === firstAlgorithm ? "" : `${algorithm} `;
  const subject: JsonName = [{ O: ["Zonebench"] }, { CN: [`Zonebench ${kind}CA ${suffix}`] }];
  const certificate = await makeAuthority(keys, subject, days, now);
  if (keyText === undefined) await writeWhole(keyFile, await privateKeyPem(keys.privateKey), privateMode);
  await writeWhole(
    bundleFile(directory),
    [...bundle, certificate].map((it) => certificatePem(it)).join(""),
    publicMode,
  );
  return true;
}

/** The certificates in `ca.crt`; none when there is no such file. */
async function readBundle(directory: string): Promise<X509Certificate[]> {
  try {
    return await readCertificates(bundleFile(directory));
  } catch (error) {
    if (error instanceof CredentialsMissing) return [];
    throw error;
  }
}

/** The bundle's authority for an algorithm. */
function authorityOf(
  bundle: readonly X509Certificate[],
  algorithm: CertificateAlgorithm,
): X509Certificate | undefined {
  return bundle.find((certificate) => keyAlgorithmOf(certificate) === algorithm);
}

/** Makes the key that signs packages, or, where the public half alone is missing, writes that. */
async function ensureSigningKey(directory: string): Promise<void> {
  const keyFile = join(directory, "signing.key");
  const publicFile = join(directory, "signing.pub");
  const text = await readIfPresent(keyFile);
  const published = await readIfPresent(publicFile);
  if (text === undefined && published !== undefined) return; // Packages are signed elsewhere.
  if (text !== undefined && published !== undefined) return;
  let key;
  try {
    key = text === undefined ? await generateSigningKey() : await importSigningKey(text);
  } catch (cause) {
    throw new BadPkiFile(`${keyFile}: expected an ML-DSA-65 private key`, { cause });
  }
  if (text === undefined) await writeWhole(keyFile, await exportSigningKey(key), privateMode);
  await writeWhole(publicFile, exportVerifyKey(key.publicKey), publicMode);
}

/** Base name of the server's files: `server`, `server-ml-dsa-65` … A server has a chain of each algorithm that it is asked for. */
export function serverCredentialsName(algorithm: CertificateAlgorithm): string {
  return algorithm === firstAlgorithm ? "server" : `server-${fileNameOf(algorithm)}`;
}

/**
 * Issues `server.crt` and `server.key` (see {@link serverCredentialsName}) for the names that the server is reached by, unless a certificate is there
 * that covers them and lasts for another 30 days.
 *
 * @throws {InvalidName} when a name is neither a host name nor an address.
 * @throws {AuthorityMissing} when the authority or its key is not in the directory.
 */
export async function issueServer(options: IssueServerOptions): Promise<IssueResult> {
  const wanted = (options.names ?? []).map((name) => checkServerName(name));
  const host = (options.hostname ?? systemHostname()).toLowerCase();
  // A system may be named in a way that no host name can be: nobody reaches it by that name then.
  const own = isHostName(host) ? [host] : [];
  const { algorithm = firstAlgorithm } = options;
  return await issue(options, serverCredentialsName(algorithm), {
    subject: [{ O: ["Zonebench"] }, { CN: ["server"] }],
    names: [...new Set(["localhost", "127.0.0.1", "::1", ...own, ...wanted])],
    purpose: "server",
  });
}

/**
 * Issues `vehicle-{VIN}.crt` and `.key` with the common name `vehicle-{VIN}`, unless a good one is there.
 *
 * @throws {InvalidName} when `vin` is no VIN.
 * @throws {AuthorityMissing} when the authority or its key is not in the directory.
 */
export async function issueVehicle(vin: string, options: IssueOptions): Promise<IssueResult> {
  const checked = vinSchema.safeParse(vin);
  if (!checked.success) {
    throw new InvalidName(
      `VIN: expected 17 characters, digits and capital letters without I, O, Q, got ${JSON.stringify(vin)}`,
    );
  }
  const name = `vehicle-${checked.data}`;
  return await issue(options, name, {
    subject: [{ O: ["Zonebench"] }, { OU: ["vehicle"] }, { CN: [name] }],
    names: [],
    purpose: "client",
  });
}

/** Names of zonal gateways as they stand in file names and common names. */
const gatewayName = /^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/;

/** Options of {@link issueGateway}. */
export interface IssueGatewayOptions extends IssueOptions {
  /** Names and addresses by which testers reach it over TLS. At least one. */
  names: readonly string[];
}

/**
 * Issues `gateway-{ID}.crt` and `.key` for a zonal gateway that answers DoIP over TLS, unless a good one is there.
 *
 * @throws {InvalidName} when the id does not do for a file, or a name is neither a host name nor an address.
 * @throws {AuthorityMissing} when the authority or its key is not in the directory.
 */
export async function issueGateway(
  zonalGatewayId: string,
  options: IssueGatewayOptions,
): Promise<IssueResult> {
  if (!gatewayName.test(zonalGatewayId)) {
    throw new InvalidName(
      `gateway: expected 1 to 40 letters, digits, '_', '-', got ${JSON.stringify(zonalGatewayId)}`,
    );
  }
  if (options.names.length === 0) {
    throw new InvalidName(`gateway ${zonalGatewayId}: expected a name, got none`);
  }
  const name = `gateway-${zonalGatewayId}`;
  return await issue(options, name, {
    subject: [{ O: ["Zonebench"] }, { OU: ["gateway"] }, { CN: [name] }],
    names: options.names.map((it) => checkServerName(it)),
    purpose: "server",
  });
}

/**
 * Issues `server-client.crt` and `.key`, what the server shows to an external MQTT broker: organisational unit `server`,
 * common name `server-client`. The server's own certificate is for listeners and does not do as a client's.
 *
 * @throws {AuthorityMissing} when the authority or its key is not in the directory.
 */
export async function issueServerClient(options: IssueOptions): Promise<IssueResult> {
  const name = "server-client";
  return await issue(options, name, {
    subject: [{ O: ["Zonebench"] }, { OU: ["server"] }, { CN: [name] }],
    names: [],
    purpose: "client",
  });
}

/**
 * Issues `broker-{NAME}.crt` and `.key` for an external MQTT broker that is reached by that host name or address, and by
 * `names` besides: a load balancer's, for example.
 *
 * @throws {InvalidName} when the name is neither a host name nor an address, or does not do for a file.
 * @throws {AuthorityMissing} when the authority or its key is not in the directory.
 */
export async function issueBroker(
  hostname: string,
  { names = [], ...options }: IssueOptions & { names?: readonly string[] },
): Promise<IssueResult> {
  const checked = checkServerName(hostname);
  if (!/^[a-z0-9.-]{1,200}$/.test(checked)) {
    throw new InvalidName(
      `broker: expected letters, digits, '.', '-', got ${JSON.stringify(hostname)}`,
    );
  }
  return await issue(options, `broker-${checked}`, {
    subject: [{ O: ["Zonebench"] }, { OU: ["broker"] }, { CN: ["broker"] }],
    names: [...new Set([checked, ...names.map(checkServerName)])],
    purpose: "server",
  });
}

/** Operator names stand in file names and in a common name of at most 64 characters (RFC 5280 appendix A.1). */
const operatorName = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$/;

/**
 * Issues `operator-{NAME}.crt` and `.key` with the organisational unit `operator`, unless a good one is there.
 *
 * @throws {InvalidName} when `name` does not do for a file.
 * @throws {AuthorityMissing} when the authority or its key is not in the directory.
 */
export async function issueOperator(name: string, options: IssueOptions): Promise<IssueResult> {
  if (!operatorName.test(name)) {
    throw new InvalidName(
      "operator: expected 1 to 40 letters, digits, '_', '-', '.', beginning with a letter or digit, got " +
        JSON.stringify(name),
    );
  }
  return await issue(options, `operator-${name}`, {
    subject: [{ O: ["Zonebench"] }, { OU: ["operator"] }, { CN: [`operator-${name}`] }],
    names: [],
    purpose: "client",
  });
}

/** Base name of a diagnostic tester's files, e.g. `tester-ml-dsa-65`: the bench has one of each algorithm that ECUs ask for. */
export function testerCredentialsName(algorithm: CertificateAlgorithm): string {
  return `tester-${fileNameOf(algorithm)}`;
}

/**
 * Issues the certificate by which the bench's testers authenticate to ECUs (UDS service 0x29), see
 * {@link testerCredentialsName}, unless a good one is there.
 *
 * @throws {AuthorityMissing} when the authority or its key is not in the directory.
 */
export async function issueTester(options: IssueOptions): Promise<IssueResult> {
  const name = testerCredentialsName(options.algorithm ?? firstAlgorithm);
  return await issue(options, name, {
    subject: [{ O: ["Zonebench"] }, { OU: ["tester"] }, { CN: [name] }],
    names: [],
    purpose: "client",
  });
}

async function issue(
  options: IssueOptions,
  name: string,
  request: Omit<LeafRequest, "days">,
): Promise<IssueResult> {
  const { directory, days = defaultLeafDays, force = false, algorithm = firstAlgorithm } = options;
  const { lockTimeout = defaultLockTimeout, now = () => new Date() } = options;
  checkDays(days);
  const certificateFile = join(directory, `${name}.crt`);
  const keyFile = join(directory, `${name}.key`);
  if (await readIfPresent(join(directory, "ca.crt")) === undefined) {
    throw new AuthorityMissing(`${directory}: no ca.crt there; "pki init" makes the authority`);
  }
  return await withLock(directory, lockTimeout, async () => {
    const at = now();
    await ensureAuthority(directory, algorithm, defaultAuthorityDays, at);
    const authority = authorityOf(await readBundle(directory), algorithm);
    const present = force || authority === undefined
      ? undefined
      : await goodLeaf(certificateFile, keyFile, authority, request, at);
    if (present !== undefined) {
      return { name, certificateFile, keyFile, issued: false, notAfter: present.notAfter };
    }
    const leaf = await makeLeaf(await readAuthority(directory, algorithm), { ...request, days }, at);
    await writeWhole(keyFile, await privateKeyPem(leaf.privateKey), privateMode);
    await writeWhole(certificateFile, certificatePem(leaf.certificate), publicMode);
    return { name, certificateFile, keyFile, issued: true, notAfter: leaf.certificate.notAfter };
  });
}

/** The certificate that is there, if it is the authority's, matches its key, covers the names and lasts. */
async function goodLeaf(
  certificateFile: string,
  keyFile: string,
  authority: X509Certificate,
  request: Omit<LeafRequest, "days">,
  now: Date,
): Promise<X509Certificate | undefined> {
  const keyText = await readIfPresent(keyFile);
  if (keyText === undefined || await readIfPresent(certificateFile) === undefined) return undefined;
  const certificate = await readCertificate(certificateFile);
  const { publicKey } = await readKey(keyFile, keyText);
  const covered = namesOf(certificate);
  // Nothing is renewed in vain: with less than the window left of the authority itself, a new leaf ends no later.
  const enough = Math.min(now.getTime() + renewalWindow, authority.notAfter.getTime());
  const good = keyAlgorithmOf(certificate) === keyAlgorithmOf(authority) &&
    certificate.notAfter.getTime() >= enough &&
    certificate.notBefore <= now &&
    request.names.every((name) => covered.includes(name)) &&
    await belongsTogether(certificate, publicKey) &&
    await certificate.verify({ publicKey: authority.publicKey, signatureOnly: true });
  return good ? certificate : undefined;
}

/** The authority of an algorithm with its private key. */
async function readAuthority(directory: string, algorithm: CertificateAlgorithm): Promise<Issued> {
  const keyFile = join(directory, authorityKeyName(algorithm));
  const certificate = authorityOf(await readBundle(directory), algorithm);
  if (certificate === undefined) {
    throw new AuthorityMissing(
      `${bundleFile(directory)}: expected an ${algorithm} authority in it, got none`,
    );
  }
  const text = await readIfPresent(keyFile);
  if (text === undefined) {
    throw new AuthorityMissing(
      `${keyFile}: not there; without it nothing can be issued by ${certificate.subject}`,
    );
  }
  const { privateKey, publicKey } = await readKey(keyFile, text);
  if (!await belongsTogether(certificate, publicKey)) {
    throw new BadPkiFile(
      `${keyFile}: expected the private key of ${certificate.subject} in ca.crt, got another one`,
    );
  }
  return { certificate, privateKey };
}

async function readKey(file: string, text: string): Promise<CryptoKeyPair> {
  try {
    return await readPrivateKey(text);
  } catch (cause) {
    throw new BadPkiFile(`${file}: expected a private key as PKCS#8 PEM, ECDSA P-256 or ML-DSA`, { cause });
  }
}

/** RFC 1123 section 2.1 host names, lower case; the first label may be `*` (RFC 9525 section 6.3). */
const hostNamePattern =
  /^(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

function isHostName(name: string): boolean {
  return name.length <= 253 && hostNamePattern.test(name);
}

function checkServerName(name: string): string {
  const lower = name.toLowerCase();
  if (isIP(lower) === 0 && !isHostName(lower)) {
    throw new InvalidName(`server name: expected a host name or an address, got ${JSON.stringify(name)}`);
  }
  return lower;
}
