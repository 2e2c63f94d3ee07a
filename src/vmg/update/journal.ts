// The journal of updates: what was asked for and how far it is, on disk before it is acted on.

import { z } from "zod";
import { ecuUpdateStatus, isFinal, type UpdateStatus, updateStatus } from "../../contract/ota.ts";
import type { StateDatabase } from "../state/database.ts";

/** Ended updates that are remembered at most. */
const remembered = 1_000;

const updateRow = z.object({
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
});

const ecuRow = z.object({
  ecu_id: z.string(),
  status: ecuUpdateStatus,
  step: z.string().nullable(),
  error: z.string().nullable(),
});

export type EcuUpdateStatus = z.infer<typeof ecuUpdateStatus>;

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
}

/** One ECU of an update. */
export interface JournalEcu {
  readonly ecuId: string;
  readonly status: EcuUpdateStatus;
  readonly step: string | null;
  readonly error: string | null;
}

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
      ecus: sqlite.prepare(
        "SELECT ecu_id, status, step, error FROM update_ecus WHERE update_id = ? ORDER BY ecu_id",
      ),
      status: sqlite.prepare("UPDATE updates SET status = ? WHERE update_id = ? AND ended IS NULL"),
      cancel: sqlite.prepare(
        "UPDATE updates SET cancel_requested = 1 WHERE update_id = ? AND ended IS NULL",
      ),
      download: sqlite.prepare("UPDATE updates SET etag = ?, size = ? WHERE update_id = ?"),
      ecu: sqlite.prepare(
        "UPDATE update_ecus SET status = ?, step = ?, error = ? WHERE update_id = ? AND ecu_id = ?",
      ),
      finish: sqlite.prepare(
        "UPDATE updates SET status = ?, error = ?, ended = ? WHERE update_id = ? AND ended IS NULL",
      ),
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

  ecus(updateId: string): JournalEcu[] {
    return this.#statements.ecus.all(updateId).map((found) => {
      const { ecu_id, ...rest } = ecuRow.parse(found);
      return { ecuId: ecu_id, ...rest };
    });
  }

  setStatus(updateId: string, status: UpdateStatus): void {
    this.#statements.status.run(status, updateId);
  }

  setEcu(updateId: string, ecu: JournalEcu): void {
    this.#statements.ecu.run(ecu.status, ecu.step, ecu.error, updateId, ecu.ecuId);
  }

  /** Notes what identifies the package that is being fetched. */
  setDownload(updateId: string, etag: string | null, size: number): void {
    this.#statements.download.run(etag, size, updateId);
  }

  /** Notes that the update is to be cancelled. @returns false when it ended before or is not known */
  requestCancel(updateId: string): boolean {
    return this.#statements.cancel.run(updateId).changes === 1;
  }

  /** Ends an update. */
  finish(updateId: string, status: UpdateStatus, error: string | null): void {
    if (!isFinal(status)) throw new RangeError(`status: expected one that ends an update, got ${status}`);
    this.#statements.finish.run(status, error, Date.now(), updateId);
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
  };
}
