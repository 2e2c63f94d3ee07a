// What `repo` takes on its command line: roles with their keys, and validity in days.

import { InvalidArgumentError } from "commander";
import { parseRoleKeys, roleKeysRule } from "../config/role_keys.ts";
import {
  delegatedRoleName,
  delegationSchema,
  type RepositoryName,
  repositoryNames,
} from "../uptane/models.ts";
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

/** Parser for the name of a delegated role. */
export function delegatedRole(text: string): string {
  const { success, error } = delegatedRoleName.safeParse(text);
  if (!success) throw new InvalidArgumentError(error.issues[0].message);
  return text;
}

/** Parser for a role that signs images. */
export function imageRole(text: string): string {
  return text === "targets" ? text : delegatedRole(text);
}

/** Parser for a role that `rotate` gives new keys. */
export const anyRole: ((text: string) => string) & { choices: readonly string[] } = Object.assign(
  (text: string) => rolesOf.director.some((it) => it === text) ? text : delegatedRole(text),
  { choices: rolesOf.director },
);

/** Parser for `--path`: patterns of names of images; may be given again. */
export function pathPattern(text: string, before: readonly string[] = []): string[] {
  return listed("paths", text, before);
}

/** Parser for `--hardware` of a delegation; may be given again. */
export function delegatedHardware(text: string, before: readonly string[] = []): string[] {
  return listed("hardware_ids", text, before);
}

function listed(member: "paths" | "hardware_ids", text: string, before: readonly string[]): string[] {
  const all = [...before, text];
  const { success, error } = delegationSchema.shape[member].safeParse(all);
  if (!success) throw new InvalidArgumentError(error.issues[0].message);
  return all;
}

/** Keys of a delegated role that are made here; the threshold is left open where a number was given. */
export interface MadeKeys {
  readonly algorithms: RoleSetting["algorithms"];
  readonly threshold?: number;
}

/** Parser for `--keys` of a delegation: so many keys of ML-DSA-65, or as `rotate` has them. */
export function madeKeys(text: string): MadeKeys {
  const count = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (count === 0) return roleSetting(text);
  return roleSetting(Array.from({ length: count }, () => "ml-dsa-65").join(","));
}

/** Parser for `--threshold`. */
export function thresholdOption(text: string): number {
  if (!/^[1-9]\d?$/.test(text)) {
    throw new InvalidArgumentError("expected 1 or more, at most the number of keys");
  }
  return Number(text);
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
