// Gives a vehicle its first trusted roots (Uptane Standard 2.1, section 5.4.1). Everything that it trusts later follows from
// them: they are handed over where the vehicle is made, never fetched.

import { refusal } from "../checks.ts";
import { EnvelopeError, readMetadata } from "../envelope.ts";
import { type RepositoryName, repositoryNames } from "../models.ts";
import type { MetadataStore } from "../store.ts";
import { countSignatures } from "../threshold.ts";

/**
 * Puts the first roots into a store. What is trusted there already stays: a second try changes nothing.
 *
 * @returns {Promise} names of the repositories whose root was taken
 * @throws {MalformedError | ThresholdError} if one is no root, or is not signed by its own keys; nothing is kept then.
 */
export async function provision(
  store: MetadataStore,
  roots: Readonly<Record<RepositoryName, Uint8Array>>,
): Promise<RepositoryName[]> {
  const taken: RepositoryName[] = [];
  for (const repository of repositoryNames) await checkRoot(repository, roots[repository]);
  for (const repository of repositoryNames) {
    if ((await store.load(repository)).has("root.json")) continue;
    await store.replace(repository, new Map([["root.json", roots[repository]]]));
    taken.push(repository);
  }
  return taken;
}

async function checkRoot(repository: RepositoryName, bytes: Uint8Array): Promise<void> {
  const subject = `${repository} root`;
  let root;
  try {
    root = readMetadata("root", bytes);
  } catch (cause) {
    if (!(cause instanceof EnvelopeError)) throw cause;
    throw refusal("metadata_form", subject, cause.message, { cause });
  }
  const { keys, roles } = root.signed;
  const signatures = await countSignatures(root, { keys, role: roles.root });
  if (signatures < roles.root.threshold) {
    throw refusal(
      "root_signed_by_itself",
      subject,
      `expected good signatures of ${roles.root.threshold} of the role's keys, got ${signatures}`,
    );
  }
}
