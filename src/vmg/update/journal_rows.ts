// What stands in the journal's rows, read as bytes from outside: a disk may have damaged them. What becomes a path, an address or a
// step is checked for what it may be, and what an ECU's old software is written back by carries a hash of its own.

import { createHash } from "node:crypto";
import { z } from "zod";
import { ecuUpdateStatus, type UpdateStatus, updateStatus } from "../../contract/ota.ts";
import { mustMatch, targetSchema } from "../../uptane/models.ts";
import type { VerifiedTarget } from "../../uptane/verify/full.ts";
import { explain, JournalDamagedError } from "../errors.ts";
import type { StoredImage } from "./image_store.ts";

/** A part of a path, and never a way out of its folder. */
const fileName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/, "expected a file's name");
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "expected a SHA-256 in hexadecimal");
/** Most ranges of one ECU. */
const mostRanges = 65_536;
const ranges = z.array(
  z.object({ address: z.int().min(0), length: z.int().min(1) })
    .refine(
      ({ address, length }) => Number.isSafeInteger(address + length),
      "expected an end within 53 bits",
    ),
).max(mostRanges);

/**
 * How far an installation is. Up to `activating` every ECU can be left as it was; from `committing` on it only goes forward.
 * `rolling_back` ends with all old versions.
 */
export const installPhase = z.enum(["staging", "activating", "confirming", "committing", "rolling_back"]);

/** How far an ECU is: what was begun stands here before it is begun. */
export const ecuPhase = z.enum([
  "pending",
  /** It ran the new version before the update. */
  "unchanged",
  "staging",
  "staged",
  "activating",
  "activated",
  "confirmed",
  "committed",
  "rolled_back",
  /** It could not be brought back. */
  "lost",
]);

const backup = z.object({
  /** File name in the folder of backups. */
  file: fileName,
  /** Of the file. */
  sha256,
  /** What the file holds, one after another. */
  segments: ranges,
  /** What has to be erased before it is written back. */
  erase: ranges,
});

/** As `VerifiedTarget` of signed metadata. */
export const directedTargets = z.array(
  z.object({
    ecuId: z.string(),
    hardwareId: z.string(),
    filename: z.string(),
    length: z.int(),
    hashes: targetSchema.shape.hashes,
    mustMatch: mustMatch.optional(),
    releaseCounter: z.int(),
    imageRole: z.string(),
  }).transform(({ mustMatch, ...rest }) => ({ ...rest, mustMatch })),
);

export const directedRow = z.object({ directed: z.string() });

const updateRow = z.object({
  phase: installPhase.nullable(),
  outcome: z.enum(["failed", "cancelled"]).nullable(),
  update_id: fileName,
  package_id: fileName.nullable(),
  download_url: z.string().nullable(),
  target_ecus: z.string(),
  wanted: z.string().nullable(),
  status: updateStatus,
  cancel_requested: z.int(),
  error: z.string().nullable(),
  etag: z.string().nullable(),
  size: z.int().min(0).nullable(),
  directed: z.string().nullable(),
});

const ecuRow = z.object({
  ecu_id: z.string(),
  status: ecuUpdateStatus,
  step: z.string().nullable(),
  error: z.string().nullable(),
  phase: ecuPhase,
  from_version: z.string().nullable(),
  to_version: z.string().nullable(),
  release: z.int().min(0).nullable(),
  activation: z.int().min(0),
  image_sha256: sha256.nullable(),
  image_size: z.int().min(0).nullable(),
  backup: z.string().nullable(),
});

export const installedRow = z.object({ ecu_id: z.string(), sha256, size: z.int().min(0) });

export type EcuUpdateStatus = z.infer<typeof ecuUpdateStatus>;
export type InstallPhase = z.infer<typeof installPhase>;
export type EcuPhase = z.infer<typeof ecuPhase>;
export type Backup = z.infer<typeof backup>;

