// What an attacker makes with the keys that he has: metadata in which each role is signed by whom he wants or stays as the server
// made it, and packages with images of his own.

import { createHash } from "node:crypto";
import { buildPackage } from "../../../src/codec/build_package.ts";
import { compressImage } from "../../../src/codec/compress_image.ts";
import type { CodecPool } from "../../../src/codec/pool.ts";
import type { PackageEcu, PackageManifest } from "../../../src/contract/package.ts";
import type { SigningKey } from "../../../src/pqc/signature.ts";
import {
  makeRoot,
  makeSnapshot,
  makeTargets,
  makeTimestamp,
  type NamedFile,
  type RoleHolders,
} from "../../../src/uptane/author.ts";
import type { JsonObject } from "../../../src/uptane/canonical_json.ts";
import { readMetadata, signEnvelope } from "../../../src/uptane/envelope.ts";
import { type CatalogueImage, imageTarget, imageTargetName } from "../../../src/uptane/image_target.ts";
import type { LocalSigner } from "../../../src/uptane/keys.ts";
import { type Target, type Targets, utcText } from "../../../src/uptane/models.ts";

/** A repository's files as a vehicle gets them now. */
export interface Bundle {
  readonly root: NamedFile;
  readonly timestamp: NamedFile;
  readonly snapshot: NamedFile;
  readonly targets: NamedFile;
  /** By role. */
  readonly delegated: ReadonlyMap<string, NamedFile>;
}

/** Roles below the root. */
export type OnlineRole = "targets" | "snapshot" | "timestamp";

/** What is forged. */
export interface ForgeryOptions {
  /** Who signs a new file of the role; a role that is not here stays as it is. */
  sign: Partial<Record<OnlineRole, readonly LocalSigner[]>>;
  /** What the new targets say. @default the same */
  change?: (targets: Record<string, Target>, signed: Targets) => Record<string, Target>;
  /** VIN in the Director's new targets. @default the same */
  vehicleId?: string;
  /** When the new files expire. @default in a day */
  expires?: Partial<Record<OnlineRole, Date>>;
  /** Version of the new files; `same`: as each has it, and no longer than it is. @default one more than each has */
  version?: number | "same";
  /** New files of delegated roles. @default those that there are */
  delegated?: ReadonlyMap<string, NamedFile>;
}

const day = 86_400_000;

/** Makes the files. */
export async function forge(genuine: Bundle, options: ForgeryOptions): Promise<Map<string, Uint8Array>> {
  const { sign, change = (targets) => targets, expires = {} } = options;
  const files = new Map<string, Uint8Array>();
  const common = (role: OnlineRole) => ({
    version: options.version === "same"
      ? genuine[role].version
      : options.version ?? genuine[role].version + 1,
    expires: expires[role] ?? new Date(Date.now() + day),
  });
  // Signatures of ECDSA have some bytes more or less: another second gives another one.
  const signFile = async (role: OnlineRole, made: JsonObject, signers: readonly LocalSigner[]) => {
    for (let later = 0;; later += 1_000) {
      const expires = utcText(common(role).expires.getTime() + later);
      const bytes = await signEnvelope({ ...made, expires }, signers);
      if (options.version !== "same" || bytes.length <= genuine[role].bytes.length) return bytes;
    }
  };
  const delegated = new Map([...genuine.delegated, ...options.delegated ?? []]);
  for (const [role, { version, bytes }] of delegated) files.set(`${version}.${role}.json`, bytes);
  let { targets, snapshot, timestamp } = genuine;
  if (sign.targets !== undefined) {
    const { signed } = readMetadata("targets", targets.bytes);
    const made = makeTargets({
      ...common("targets"),
      targets: change(signed.targets, signed),
      delegations: signed.delegations,
      vehicleId: options.vehicleId ?? signed.vehicle_id,
    });
    targets = { version: common("targets").version, bytes: await signFile("targets", made, sign.targets) };
  }
  if (sign.snapshot !== undefined) {
    const named = new Map([["targets", targets], ...delegated]);
    const made = makeSnapshot({ ...common("snapshot"), targets: named });
    snapshot = {
      version: common("snapshot").version,
      bytes: await signFile("snapshot", made, sign.snapshot),
    };
  }
  if (sign.timestamp !== undefined) {
    const made = makeTimestamp({ ...common("timestamp"), snapshot });
    timestamp = {
      version: common("timestamp").version,
      bytes: await signFile("timestamp", made, sign.timestamp),
    };
  }
  // Where a key is missing, the new file goes by the name that the vehicle asks for.
  const { snapshot: shown } = genuine;
  if (sign.targets !== undefined && sign.snapshot === undefined) {
    files.set(`${genuine.targets.version}.targets.json`, targets.bytes);
  }
  if (sign.snapshot !== undefined && sign.timestamp === undefined) {
    files.set(`${shown.version}.snapshot.json`, snapshot.bytes);
  }
  files.set(`${targets.version}.targets.json`, targets.bytes);
  files.set(`${snapshot.version}.snapshot.json`, snapshot.bytes);
  files.set("timestamp.json", timestamp.bytes);
  return files;
}

