import assert from "node:assert/strict";
import { CanBusError } from "../../../hardware/can/bus.ts";
import type { CanFrame } from "../../../hardware/can/frame.ts";
import { VirtualCanBus, type VirtualCanBusOptions } from "../../../hardware/sim/can_bus.ts";
import type { VirtualCanNode } from "../../../hardware/sim/can_node.ts";
import { settle, TestClock } from "../uds/test_clock.ts";

const frame = (id: number, ...data: number[]): CanFrame => ({
  id,
  extended: false,
  data: Uint8Array.from(data),
});
const frame555 = frame(0x555);

interface Heard {
  id: number;
  data: string;
  time: number;
}

/** Everything that a node hears, copied. */
function heardBy(node: VirtualCanNode): Heard[] {
  const heard: Heard[] = [];
  node.listen(({ frame, time }) =>
    heard.push({ id: frame.id, data: frame.data.toHex(), time: Math.round(time * 1e6) / 1e6 })
  );
  return heard;
}

function busWith(options: Partial<VirtualCanBusOptions> = {}) {
  const clock = new TestClock();
  const bus = new VirtualCanBus({ name: "CAN_TEST", clock, ...options });
  return { clock, bus, a: bus.attach("a"), b: bus.attach("b"), c: bus.attach("c") };
}

const unpaced = { timing: "none" } as const;

Deno.test("each node hears the frames of the others and not its own, in order", async () => {
  const { bus, a, b, c } = busWith(unpaced);
  const [atA, atB, atC] = [a, b, c].map(heardBy);
  await Promise.all([a.send(frame(0x100, 1)), a.send(frame(0x080, 2)), b.send(frame(0x7ff, 3))]);
  assert.deepEqual(atA.map(({ id }) => id), [0x7ff]);
  assert.deepEqual(atB.map(({ data }) => data), ["01", "02"], "one node's frames keep their order");
  assert.deepEqual(atC.map(({ id }) => id), [0x100, 0x080, 0x7ff]);
  await bus.close();
});

Deno.test("a frame takes the time of its bits, and the next one follows it", async () => {
  const { clock, bus, a, b } = busWith({ bitRate: 500_000 });
  const heard = heardBy(b);
  // 53 bits each, see wire_bits_test.ts.
  void a.send(frame(0));
  void a.send(frame(0));
  await clock.advance(0.1);
  assert.equal(heard.length, 0);
  await clock.advance(0.006);
  assert.deepEqual(heard.map(({ time }) => time), [0.106]);
  await clock.advance(1);
  assert.deepEqual(heard.map(({ time }) => time), [0.106, 0.212]);
  await bus.close();
});

Deno.test("of the frames that wait, the one with the lowest arbitration field is next", async () => {
  const { clock, bus, a, b, c } = busWith();
  const watcher = heardBy(bus.attach("watcher"));
  void a.send(frame(0x7ff));
  await settle();
  // On the wire by now; these three wait for its end.
  void a.send(frame(0x300));
  void b.send({ ...frame(0x200), remote: true });
  void c.send(frame(0x200));
  void c.send({ id: 0x200 << 18, extended: true, data: new Uint8Array(0) });
  await clock.advance(5);
  // ISO 11898-1 10.9: data before remote frame of the same identifier; base before extended, whose SRR is recessive as
  // RTR of the remote frame is, and whose IDE then loses.
  assert.deepEqual(watcher.map(({ id }) => id), [0x7ff, 0x200, 0x200, 0x200 << 18, 0x300]);
  await bus.close();
});

