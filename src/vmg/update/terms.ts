// What an update was started with besides its content: its mode, its time, which attempt it is, whether it was approved. On
// disk like the journal, whose updates these rows belong to.

import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { type Approver, approver, attempt, type UpdateMode, updateMode } from "../../contract/campaign.ts";
import type { Control } from "../../contract/mqtt.ts";
import type { StateDatabase } from "../state/database.ts";
import { believed } from "./journal_rows.ts";

/** Approvals of unknown updates that are remembered at most. */
const remembered = 100;

const termsRow = z.object({
  mode: updateMode,
  attempt,
  attempts: attempt,
  deadline: z.int().nullable(),
  lifetime: z.int().nullable(),
  received: z.int(),
  approved_by: approver.nullable(),
  cancel_reason: z.string().nullable(),
  retryable: z.int().nullable(),
  approval_until: z.int().nullable(),
});

/** The terms of one update. */
export interface UpdateTerms {
  readonly mode: UpdateMode;
  readonly attempt: number;
  readonly attempts: number;
  /** By the server's clock, milliseconds since 1970; null: it has no end. */
  readonly deadline: number | null;
  /** From the making of the command to the deadline, milliseconds. */
  readonly lifetime: number | null;
  /** When the command came, by the machine's clock. */
  readonly received: number;
  readonly approvedBy: Approver | null;
  readonly cancelReason: string | null;
  /** Of an installation that failed: whether another attempt may mend it. null: nothing was noted. */
  readonly retryable: boolean | null;
  /** Until when an approval is waited for, milliseconds since 1970; null: it is not waited for yet. */
  readonly approvalUntil: number | null;
}

/** What the server's command says of them. */
export type GivenTerms = Pick<
  Extract<Control, { command: "START_OTA_UPDATE" }>,
  "mode" | "attempt" | "attempts" | "approved" | "issued" | "deadline"
>;

function prepare(sqlite: DatabaseSync) {
  return {
    insert: sqlite.prepare(
      "INSERT INTO update_terms (update_id, mode, attempt, attempts, deadline, lifetime, received, approved_by) " +
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    ),
    get: sqlite.prepare("SELECT * FROM update_terms WHERE update_id = ?"),
    forget: sqlite.prepare("DELETE FROM update_terms WHERE update_id = ?"),
    approve: sqlite.prepare(
      "UPDATE update_terms SET approved_by = ? WHERE update_id = ? AND approved_by IS NULL",
    ),
    approvalUntil: sqlite.prepare("UPDATE update_terms SET approval_until = ? WHERE update_id = ?"),
    cancelReason: sqlite.prepare("UPDATE update_terms SET cancel_reason = ? WHERE update_id = ?"),
    retryable: sqlite.prepare("UPDATE update_terms SET retryable = ? WHERE update_id = ?"),
    noteEarly: sqlite.prepare(
      "INSERT INTO early_approvals (update_id, received) VALUES (?, ?) ON CONFLICT DO NOTHING",
    ),
    takeEarly: sqlite.prepare("DELETE FROM early_approvals WHERE update_id = ?"),
    forgetEarly: sqlite.prepare(
      "DELETE FROM early_approvals WHERE rowid <= " +
        "(SELECT rowid FROM early_approvals ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
    ),
  };
}

/** The terms of all updates. */
export class TermsJournal {
  readonly #state: StateDatabase;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(state: StateDatabase) {
    this.#state = state;
    this.#statements = prepare(state.sqlite);
  }

  /** Notes the terms of an update that the journal has just taken in. To be called within that transaction. */
  begin(updateId: string, given: GivenTerms, now: number = Date.now()): void {
    const { mode, attempt, attempts, approved, issued, deadline } = given;
    const end = deadline === undefined ? null : Date.parse(deadline);
    const overtaken = this.#statements.takeEarly.run(updateId).changes > 0;
    this.#statements.insert.run(
      updateId,
      mode,
      attempt,
      attempts,
      end,
      end === null || issued === undefined ? null : Math.max(0, end - Date.parse(issued)),
      now,
      approved || overtaken ? "operator" : null,
    );
  }

  /**
   * What was noted; of an update that the vehicle began by itself: at once, and without an end.
   * @throws {JournalDamagedError}
   */
  get(updateId: string): UpdateTerms {
    const found = this.#statements.get.get(updateId);
    if (found === undefined) {
      return {
        mode: "forced",
        attempt: 1,
        attempts: 1,
        deadline: null,
        lifetime: null,
        received: 0,
        approvedBy: null,
        cancelReason: null,
        retryable: null,
        approvalUntil: null,
      };
    }
    const row = believed(updateId, "", () => termsRow.parse(found));
    return {
      mode: row.mode,
      attempt: row.attempt,
      attempts: row.attempts,
      deadline: row.deadline,
      lifetime: row.lifetime,
      received: row.received,
      approvedBy: row.approved_by,
      cancelReason: row.cancel_reason,
      retryable: row.retryable === null ? null : row.retryable === 1,
      approvalUntil: row.approval_until,
    };
  }

  /** @returns false when it was approved before, or has no terms */
  approve(updateId: string, by: Approver): boolean {
    return this.#statements.approve.run(by, updateId).changes === 1;
  }

  /** Remembers an approval for an update whose start has not been heard of yet. */
  approveEarly(updateId: string): void {
    this.#state.transaction(() => {
      this.#statements.noteEarly.run(updateId, Date.now());
      this.#statements.forgetEarly.run(remembered);
    });
  }

  /** Notes until when an approval is waited for. */
  setApprovalUntil(updateId: string, until: number): void {
    this.#statements.approvalUntil.run(until, updateId);
  }

  /** Forgets what is damaged. */
  forget(updateId: string): void {
    this.#statements.forget.run(updateId);
  }

  setCancelReason(updateId: string, reason: string): void {
    this.#statements.cancelReason.run(reason, updateId);
  }

  setRetryable(updateId: string, retryable: boolean): void {
    this.#statements.retryable.run(retryable ? 1 : 0, updateId);
  }
}
