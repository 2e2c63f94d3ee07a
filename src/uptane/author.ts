// Makes what roles sign: roots, targets, snapshots, timestamps, and a Director's bundle for one vehicle. What is made meets the
// rules by which it will be read.

import { createHash } from "node:crypto";
import type { z } from "zod";
import type { JsonObject } from "./canonical_json.ts";
import { signEnvelope } from "./envelope.ts";
import { keyidOf, type Signer } from "./keys.ts";
import {
  type Delegation,
  type Delegations,
  type Hashes,
  type KeyModel,
  rootSchema,
  type Snapshot,
  snapshotSchema,
  specVersion,
  type Target,
  targetsSchema,
  timestampSchema,
  type TopLevelRole,
  utcText,
} from "./models.ts";

/** Who signs for a role. */
export interface RoleHolders {
  /** Public keys. ML-DSA-65 and ECDSA with threshold 2: both must sign. */
  readonly keys: readonly KeyModel[];
  /** @default 1 */
  readonly threshold?: number;
}

/** What all metadata has. */
export interface Common {
  /** 1, and one more with each file of the role. */
  readonly version: number;
  /** First moment at which it is no longer good. */
  readonly expires: Date;
}

/** What is to be signed is not metadata: an argument broke a rule. */
export class AuthorError extends Error {
  override readonly name = "AuthorError";
}

/**
 * A root.
 *
 * @param roles Holders of each role; `time`, for the Director alone, attests the time.
 * @throws {AuthorError}
 */
export function makeRoot(
  { version, expires, roles }: Common & {
    readonly roles: Readonly<Record<TopLevelRole, RoleHolders>> & { readonly time?: RoleHolders };
  },
): JsonObject {
  const keys = Object.values(roles).flatMap((holders) => holders?.keys ?? []);
  return checked(rootSchema, {
    _type: "root",
    spec_version: specVersion,
    consistent_snapshot: true,
    version,
    expires: utcText(expires),
    keys: byKeyid(keys),
    roles: Object.fromEntries(
      Object.entries(roles).flatMap(([role, holders]) =>
        holders === undefined ? [] : [[role, roleKeys(holders)]]
      ),
    ),
  });
}

/** A delegation that is to be made. */
export interface DelegationRequest extends RoleHolders, Pick<Delegation, "name" | "paths"> {
  /** @default false */
  readonly terminating?: boolean;
  /** @default any */
  readonly hardwareIds?: readonly string[];
}

/** Delegations as they stand in targets, first come first asked. @throws {AuthorError} by way of {@linkcode makeTargets} */
export function makeDelegations(requests: readonly DelegationRequest[]): Delegations {
  return {
    keys: byKeyid(requests.flatMap(({ keys }) => keys)),
    roles: requests.map(({ name, paths, terminating = false, hardwareIds, ...holders }) => ({
      name,
      ...roleKeys(holders),
      terminating,
      paths,
      ...hardwareIds === undefined ? {} : { hardware_ids: [...hardwareIds] },
    })),
  };
}

/**
 * Targets, top-level or delegated.
 *
 * @param vehicleId The Director's alone: the VIN that they are for.
 * @throws {AuthorError}
 */
export function makeTargets(
  { version, expires, targets, delegations, vehicleId }: Common & {
    readonly targets: Readonly<Record<string, Target>>;
    readonly delegations?: Delegations;
    readonly vehicleId?: string;
  },
): JsonObject {
  return checked(targetsSchema, {
    _type: "targets",
    spec_version: specVersion,
    version,
    expires: utcText(expires),
    targets,
    ...delegations === undefined ? {} : { delegations },
    ...vehicleId === undefined ? {} : { vehicle_id: vehicleId },
  });
}

/** A file that other metadata names. */
export interface NamedFile {
  readonly version: number;
  readonly bytes: Uint8Array;
}

/**
 * A snapshot.
 *
 * @param targets Targets and delegated roles by name, e.g. `targets`.
 * @param kept What the snapshot before named: of roles that are not in `targets` it stays. @default nothing
 * @throws {AuthorError}
 */
