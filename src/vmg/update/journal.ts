// The journal of updates: what was asked for and how far it is, on disk before it is acted on.

import { z } from "zod";
import { ecuUpdateStatus, isFinal, type UpdateStatus, updateStatus } from "../../contract/ota.ts";
import { mustMatch, targetSchema } from "../../uptane/models.ts";
import type { VerifiedTarget } from "../../uptane/verify/full.ts";
import type { StateDatabase } from "../state/database.ts";
import type { StoredImage } from "./image_store.ts";

/** Ended updates that are remembered at most. */
const remembered = 1_000;

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
  file: z.string(),
  /** Of the file. */
  sha256: z.string(),
  /** What the file holds, one after another. */
  segments: z.array(z.object({ address: z.int(), length: z.int() })),
  /** What has to be erased before it is written back. */
  erase: z.array(z.object({ address: z.int(), length: z.int() })),
});

/** As `VerifiedTarget` of signed metadata. */
const directedTargets = z.array(
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

const directedRow = z.object({ directed: z.string() });

const updateRow = z.object({
  phase: installPhase.nullable(),
  outcome: z.enum(["failed", "cancelled"]).nullable(),
  update_id: z.string(),
  package_id: z.string().nullable(),
  download_url: z.string().nullable(),
  target_ecus: z.string(),
  wanted: z.string().nullable(),
  status: updateStatus,
  cancel_requested: z.int(),
  error: z.string().nullable(),
  etag: z.string().nullable(),
  size: z.int().nullable(),
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
  release: z.int().nullable(),
  activation: z.int(),
  image_sha256: z.string().nullable(),
  image_size: z.int().nullable(),
  backup: z.string().nullable(),
});

const installedRow = z.object({ ecu_id: z.string(), sha256: z.string(), size: z.int() });

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

/** What an installation begins with for each ECU. */
export type EcuPlan = Pick<
  JournalEcu,
  "ecuId" | "phase" | "fromVersion" | "toVersion" | "release" | "activation" | "image"
>;

/** What starts an update. */
export interface NewUpdate {
  updateId: string;
  packageId: string;
  downloadUrl: string;
  targetEcus: readonly string[];
  wanted?: string;
}

/** The journal. */
export class UpdateJournal {
  readonly #state: StateDatabase;
  readonly #statements;

  constructor(state: StateDatabase) {
    this.#state = state;
    const { sqlite } = state;
    this.#statements = {
      insert: sqlite.prepare(
        "INSERT INTO updates (update_id, package_id, download_url, target_ecus, wanted, status, created) " +
          "VALUES (?, ?, ?, ?, ?, 'accepted', ?) ON CONFLICT DO NOTHING",
      ),
      insertCancelled: sqlite.prepare(
        "INSERT INTO updates (update_id, target_ecus, status, cancel_requested, error, created, ended) " +
          "VALUES (?, '[]', 'cancelled', 1, ?, ?, ?) ON CONFLICT DO NOTHING",
      ),
      insertEcu: sqlite.prepare(
        "INSERT INTO update_ecus (update_id, ecu_id, status) VALUES (?, ?, 'pending')",
      ),
      get: sqlite.prepare("SELECT * FROM updates WHERE update_id = ?"),
      open: sqlite.prepare("SELECT * FROM updates WHERE ended IS NULL ORDER BY created, rowid LIMIT 1"),
      allOpen: sqlite.prepare("SELECT * FROM updates WHERE ended IS NULL ORDER BY created, rowid LIMIT 100"),
      ecus: sqlite.prepare(
        "SELECT * FROM update_ecus WHERE update_id = ? ORDER BY ecu_id",
      ),
      status: sqlite.prepare("UPDATE updates SET status = ? WHERE update_id = ? AND ended IS NULL"),
      cancel: sqlite.prepare(
        "UPDATE updates SET cancel_requested = 1 WHERE update_id = ? AND ended IS NULL",
      ),
      download: sqlite.prepare("UPDATE updates SET etag = ?, size = ? WHERE update_id = ?"),
      package: sqlite.prepare(
        "UPDATE updates SET package_id = ?, download_url = ?, etag = NULL, size = NULL WHERE update_id = ?",
      ),
      directed: sqlite.prepare("UPDATE updates SET directed = ? WHERE update_id = ?"),
      lastInstalled: sqlite.prepare(
        "SELECT directed FROM updates JOIN update_ecus USING (update_id) " +
          "WHERE ecu_id = ? AND update_ecus.phase = 'committed' AND directed IS NOT NULL " +
          "ORDER BY created DESC, updates.rowid DESC LIMIT 1",
      ),
      ecu: sqlite.prepare(
        "UPDATE update_ecus SET status = ?, step = ?, error = ?, phase = coalesce(?, phase) " +
          "WHERE update_id = ? AND ecu_id = ?",
      ),
      phase: sqlite.prepare(
        "UPDATE updates SET phase = ?, outcome = ?, error = ? WHERE update_id = ? AND ended IS NULL",
      ),
      plan: sqlite.prepare(
        "UPDATE update_ecus SET phase = ?, from_version = ?, to_version = ?, release = ?, activation = ?, " +
          "image_sha256 = ?, image_size = ? " +
          "WHERE update_id = ? AND ecu_id = ?",
      ),
      backup: sqlite.prepare("UPDATE update_ecus SET backup = ? WHERE update_id = ? AND ecu_id = ?"),
      finish: sqlite.prepare(
        "UPDATE updates SET status = ?, error = ?, ended = ? WHERE update_id = ? AND ended IS NULL",
      ),
      noteInstalled: sqlite.prepare(
        "INSERT INTO installed_images (ecu_id, sha256, size) " +
          "SELECT ecu_id, image_sha256, image_size FROM update_ecus WHERE update_id = ? " +
          "AND phase IN ('committed', 'unchanged') AND image_sha256 IS NOT NULL " +
          "ON CONFLICT (ecu_id) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size",
      ),
      installed: sqlite.prepare("SELECT ecu_id, sha256, size FROM installed_images"),
      lastWanted: sqlite.prepare(
        "SELECT status FROM updates WHERE wanted = ? ORDER BY created DESC, rowid DESC LIMIT 1",
      ),
      forget: sqlite.prepare(
        "DELETE FROM updates WHERE ended IS NOT NULL AND rowid <= " +
          "(SELECT rowid FROM updates WHERE ended IS NOT NULL ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
      ),
    };
  }

  /** Runs `work` as one transaction with what it writes. */
  transaction<T>(work: () => T): T {
    return this.#state.transaction(work);
  }

  /** Notes an update to be done. @returns false when it is known already: a command acts once */
  add(update: NewUpdate): boolean {
    const { updateId, packageId, downloadUrl, targetEcus, wanted = null } = update;
    return this.transaction(() => {
      const targets = JSON.stringify(targetEcus);
      const { changes } = this.#statements.insert.run(
        updateId,
        packageId,
        downloadUrl,
        targets,
        wanted,
        Date.now(),
      );
      if (changes === 0) return false;
      for (const ecuId of new Set(targetEcus)) this.#statements.insertEcu.run(updateId, ecuId);
      this.#statements.forget.run(remembered);
      return true;
    });
  }

  /** Notes that an update is not to be done which was never heard of: should its start come later, it is refused. */
  addCancelled(updateId: string, error: string): void {
    this.#statements.insertCancelled.run(updateId, error, Date.now(), Date.now());
  }

  get(updateId: string): JournalUpdate | undefined {
    const found = this.#statements.get.get(updateId);
    return found === undefined ? undefined : toUpdate(found);
  }

  /** The oldest update that has not ended. */
  next(): JournalUpdate | undefined {
    const found = this.#statements.open.get();
    return found === undefined ? undefined : toUpdate(found);
  }

  /** Updates that have not ended, oldest first, a hundred at most. */
  open(): JournalUpdate[] {
    return this.#statements.allOpen.all().map(toUpdate);
  }

  ecus(updateId: string): JournalEcu[] {
    return this.#statements.ecus.all(updateId).map((found) => {
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
        backup: row.backup === null ? null : backup.parse(JSON.parse(row.backup)),
      };
    });
  }

  setStatus(updateId: string, status: UpdateStatus): void {
    this.#statements.status.run(status, updateId);
  }

  /** @param phase undefined: it stays */
  setEcu(updateId: string, { ecuId, status, step, error }: EcuNote, phase?: EcuPhase): void {
    this.#statements.ecu.run(status, step, error, phase ?? null, updateId, ecuId);
  }

  /** Begins the installation: what each ECU runs and is to run. */
  beginInstall(updateId: string, ecus: readonly EcuPlan[]): void {
    this.transaction(() => {
      for (const { ecuId, phase, fromVersion, toVersion, release, activation, image } of ecus) {
        this.#statements.plan.run(
          phase,
          fromVersion,
          toVersion,
          release,
          activation,
          image?.sha256 ?? null,
          image?.size ?? null,
          updateId,
          ecuId,
        );
      }
      this.#statements.phase.run("staging", null, null, updateId);
    });
  }

  /** @param end how the update ends once everything is rolled back, and why */
  setPhase(
    updateId: string,
    phase: InstallPhase,
    end?: { outcome: "failed" | "cancelled"; error: string },
  ): void {
    this.#statements.phase.run(phase, end?.outcome ?? null, end?.error ?? null, updateId);
  }

  /** Notes that the ECU's old software is saved. */
  setBackup(updateId: string, ecuId: string, saved: Backup): void {
    this.#statements.backup.run(JSON.stringify(saved), updateId, ecuId);
  }

  /** Notes what identifies the package that is being fetched. */
  setDownload(updateId: string, etag: string | null, size: number): void {
    this.#statements.download.run(etag, size, updateId);
  }

  /** Notes that the update has another package now. */
  setPackage(updateId: string, packageId: string, downloadUrl: string): void {
    this.#statements.package.run(packageId, downloadUrl, updateId);
  }

  /** Notes what signed metadata directs to the update's ECUs. */
  setDirected(updateId: string, targets: readonly VerifiedTarget[]): void {
    this.#statements.directed.run(JSON.stringify(targets), updateId);
  }

  /** The image that was installed last on an ECU; undefined: none was. */
  lastInstalled(ecuId: string): VerifiedTarget | undefined {
    const found = this.#statements.lastInstalled.get(ecuId);
    const { directed } = directedRow.parse(found ?? { directed: "[]" });
    return directedTargets.parse(JSON.parse(directed)).find((target) => target.ecuId === ecuId);
  }

  /** Notes that the update is to be cancelled. @returns false when it ended before or is not known */
  requestCancel(updateId: string): boolean {
    return this.#statements.cancel.run(updateId).changes === 1;
  }

  /** Ends an update, and notes which images are installed now. */
  finish(updateId: string, status: UpdateStatus, error: string | null): void {
    if (!isFinal(status)) throw new RangeError(`status: expected one that ends an update, got ${status}`);
    this.transaction(() => {
      this.#statements.finish.run(status, error, Date.now(), updateId);
      this.#statements.noteInstalled.run(updateId);
    });
  }

  /** The image that was last installed in each ECU, by ECU. */
  installedImages(): Map<string, StoredImage> {
    return new Map(
      this.#statements.installed.all().map((found) => {
        const { ecu_id, sha256, size } = installedRow.parse(found);
        return [ecu_id, { sha256, size }];
      }),
    );
  }

  /** How the vehicle's own last try at the same goal stands; undefined when there was none. */
  lastOf(wanted: string): UpdateStatus | undefined {
    const found = this.#statements.lastWanted.get(wanted);
    return found === undefined ? undefined : updateStatus.parse(found.status);
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
