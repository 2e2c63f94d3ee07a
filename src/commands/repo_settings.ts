// What `repo` takes on its command line: roles with their keys, and validity in days.

import { InvalidArgumentError } from "commander";
import { parseRoleKeys, roleKeysRule } from "../config/role_keys.ts";
import { type RepositoryName, repositoryNames } from "../uptane/models.ts";
import {
  defaultValidity,
  type RoleSetting,
  rolesOf,
  type RootRole,
  type Validity,
} from "../server/uptane/roles.ts";

/** Keys of all roles where nothing else is said. */
const defaultSetting: RoleSetting = { algorithms: ["ml-dsa-65"], threshold: 1 };

/** One `--role`. */
export interface RoleOption {
  /** Undefined: both. */
  readonly repository: RepositoryName | undefined;
  /** Undefined: all. */
  readonly role: RootRole | undefined;
  readonly setting: RoleSetting;
}

/** Parser for the keys of a role. */
export function roleSetting(text: string): RoleSetting {
  const setting = parseRoleKeys(text);
  if (setting === undefined) throw new InvalidArgumentError(roleKeysRule);
  return setting;
}

/** Parser for `--role`: `root=both`, `image.targets=ecdsa-p256`, `all=ecdsa-p256`; may be given again, the last one counts. */
export function roleOption(text: string, before: readonly RoleOption[]): RoleOption[] {
  const [name, keys, ...more] = text.split("=");
  if (keys === undefined || more.length > 0) {
    throw new InvalidArgumentError("expected ROLE=KEYS, such as root=both");
  }
  const parts = name.split(".");
  const [repositoryPart, rolePart] = parts.length === 2 ? parts : [undefined, name];
  const repository = repositoryNames.find((it) => it === repositoryPart);
  const role = rolesOf[repository ?? "director"].find((it) => it === rolePart);
  const all = rolePart === "all";
  if (
    parts.length > 2 || (repositoryPart !== undefined && repository === undefined) ||
    (role === undefined && !all)
  ) {
    throw new InvalidArgumentError(
      "expected root, timestamp, snapshot, targets, time or all, with director. or image. before it or not",
    );
  }
  return [...before, { repository, role, setting: roleSetting(keys) }];
}

/** The keys of each role of a repository. */
export function settingsOf(
  repository: RepositoryName,
  options: readonly RoleOption[],
): Record<RootRole, RoleSetting> {
  const of = (role: RootRole): RoleSetting =>
    options.findLast((it) =>
      (it.repository === undefined || it.repository === repository) &&
      (it.role === undefined || it.role === role)
    )?.setting ?? defaultSetting;
  return {
    root: of("root"),
    timestamp: of("timestamp"),
    snapshot: of("snapshot"),
    targets: of("targets"),
    time: of("time"),
  };
}

/** Parser for `--expires`: `timestamp=7`; may be given again. */
export function validityOption(text: string, before: Validity): Validity {
  const [name, digits] = text.split("=");
  if (
    !Object.hasOwn(defaultValidity, name) || !/^[1-9]\d{0,3}$/.test(digits ?? "") ||
    text.split("=").length !== 2
  ) {
    throw new InvalidArgumentError("expected root, timestamp, snapshot or targets, = and 1 to 9999 days");
  }
  return { ...before, [name]: Number(digits) };
}
