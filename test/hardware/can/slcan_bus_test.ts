import assert from "node:assert/strict";
import { CanBusError } from "../../../hardware/can/bus.ts";
import { type CanFrame, showFrame } from "../../../hardware/can/frame.ts";
import { SlcanBus, type SlcanBusOptions } from "../../../hardware/can/slcan_bus.ts";
import { SlcanRefusedError } from "../../../hardware/can/slcan_unanswered.ts";
import { byteStreamPair, type PairEnd } from "../../support/byte_stream_pair.ts";
import { settle, TestClock } from "../uds/test_clock.ts";

/** An adapter played by hand: what the host writes is looked at, what it answers is typed. */
class Bench {
  readonly clock = new TestClock();
  readonly logged: string[] = [];
  readonly lines: { host: PairEnd; adapter: PairEnd }[] = [];
  refuseLine: Error | undefined;
  #seen = 0;

  get line(): { host: PairEnd; adapter: PairEnd } {
    return this.lines[this.lines.length - 1];
  }

  /** Everything that the host wrote since the last call. */
  async wrote(): Promise<string> {
    await settle();
    const text = this.line.host.text();
    const fresh = text.slice(this.#seen);
    this.#seen = text.length;
    return fresh;
  }

  async answer(text: string): Promise<void> {
    this.line.host.arrive(text);
    await settle();
  }

  /** Plays the adapter's part of the opening. */
  async play(steps: readonly (readonly [string, string])[]): Promise<void> {
    for (const [expected, reply] of steps) {
      assert.equal(await this.wrote(), expected);
      if (reply !== "") await this.answer(reply);
      if (expected.startsWith("\r\r\r")) await this.clock.advance(50);
    }
  }

  start(options: Partial<SlcanBusOptions> = {}): Promise<SlcanBus> {
    const opening = SlcanBus.open(() => {
      if (this.refuseLine) return Promise.reject(this.refuseLine);
      const [host, adapter] = byteStreamPair();
      this.lines.push({ host, adapter });
      this.#seen = 0;
      return Promise.resolve(host);
    }, {
      name: "CAN_TEST",
      bitRate: 500_000,
      clock: this.clock,
      log: (message) => this.logged.push(message),
      ...options,
    });
    opening.catch(() => {});
    return opening;
  }

  /** Opens a bus on an adapter that acknowledges. */
  async open(options: Partial<SlcanBusOptions> = {}): Promise<SlcanBus> {
    const opening = this.start({ acknowledgement: "z", ...options });
    await this.play(opened(options));
    return await opening;
  }
}

function opened(options: Partial<SlcanBusOptions> = {}): [string, string][] {
  const acknowledgement = options.acknowledgement === "none" ? "" : "\r";
  if (acknowledgement === "") return [["\r\r\rC\r", ""], ["V\r", "V1013\r"], ["S6\rO\rV\r", "V1013\r"]];
  return [["\r\r\rC\r", "\r\r\r\x07"], ["V\r", "V1013\r"], ["S6\r", "\r"], ["O\r", "\r"]];
}

const frame = (id: number, ...data: number[]): CanFrame => ({
  id,
  extended: false,
  data: new Uint8Array(data),
});

/** How a promise stands, without waiting for it. */
async function state(promise: Promise<unknown>): Promise<"pending" | "done" | Error> {
  promise.catch(() => {});
  await settle();
  const pending = Symbol();
  try {
    return await Promise.race([promise, Promise.resolve(pending)]) === pending ? "pending" : "done";
  } catch (error) {
    assert.ok(error instanceof Error);
    return error;
  }
}

function failed(
  outcome: unknown,
  pattern: RegExp,
  type: abstract new (...args: never[]) => Error = CanBusError,
) {
  assert.ok(outcome instanceof type, String(outcome));
  assert.match(outcome.message, pattern);
}

Deno.test("an adapter is purged, asked for its version, set up and opened, each step after the last one's answer", async () => {
  const bench = new Bench();
  const opening = bench.start({
    acknowledgement: "cr",
    dataBitRate: 5_000_000,
    timestamps: true,
    commands: ["W1", "M00000000"],
  });
  await bench.play([
    // Frames of a channel that somebody left open, and half of one.
    ["\r\r\rC\r", ""],
  ]);
  await bench.play([
    ["V\r", "V1013\r"],
    ["S6\r", "\r"],
    ["Y5\r", "\r"],
    ["Z1\r", "\r"],
    ["W1\r", "\r"],
    ["M00000000\r", "\r"],
    ["O\r", "\r"],
  ]);
  const bus = await opening;
  assert.deepEqual(bus.identity, { version: "1013" });
  assert.equal(bus.fd, true);
  const closing = bus.close();
  assert.equal(await bench.wrote(), "C\r");
  await closing;
  assert.equal(await bus.closed, undefined);
});

Deno.test("what is on the line before the purge is thrown away", async () => {
  const bench = new Bench();
  const opening = bench.start({ acknowledgement: "z" });
  assert.equal(await bench.wrote(), "\r\r\rC\r");
  await bench.answer("\r\r\x07t1231AA\rt12");
  await bench.clock.advance(50);
  await bench.play([["V\r", "V1013\r"], ["S6\r", "\r"], ["O\r", "\r"]]);
  const bus = await opening;
  assert.deepEqual([bus.statistics.framesReceived, bus.statistics.malformedLines, bus.statistics.refusals], [
    0,
    0,
    0,
  ]);
  await bus.close();
});

Deno.test("a version in free text is taken, and none is tolerated", async () => {
  const text = new Bench();
  let opening = text.start({ acknowledgement: "cr" });
  await text.play([["\r\r\rC\r", "\r"], ["V\r", "CANable b158aa7 github.com/x\r"], ["S6\r", "\r"], [
    "O\r",
    "\r",
  ]]);
  assert.equal((await opening).identity.version, "CANable b158aa7 github.com/x");
  await (await opening).close();

  const silent = new Bench();
  opening = silent.start({ acknowledgement: "none" });
  await silent.play([["\r\r\rC\r", ""], ["V\r", ""]]);
  await silent.clock.advance(300);
  assert.equal(await silent.wrote(), "S6\rO\r");
  assert.equal((await opening).identity.version, undefined);
  await (await opening).close();

  const refusing = new Bench();
  opening = refusing.start({ acknowledgement: "cr" });
  await refusing.play([["\r\r\rC\r", "\r"], ["V\r", "\x07"], ["S6\r", "\r"], ["O\r", "\r"]]);
  await (await opening).close();
});

Deno.test("a step that the adapter refuses fails the opening, and closes the line", async () => {
  const bench = new Bench();
  const opening = bench.start({ acknowledgement: "z" });
  await bench.play([["\r\r\rC\r", "\r"], ["V\r", "V1013\r"], ["S6\r", "\x07"]]);
  failed(await state(opening), /CAN_TEST: the adapter refused "S6"/, SlcanRefusedError);
  await assert.rejects(bench.line.adapter.write(new Uint8Array(1)), /the line is closed/);
});

Deno.test("an adapter that does not acknowledge fails the opening after the time-out", async () => {
  const bench = new Bench();
  const opening = bench.start({ acknowledgement: "cr" });
  await bench.play([["\r\r\rC\r", ""], ["V\r", "V1013\r"], ["S6\r", ""]]);
  await bench.clock.advance(999);
  assert.equal(await state(opening), "pending");
  await bench.clock.advance(1);
  failed(await state(opening), /no answer to "S6" within 1000 ms/);
});

Deno.test("settings that cannot be are refused before the line is opened", async () => {
  const bench = new Bench();
  failed(await state(bench.start({ bitRate: 333_000 })), /bitRate: .*got 333000/, RangeError);
  failed(await state(bench.start({ bitRate: 750_000 })), /bitRate/, RangeError);
  failed(await state(bench.start({ dataBitRate: 1 })), /dataBitRate: .*got 1/, RangeError);
  failed(await state(bench.start({ window: 0 })), /window/, RangeError);
  failed(await state(bench.start({ commands: ["M\r"] })), /commands/, RangeError);
  failed(await state(bench.start({ reconnect: { from: 0, to: 1 } })), /reconnect/, RangeError);
  assert.equal(bench.lines.length, 0);
});

Deno.test("frames of one turn go out in one write, and each resolves with its own acknowledgement", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  await bench.wrote();
  const writes = bench.line.host.writes.length;
  const sends = [bus.send(frame(1, 1)), bus.send(frame(2, 2)), bus.send({ ...frame(3), extended: true })];
  assert.equal(await bench.wrote(), "t001101\rt002102\rT000000030\r");
  assert.equal(bench.line.host.writes.length - writes, 1);
  await bench.answer("z\r");
  assert.equal(await state(sends[0]), "done");
  assert.equal(await state(sends[1]), "pending");
  await bench.answer("z\rZ\r");
  assert.equal(await state(sends[2]), "done");
  assert.equal(bus.statistics.framesSent, 3);
  await bus.close();
});

