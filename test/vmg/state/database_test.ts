// The gateway's state on disk: one user, versions, transactions.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { StateError, StateLockedError } from "../../../src/vmg/errors.ts";
import { CommandLog } from "../../../src/vmg/state/command_log.ts";
import { isInUse, StateDatabase } from "../../../src/vmg/state/database.ts";

async function folder(test: (directory: string) => void | Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "vmg-state-" });
  try {
    await test(`${directory}/state`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a second gateway on the same folder is refused with the process that has it", async () => {
  await folder((directory) => {
    const first = StateDatabase.open(directory);
    assert.throws(() => StateDatabase.open(directory), (error) => {
      assert(error instanceof StateLockedError);
      assert.match(error.message, new RegExp(`in use by another vehicle gateway \\(process ${Deno.pid}\\)`));
      return true;
    });
    first.close();
    StateDatabase.open(directory).close();
  });
});

Deno.test("whether a gateway has the folder can be asked beside it, and ends with it", async () => {
  await folder((directory) => {
    assert.equal(isInUse(directory), false);
    const state = StateDatabase.open(directory);
    assert.deepEqual([isInUse(directory), isInUse(directory)], [true, true]);
    state.close();
    assert.equal(isInUse(directory), false);
    StateDatabase.open(directory).close();
  });
});

Deno.test("writes are flushed to the disk before they count", async () => {
  await folder((directory) => {
    using state = StateDatabase.open(directory);
    assert.equal(state.sqlite.prepare("PRAGMA journal_mode").get()?.journal_mode, "wal");
    assert.equal(state.sqlite.prepare("PRAGMA synchronous").get()?.synchronous, 2);
  });
});

Deno.test("a file of a newer program is left alone", async () => {
  await folder((directory) => {
    StateDatabase.open(directory).close();
    const raw = new DatabaseSync(`${directory}/vmg.db`);
    raw.exec("PRAGMA user_version = 99");
    raw.close();
    assert.throws(
      () => StateDatabase.open(directory),
      (error) => error instanceof StateError && /got 99: a newer program wrote it/.test(error.message),
    );
    // The lock was given back.
    assert.throws(() => StateDatabase.open(directory), /newer program/);
  });
});

Deno.test("a file that is no database is said to be none", async () => {
  await folder((directory) => {
    Deno.mkdirSync(directory);
    Deno.writeTextFileSync(
      `${directory}/vmg.db`,
      "this is no database, and long enough to be seen as none".repeat(50),
    );
    assert.throws(() => StateDatabase.open(directory), StateError);
  });
});

Deno.test("a transaction that fails leaves nothing, the outer one with the inner", async () => {
  await folder((directory) => {
    using state = StateDatabase.open(directory);
    const log = new CommandLog(state);
    assert.throws(() =>
      state.transaction(() => {
        state.transaction(() => log.note("a", "control", "{}"));
        throw new Error("no");
      })
    );
    assert.equal(log.note("a", "control", "{}"), true);
  });
});

Deno.test("a message is noted once by its id and once by its reference", async () => {
  await folder((directory) => {
    using state = StateDatabase.open(directory);
    const log = new CommandLog(state);
    assert.equal(log.note("a", "diagnostics", "1", "request"), true);
    assert.equal(log.note("a", "diagnostics", "2"), false);
    assert.equal(log.note("b", "diagnostics", "3", "request"), false);
    assert.equal(log.note("c", "control", "4", "request"), true, "another channel has other references");
    assert.deepEqual(log.unfinished("diagnostics"), [
      { messageId: "a", channel: "diagnostics", payload: "1" },
    ]);
    log.finish("a");
    assert.deepEqual(log.unfinished("diagnostics"), []);
    assert.equal(log.note("a", "diagnostics", "5"), false, "a finished one is remembered");
  });
});