export function makeSnapshot(
  { version, expires, targets, kept = {} }: Common & {
    readonly targets: ReadonlyMap<string, NamedFile>;
    readonly kept?: Snapshot["meta"];
  },
): JsonObject {
  return checked(snapshotSchema, {
    _type: "snapshot",
    spec_version: specVersion,
    version,
    expires: utcText(expires),
    meta: {
      ...kept,
      ...Object.fromEntries([...targets].map(([role, file]) => [`${role}.json`, described(file)])),
    },
  });
}

/** A timestamp. @throws {AuthorError} */
export function makeTimestamp(
  { version, expires, snapshot }: Common & { readonly snapshot: NamedFile },
): JsonObject {
  return checked(timestampSchema, {
    _type: "timestamp",
    spec_version: specVersion,
    version,
    expires: utcText(expires),
    meta: { "snapshot.json": described(snapshot) },
  });
}

/** Hashes of a file as they stand in metadata. */
export function hashesOf(bytes: Uint8Array): Hashes {
  return { sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** Signers of the Director's online roles. */
export interface DirectorSigners {
  readonly targets: readonly Signer[];
  readonly snapshot: readonly Signer[];
  readonly timestamp: readonly Signer[];
}

/** What one vehicle is told to install. */
export interface DirectorBundleOptions {
  /** VIN */
  readonly vehicleId: string;
  /** Of all three files: one more than the vehicle's last bundle. */
  readonly version: number;
  /** Images as they stand in the Image repository, with the ECUs that get them. None: nothing is to be installed. */
  readonly images: readonly {
    readonly filename: string;
    readonly target: Target;
    readonly ecus: readonly { readonly ecuId: string; readonly hardwareId: string }[];
  }[];
  readonly expires: { readonly targets: Date; readonly snapshot: Date; readonly timestamp: Date };
  readonly signers: DirectorSigners;
}

/**
 * A Director's targets, snapshot and timestamp for one vehicle, by the names that they have in the repository; the timestamp is
 * the last: whoever writes them in order shows the vehicle whole bundles only.
 *
 * @throws {AuthorError}
 */
export async function makeDirectorBundle(
  { vehicleId, version, images, expires, signers }: DirectorBundleOptions,
): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const directed = Object.fromEntries(images.map(({ filename, target, ecus }) => [filename, {
    length: target.length,
    hashes: target.hashes,
    custom: {
      ...target.custom?.must_match === undefined ? {} : { must_match: target.custom.must_match },
      ecus: Object.fromEntries(ecus.map(({ ecuId, hardwareId }) => [ecuId, { hardware_id: hardwareId }])),
    },
  }]));
  if (Object.keys(directed).length !== images.length) {
    throw new AuthorError("expected each image once, got one twice: name all of its ECUs with it");
  }
  const targets = await signEnvelope(
    makeTargets({ version, expires: expires.targets, targets: directed, vehicleId }),
    signers.targets,
  );
  const snapshot = await signEnvelope(
    makeSnapshot({
      version,
      expires: expires.snapshot,
      targets: new Map([["targets", { version, bytes: targets }]]),
    }),
    signers.snapshot,
  );
  const timestamp = await signEnvelope(
    makeTimestamp({ version, expires: expires.timestamp, snapshot: { version, bytes: snapshot } }),
    signers.timestamp,
  );
  return new Map([
    [`${version}.targets.json`, targets],
    [`${version}.snapshot.json`, snapshot],
    ["timestamp.json", timestamp],
  ]);
}

function described({ version, bytes }: NamedFile) {
  return { version, length: bytes.length, hashes: hashesOf(bytes) };
}

function byKeyid(keys: readonly KeyModel[]): Record<string, KeyModel> {
  return Object.fromEntries(keys.map((key) => [keyidOf(key), key]));
}

function roleKeys({ keys, threshold = 1 }: RoleHolders) {
  return { keyids: keys.map(keyidOf), threshold };
}

/** Members that are not known to the schema, `consistent_snapshot` for one, stay: what is signed is what was made. */
function checked(schema: z.ZodType, made: JsonObject | object): JsonObject {
  const { success, error } = schema.safeParse(made);
  if (!success) {
    const [{ path, message }] = error.issues;
    throw new AuthorError(`${path.join(".")}: ${message}`);
  }
  // By way of its text: what is undefined is absent, and nothing changes under the signature afterwards.
  const text = JSON.stringify(made);
  return JSON.parse(text);
}
