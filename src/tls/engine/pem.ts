// Turns PEM (RFC 7468), as files and options hold it, into the DER that the engine takes.

import { BadCredentials } from "../errors.ts";

/** Blocks of one kind: the label after BEGIN, and the base64 between. */
function blocks(label: string, text: string): Uint8Array<ArrayBuffer>[] {
  const found = text.matchAll(
    new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`, "g"),
  );
  return [...found].map(([, base64]) => {
    try {
      return Uint8Array.fromBase64(base64);
    } catch (cause) {
      // The text itself may be a private key: only its label is repeated.
      throw new BadCredentials(`expected base64 in the PEM block ${label}`, { cause });
    }
  });
}

/**
 * The certificates of a PEM text, in its order.
 *
 * @param what What the text is, for the message, e.g. `trust`.
 * @throws {BadCredentials} when there is none.
 */
export function certificatesFromPem(what: string, text: string): Uint8Array<ArrayBuffer>[] {
  const found = blocks("CERTIFICATE", text);
  if (found.length === 0) {
    throw new BadCredentials(`${what}: expected at least one certificate as PEM, got none`);
  }
  return found;
}

/**
 * The private key of a PEM text, PKCS#8.
 *
 * @param what What the text is, for the message, e.g. `credentials.privateKey`.
 * @throws {BadCredentials} unless there is exactly one. The text is not repeated.
 */
export function privateKeyFromPem(what: string, text: string): Uint8Array<ArrayBuffer> {
  const found = blocks("PRIVATE KEY", text);
  if (found.length !== 1) {
    throw new BadCredentials(
      `${what}: expected one PEM block PRIVATE KEY (unencrypted PKCS#8), got ${found.length}`,
    );
  }
  return found[0];
}
