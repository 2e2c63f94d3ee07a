// When an update's time has run out, by clocks that are wrong, set, or attested.

import assert from "node:assert/strict";
import FakeTimers from "@sinonjs/fake-timers";
import { UpdateTimer } from "../../../src/vmg/update/deadline.ts";
import type { UpdateTerms } from "../../../src/vmg/update/terms.ts";

const minute = 60_000;
/** 2026-11-21T12:00:00Z, by the server. */
const issued = Date.UTC(2026, 10, 21, 12);

function terms(changes: Partial<UpdateTerms> = {}): UpdateTerms {
  return {
    mode: "forced",
    attempt: 1,
    attempts: 1,
    deadline: issued + 10 * minute,
    lifetime: 10 * minute,
    received: issued,
    approvedBy: null,
    cancelReason: null,
    retryable: null,
    approvalUntil: null,
    ...changes,
  };
}

Deno.test("without attested time the machine's clock and the time since the command both end it", () => {
  let [wall, elapsed] = [issued, 0];
  const timer = new UpdateTimer({ wall: () => wall, elapsed: () => elapsed });
  timer.heard("u");
  assert.equal(timer.left("u", terms()), 10 * minute);
  wall += minute;
  elapsed += minute;
  assert.equal(timer.left("u", terms()), 9 * minute);
  // The clock is set back: the time that passed counts all the same.
  wall = issued - 24 * 60 * minute;
  elapsed += minute;
  assert.equal(timer.left("u", terms()), 8 * minute);
  // A vehicle that was off for an hour: it has a clock, and nothing was counted.
  const later = new UpdateTimer({ wall: () => issued + 60 * minute, elapsed: () => 0 });
  later.heard("u");
  assert.equal(later.left("u", terms()), -50 * minute);
  assert.equal(later.left("u", terms({ deadline: null, lifetime: null })), Infinity);
});

Deno.test("attested time counts alone, whatever the machine's clock says", () => {
  let elapsed = 0;
  const trusted: { now?: Date; latest?: Date } = {};
  const clocks = { now: undefined as Date | undefined, latest: undefined as Date | undefined };
  const timer = new UpdateTimer({ wall: () => issued + 10 ** 12, elapsed: () => elapsed, trusted: clocks });
  timer.heard("u");
  assert.equal(timer.left("u", terms()), 10 * minute, "a clock that is years ahead ends nothing before that");
  elapsed += 3 * minute;
  assert.equal(timer.left("u", terms()), 7 * minute);
  clocks.latest = new Date(issued + 8 * minute);
  assert.equal(timer.left("u", terms()), 2 * minute, "it is not earlier than what was attested last");
  clocks.now = new Date(issued + 11 * minute);
  assert.equal(timer.left("u", terms()), -minute);
  clocks.now = new Date(issued + 5 * minute);
  assert.equal(timer.left("u", terms()), 5 * minute);
  assert.deepEqual(trusted, {});
});

Deno.test("a watch calls once the time is over, and hears of time that is attested meanwhile", () => {
  const clock = FakeTimers.install({ now: issued, toFake: ["setTimeout", "clearTimeout", "Date"] });
  try {
    const clocks = { now: undefined as Date | undefined, latest: undefined as Date | undefined };
    const elapsed = () => clock.now - issued;
    let over = 0;
    const timer = new UpdateTimer({ elapsed, trusted: clocks });
    timer.heard("u");
    timer.watch("u", terms(), () => over++, assert.ifError);
    clock.tick(5 * minute);
    assert.equal(over, 0);
    clocks.now = new Date(issued + 20 * minute);
    clock.tick(10_000);
    assert.equal(over, 1);
    clock.tick(10 * minute);
    assert.equal(over, 1);
    clocks.now = undefined;
    timer.heard("v");
    const end = timer.watch("v", terms(), () => over++, assert.ifError);
    end();
    clock.tick(60 * minute);
    assert.equal(over, 1, "a watch that was called off is silent");
  } finally {
    clock.uninstall();
  }
});

Deno.test("what could not be done about a time that is over is tried again", () => {
  const clock = FakeTimers.install({ now: issued, toFake: ["setTimeout", "clearTimeout", "Date"] });
  try {
    const timer = new UpdateTimer({
      elapsed: () => clock.now - issued,
      trusted: { now: undefined, latest: undefined },
    });
    const broken = new Error("disk full");
    const faults: unknown[] = [];
    let tries = 0;
    timer.heard("u");
    timer.watch(
      "u",
      terms(),
      () => {
        if (++tries < 3) throw broken;
      },
      (error) => faults.push(error),
    );
    clock.tick(60 * minute);
    assert.equal(tries, 3);
    assert.deepEqual(faults, [broken, broken]);
  } finally {
    clock.uninstall();
  }
});

Deno.test("the time is what was attested, and the machine's where nothing was", () => {
  const trusted = { now: undefined as Date | undefined, latest: undefined };
  const timer = new UpdateTimer({ wall: () => issued, trusted });
  assert.equal(timer.now, issued);
  trusted.now = new Date(issued + minute);
  assert.equal(timer.now, issued + minute);
});
