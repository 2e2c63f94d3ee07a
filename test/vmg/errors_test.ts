// Telling the faults of the gateway's own state from all others.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { isStateFault, VmgError } from "../../src/vmg/errors.ts";

Deno.test("what the state's file refuses is a fault of the state, also as the cause of another error; nothing else is", () => {
  using sqlite = new DatabaseSync(":memory:");
  sqlite.exec("CREATE TABLE t (x); PRAGMA query_only = ON");
  let fault: unknown;
  try {
    sqlite.prepare("INSERT INTO t VALUES (1)").run();
  } catch (error) {
    fault = error;
  }
  assert.ok(fault instanceof Error);
  assert.equal(isStateFault(fault), true);
  assert.equal(isStateFault(new VmgError("not noted", { cause: fault })), true);
  assert.equal(isStateFault(new VmgError("no answer", { cause: new Error("ERR_SQLITE_ERROR") })), false);
  assert.equal(isStateFault(undefined), false);
  const loop = new Error("round");
  loop.cause = loop;
  assert.equal(isStateFault(loop), false);
});
