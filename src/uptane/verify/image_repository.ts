// All of the Image repository, every delegated role included: for whoever publishes in it. A vehicle looks only into the roles
// that it needs for its images.

import { Checker } from "../checks.ts";
import { limitsOf } from "../store.ts";
import type { FullVerificationOptions } from "./full.ts";
import { type CheckedTargets, TrustedRepository } from "./repository.ts";
import { updateRepository, type Versions, versionsOf } from "./update.ts";

/** Options of {@linkcode verifyRepository}. */
export interface RepositoryVerificationOptions extends
  Pick<
    FullVerificationOptions,
    "store" | "fetcher" | "time" | "limits" | "signal" | "observe"
  > {}

/** What is trusted of the Image repository. */
export interface VerifiedRepository {
  readonly versions: Versions;
  /** Names of the delegated roles that were checked. */
  readonly delegated: readonly string[];
  /** What the targets and each delegated role sign, in the order in which they were come to. */
  readonly content: readonly CheckedTargets[];
}

/**
 * Checks all of the Image repository: the four roles and every delegated one, for whoever publishes in it.
 *
 * @throws as {@linkcode verifyFully}.
 */
export async function verifyRepository(options: RepositoryVerificationOptions): Promise<VerifiedRepository> {
  const { store, fetcher, time, signal, observe } = options;
  const limits = limitsOf(options.limits);
  const checker = new Checker(observe);
  const image = await TrustedRepository.open({
    repository: "image",
    store,
    fetcher,
    time,
    limits,
    signal,
    checker,
  });
  const top = await updateRepository(image, true);
  const visited = new Set(["targets"]);
  const waiting: CheckedTargets[] = [top];
  for (let at = 0; at < waiting.length; at++) {
    const { delegations } = waiting[at].metadata.signed;
    for (const { name, keyids, threshold } of delegations?.roles ?? []) {
      if (delegations === undefined || visited.has(name)) continue;
      visited.add(name);
      const by = { keys: delegations.keys, role: { keyids, threshold } };
      waiting.push(await image.loadTargets(name, by, true));
    }
  }
  return {
    versions: versionsOf(image, top),
    delegated: waiting.slice(1).map(({ role }) => role),
    content: waiting,
  };
}
