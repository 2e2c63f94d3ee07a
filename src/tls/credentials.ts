// Checks certificate chain, private key and trusted certificates before a socket is opened with them.

import "reflect-metadata";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { PemConverter, X509Certificate } from "@peculiar/x509";
import { BadCredentials } from "./errors.ts";
import type { Credentials } from "./types.ts";

function certificates(what: string, pem: string): X509Certificate[] {
  let found: X509Certificate[];
  try {
    found = PemConverter.decodeWithHeaders(pem).filter(({ type }) => type === "CERTIFICATE")
      .map(({ rawData }) => new X509Certificate(rawData));
  } catch (cause) {
    throw new BadCredentials(`${what}: expected certificates as PEM, got something that cannot be read`, {
      cause,
    });
  }
  if (found.length === 0) {
    throw new BadCredentials(`${what}: expected at least one certificate as PEM, got none`);
  }
  return found;
}

/**
 * The runtime's stack takes any text for a key or a certificate and fails at each handshake instead: this says it at once.
 *
 * @throws {BadCredentials} when a part cannot be read, or the key is not that of the first certificate. The key is
 * never repeated.
 */
export function checkCredentials(credentials: Credentials, trust: string): void {
  certificates("trust", trust);
  const [leaf] = certificates("credentials.certificateChain", credentials.certificateChain);
  let publicKey;
  try {
    publicKey = createPublicKey(createPrivateKey(credentials.privateKey)).export({
      type: "spki",
      format: "der",
    });
  } catch (cause) {
    throw new BadCredentials(
      "credentials.privateKey: expected a private key as PEM that this stack can use",
      { cause },
    );
  }
  if (!publicKey.equals(new Uint8Array(leaf.publicKey.rawData))) {
    throw new BadCredentials(`credentials.privateKey: expected the key of ${leaf.subject}, got another one`);
  }
}
