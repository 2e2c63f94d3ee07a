// Certificates for tests, good ones and ones that must be refused, made anew for each run.

import {
  certificatePem,
  generateKeyPair,
  type Issued,
  type LeafRequest,
  makeAuthority,
  makeLeaf,
  privateKeyPem,
} from "../../src/pqc/certificates.ts";
import type { Credentials } from "../../src/tls/types.ts";

const day = 24 * 60 * 60 * 1000;

/** An authority of a test. */
export interface TestAuthority {
  readonly issued: Issued;
  readonly trust: string;
}

/** What differs from a good certificate. */
export interface TestLeaf extends Partial<Omit<LeafRequest, "subject">> {
  commonName?: string;
  organizationalUnits?: string[];
  /** When validity begins, in days from now. @default 0 */
  begins?: number;
}

/** A certificate authority of its own, with a name of its own. */
export async function testAuthority(name: string): Promise<TestAuthority> {
  const keys = await generateKeyPair();
  const certificate = await makeAuthority(keys, [{ CN: [name] }], 3652, new Date(Date.now() - 1000 * day));
  return { issued: { certificate, privateKey: keys.privateKey }, trust: certificatePem(certificate) };
}

async function leaf(authority: TestAuthority, request: LeafRequest, begins: number): Promise<Credentials> {
  const made = await makeLeaf(authority.issued, request, new Date(Date.now() + begins * day));
  return {
    certificateChain: certificatePem(made.certificate),
    privateKey: await privateKeyPem(made.privateKey),
  };
}

/** A server's credentials for localhost and 127.0.0.1. */
export function serverLeaf(authority: TestAuthority, differs: TestLeaf = {}): Promise<Credentials> {
  const { commonName = "server", names = ["localhost", "127.0.0.1"], purpose = "server", days = 30 } =
    differs;
  return leaf(authority, { subject: [{ CN: [commonName] }], names, purpose, days }, differs.begins ?? 0);
}

/** A vehicle's credentials. */
export function clientLeaf(authority: TestAuthority, differs: TestLeaf = {}): Promise<Credentials> {
  const { commonName = "vehicle-KMHXX00XXXX000001", names = [], purpose = "client", days = 30 } = differs;
  const units = (differs.organizationalUnits ?? []).map((unit) => ({ OU: [unit] }));
  return leaf(
    authority,
    { subject: [...units, { CN: [commonName] }], names, purpose, days },
    differs.begins ?? 0,
  );
}