Deno.test("a refusal fails the frame that it belongs to", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  const sends = [bus.send(frame(1)), bus.send(frame(2)), bus.send(frame(3))];
  sends.forEach((sending) => sending.catch(() => {}));
  await bench.answer("z\r\x07z\r");
  assert.equal(await state(sends[0]), "done");
  failed(await state(sends[1]), /the adapter refused 002#/, SlcanRefusedError);
  assert.equal(await state(sends[2]), "done");
  await bus.close();
});

Deno.test("firmware that acknowledges frames with a bare carriage return is understood in mode z, and z in mode cr", async () => {
  for (const acknowledgement of ["z", "cr"] as const) {
    const bench = new Bench();
    const bus = await bench.open({ acknowledgement });
    const sends = [bus.send(frame(1)), bus.send(frame(2))];
    await bench.answer("\rz\r");
    assert.equal(await state(sends[1]), "done");
    await bus.close();
  }
});

Deno.test("no more frames are in flight than the window holds", async () => {
  const bench = new Bench();
  const bus = await bench.open({ window: 2 });
  await bench.wrote();
  const all = bus.sendAll([1, 2, 3, 4].map((id) => frame(id)));
  assert.equal(await bench.wrote(), "t0010\rt0020\r");
  await bench.answer("z\r");
  assert.equal(await bench.wrote(), "t0030\r");
  await bench.answer("z\rz\r");
  assert.equal(await bench.wrote(), "t0040\r");
  assert.equal(await state(all), "pending");
  await bench.answer("z\r");
  assert.equal(await state(all), "done");
  await bus.close();
});

