// Approving an update, and the updates that can be: what the journal says, whether the gateway runs or not.

import type { Approver, ReportedWait } from "../../contract/campaign.ts";
import { isFinal, type UpdateStatus } from "../../contract/ota.ts";
import type { UpdateJournal } from "./journal.ts";
import type { TermsJournal, UpdateTerms } from "./terms.ts";

/** What an approval did. */
export type ApprovalOutcome = "approved" | "before" | "not_needed" | "to_be_cancelled" | "ended" | "unknown";

/** An update that has not ended, as it is shown on the vehicle. */
export interface OpenUpdate
  extends Pick<UpdateTerms, "mode" | "attempt" | "attempts" | "deadline" | "approvedBy"> {
  readonly updateId: string;
  readonly status: UpdateStatus;
  readonly targetEcus: readonly string[];
  readonly waiting: ReportedWait | null;
}

/** Where updates are on disk. */
export interface UpdateRecords {
  readonly journal: Pick<UpdateJournal, "get" | "open">;
  readonly terms: TermsJournal;
}

/**
 * Approves an update. To be called within a transaction. An approval from the server that overtakes its update is kept for it;
 * any other that fits no update changes nothing.
 */
export function approveUpdate(
  { journal, terms }: UpdateRecords,
  updateId: string,
  by: Approver,
): ApprovalOutcome {
  const known = journal.get(updateId);
  if (known === undefined) {
    if (by === "operator") terms.approveEarly(updateId);
    return "unknown";
  }
  if (isFinal(known.status)) return "ended";
  if (known.cancelRequested) return "to_be_cancelled";
  if (terms.get(updateId).mode !== "approve") return "not_needed";
  return terms.approve(updateId, by) ? "approved" : "before";
}

/**
 * Updates that have not ended, oldest first.
 * @param waitingOf what a running gateway waits for. @default nothing is known of it
 */
export function openUpdates(
  { journal, terms }: UpdateRecords,
  waitingOf: (updateId: string) => ReportedWait | undefined = () => undefined,
): OpenUpdate[] {
  return journal.open().map(({ updateId, status, targetEcus }) => {
    const { mode, attempt, attempts, deadline, approvedBy } = terms.get(updateId);
    const waiting = waitingOf(updateId) ?? null;
    return { updateId, status, targetEcus, mode, attempt, attempts, deadline, approvedBy, waiting };
  });
}
