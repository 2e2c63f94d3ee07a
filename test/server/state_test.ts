// The server's state follows the work under way.

import assert from "node:assert/strict";
import { createLogger } from "../../src/log.ts";
import { ServerState } from "../../src/server/state.ts";

Deno.test("the first of PROCESSING, HANDLING, MAINTENANCE with work under way is shown, and logged at debug", () => {
  const lines: string[] = [];
  const log = createLogger({ level: "debug", color: false, write: (line) => lines.push(line.slice(22)) });
  const shown: string[] = [];
  const state = new ServerState(log, (next) => shown.push(next));
  assert.equal(state.current, "IDLE");
  const endTimer = state.enter("MAINTENANCE");
  const endMessage = state.enter("HANDLING");
  const endRequest = state.enter("PROCESSING");
  const endSecond = state.enter("PROCESSING");
  endRequest();
  endRequest();
  assert.equal(state.current, "PROCESSING");
  endSecond();
  assert.equal(state.current, "HANDLING");
  endMessage();
  endTimer();
  assert.deepEqual(shown, ["MAINTENANCE", "HANDLING", "PROCESSING", "HANDLING", "MAINTENANCE", "IDLE"]);
  assert.equal(lines[0], "DEBUG - State IDLE -> MAINTENANCE");
});

Deno.test("work that fails ends its state", async () => {
  const state = new ServerState(createLogger({ write: () => {} }));
  await assert.rejects(state.during("PROCESSING", () => Promise.reject(new Error("no"))), /no/);
  assert.equal(state.current, "IDLE");
});