Deno.test("a window that was full is filled again when half of it is acknowledged", async () => {
  const bench = new Bench();
  const bus = await bench.open({ window: 4 });
  await bench.wrote();
  const all = bus.sendAll([1, 2, 3, 4, 5, 6, 7].map((id) => frame(id)));
  assert.equal(await bench.wrote(), "t0010\rt0020\rt0030\rt0040\r");
  await bench.answer("z\r");
  assert.equal(await bench.wrote(), "");
  await bench.answer("z\r");
  assert.equal(await bench.wrote(), "t0050\rt0060\r");
  await bench.answer("z\rz\rz\r");
  assert.equal(await bench.wrote(), "t0070\r");
  await bench.answer("z\rz\r");
  assert.equal(await state(all), "done");
  await bus.close();
});

Deno.test("without acknowledgements a frame is sent once the line has taken it, and a refusal is counted", async () => {
  const bench = new Bench();
  const bus = await bench.open({ acknowledgement: "none" });
  await bus.sendAll([frame(1), frame(2)]);
  assert.match(await bench.wrote(), /t0010\rt0020\r$/);
  await bench.answer("\x07z\r\r");
  assert.equal(bus.statistics.refusals, 1);
  assert.equal(bus.statistics.strayAnswers, 2);
  assert.ok(bench.logged.some((line) => line.includes("refused something")));
  await bus.close();
});

Deno.test("an acknowledgement that does not come fails its frame, and the next version tells where the adapter stands", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  await bench.wrote();
  const lost = bus.send(frame(1));
  lost.catch(() => {});
  await bench.clock.advance(1000);
  failed(await state(lost), /001# was not acknowledged within 1000 ms/);
  const next = bus.send(frame(2));
  assert.equal(await bench.wrote(), "t0010\rV\rt0020\r");
  await bench.answer("V1013\r");
  assert.equal(await state(next), "pending");
  await bench.answer("z\r");
  assert.equal(await state(next), "done");
  assert.equal(bus.statistics.unacknowledged, 2);
  await bus.close();
});

