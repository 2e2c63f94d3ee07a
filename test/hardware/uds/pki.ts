// Authorities and certificates for tests of Authentication, made by the project's own certificate maker.
import type { AuthenticationIdentity } from "../../../hardware/uds/authentication.ts";
import { x509Identity } from "../../../hardware/uds/authentication_x509.ts";
import { generateKeyPair, type LeafRequest, makeAuthority, makeLeaf } from "../../../src/pqc/certificates.ts";
import type { CertificateAlgorithm } from "../../../src/pqc/profiles.ts";

/** An authority with what it issues. */
export interface TestPki {
  /** The authority's certificate, DER. */
  readonly anchor: Uint8Array;
  issue(commonName: string): Promise<AuthenticationIdentity>;
}

let authorities = 0;

/** A new authority with a name of its own. */
export async function testPki(algorithm: CertificateAlgorithm): Promise<TestPki> {
  const keys = await generateKeyPair(algorithm);
  const name = [{ CN: [`test authority ${++authorities}`] }];
  const certificate = await makeAuthority(keys, name, 3_652, new Date());
  return {
    anchor: new Uint8Array(certificate.rawData),
    async issue(commonName) {
      const subject = [{ CN: [commonName] }];
      const request: LeafRequest = { subject, names: [], purpose: "client", days: 30 };
      const leaf = await makeLeaf({ certificate, privateKey: keys.privateKey }, request, new Date());
      const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", leaf.privateKey));
      return await x509Identity(new Uint8Array(leaf.certificate.rawData), key);
    },
  };
}
