import assert from "node:assert/strict";
import type { CanBus } from "../../../hardware/can/bus.ts";
import { type CanFrame, showFrame } from "../../../hardware/can/frame.ts";
import { traced } from "../../../hardware/can/traced_bus.ts";
import type { CanTap } from "../../../hardware/trace/tap.ts";
import { MemoryWire } from "./memory_bus.ts";

const frame = (id: number, ...bytes: number[]): CanFrame => ({
  id,
  extended: false,
  data: Uint8Array.from(bytes),
});

function tapInto(shown: string[]): CanTap {
  return { frame: (direction, frame) => shown.push(`${direction} ${showFrame(frame)}`) };
}

Deno.test("frames that are sent together are shown in order, and go to the bus together", async () => {
  const shown: string[] = [];
  const batches: string[][] = [];
  const bus: CanBus = {
    name: "bus",
    fd: false,
    closed: new Promise(() => {}),
    send: () => Promise.reject(new Error("one by one")),
    sendAll(frames, options) {
      assert.equal(options?.timeout, 7);
      // Shown before the bus takes them: an answer must not come first.
      assert.equal(shown.length, 2);
      batches.push(frames.map(showFrame));
      return Promise.resolve();
    },
    listen: () => () => {},
    close: () => Promise.resolve(),
  };
  await traced(bus, tapInto(shown)).sendAll?.([frame(1, 0xaa), frame(2)], { timeout: 7 });
  assert.deepEqual(shown, ["sent 001#AA", "sent 002#"]);
  assert.deepEqual(batches, [["001#AA", "002#"]]);
});

Deno.test("a bus that takes no frames together takes none when it is traced", () => {
  const { sendAll: _, ...single }: CanBus = {
    name: "bus",
    fd: false,
    closed: new Promise(() => {}),
    send: () => Promise.resolve(),
    listen: () => () => {},
    close: () => Promise.resolve(),
  };
  assert.equal(traced(single, tapInto([])).sendAll, undefined);
});

Deno.test("what is heard and what is sent alone are shown, each once", async () => {
  const shown: string[] = [];
  const wire = new MemoryWire();
  const other = wire.join();
  const bus = traced(wire.join(), tapInto(shown));
  await bus.send(frame(0x7e0, 0x3e));
  await other.send(frame(0x7e8, 0x7e));
  assert.deepEqual(shown, ["sent 7E0#3E", "received 7E8#7E"]);
  await bus.close();
  await other.close();
});