Deno.test("a late acknowledgement is not taken for the next frame's", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  const late = bus.send(frame(1), { timeout: 10 });
  late.catch(() => {});
  await bench.clock.advance(10);
  failed(await state(late), /not acknowledged/);
  const next = bus.send(frame(2));
  await bench.answer("z\rV1013\r");
  assert.equal(await state(next), "pending");
  await bench.answer("z\r");
  assert.equal(await state(next), "done");
  await bus.close();
});

Deno.test("a frame that waited behind others is told as not sent", async () => {
  const bench = new Bench();
  const bus = await bench.open({ window: 1 });
  const first = bus.send(frame(1), { timeout: 100 });
  const second = bus.send(frame(2), { timeout: 50 });
  first.catch(() => {});
  second.catch(() => {});
  await bench.clock.advance(50);
  failed(await state(second), /002# was not sent/);
  assert.equal(await state(first), "pending");
  await bench.answer("z\r");
  assert.equal(await state(first), "done");
  assert.ok(!(await bench.wrote()).includes("t0020"));
  await bus.close();
});

Deno.test("with several frames the time-out starts anew at each acknowledgement", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  const all = bus.sendAll([frame(1), frame(2), frame(3)], { timeout: 100 });
  all.catch(() => {});
  for (let count = 0; count < 2; count++) {
    await bench.clock.advance(90);
    await bench.answer("z\r");
  }
  await bench.clock.advance(99);
  assert.equal(await state(all), "pending");
  await bench.clock.advance(1);
  failed(await state(all), /003# was not acknowledged within 100 ms/);
  await bus.close();
});

Deno.test("a signal takes a waiting frame back", async () => {
  const bench = new Bench();
  const bus = await bench.open({ window: 1 });
  const first = bus.send(frame(1));
  const stop = new AbortController();
  const second = bus.send(frame(2), { signal: stop.signal });
  second.catch(() => {});
  stop.abort(new Error("no longer wanted"));
  failed(await state(second), /no longer wanted/, Error);
  await bench.answer("z\r");
  assert.equal(await state(first), "done");
  assert.ok(!(await bench.wrote()).includes("t0020"));
  failed(await state(bus.send(frame(3), { signal: stop.signal })), /no longer wanted/, Error);
  await bus.close();
});

Deno.test("frames that cannot be are refused and never written", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  await bench.wrote();
  failed(await state(bus.send(frame(0x800))), /identifier/, RangeError);
  failed(await state(bus.send({ ...frame(1), fd: true })), /opened without FD/, RangeError);
  failed(await state(bus.sendAll([frame(1), frame(2, 1, 2, 3, 4, 5, 6, 7, 8, 9)])), /8 bytes/, RangeError);
  assert.equal(await bench.wrote(), "");
  await bus.close();
});

Deno.test("too many waiting frames are refused", async () => {
  const bench = new Bench();
  const bus = await bench.open({ queueLimit: 3, window: 1 });
  const all = bus.sendAll([frame(1), frame(2), frame(3)]);
  all.catch(() => {});
  failed(await state(bus.send(frame(4))), /3 frames wait already, the limit is 3/);
  await bench.answer("z\r");
  await bench.answer("z\r");
  await bench.answer("z\r");
  assert.equal(await state(all), "done");
  const next = bus.send(frame(4));
  await bench.answer("z\r");
  assert.equal(await state(next), "done");
  await bus.close();
});

Deno.test("a bus opened to listen only sends nothing", async () => {
  const bench = new Bench();
  const opening = bench.start({ acknowledgement: "cr", listenOnly: true });
  await bench.play([["\r\r\rC\r", "\r"], ["V\r", "V1013\r"], ["S6\r", "\r"], ["L\r", "\r"]]);
  const bus = await opening;
  failed(await state(bus.send(frame(1))), /listen only/);
  await bus.close();
});

