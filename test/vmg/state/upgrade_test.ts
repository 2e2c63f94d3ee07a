// A gateway's state that an earlier program wrote is brought forward with all its rows.
//
// fixtures/gateway_state_2.sql is what the gateway with schema version 2 left after an update and a diagnosis.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { stateVersion } from "../../../src/vmg/mod.ts";
import { CommandLog } from "../../../src/vmg/state/command_log.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";
import { UpdateJournal } from "../../../src/vmg/update/journal.ts";
import { temporaryFolder } from "../../support/program.ts";

const update = "22f55c7b-c4a1-4435-9b2a-5dde9b0904ab";

/** Writes the fixture; `undo` makes an older schema of it. */
async function written(directory: string, undo = ""): Promise<void> {
  const sql = await Deno.readTextFile(new URL("../../fixtures/gateway_state_2.sql", import.meta.url));
  using database = new DatabaseSync(join(directory, "vmg.db"));
  database.exec(sql + undo);
}

/** What version 2 added to version 1. */
const toVersion1 = `
  ALTER TABLE updates DROP COLUMN phase; ALTER TABLE updates DROP COLUMN outcome;
  ALTER TABLE update_ecus DROP COLUMN phase; ALTER TABLE update_ecus DROP COLUMN from_version;
  ALTER TABLE update_ecus DROP COLUMN to_version; ALTER TABLE update_ecus DROP COLUMN release;
  ALTER TABLE update_ecus DROP COLUMN activation; ALTER TABLE update_ecus DROP COLUMN backup;
  PRAGMA user_version = 1;`;

for (const [version, undo] of [[2, ""], [1, toVersion1]] as const) {
  Deno.test(`state of schema version ${version} is brought forward and acted on no second time`, async () => {
    await using folder = await temporaryFolder();
    await written(folder.path, undo);
    using state = StateDatabase.open(folder.path);
    assert.equal(state.sqlite.prepare("PRAGMA user_version").get()?.user_version, stateVersion);
    const [{ message_id }] = state.sqlite.prepare("SELECT message_id FROM commands LIMIT 1").all();
    assert.equal(
      new CommandLog(state).note(String(message_id), "control", "{}"),
      false,
      "it was taken before",
    );
    assert.equal(new UpdateJournal(state).get(update)?.status, "completed");
  });
}

Deno.test("a step forward that fails leaves the state as it was", async () => {
  await using folder = await temporaryFolder();
  // The last thing that version 2 adds is there already: the step fails at its end.
  await written(folder.path, `${toVersion1} ALTER TABLE update_ecus ADD COLUMN backup TEXT;`);
  assert.throws(() => StateDatabase.open(folder.path), /cannot be used as the gateway's state/);
  using database = new DatabaseSync(join(folder.path, "vmg.db"));
  assert.equal(database.prepare("PRAGMA user_version").get()?.user_version, 1);
  const columns = database.prepare("SELECT name FROM pragma_table_info('update_ecus')").all().map((
    { name },
  ) => name);
  assert.deepEqual(columns, ["update_id", "ecu_id", "status", "step", "error", "backup"]);
  assert.equal(database.prepare("SELECT count(*) AS n FROM updates").get()?.n, 1);
});
