// Certificates by which testers authenticate to ECUs (UDS service 0x29): the bench's own, or those that the bench file names.

import { join } from "node:path";
import type { AuthenticationIdentity } from "../../hardware/uds/authentication.ts";
import { x509Identity } from "../../hardware/uds/authentication_x509.ts";
import type { certificateNames } from "../config/ecu_type.ts";
import type { BenchConfig, BenchEcuType } from "../config/schema.ts";
import { testerCredentialsName } from "../pqc/authority.ts";
import { keyAlgorithmOf, readPrivateKey } from "../pqc/certificates.ts";
import { CredentialsMissing } from "../pqc/errors.ts";
import { readIfPresent } from "../pqc/files.ts";
import { readCertificate, readCertificates } from "../pqc/pki_directory.ts";
import { type CertificateAlgorithm, certificateAlgorithms } from "../pqc/profiles.ts";
import { CommandFailed } from "./output.ts";

const algorithms: Readonly<Record<typeof certificateNames[number], CertificateAlgorithm>> = {
  "ecdsa-p-256": "ECDSA P-256",
  "ml-dsa-44": "ML-DSA-44",
  "ml-dsa-65": "ML-DSA-65",
  "ml-dsa-87": "ML-DSA-87",
};

/** Algorithms of the testers' certificates that the bench file asks the bench's authority for. */
export function testerAlgorithms({ ecu_types }: BenchConfig): Set<CertificateAlgorithm> {
  return new Set(
    Object.values(ecu_types).flatMap(({ authentication: { algorithm } = {} }) =>
      algorithm === undefined ? [] : [algorithms[algorithm]]
    ),
  );
}

/** Who authenticates to ECUs of a type: loaded when it is asked for. Undefined: nobody has to. */
export function testerIdentity(
  { authentication }: BenchEcuType,
  pki: string,
): (() => Promise<AuthenticationIdentity>) | undefined {
  if (authentication === undefined) return undefined;
  // The schema wants one of the two: an algorithm, or certificate and key.
  const { algorithm = "ecdsa-p-256", certificate, key } = authentication;
  const own = join(pki, testerCredentialsName(algorithms[algorithm]));
  const certificateFile = certificate ?? `${own}.crt`;
  const keyFile = key ?? `${own}.key`;
  return async () => {
    const keyText = await readIfPresent(keyFile);
    if (keyText === undefined || await readIfPresent(certificateFile) === undefined) {
      throw new CredentialsMissing(
        `${certificateFile} and its key: not there; "zonebench serve" and "zonebench pki init" issue them where the authority is`,
      );
    }
    const { rawData } = await readCertificate(certificateFile);
    try {
      const { privateKey } = await readPrivateKey(keyText);
      const der = new Uint8Array(await crypto.subtle.exportKey("pkcs8", privateKey));
      return await x509Identity(new Uint8Array(rawData), der);
    } catch (cause) {
      throw new CommandFailed(
        `${keyFile}: expected the private key of ${certificateFile}: ${
          cause instanceof Error ? cause.message : cause
        }`,
        { cause },
      );
    }
  };
}

/** The authorities that simulated ECUs trust, in DER, by the ECU type that asks for authentication. */
export async function ecuTrust(bench: BenchConfig, pki: string): Promise<Map<string, Uint8Array[]>> {
  const trust = new Map<string, Uint8Array[]>();
  for (const [name, { authentication }] of Object.entries(bench.ecu_types)) {
    if (authentication === undefined) continue;
    const anchors = await readCertificates(authentication.trust ?? join(pki, "ca.crt"));
    trust.set(
      name,
      anchors.filter((anchor) => certificateAlgorithms.some((known) => known === keyAlgorithmOf(anchor)))
        .map(({ rawData }) => new Uint8Array(rawData)),
    );
  }
  return trust;
}
