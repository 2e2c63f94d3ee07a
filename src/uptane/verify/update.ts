// One repository from its root to its targets, and what is trusted of it then (Uptane Standard 2.1, sections 5.4.4.3 to 5.4.4.6).

import type { CheckedTargets, TrustedRepository } from "./repository.ts";

/** Versions of what is trusted. */
export interface Versions {
  readonly root: number;
  readonly timestamp: number;
  readonly snapshot: number;
  readonly targets: number;
}

/**
 * Goes through the four roles.
 *
 * @param keep Whether the targets are trusted with that.
 */
export async function updateRepository(
  repository: TrustedRepository,
  keep: boolean,
): Promise<CheckedTargets> {
  await repository.updateRoot();
  repository.checkRootExpiry();
  await repository.updateTimestamp();
  await repository.updateSnapshot();
  return await repository.loadTargets("targets", repository.targetsAuthority(), keep);
}

/** The versions, once the roles were gone through. */
export function versionsOf(repository: TrustedRepository, targets: CheckedTargets): Versions {
  return {
    root: repository.root.signed.version,
    timestamp: repository.timestamp?.signed.version ?? 0,
    snapshot: repository.snapshot?.signed.version ?? 0,
    targets: targets.metadata.signed.version,
  };
}