Deno.test("frames are heard by all listeners until they stop, and one that fails disturbs no other", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  const first: string[] = [];
  const second: string[] = [];
  bus.listen(() => {
    throw new Error("listener's own");
  });
  const stop = bus.listen(({ frame }) => first.push(showFrame(frame)));
  bus.listen(({ frame }) => second.push(showFrame(frame)));
  await bench.answer("t1232AABB\rT18DA10F10\rb1");
  stop();
  await bench.answer("23101\rr1234\r");
  assert.deepEqual(first, ["123#AABB", "18DA10F1#"]);
  assert.deepEqual(second, ["123#AABB", "18DA10F1#", "123##101", "123#R4"]);
  assert.equal(bench.logged.filter((line) => line.includes("listener's own")).length, 4);
  await bus.close();
});

Deno.test("garbage, over-long lines and lines that are no frames are counted, and the next frame is heard", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  const heard: string[] = [];
  bus.listen(({ frame }) => heard.push(showFrame(frame)));
  await bench.answer("\xfft12\rt12G0\rt8000\r" + "x".repeat(2000) + "\rt0010\r");
  assert.deepEqual(heard, ["001#"]);
  assert.equal(bus.statistics.malformedLines, 2);
  assert.equal(bus.statistics.strayAnswers, 1);
  assert.equal(bus.statistics.droppedBytes, 2000);
  await bus.close();
});

Deno.test("times come from the adapter's time stamps and do not go back at the minute's turn", async () => {
  const bench = new Bench();
  const opening = bench.start({ acknowledgement: "z", timestamps: true });
  await bench.play([["\r\r\rC\r", "\r"], ["V\r", "V1013\r"], ["S6\r", "\r"], ["Z1\r", "\r"], ["O\r", "\r"]]);
  const bus = await opening;
  const times: number[] = [];
  bus.listen(({ time }) => times.push(time));
  await bench.clock.advance(1000 - bench.clock.now());
  // 59,990 ms at the adapter is 1000 here; 15 ms later it is 5. The line holds the second one back.
  await bench.answer("t0010EA56\r");
  await bench.clock.advance(40);
  await bench.answer("t00100005\r");
  assert.equal(times[0], 1000);
  assert.ok(Math.abs(times[1] - 1015) < 0.1, String(times[1]));
  await bus.close();
});

Deno.test("status flags are polled: overruns are counted, changes are logged", async () => {
  const bench = new Bench();
  const bus = await bench.open({ statusInterval: 500 });
  await bench.wrote();
  await bench.clock.advance(500);
  assert.equal(await bench.wrote(), "F\r");
  await bench.answer("F08\r");
  assert.equal(bus.status, 0x08);
  assert.equal(bus.statistics.overruns, 1);
  assert.ok(bench.logged.some((line) => line.includes("status dataOverrun")));
  await bench.clock.advance(500);
  await bench.answer("F20\r");
  assert.ok(bench.logged.some((line) => line.includes("status errorPassive")));
  assert.equal(bus.available, true);
  await bus.close();
});

Deno.test("firmware that passes over F holds up no frames", async () => {
  const bench = new Bench();
  const bus = await bench.open({ statusInterval: 500 });
  await bench.clock.advance(500);
  const sending = bus.send(frame(1));
  await bench.answer("z\r");
  assert.equal(await state(sending), "done");
  await bench.clock.advance(1000);
  assert.ok(bench.logged.some((line) => line.includes('no answer to "F"')));
  await bus.close();
});

