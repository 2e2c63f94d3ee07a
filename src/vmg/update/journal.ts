// The journal of updates: what was asked for and how far it is, on disk before it is acted on.

import { isFinal, type UpdateStatus, updateStatus } from "../../contract/ota.ts";
import type { VerifiedTarget } from "../../uptane/verify/full.ts";
import { JournalDamagedError } from "../errors.ts";
import type { StateDatabase } from "../state/database.ts";
import type { StoredImage } from "./image_store.ts";
import {
  type Backup,
  directedTargets,
  type EcuNote,
  type EcuPhase,
  installedRow,
  type InstallPhase,
  type JournalEcu,
  type JournalUpdate,
  readEcu,
  readUpdate,
  writeBackup,
} from "./journal_rows.ts";

export type {
  Backup,
  EcuNote,
  EcuPhase,
  EcuUpdateStatus,
  InstallPhase,
  JournalEcu,
  JournalUpdate,
} from "./journal_rows.ts";

/** Ended updates that are remembered at most. */
const remembered = 1_000;

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
      open: sqlite.prepare(
        "SELECT update_id FROM updates WHERE ended IS NULL ORDER BY created, rowid LIMIT 1",
      ),
      allOpen: sqlite.prepare("SELECT * FROM updates WHERE ended IS NULL ORDER BY created, rowid LIMIT 100"),
      ids: sqlite.prepare("SELECT update_id, ended IS NULL AS open FROM updates ORDER BY created, rowid"),
      giveUp: sqlite.prepare(
        "UPDATE updates SET status = 'failed', error = ?, ended = coalesce(ended, ?), package_id = NULL, " +
          "download_url = NULL, target_ecus = '[]', wanted = NULL, cancel_requested = 0, etag = NULL, size = NULL, " +
          "directed = NULL, phase = NULL, outcome = NULL WHERE update_id = ?",
      ),
      forgetEcus: sqlite.prepare("DELETE FROM update_ecus WHERE update_id = ?"),
      forgetInstalled: sqlite.prepare("DELETE FROM installed_images WHERE ecu_id = ?"),
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
    return found === undefined ? undefined : readUpdate(found, updateId);
  }

  /** The oldest update that has not ended. */
  next(): JournalUpdate | undefined {
    const found = this.#statements.open.get();
    return found === undefined ? undefined : this.get(String(found.update_id));
  }

  /** Updates that have not ended, oldest first, a hundred at most. */
  open(): JournalUpdate[] {
    return this.#statements.allOpen.all().map((found) => readUpdate(found, String(found.update_id)));
  }

  ecus(updateId: string): JournalEcu[] {
    return this.#statements.ecus.all(updateId).map((found) => readEcu(found, updateId));
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
    this.#statements.backup.run(writeBackup(saved), updateId, ecuId);
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
    const directed = this.#statements.lastInstalled.get(ecuId)?.directed ?? "[]";
    return directedTargets.parse(JSON.parse(String(directed))).find((target) => target.ecuId === ecuId);
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

  /**
   * Ends the updates of which the journal says what cannot be believed: how far they were is not known any more, and nothing is
   * installed for them. To be called before anything else is read.
   * @param alsoRead reads what else is kept of an update that has not ended
   * @returns what is wrong, and whether the update was under way
   */
  giveUpDamaged(
    alsoRead: (updateId: string) => void = () => {},
  ): { error: JournalDamagedError; open: boolean }[] {
    const damaged: { error: JournalDamagedError; open: boolean }[] = [];
    this.transaction(() => {
      for (const { update_id, open } of this.#statements.ids.all()) {
        const updateId = String(update_id);
        try {
          this.get(updateId);
          this.ecus(updateId);
          if (open === 1) alsoRead(updateId);
        } catch (error) {
          if (!(error instanceof JournalDamagedError)) throw error;
          damaged.push({ error, open: open === 1 });
          this.#statements.forgetEcus.run(updateId);
          this.#statements.giveUp.run(error.message, Date.now(), updateId);
        }
      }
      // What is not known to be installed is no base of a delta.
      for (const found of this.#statements.installed.all()) {
        if (!installedRow.safeParse(found).success) this.#statements.forgetInstalled.run(found.ecu_id);
      }
    });
    return damaged;
  }

  /** How the vehicle's own last try at the same goal stands; undefined when there was none. */
  lastOf(wanted: string): UpdateStatus | undefined {
    const found = this.#statements.lastWanted.get(wanted);
    return found === undefined ? undefined : updateStatus.parse(found.status);
  }
}
