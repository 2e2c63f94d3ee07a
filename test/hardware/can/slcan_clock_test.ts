import assert from "node:assert/strict";
import { TimestampClock } from "../../../hardware/can/slcan_clock.ts";

Deno.test("times keep the adapter's spacing, however unevenly the line delivers", () => {
  const clock = new TimestampClock();
  assert.equal(clock.time(100, 5000), 5000);
  // 30 ms late.
  assert.ok(Math.abs(clock.time(110, 5040) - 5010) < 0.1);
  assert.ok(Math.abs(clock.time(120, 5040) - 5020) < 0.1);
});

Deno.test("stamps begin again each minute, also when nothing came for several", () => {
  const clock = new TimestampClock();
  clock.time(59_000, 1000);
  assert.ok(Math.abs(clock.time(1000, 3000) - 3000) < 1);
  // Five minutes and two seconds of silence.
  const later = clock.time(3000, 3000 + 302_000);
  assert.ok(Math.abs(later - 305_000) < 1, String(later));
});

Deno.test("a frame is never in the future, nor earlier than the one before", () => {
  const clock = new TimestampClock();
  let last = -Infinity;
  for (let step = 0; step < 1000; step++) {
    // The adapter's clock is 0.01 % fast, and the line delivers every third at once.
    const now = step * 10 - (step % 3 === 0 ? 0 : step % 3);
    const time = clock.time(Math.floor(step * 10 * 1.0001) % 60_000, now);
    assert.ok(time <= now + 1e-6, `step ${step}: ${time} > ${now}`);
    assert.ok(time >= last, `step ${step}`);
    last = time;
  }
  assert.ok(last > 9970);
});
