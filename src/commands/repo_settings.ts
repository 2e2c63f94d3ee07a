// What `repo` takes on its command line: roles with their keys, and validity in days.

import { InvalidArgumentError } from "commander";
import { type SignatureAlgorithm, signatureAlgorithms } from "../uptane/keys.ts";
import { type RepositoryName, repositoryNames } from "../uptane/models.ts";
import {
  defaultValidity,
  type RoleSetting,
  rolesOf,
  type RootRole,
  type Validity,
} from "../server/uptane/repository_author.ts";

/** Most keys of a role that are made. */
const mostKeys = 16;

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

/**
 * Parser for the keys of a role: `ml-dsa-65`, `ecdsa-p256`, `both`, or a list with the threshold behind it, such as
 * `ml-dsa-65,ml-dsa-65,ml-dsa-65:2`.
 */
export function roleSetting(text: string): RoleSetting {
  const [list, digits, ...more] = (text === "both" ? "ml-dsa-65,ecdsa-p256:2" : text).split(":");
  const algorithms = list.split(",").map((name) => signatureAlgorithms.find((it) => it === name));
  const known = algorithms.filter((it): it is SignatureAlgorithm => it !== undefined);
  const threshold = digits === undefined ? 1 : /^\d{1,2}$/.test(digits) ? Number(digits) : NaN;
  if (
    more.length > 0 || known.length !== algorithms.length || known.length > mostKeys ||
    !(threshold >= 1 && threshold <= known.length)
  ) {
    throw new InvalidArgumentError(
      "expected both, or a list of ml-dsa-65 and ecdsa-p256 with a threshold, such as ml-dsa-65,ml-dsa-65:2",
    );
  }
  return { algorithms: known, threshold };
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