/** The next root. @param holders who holds a role from now on @param signers who signs it */
export async function forgeRoot(
  { bytes }: NamedFile,
  holders: Partial<Record<"root" | OnlineRole | "time", RoleHolders>>,
  signers: readonly LocalSigner[],
  differs: { version?: number; expires?: Date } = {},
): Promise<NamedFile> {
  const { signed } = readMetadata("root", bytes);
  const { version = signed.version + 1, expires = new Date(Date.now() + day) } = differs;
  const kept = (role: "root" | OnlineRole): RoleHolders => {
    const { keyids, threshold } = signed.roles[role];
    return holders[role] ?? { keys: keyids.map((keyid) => signed.keys[keyid]), threshold };
  };
  const { time } = signed.roles;
  const root = makeRoot({
    version,
    expires,
    roles: {
      root: kept("root"),
      timestamp: kept("timestamp"),
      snapshot: kept("snapshot"),
      targets: kept("targets"),
      time: holders.time ??
        (time && { keys: time.keyids.map((keyid) => signed.keys[keyid]), threshold: time.threshold }),
    },
  });
  return { version, bytes: await signEnvelope(root, signers) };
}

/** The public half of an attacker's own key, as a role's holder. */
export function holder(signer: LocalSigner): RoleHolders {
  return { keys: [signer.key], threshold: 1 };
}

/** An image with its bytes. */
export interface ForgedImage {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly image: CatalogueImage;
}

/** An image of the attacker's own, in the place of one of the catalogue. */
export function evilImage(
  { ecuType, hwVersion, version, releaseCounter }: CatalogueImage,
  differs: Partial<CatalogueImage> = {},
): ForgedImage {
  const bytes = crypto.getRandomValues(new Uint8Array(2_000));
  return {
    bytes,
    image: {
      ecuType,
      hwVersion,
      version,
      releaseCounter,
      sha256: createHash("sha256").update(bytes).digest("hex"),
      size: bytes.length,
      segments: [{ address: 0x1000, length: bytes.length }],
      download: null,
      ...differs,
    },
  };
}

/** How targets of the Director direct an image. */
export function directed(
  image: CatalogueImage,
  ecuIds: readonly string[],
  hardwareId = image.hwVersion,
): Record<string, Target> {
  const { custom, ...target } = imageTarget(image);
  const ecus = Object.fromEntries(ecuIds.map((ecuId) => [ecuId, { hardware_id: hardwareId }]));
  return { [imageTargetName(image)]: { ...target, custom: { ...custom, ecus } } };
}

/** How targets of the Image repository have an image. */
export function published(image: CatalogueImage): Record<string, Target> {
  return { [imageTargetName(image)]: imageTarget(image) };
}

/** What of a package's entry is another one. `undefined`: the ECU gets none. */
export type Swap = (entry: PackageEcu) => ForgedImage | undefined;

/** A package like another one, with other images, signed by a key. */
export async function forgePackage(
  manifest: PackageManifest,
  key: SigningKey,
  swap: Swap,
  pool: CodecPool,
  differs: { vehicleId?: string } = {},
): Promise<Uint8Array> {
  const work = await Deno.makeTempDir({ prefix: "attack-package-" });
  try {
    const zones = [];
    for (const { zonal_gateway_id, ecus } of manifest.zonal_gateways) {
      const parts = [];
      for (const entry of ecus) {
        const swapped = swap(entry);
        if (swapped === undefined) continue;
        const { image, bytes } = swapped;
        const path = `${work}/${entry.ecu_id}`;
        await Deno.writeFile(path, bytes);
        const blob = await compressImage(path, `${path}.zst`, { pool });
        parts.push({
          ecu_id: entry.ecu_id,
          ecu_type: image.ecuType,
          hw_version: image.hwVersion,
          version: image.version,
          release: image.releaseCounter ?? 0,
          image: {
            image_id: entry.image.image_id,
            sha256: image.sha256,
            size: image.size,
            segments: image.segments.map(({ address, length }) => ({ address, length })),
          },
          blob: { path: `${path}.zst`, sha256: blob.sha256, length: blob.length },
        });
      }
      if (parts.length > 0) zones.push({ zonal_gateway_id, ecus: parts });
    }
    const output = `${work}/package.otap`;
    await buildPackage({
      package_id: manifest.package_id,
      vehicle_id: differs.vehicleId ?? manifest.vehicle_id,
      created: manifest.created,
      zonal_gateways: zones,
      signingKey: key,
      output,
      pool,
    });
    return await Deno.readFile(output);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}
