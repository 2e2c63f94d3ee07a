// How long an approval is waited for, over restarts of the gateway and clocks that are set.

import assert from "node:assert/strict";
import { silentLogger } from "../../../src/log.ts";
import { ApprovalError } from "../../../src/vmg/errors.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";
import { UpdateJournal } from "../../../src/vmg/update/journal.ts";
import { Permissions } from "../../../src/vmg/update/permission.ts";
import { TermsJournal } from "../../../src/vmg/update/terms.ts";

const day = 86_400_000;
const began = Date.UTC(2026, 10, 22);

/** A gateway's permissions with one update that waits for approval, and what starts the gateway anew at another time. */
async function withUpdate(
  run: (updateId: string, start: (now: number) => Permissions, terms: TermsJournal) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "permission-" });
  try {
    using state = StateDatabase.open(directory);
    const journal = new UpdateJournal(state);
    const terms = new TermsJournal(state);
    const updateId = crypto.randomUUID();
    journal.add({ updateId, packageId: "p", downloadUrl: "/p", targetEcus: ["ECU_001"] });
    terms.begin(updateId, { mode: "approve", attempt: 1, attempts: 1, approved: false });
    const settings = {
      conditions: [],
      conditionTimeout: 0,
      conditionInterval: 1,
      parked: [],
      parkedTimeout: 0,
      approvalTimeout: 7 * day,
    };
    const start = (now: number) =>
      new Permissions({
        journal,
        terms,
        source: undefined,
        settings,
        timer: { now },
        onApproved: () => {},
        log: silentLogger,
      });
    await run(updateId, start, terms);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Waits until the wait has begun, and cuts it off as a gateway that stops does. */
async function waitAndStop(permissions: Permissions, updateId: string): Promise<void> {
  const stop = new AbortController();
  const onWait = () => stop.abort(new RangeError("the gateway stops"));
  await assert.rejects(
    permissions.wait({ updateId, conditions: [], onWait, signal: stop.signal }),
    /the gateway stops/,
  );
}

const goesOn = { conditions: [], onWait: () => {}, signal: AbortSignal.timeout(20_000) };

Deno.test("a gateway that is started anew waits for an approval until the time that the first one noted", async () => {
  await withUpdate(async (updateId, start, terms) => {
    await waitAndStop(start(began), updateId);
    assert.equal(terms.get(updateId).approvalUntil, began + 7 * day);
    await waitAndStop(start(began + 3 * day), updateId);
    assert.equal(terms.get(updateId).approvalUntil, began + 7 * day);
    await assert.rejects(
      start(began + 7 * day).wait({ updateId, ...goesOn }),
      (error) => error instanceof ApprovalError && /nobody approved it within 604800 s/.test(error.message),
    );
  });
});

Deno.test("what is left of the time is waited for", async () => {
  await withUpdate(async (updateId, start) => {
    await waitAndStop(start(began), updateId);
    await assert.rejects(start(began + 7 * day - 30).wait({ updateId, ...goesOn }), ApprovalError);
  });
});

Deno.test("an approval that came while the gateway was off counts, however late the gateway starts", async () => {
  await withUpdate(async (updateId, start, terms) => {
    await waitAndStop(start(began), updateId);
    assert.equal(terms.approve(updateId, "vehicle"), true);
    await start(began + 30 * day).wait({ updateId, ...goesOn });
  });
});
