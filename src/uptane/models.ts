// What the signed files hold: TUF's file format (TUF specification 1.0, section 4) with the members that Uptane adds. The
// schemas take unknown members and leave them out; what is signed covers them all the same.

import { z } from "zod";
import * as id from "../contract/identifiers.ts";

/** The two repositories of a vehicle (Uptane Standard 2.1, section 5.3). */
export const repositoryNames = ["director", "image"] as const;
export type RepositoryName = typeof repositoryNames[number];

/** The top-level roles (section 5.1). */
export const topLevelRoles = ["root", "timestamp", "snapshot", "targets"] as const;
export type TopLevelRole = typeof topLevelRoles[number];

/** The role of the Director's root that attests the time. TUF has none; a root without it attests no time. */
export const timeRole = "time";

/** What the files say that they are written by. */
export const specVersion = "1.0.31";

/** Most keys of a root or a delegating role, and most signatures of a file. */
const mostKeys = 64;

/** A date and time in UTC, to the second: 2026-01-31T10:00:00Z. */
export const utcTime = z.string().refine((text) => {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(text)) return false;
  const time = Date.parse(text);
  return !Number.isNaN(time) && utcText(time) === text;
}, "must be a date and time in UTC such as 2026-01-31T10:00:00Z");

/** A time as it stands in the files, cut to the second. */
export function utcText(time: number | Date): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`;
}

const version = z.int().min(1);
const keyid = id.sha256;

/** A public key (section 5.2.1): its type, its scheme, and a PEM text of its SubjectPublicKeyInfo. */
export const keyModel = z.object({
  keytype: z.string().min(1).max(64),
  scheme: z.string().min(1).max(64),
  keyval: z.object({ public: z.string().min(1).max(8192) }),
});

const keys = z.record(keyid, keyModel).refine(
  (all) => Object.keys(all).length <= mostKeys,
  `must have at most ${mostKeys} keys`,
);

const roleKeys = z.object({
  keyids: z.array(keyid).min(1).max(mostKeys).refine(
    (all) => new Set(all).size === all.length,
    "must name each key once",
  ),
  threshold: z.int().min(1).max(mostKeys),
}).refine(
  (role) => role.threshold <= role.keyids.length,
  "must have a key for each signature of its threshold",
);

/** Name of a delegated role; it stands in file names. */
export const delegatedRoleName = z.string().regex(
  /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/,
  "must be 1 to 64 letters, digits, '_', '-', '.', beginning with a letter or digit",
).refine(
  (name) => ![...topLevelRoles, timeRole].some((it) => it === name.toLowerCase()),
  "must not be the name of a top-level role",
);

/**
 * Name of an image: parts between slashes, none of which leads upwards or hides (section 5.2.7 asks for names that traverse no
 * paths).
 */
export const targetName = z.string().max(256).regex(
  /^[A-Za-z0-9_][A-Za-z0-9_.+~-]*(?:\/[A-Za-z0-9_][A-Za-z0-9_.+~-]*)*$/,
  "must be parts of letters, digits, '_', '.', '+', '~', '-' between slashes",
);

const targetPattern = z.string().min(1).max(256).regex(
  /^[A-Za-z0-9_.+~*?-]+(?:\/[A-Za-z0-9_.+~*?-]+)*$/,
  "must be the name of an image, with '*' and '?' for what may vary",
);

const hashes = z.object({
  sha256: id.sha256,
  sha512: z.string().regex(/^[0-9a-f]{128}$/, "must be 128 lower-case hexadecimal digits").optional(),
});

const signedCommon = {
  spec_version: z.string().max(16).regex(
    /^1\.\d+(?:\.\d+)?$/,
    "must be a version 1 of the TUF specification",
  ),
  version,
  expires: utcTime,
};

export const rootSchema = z.object({
  _type: z.literal("root"),
  ...signedCommon,
  keys,
  roles: z.object({
    root: roleKeys,
    timestamp: roleKeys,
    snapshot: roleKeys,
    targets: roleKeys,
    time: roleKeys.optional(),
  }),
}).refine(
  (root) =>
    Object.values(root.roles).every((role) =>
      role === undefined || role.keyids.every((keyid) => Object.hasOwn(root.keys, keyid))
    ),
  "must have the key of each keyid that a role names",
);

const metaFile = z.object({
  version,
  length: z.int().min(1).optional(),
  hashes: hashes.optional(),
});

export const timestampSchema = z.object({
  _type: z.literal("timestamp"),
  ...signedCommon,
  /** Section 5.2.5 asks for hashes of the snapshot. */
  meta: z.object({ "snapshot.json": metaFile.required({ hashes: true }) }),
});

const metaName = z.string().refine(
  (name) =>
    name === "targets.json" ||
    name.endsWith(".json") && delegatedRoleName.safeParse(name.slice(0, -5)).success,
  "must be targets.json or the file of a delegated role",
);

export const snapshotSchema = z.object({
  _type: z.literal("snapshot"),
  ...signedCommon,
  meta: z.record(metaName, metaFile),
});

const releaseCounter = z.int().min(0);
const distinct = (what: string) =>
  z.array(id.label.min(1)).min(1).max(64).refine(
    (all) => new Set(all).size === all.length,
    `must name each ${what} once`,
  );

/**
 * What both repositories must say alike of an image (section 5.2.3.1.1, the "SHALL match" section). Further members are taken
 * and must be alike too.
 */
export const mustMatch = z.looseObject({
  /** Hardware that the image runs on, as the ECU reports it. */
  hardware_ids: distinct("hardware"),
  /** Kinds of ECU that it is for. */
  ecu_types: distinct("type").optional(),
  /** For people. */
  version: id.releaseVersion.optional(),
  /** Goes up with each release for the same hardware. */
  release_counter: releaseCounter.optional(),
});

export const targetSchema = z.object({
  length: z.int().min(1),
  hashes,
  custom: z.looseObject({
    must_match: mustMatch.optional(),
    /** The Director's alone: which ECUs get the image (section 5.2.3.1.1). */
    ecus: z.record(id.ecuId, z.object({ hardware_id: id.label.min(1) })).optional(),
  }).optional(),
});

export const delegationSchema = z.object({
  name: delegatedRoleName,
  keyids: roleKeys.shape.keyids,
  threshold: roleKeys.shape.threshold,
  terminating: z.boolean(),
  /** Names of images that it is for; `*` and `?` stand for what may vary between two slashes. */
  paths: z.array(targetPattern).max(1024),
  /** Hardware that it is for; without it, any (section 5.2.3.2). */
  hardware_ids: distinct("hardware").optional(),
}).refine(
  (role) => role.threshold <= role.keyids.length,
  "must have a key for each signature of its threshold",
);

export const delegationsSchema = z.object({
  keys,
  roles: z.array(delegationSchema).max(1024).refine(
    (all) => new Set(all.map((role) => role.name.toLowerCase())).size === all.length,
    "must name each role once",
  ),
}).refine(
  (all) => all.roles.every((role) => role.keyids.every((keyid) => Object.hasOwn(all.keys, keyid))),
  "must have the key of each keyid that a role names",
);

export const targetsSchema = z.object({
  _type: z.literal("targets"),
  ...signedCommon,
  targets: z.record(targetName, targetSchema),
  delegations: delegationsSchema.optional(),
  /** The Director's alone: the VIN of the vehicle that it directs (section 5.2.3.1). */
  vehicle_id: id.vin.optional(),
});

/** One signature of a file. */
export const signatureSchema = z.object({
  keyid,
  /** Hexadecimal digits. Empty: a place that is kept for one. */
  sig: z.string().max(20_000).regex(/^(?:[0-9a-f]{2})*$/, "must be lower-case hexadecimal digits"),
  /** Version reports and manifests say these besides (section 5.4.2.1): the algorithm, and a hash of what is signed. */
  method: z.string().max(64).optional(),
  hash_function: z.literal("sha256").optional(),
  hash: id.sha256.optional(),
});

export const signaturesSchema = z.array(signatureSchema).max(mostKeys).refine(
  (all) => new Set(all.map((it) => it.keyid)).size === all.length,
  "must have one signature of each key",
);

export type KeyModel = z.infer<typeof keyModel>;
export type RoleKeys = z.infer<typeof roleKeys>;
export type Hashes = z.infer<typeof hashes>;
export type Root = z.infer<typeof rootSchema>;
export type Timestamp = z.infer<typeof timestampSchema>;
export type Snapshot = z.infer<typeof snapshotSchema>;
export type Targets = z.infer<typeof targetsSchema>;
export type Target = z.infer<typeof targetSchema>;
export type MustMatch = z.infer<typeof mustMatch>;
export type Delegation = z.infer<typeof delegationSchema>;
export type Delegations = z.infer<typeof delegationsSchema>;
export type Signature = z.infer<typeof signatureSchema>;
/** What top-level roles sign, by role. */
export interface SignedByRole {
  root: Root;
  timestamp: Timestamp;
  snapshot: Snapshot;
  targets: Targets;
}
