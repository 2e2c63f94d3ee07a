// Waits and the growing wait between tries.

import assert from "node:assert/strict";
import FakeTimers from "@sinonjs/fake-timers";
import { Backoff, delay, orAborted } from "../src/wait.ts";

Deno.test("delay() ends in time, and at once with the signal's reason", async () => {
  const clock = FakeTimers.install();
  try {
    let over = false;
    const waiting = delay(1_000).then(() => over = true);
    await clock.tickAsync(999);
    assert.equal(over, false);
    await clock.tickAsync(1);
    await waiting;
    const controller = new AbortController();
    const stopped = delay(1_000, controller.signal);
    const reason = new Error("stop");
    controller.abort(reason);
    await assert.rejects(stopped, (error) => error === reason);
    await assert.rejects(delay(1_000, controller.signal), (error) => error === reason);
    assert.equal(clock.countTimers(), 0, "no timer is left behind");
  } finally {
    clock.uninstall();
  }
});

Deno.test("orAborted() gives what comes first", async () => {
  const controller = new AbortController();
  assert.equal(await orAborted(Promise.resolve(1), controller.signal), 1);
  const reason = new Error("stop");
  const never = orAborted(new Promise<void>(() => {}), controller.signal);
  controller.abort(reason);
  await assert.rejects(never, (error) => error === reason);
});

Deno.test("the bound of the wait doubles from 1 s to 60 s and begins anew after a success", () => {
  const backoff = new Backoff({ initial: 1_000, max: 60_000, random: () => 0.999999 });
  const waits = Array.from({ length: 8 }, () => backoff.next());
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  backoff.reset();
  assert.equal(backoff.next(), 1_000);
});

Deno.test("the wait is anything between nothing and the bound", () => {
  const values = [0, 0.5, 0.25];
  const backoff = new Backoff({ initial: 1_000, max: 60_000, random: () => values.shift() ?? 0 });
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [0, 1_000, 1_000]);
});

Deno.test("a back-off that cannot be is refused with the value", () => {
  assert.throws(() => new Backoff({ initial: 0, max: 1 }), /initial: expected more than 0 ms, got 0/);
  assert.throws(() => new Backoff({ initial: 10, max: 1 }), /max: expected at least 10 ms, got 1/);
});
