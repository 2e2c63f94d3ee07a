// Keys of a role of signed metadata, as a setting has them: of which algorithms, and how many of them must sign.

import { z } from "zod";
import { signatureAlgorithms } from "../contract/uptane.ts";

/** Most keys of a role that are made. */
const mostKeys = 16;

/** Which keys a role has, one of each algorithm in the list, and how many must sign. */
export interface RoleKeySetting {
  readonly algorithms: readonly (typeof signatureAlgorithms[number])[];
  readonly threshold: number;
}

/** What a setting of keys must be. */
export const roleKeysRule =
  "expected both, or a list of ml-dsa-65 and ecdsa-p256 with a threshold, such as ml-dsa-65,ml-dsa-65:2";

/**
 * Reads `ml-dsa-65`, `ecdsa-p256`, `both` (one of each, and both must sign), or a list with the threshold behind it, such as
 * `ml-dsa-65,ml-dsa-65,ml-dsa-65:2`; undefined for anything else.
 */
export function parseRoleKeys(text: string): RoleKeySetting | undefined {
  const [list, digits, ...more] = (text === "both" ? "ml-dsa-65,ecdsa-p256:2" : text).split(":");
  const algorithms = list.split(",").flatMap((name) => signatureAlgorithms.filter((it) => it === name));
  const threshold = digits === undefined ? 1 : /^\d{1,2}$/.test(digits) ? Number(digits) : NaN;
  const good = more.length === 0 && algorithms.length === list.split(",").length &&
    algorithms.length <= mostKeys && threshold >= 1 && threshold <= algorithms.length;
  return good ? { algorithms, threshold } : undefined;
}

/** The setting, checked. It stays the text that it is. */
const keys = z.string().refine((text) => parseRoleKeys(text) !== undefined, roleKeysRule);

const roles = { root: keys, timestamp: keys, snapshot: keys, targets: keys };
const days = z.int().min(1).max(9999);

/** `server.uptane` */
export const uptane = z.strictObject({
  directory: z.string(),
  director: z.strictObject({ ...roles, time: keys }),
  image: z.strictObject(roles),
  valid_days: z.strictObject({ root: days, targets: days, snapshot: days, timestamp: days }),
  version_reports: z.enum(["when_known", "required"]),
  /** Attested times that one certificate gets in a minute. */
  times_per_minute: z.int().min(1).max(100_000),
});
