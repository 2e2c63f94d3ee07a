// What keeps time: deadlines that are moved, and instants that are met.

import assert from "node:assert/strict";
import { systemClock } from "../../../hardware/clock.ts";
import { Deadline } from "../../../hardware/isotp/deadline.ts";
import { finePacer, pacerFor, timerPacer } from "../../../hardware/isotp/pacer.ts";
import { TestClock } from "./support/memory_bus.ts";

Deno.test("a deadline that is moved forward is met at its last place, once", async () => {
  const clock = new TestClock();
  let met = 0;
  const deadline = new Deadline(clock, () => met++);
  const begin = clock.now();
  deadline.set(begin + 100);
  await clock.pass(90);
  deadline.set(begin + 190);
  assert.equal(clock.pending, 1);
  await clock.pass(99);
  assert.equal(met, 0);
  await clock.pass(1);
  assert.equal(met, 1);
  await clock.pass(1_000);
  assert.equal(met, 1);
});

Deno.test("a deadline can be moved back, and cleared", async () => {
  const clock = new TestClock();
  let met = 0;
  const deadline = new Deadline(clock, () => met++);
  deadline.set(clock.now() + 1_000);
  deadline.set(clock.now() + 10);
  await clock.pass(10);
  assert.equal(met, 1);
  deadline.set(clock.now() + 10);
  deadline.clear();
  assert.equal(clock.pending, 0);
});

Deno.test("a timer that fires late leaves time for what waits to be read", async () => {
  const clock = new TestClock();
  let late = 0;
  const busy = { now: () => clock.now() + late, after: clock.after.bind(clock) };
  let met = 0;
  const deadline = new Deadline(busy, () => met++);
  deadline.set(clock.now() + 100);
  // The process was held for two seconds and then finds the frame that came meanwhile.
  late = 2_000;
  await clock.pass(100);
  assert.equal(met, 0);
  deadline.set(busy.now() + 100);
  await clock.pass(50);
  assert.equal(met, 0);
  deadline.set(clock.now() + 100);
  // Nothing had come: then the time is up.
  await clock.pass(100);
  await clock.pass(20);
  assert.equal(met, 1);
});

Deno.test("a pacer of timers never calls early, though timers may", async () => {
  const clock = new TestClock();
  const hasty = {
    now: () => clock.now(),
    after: (delay: number, run: () => void) => clock.after(delay / 2, run),
  };
  const instant = clock.now() + 10;
  let called = 0;
  timerPacer(hasty).at(instant, () => called = clock.now());
  await clock.pass(20);
  assert.ok(called >= instant && called < instant + 1, `${called}`);
  timerPacer(hasty).at(clock.now() + 10, () => assert.fail("cancelled"))();
  await clock.pass(20);
});

Deno.test("the fine pacer never calls early on the system's clock, and not at all when cancelled", async () => {
  const pacer = finePacer();
  for (const wait of [0, 0.1, 0.5, 2, 12]) {
    const instant = systemClock.now() + wait;
    await new Promise<void>((resolve) => pacer.at(instant, resolve));
    assert.ok(systemClock.now() >= instant);
  }
  for (const wait of [0.5, 12]) {
    const cancel = pacer.at(systemClock.now() + wait, () => assert.fail("cancelled"));
    cancel();
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
});

Deno.test("a clock of one's own is kept by its timers", async () => {
  const clock = new TestClock();
  let called = false;
  pacerFor(clock).at(clock.now() + 0.3, () => called = true);
  await clock.pass(0.2);
  assert.equal(called, false);
  await clock.pass(0.1);
  assert.equal(called, true);
});