Deno.test("at a bus-off waiting frames fail, and the channel is closed and opened until it stays", async () => {
  const bench = new Bench();
  const bus = await bench.open({ statusInterval: 500, busOffRecovery: { from: 100, to: 200 } });
  const heard: string[] = [];
  bus.listen(({ frame }) => heard.push(showFrame(frame)));
  await bench.wrote();
  const sending = bus.send(frame(1));
  sending.catch(() => {});
  await bench.clock.advance(500);
  assert.equal(await bench.wrote(), "t0010\rF\r");
  await bench.answer("FA4\r");
  failed(await state(sending), /bus off|without acknowledging/);
  failed(await state(bus.send(frame(2))), /bus off: .*check bit rate, wiring and termination/);
  assert.equal(bus.available, false);
  await bench.clock.advance(100);
  await bench.play([["\r\r\rC\r", "\r"], ["V\r", "V1013\r"], ["S6\r", "\r"], ["O\r", "\r"], [
    "F\r",
    "FA4\r",
  ]]);
  await bench.clock.advance(199);
  assert.equal(await bench.wrote(), "");
  await bench.clock.advance(1);
  await bench.play([["\r\r\rC\r", "\r"], ["V\r", "V1013\r"], ["S6\r", "\r"], ["O\r", "\r"], [
    "F\r",
    "F00\r",
  ]]);
  assert.equal(bus.available, true);
  assert.equal(bus.statistics.busOffs, 1);
  const next = bus.send(frame(3));
  await bench.answer("z\rt0020\r");
  assert.equal(await state(next), "done");
  assert.deepEqual(heard, ["002#"]);
  await bus.close();
});

Deno.test("a bus-off that the firmware tells unasked is noticed", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  await bench.answer("sb000255\r");
  assert.equal(bus.available, false);
  assert.equal(bus.statistics.busOffs, 1);
  await bus.close();
});

Deno.test("an adapter that is unplugged ends the bus", async () => {
  const bench = new Bench();
  const bus = await bench.open();
  const sending = bus.send(frame(1));
  sending.catch(() => {});
  bench.line.host.fail(new Error("Input/output error"));
  failed(await state(sending), /the line failed: Input\/output error/);
  const reason = await bus.closed;
  failed(reason, /Input\/output error/);
  failed(await state(bus.send(frame(2))), /Input\/output error/);
});

Deno.test("with reconnect the bus waits for the adapter, and listeners go on", async () => {
  const bench = new Bench();
  const bus = await bench.open({ reconnect: { from: 1000, to: 4000 } });
  const heard: string[] = [];
  bus.listen(({ frame }) => heard.push(showFrame(frame)));
  bench.refuseLine = new Error("no such port");
  bench.line.host.fail(new Error("Input/output error"));
  await settle();
  failed(await state(bus.send(frame(1))), /the adapter is away/);
  await bench.clock.advance(1000 + 2000);
  assert.equal(bench.logged.filter((line) => line.includes("no such port")).length, 2);
  bench.refuseLine = undefined;
  await bench.clock.advance(3999);
  assert.equal(bench.lines.length, 1);
  await bench.clock.advance(1);
  assert.equal(bench.lines.length, 2);
  await bench.play(opened());
  const sending = bus.send(frame(2));
  await bench.answer("z\rt0030\r");
  assert.equal(await state(sending), "done");
  assert.deepEqual(heard, ["003#"]);
  assert.equal(bus.statistics.reconnects, 1);
  // And once more, from the first wait again.
  bench.line.host.close();
  await bench.clock.advance(1000);
  assert.equal(bench.lines.length, 3);
  await bus.close();
  assert.equal(await bus.closed, undefined);
});

Deno.test("closing fails what waits, ends the line, and leaves no timer", async () => {
  const bench = new Bench();
  const bus = await bench.open({ statusInterval: 500 });
  const sending = bus.send(frame(1));
  sending.catch(() => {});
  const closing = bus.close();
  failed(await state(sending), /the bus was closed/);
  await bench.clock.advance(200);
  await closing;
  assert.equal(await bus.closed, undefined);
  failed(await state(bus.send(frame(2))), /the bus was closed/);
  assert.equal(bench.clock.armed, 0);
  await bus.close();
});

Deno.test("a signal ends the opening", async () => {
  const bench = new Bench();
  const stop = new AbortController();
  const opening = bench.start({ acknowledgement: "cr", signal: stop.signal });
  await bench.play([["\r\r\rC\r", "\r"], ["V\r", "V1013\r"]]);
  stop.abort(new Error("enough"));
  failed(await state(opening), /enough/, Error);
  // Nothing of a bus that is open ends by it.
  const other = new Bench();
  const later = new AbortController();
  const bus = await other.open({ signal: later.signal });
  later.abort(new Error("too late"));
  assert.equal(bus.available, true);
  await bus.close();
});
