// What the two ends of a TLS measurement are set up with: a profile, and certificates of its algorithm.

import { certificatePem, generateKeyPair, makeAuthority } from "../../src/pqc/certificates.ts";
import { type CertificateAlgorithm, loadProfiles, type Profile } from "../../src/pqc/profiles.ts";
import type { Credentials } from "../../src/tls/types.ts";
import { clientLeaf, serverLeaf } from "../support/certificates.ts";

/** Plain data: it goes to other programs as JSON. */
export interface Setup {
  readonly profile: Profile;
  readonly server: Credentials;
  readonly client: Credentials;
  readonly trust: string;
}

/** No profile of the product: what the goal for one handshake was set for. */
const goal: Profile = {
  id: loadProfiles().length,
  name: "goal",
  groups: ["X25519MLKEM768"],
  certificateAlgorithm: "ML-DSA-65",
};

/** What is measured: each profile, by its id, and the goal's pair after them. */
export async function makeSetups(): Promise<readonly Setup[]> {
  const made = new Map<CertificateAlgorithm, Omit<Setup, "profile">>();
  const setups: Setup[] = [];
  for (const profile of [...loadProfiles(), goal]) {
    const algorithm = profile.certificateAlgorithm;
    const credentials = made.get(algorithm) ?? await makeCredentials(algorithm);
    made.set(algorithm, credentials);
    setups.push({ profile, ...credentials });
  }
  return setups;
}

async function makeCredentials(algorithm: CertificateAlgorithm): Promise<Omit<Setup, "profile">> {
  const keys = await generateKeyPair(algorithm);
  const certificate = await makeAuthority(keys, [{ CN: ["Bench CA"] }], 30, new Date());
  const trust = certificatePem(certificate);
  const authority = { issued: { certificate, privateKey: keys.privateKey }, trust };
  return { server: await serverLeaf(authority), client: await clientLeaf(authority), trust };
}

/** e.g. `profile 2 (X25519MLKEM768, ECDSA P-256)` */
export function nameOf({ id, groups, certificateAlgorithm }: Profile): string {
  const parts = `${groups[0]}, ${certificateAlgorithm}`;
  return id === goal.id ? `${parts}, no profile` : `profile ${id} (${parts})`;
}
