// Whether enough of a role's keys have signed (Uptane Standard 2.1, sections 5.2.2 and 5.4.4).

import type { Envelope } from "./envelope.ts";
import { verifierOf } from "./keys.ts";
import type { KeyModel, RoleKeys } from "./models.ts";

/** Who may sign: keys by identifier, and which and how many of them must. */
export interface Authority {
  readonly keys: Readonly<Record<string, KeyModel>>;
  readonly role: RoleKeys;
}

/**
 * Counts the keys of a role that have signed. A key counts once, however often and under however many identifiers it stands in
 * the file or in the role.
 */
export async function countSignatures(
  envelope: Pick<Envelope<unknown>, "payload" | "signatures">,
  { keys, role }: Authority,
): Promise<number> {
  const signed = new Set<string>();
  for (const { keyid, sig } of envelope.signatures) {
    if (!role.keyids.includes(keyid) || !Object.hasOwn(keys, keyid)) continue;
    const verifier = await verifierOf(keys[keyid]);
    if (verifier === undefined || signed.has(verifier.identity)) continue;
    if (await verifier.verify(Uint8Array.fromHex(sig), envelope.payload)) signed.add(verifier.identity);
  }
  return signed.size;
}

/** The first authority whose threshold a file does not meet; undefined if it meets all. */
export async function lackingSignatures(
  envelope: Pick<Envelope<unknown>, "payload" | "signatures">,
  authorities: readonly Authority[],
): Promise<{ signatures: number; threshold: number } | undefined> {
  for (const authority of authorities) {
    const signatures = await countSignatures(envelope, authority);
    const { threshold } = authority.role;
    if (signatures < threshold) return { signatures, threshold };
  }
  return undefined;
}
