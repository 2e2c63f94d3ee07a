// Approving an update as the journal has it.

import assert from "node:assert/strict";
import { JournalDamagedError } from "../../../src/vmg/errors.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";
import { approveUpdate, openUpdates } from "../../../src/vmg/update/approvals.ts";
import { UpdateJournal } from "../../../src/vmg/update/journal.ts";
import { type GivenTerms, TermsJournal } from "../../../src/vmg/update/terms.ts";

const given: GivenTerms = { mode: "approve", attempt: 1, attempts: 1, approved: false };

/** The records in a folder of their own. */
async function withRecords(
  run: (
    records: { journal: UpdateJournal; terms: TermsJournal },
    add: (changes?: Partial<GivenTerms>) => string,
  ) => void,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "approvals-" });
  try {
    using state = StateDatabase.open(directory);
    const records = { journal: new UpdateJournal(state), terms: new TermsJournal(state) };
    run(records, (changes) => {
      const updateId = crypto.randomUUID();
      state.transaction(() => {
        records.journal.add({ updateId, packageId: "p", downloadUrl: "/p", targetEcus: ["ECU_001"] });
        records.terms.begin(updateId, { ...given, ...changes });
      });
      return updateId;
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("an update is approved once, and only while somebody's approval can still let it begin", async () => {
  await withRecords((records, add) => {
    const id = add();
    assert.equal(records.terms.get(id).approvedBy, null);
    assert.equal(approveUpdate(records, id, "vehicle"), "approved");
    assert.equal(approveUpdate(records, id, "operator"), "before");
    assert.equal(records.terms.get(id).approvedBy, "vehicle", "the first one is kept");
    assert.equal(approveUpdate(records, add({ mode: "forced" }), "vehicle"), "not_needed");
    assert.equal(approveUpdate(records, add({ mode: "when-parked" }), "vehicle"), "not_needed");
    const cancelled = add();
    records.journal.requestCancel(cancelled);
    assert.equal(approveUpdate(records, cancelled, "operator"), "to_be_cancelled");
    records.journal.finish(cancelled, "cancelled", "cancelled on request");
    assert.equal(approveUpdate(records, cancelled, "operator"), "ended");
    assert.equal(records.terms.get(cancelled).approvedBy, null);
  });
});

Deno.test("only the server's approval is kept for an update that has not come yet, and for that one alone", async () => {
  await withRecords(({ journal, terms }, add) => {
    const [early, late] = [crypto.randomUUID(), crypto.randomUUID()];
    assert.equal(approveUpdate({ journal, terms }, early, "operator"), "unknown");
    assert.equal(approveUpdate({ journal, terms }, late, "vehicle"), "unknown");
    for (const updateId of [early, late]) {
      journal.add({ updateId, packageId: "p", downloadUrl: "/p", targetEcus: ["ECU_001"] });
      terms.begin(updateId, given);
    }
    assert.equal(terms.get(early).approvedBy, "operator");
    assert.equal(terms.get(late).approvedBy, null);
    assert.equal(terms.get(add()).approvedBy, null);
  });
});

Deno.test("approvals of updates that never come are forgotten, the oldest first", async () => {
  await withRecords(({ journal, terms }) => {
    const ids = Array.from({ length: 150 }, () => crypto.randomUUID());
    for (const id of ids) approveUpdate({ journal, terms }, id, "operator");
    for (const id of [ids[0], ids[149]]) {
      journal.add({ updateId: id, packageId: "p", downloadUrl: "/p", targetEcus: ["ECU_001"] });
      terms.begin(id, given);
    }
    assert.deepEqual([terms.get(ids[0]).approvedBy, terms.get(ids[149]).approvedBy], [null, "operator"]);
  });
});

Deno.test("open updates are shown with their terms, those that ended are not", async () => {
  await withRecords((records, add) => {
    const deadline = Date.UTC(2026, 10, 21, 14);
    const id = add({
      attempt: 2,
      attempts: 3,
      issued: "2026-11-21T12:00:00Z",
      deadline: new Date(deadline).toISOString(),
    });
    assert.equal(records.terms.get(id).lifetime, 7_200_000);
    const ended = add();
    records.journal.finish(ended, "failed", "x");
    const waiting = { for: "approval" as const, detail: "x" };
    assert.deepEqual(openUpdates(records, (of) => of === id ? waiting : undefined), [{
      updateId: id,
      status: "accepted",
      targetEcus: ["ECU_001"],
      mode: "approve",
      attempt: 2,
      attempts: 3,
      deadline,
      approvedBy: null,
      waiting,
    }]);
  });
});

Deno.test("an update whose terms the disk has damaged is given up; one that has ended keeps its end", async () => {
  const directory = await Deno.makeTempDir({ prefix: "approvals-" });
  try {
    using state = StateDatabase.open(directory);
    const journal = new UpdateJournal(state);
    const terms = new TermsJournal(state);
    for (const updateId of ["damaged", "whole", "ended"]) {
      journal.add({ updateId, packageId: "p", downloadUrl: "/p", targetEcus: ["ECU_001"] });
      terms.begin(updateId, given);
    }
    journal.finish("ended", "completed", null);
    state.sqlite.exec("UPDATE update_terms SET mode = 'approvf' WHERE update_id IN ('damaged', 'ended')");
    assert.throws(() => terms.get("damaged"), JournalDamagedError);
    const found = journal.giveUpDamaged((updateId) => terms.get(updateId));
    assert.deepEqual(found.map(({ error, open }) => [error.updateId, open]), [["damaged", true]]);
    assert.match(found[0].error.message, /the journal for update damaged is damaged/);
    terms.forget("damaged");
    assert.equal(terms.get("damaged").mode, "forced");
    assert.deepEqual(journal.open().map(({ updateId }) => updateId), ["whole"]);
    assert.equal(journal.get("ended")?.status, "completed");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
