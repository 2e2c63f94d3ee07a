// Waiting for measured values within limits.

import assert from "node:assert/strict";
import { silentLogger } from "../../../src/log.ts";
import { ConditionError } from "../../../src/vmg/errors.ts";
import { type ConditionOptions, waitForConditions } from "../../../src/vmg/update/conditions.ts";

function options(differs: Partial<ConditionOptions>): ConditionOptions {
  return {
    groups: [{ for: "parked", conditions: [{ signal: "speed", min: 0, max: 0 }], timeout: 60_000 }],
    source: undefined,
    interval: 1,
    onWait: () => {},
    signal: AbortSignal.timeout(10_000),
    log: silentLogger,
    ...differs,
  };
}

Deno.test("a source that fails measures nothing: no condition holds by that, and none fails for it", async () => {
  const reads: (() => Record<string, number>)[] = [
    () => {
      throw new Error("no bus");
    },
    () => ({ speed: 30 }),
    () => ({ speed: 0 }),
  ];
  const waits: (string | undefined)[] = [];
  const source = { name: "a test", read: () => reads.shift()?.() ?? {} };
  await waitForConditions(options({ source, onWait: (wait) => waits.push(wait?.detail) }));
  assert.deepEqual(waits, [
    "speed: expected 0, it is not measured now",
    "speed: expected 0, it is 30",
    undefined,
  ]);
});

Deno.test("a source that never answers is waited for as long as the signal allows", async () => {
  const stop = new AbortController();
  const source = { name: "a test", read: () => new Promise<Record<string, number>>(() => {}) };
  const waiting = waitForConditions(options({ source, signal: stop.signal }));
  stop.abort(new RangeError("it stops"));
  await assert.rejects(waiting, /it stops/);
});

Deno.test("what does not hold in time is named", async () => {
  const source = { name: "a test", read: () => ({ speed: 7 }) };
  const groups = [{ for: "parked" as const, conditions: [{ signal: "speed", max: 0 }], timeout: 5 }];
  await assert.rejects(
    waitForConditions(options({ source, groups })),
    (error) =>
      error instanceof ConditionError && /speed: expected at most 0, it is 7; waited 0 s/.test(error.message),
  );
});