Deno.test("a frame that nobody is there to acknowledge is sent when somebody comes, or fails in time", async () => {
  const clock = new TestClock();
  const bus = new VirtualCanBus({ name: "CAN_TEST", clock });
  const alone = bus.attach("alone");
  const first = alone.send(frame555, { timeout: 100 });
  const failed = assert.rejects(first, (error) => {
    assert.ok(error instanceof CanBusError);
    assert.match(error.message, /alone on CAN_TEST: 555# was not sent in time/);
    return true;
  });
  await clock.advance(100);
  await failed;
  const second = alone.send(frame555);
  await clock.advance(10);
  const heard = heardBy(bus.attach("other"));
  await clock.advance(10);
  await second;
  assert.equal(heard.length, 1);
  await bus.close();
});

Deno.test("an aborted send leaves the queue, one that is on the wire goes out", async () => {
  const { clock, bus, a, b } = busWith();
  const heard = heardBy(b);
  const abort = new AbortController();
  const onWire = a.send(frame(0x001), { signal: abort.signal });
  await settle();
  const waiting = a.send(frame(0x002), { signal: abort.signal });
  abort.abort(new Error("stop"));
  await assert.rejects(waiting, /stop/);
  await clock.advance(1);
  await onWire;
  assert.deepEqual(heard.map(({ id }) => id), [0x001]);
  await bus.close();
});

Deno.test("many frames handed over at once are out in their order when the promise resolves", async () => {
  const { bus, a, b } = busWith(unpaced);
  const heard = heardBy(b);
  const frames = Array.from({ length: 1000 }, (_, n) => frame(0x100, n >> 8, n & 0xff));
  await a.sendAll(frames);
  assert.deepEqual(heard.map(({ data }) => parseInt(data, 16)), frames.map((_, n) => n));
  await bus.close();
});

Deno.test("a late timer costs no bus time: the frames after it are due as if it had not been late", async () => {
  let now = 0;
  let timer: (() => void) | undefined;
  const bus = new VirtualCanBus({
    name: "CAN_TEST",
    clock: { now: () => now, after: (_, run) => (timer = run, () => timer = undefined) },
  });
  const [a, b] = [bus.attach("a"), bus.attach("b")];
  const heard = heardBy(b);
  const sending = a.sendAll([frame(0), frame(0), frame(0)]);
  await settle();
  now = 50;
  timer?.();
  await sending;
  assert.deepEqual(heard.map(({ time }) => time), [0.106, 0.212, 0.318]);
  await bus.close();
});

Deno.test("a listener that throws does not keep the frame from the others, and is told of", async () => {
  const log: string[] = [];
  const { bus, a, b, c } = busWith({ ...unpaced, log: (message) => log.push(message) });
  b.listen(() => {
    throw new Error("broken listener");
  });
  const atB = heardBy(b);
  const atC = heardBy(c);
  await a.send(frame555);
  assert.deepEqual([atB.length, atC.length], [1, 1]);
  assert.match(log.join("\n"), /b on CAN_TEST: a listener failed at 555#.*broken listener/);
  await bus.close();
});

Deno.test("faults meet the n-th frame: lost, doubled, late", async () => {
  const { clock, bus, a, b } = busWith(unpaced);
  const heard = heardBy(b);
  bus.inject({ kind: "drop", occurrence: 2 });
  bus.inject({ kind: "double", occurrence: 2, id: 0x300 });
  bus.inject({ kind: "late", occurrence: 1, id: 0x400, delay: 10 });
  for (const id of [0x100, 0x200, 0x300, 0x400, 0x300]) await a.send(frame(id));
  assert.deepEqual(heard.map(({ id }) => id), [0x100, 0x300, 0x300, 0x300]);
  await clock.advance(10);
  assert.deepEqual(heard.slice(4).map(({ id, time }) => [id, time]), [[0x400, 10]]);
  bus.inject({ kind: "drop", occurrence: 1 });
  bus.clearFaults();
  await a.send(frame(0x500));
  assert.equal(heard.at(-1)?.id, 0x500);
  await bus.close();
});

Deno.test("a node that is bus-off neither sends nor hears until it recovers", async () => {
  const { clock, bus, a, b } = busWith(unpaced);
  const [atA, atB] = [heardBy(a), heardBy(b)];
  bus.inject({ kind: "bus_off", occurrence: 1, id: 0x200, duration: 100 });
  await a.send(frame(0x100));
  const waiting = [a.send(frame(0x200)), a.send(frame(0x201))];
  for (const result of await Promise.allSettled(waiting)) {
    assert.equal(result.status, "rejected");
    assert.ok(result.reason instanceof CanBusError);
    assert.match(result.reason.message, /bus off/);
  }
  assert.equal(a.busOff, true);
  await assert.rejects(a.send(frame(0x202)), /bus off/);
  await b.send(frame(0x300));
  assert.deepEqual(atA, []);
  await clock.advance(100);
  assert.equal(a.busOff, false);
  await a.send(frame(0x203));
  assert.deepEqual(atB.map(({ id }) => id), [0x100, 0x203]);
  await bus.close();
});

Deno.test("a node without power neither sends nor hears nor acknowledges", async () => {
  const clock = new TestClock();
  const bus = new VirtualCanBus({ name: "CAN_TEST", clock });
  const a = bus.attach("a");
  let powered = false;
  const ecu = bus.attach("ECU", { powered: () => powered });
  const heard = heardBy(ecu);
  const lost = assert.rejects(a.send(frame555, { timeout: 10 }), /nobody acknowledges it/);
  await clock.advance(10);
  await lost;
  await assert.rejects(ecu.send(frame555), /ECU on CAN_TEST: no power/);
  powered = true;
  const first = ecu.send(frame(0x100));
  const second = assert.rejects(ecu.send(frame(0x101)), /no power/);
  await settle();
  powered = false;
  await clock.advance(10);
  await Promise.all([first, second]);
  assert.deepEqual(heard, []);
  await bus.close();
});

Deno.test("an FD frame does not go onto a classic bus", async () => {
  const { bus, a } = busWith(unpaced);
  await assert.rejects(a.send({ ...frame555, fd: true }), /555##0 is CAN FD, the bus is classic/);
  await bus.close();
});

Deno.test("a frame, a rate or a fault that cannot be is refused with its value", async () => {
  const { bus, a } = busWith(unpaced);
  await assert.rejects(a.send(frame(0x800)), /identifier: expected 0 to 0x7FF, got 2048/);
  assert.throws(() => new VirtualCanBus({ name: "X", bitRate: 5 }), /X bitRate: .*got 5/);
  assert.throws(() => bus.inject({ kind: "drop", occurrence: 0 }), /occurrence: .*got 0/);
  assert.throws(() => bus.inject({ kind: "garbage", occurrence: 1, bytes: "0" }), /bytes: .*got 0/);
  await bus.close();
});

Deno.test("a node that leaves says so: its sends fail and its promise resolves", async () => {
  const { bus, a } = busWith();
  const onWire = a.send(frame555);
  await settle();
  const lost = a.send(frame555);
  await a.close();
  await assert.rejects(lost, /left the bus/);
  await assert.rejects(a.send(frame555), /left the bus/);
  assert.equal(await a.closed, undefined);
  await bus.close();
  await assert.rejects(onWire, /CAN_TEST: the bus is gone/);
});
