// The delegated roles of the Image repository as they lie in the folder: who may sign each, and what of it is good.

import type { Delegations, Snapshot } from "../../uptane/models.ts";
import { type Authority, lackingSignatures } from "../../uptane/threshold.ts";
import type { RoleContent } from "../../uptane/verify/delegations.ts";
import type { Numbered, RepositoryDirectory } from "./repository_directory.ts";

/** A delegated role. */
export interface DelegatedRole {
  /** Who may sign it, as the first role says that delegates to it. */
  readonly authority: Authority;
  /** The newest metadata that they signed; undefined if there is none: vehicles have nothing of the role. */
  readonly good: Numbered<"targets"> | undefined;
}

/**
 * The roles that are reached from the top-level targets, by name, in the order in which they are come to.
 *
 * The newest file of a role may be signed by keys that a delegation names which is not given out yet: then the one that vehicles
 * are shown now is the good one.
 *
 * @param shown the snapshot that vehicles are shown
 * @param shownOnly whether files that it does not name are left out of account
 * @throws {RepositoryDirectoryError} for a file that is no metadata.
 */
export async function delegatedRoles(
  directory: RepositoryDirectory,
  top: RoleContent,
  shown: Snapshot | undefined,
  shownOnly: boolean = false,
): Promise<Map<string, DelegatedRole>> {
  const found = new Map<string, DelegatedRole>();
  const delegating = [top];
  for (const { delegations } of delegating) {
    for (const { name, keyids, threshold } of delegations?.roles ?? []) {
      if (delegations === undefined || found.has(name)) continue;
      const authority = { keys: delegations.keys, role: { keyids, threshold } };
      let good: Numbered<"targets"> | undefined;
      for (
        const version of new Set([
          shownOnly ? 0 : await directory.lastVersion("image", name),
          shown?.meta[`${name}.json`]?.version ?? 0,
        ])
      ) {
        const file = await directory.numbered("image", "targets", version, name);
        if (file === undefined || await lackingSignatures(file.metadata, [authority]) !== undefined) continue;
        good = file;
        break;
      }
      found.set(name, { authority, good });
      if (good !== undefined) delegating.push(good.metadata.signed);
    }
  }
  return found;
}

/**
 * Targets with a delegation, in the place of the one of its name.
 *
 * @param before the role that is asked after it. @default it stays where it was; a new one is asked last
 */
export function withDelegation(
  { targets, delegations }: RoleContent,
  added: Delegations,
  before?: string,
): RoleContent {
  const [delegation] = added.roles;
  const present = delegations?.roles ?? [];
  const at = present.findIndex(({ name }) => name === delegation.name);
  const roles = present.filter(({ name }) => name !== delegation.name);
  const place = before === undefined ? at : roles.findIndex(({ name }) => name === before);
  roles.splice(place < 0 ? roles.length : place, 0, delegation);
  return { targets, delegations: usedKeys(roles, { ...delegations?.keys, ...added.keys }) };
}

/** Targets without a delegation. */
export function withoutDelegation({ targets, delegations }: RoleContent, role: string): RoleContent {
  const roles = (delegations?.roles ?? []).filter(({ name }) => name !== role);
  return {
    targets,
    delegations: roles.length === 0 ? undefined : usedKeys(roles, delegations?.keys ?? {}),
  };
}

/** Keys that no delegation names any more are left out. */
function usedKeys(roles: Delegations["roles"], keys: Delegations["keys"]): Delegations {
  const used = new Set(roles.flatMap(({ keyids }) => keyids));
  return { keys: Object.fromEntries(Object.entries(keys).filter(([keyid]) => used.has(keyid))), roles };
}
