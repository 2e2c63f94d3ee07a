// Turns at an ECU.

import assert from "node:assert/strict";
import FakeTimers from "@sinonjs/fake-timers";
import { EcuLane, type Turn } from "../../../src/vmg/bus/ecu_lane.ts";
import { EcuBusyError } from "../../../src/vmg/errors.ts";

function turn(purpose: string, differs: Partial<Turn> = {}): Turn {
  return { purpose, exclusive: false, timeout: 1_000, ...differs };
}

Deno.test("uses of an ECU follow one another in the order of asking", async () => {
  const lane = new EcuLane("ECU_001");
  const seen: string[] = [];
  const use = async (purpose: string) => {
    const leave = await lane.enter(turn(purpose));
    seen.push(`${purpose} in`);
    await Promise.resolve();
    await Promise.resolve();
    seen.push(`${purpose} out`);
    leave();
    leave();
  };
  await Promise.all([use("a"), use("b"), use("c")]);
  assert.deepEqual(seen, ["a in", "a out", "b in", "b out", "c in", "c out"]);
});

Deno.test("during a flash others are told at once that the ECU is busy, and with what", async () => {
  const lane = new EcuLane("ECU_001");
  const leave = await lane.enter(turn("update 1", { exclusive: true }));
  await assert.rejects(
    lane.enter(turn("diagnosis")),
    (error) => error instanceof EcuBusyError && error.message === "ECU_001 is busy: update 1 is under way",
  );
  leave();
  (await lane.enter(turn("diagnosis")))();
});

Deno.test("a flash waits for the use before it, and nobody gets in between", async () => {
  const lane = new EcuLane("ECU_001");
  const leave = await lane.enter(turn("diagnosis"));
  const flash = lane.enter(turn("update 1", { exclusive: true }));
  await assert.rejects(lane.enter(turn("diagnosis 2")), EcuBusyError);
  leave();
  (await flash)();
});

Deno.test("a turn that does not come in time or is called off leaves the line", async () => {
  const clock = FakeTimers.install();
  try {
    const lane = new EcuLane("ECU_001");
    const leave = await lane.enter(turn("diagnosis"));
    const late = assert.rejects(
      lane.enter(turn("second", { timeout: 500 })),
      /ECU_001 is busy: diagnosis did not end within 500 ms/,
    );
    const controller = new AbortController();
    const called = assert.rejects(lane.enter(turn("third", { signal: controller.signal })), /enough/);
    const last = lane.enter(turn("fourth"));
    await clock.tickAsync(500);
    await late;
    controller.abort(new Error("enough"));
    await called;
    leave();
    (await last)();
    assert.equal(clock.countTimers(), 0);
  } finally {
    clock.uninstall();
  }
});
