// Asking a source of measured values, which may be slow, wrong, or silent.

import assert from "node:assert/strict";
import { VmgError } from "../../src/vmg/errors.ts";
import { readNow } from "../../src/vmg/telemetry.ts";

const goesOn = new AbortController().signal;

Deno.test("a source that says nothing is waited for no longer than the limit", async () => {
  const silent = { name: "a silent source", read: () => new Promise<Record<string, number>>(() => {}) };
  await assert.rejects(
    readNow(silent, goesOn, 20),
    (error) =>
      error instanceof VmgError &&
      error.message === "a silent source: expected values within 20 ms, got none",
  );
});

Deno.test("a wait for a source ends with the signal's reason", async () => {
  const silent = { name: "a silent source", read: () => new Promise<Record<string, number>>(() => {}) };
  const stop = new AbortController();
  const reading = readNow(silent, stop.signal);
  stop.abort(new RangeError("it stops"));
  await assert.rejects(reading, /it stops/);
});

Deno.test("what a source gives, and what it fails with, comes through", async () => {
  assert.deepEqual(await readNow({ name: "s", read: () => ({ speed: 3 }) }, goesOn), { speed: 3 });
  const failing = {
    name: "s",
    read: () => {
      throw new RangeError("no bus");
    },
  };
  await assert.rejects(readNow(failing, goesOn), /no bus/);
});
