// The writes of broker sessions: what changes while one ends is written as well.

import assert from "node:assert/strict";
import { SessionJournal } from "../../../src/server/mqtt/session_journal.ts";

/** The promise's outcome, or a failure when it has none within a second. */
async function soon<T>(promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it is never written")), 1_000);
  });
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function journalOf(apply: () => Promise<void>): { journal: SessionJournal; written: string[] } {
  const written: string[] = [];
  const journal = new SessionJournal({
    apply: async ({ ended }) => {
      await apply();
      written.push(...ended);
    },
  });
  return { journal, written };
}

Deno.test("a change that is made the moment another is written is written too", async () => {
  const { journal, written } = journalOf(() => Promise.resolve());
  await soon(journal.ended("a"));
  await soon(journal.ended("b"));
  const third = journal.ended("c").then(() => journal.ended("d"));
  await soon(third);
  await soon(journal.settled());
  assert.deepEqual(written, ["a", "b", "c", "d"]);
});

Deno.test("a change that is made the moment another fails is written, and settled() waits for it", async () => {
  let fails = true;
  const { journal, written } = journalOf(() =>
    fails ? Promise.reject(new Error("no database")) : Promise.resolve()
  );
  await assert.rejects(soon(journal.ended("a")), /no database/);
  fails = false;
  void journal.ended("b");
  await soon(journal.settled());
  assert.deepEqual(written, ["b"]);
});