/** One update. */
export interface JournalUpdate {
  readonly updateId: string;
  /** null: it was cancelled before its start was heard of. */
  readonly packageId: string | null;
  readonly downloadUrl: string | null;
  readonly targetEcus: readonly string[];
  /** What a vehicle that updates itself wanted; null where the server gave the command. */
  readonly wanted: string | null;
  readonly status: UpdateStatus;
  readonly cancelRequested: boolean;
  readonly error: string | null;
  readonly etag: string | null;
  readonly size: number | null;
  /** The images that signed metadata directed to its ECUs; null: that was not verified yet. */
  readonly directed: readonly VerifiedTarget[] | null;
  /** null: the installation was not begun. */
  readonly phase: InstallPhase | null;
  /** How the update ends when everything is rolled back; why stands in `error`. */
  readonly outcome: "failed" | "cancelled" | null;
}

/** One ECU of an update, as it is told. */
export interface EcuNote {
  readonly ecuId: string;
  readonly status: EcuUpdateStatus;
  readonly step: string | null;
  readonly error: string | null;
}

/** One ECU of an update, as it is gone on with. */
export interface JournalEcu extends EcuNote {
  readonly phase: EcuPhase;
  /** What it ran before; null: nothing, or the installation was not begun. */
  readonly fromVersion: string | null;
  /** What it is to run; null: the installation was not begun. */
  readonly toVersion: string | null;
  /** Release counter of what it is to run. */
  readonly release: number | null;
  /** ECUs of one group are activated together, groups in ascending order. */
  readonly activation: number;
  /** What it is to run; null: the installation was not begun. */
  readonly image: StoredImage | null;
  readonly backup: Backup | null;
}

/** @throws {JournalDamagedError} */
export function readUpdate(found: unknown, updateId: string): JournalUpdate {
  return believed(updateId, "", () => toUpdate(found));
}

/** @throws {JournalDamagedError} */
export function readEcu(found: unknown, updateId: string): JournalEcu {
  const name = typeof found === "object" && found !== null && "ecu_id" in found ? String(found.ecu_id) : "?";
  return believed(updateId, ` of ${name.slice(0, 64)}`, () => toEcu(found));
}

/** A backup as it is stored. */
export function writeBackup(saved: Backup): string {
  const text = JSON.stringify(backup.parse(saved));
  return JSON.stringify([text, hashOf(text)]);
}

const storedBackup = z.tuple([z.string(), sha256]);

function readBackup(stored: string): Backup {
  const [text, hash] = storedBackup.parse(JSON.parse(stored));
  // One digit of an address that has changed would put good bytes in a wrong place.
  if (hashOf(text) !== hash) throw new Error("the note of the backup is not what was noted");
  return backup.parse(JSON.parse(text));
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** What `read` makes of a row. @throws {JournalDamagedError} for one that cannot be */
export function believed<T>(updateId: string, whose: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new JournalDamagedError(
      `the journal${whose} for update ${updateId.slice(0, 64)} is damaged: ${explain(cause).slice(0, 300)}`,
      updateId,
      { cause },
    );
  }
}

function toUpdate(found: unknown): JournalUpdate {
  const row = updateRow.parse(found);
  return {
    updateId: row.update_id,
    packageId: row.package_id,
    downloadUrl: row.download_url,
    targetEcus: z.array(z.string()).parse(JSON.parse(row.target_ecus)),
    wanted: row.wanted,
    status: row.status,
    cancelRequested: row.cancel_requested === 1,
    error: row.error,
    etag: row.etag,
    size: row.size,
    directed: row.directed === null ? null : directedTargets.parse(JSON.parse(row.directed)),
    phase: row.phase,
    outcome: row.outcome,
  };
}

function toEcu(found: unknown): JournalEcu {
  const row = ecuRow.parse(found);
  return {
    ecuId: row.ecu_id,
    status: row.status,
    step: row.step,
    error: row.error,
    phase: row.phase,
    fromVersion: row.from_version,
    toVersion: row.to_version,
    release: row.release,
    activation: row.activation,
    image: row.image_sha256 === null || row.image_size === null
      ? null
      : { sha256: row.image_sha256, size: row.image_size },
    backup: row.backup === null ? null : readBackup(row.backup),
  };
}
