// Roles of the repositories: which there are, which keys they have, and how long what they sign is good.

import type { SignatureAlgorithm } from "../../uptane/keys.ts";
import { type RepositoryName, type Root, topLevelRoles } from "../../uptane/models.ts";

/** Roles of a root. */
export type RootRole = keyof Root["roles"];

/** Roles by repository. The time is attested by the Director alone. */
export const rolesOf: Readonly<Record<RepositoryName, readonly RootRole[]>> = {
  director: [...topLevelRoles, "time"],
  image: topLevelRoles,
};

/** Which keys a role has, one of each algorithm in the list, and how many must sign. */
export interface RoleSetting {
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly threshold: number;
}

/** How long metadata is good, in days; that of delegated roles as long as targets. */
export type Validity = Readonly<Record<(typeof topLevelRoles)[number], number>>;

/** How long it is good where nothing else is said. */
export const defaultValidity: Validity = { root: 365, targets: 365, snapshot: 30, timestamp: 7 };

/** Milliseconds of a day. */
export const day = 86_400_000;

/** A file that was made. */
export interface Written {
  readonly repository: RepositoryName;
  readonly fileName: string;
  /** Not given out yet: how many signatures it has of those that it needs, and the file that must be given out before it. */
  readonly staged:
    | { readonly signatures: number; readonly threshold: number; readonly awaits?: string }
    | undefined;
}
