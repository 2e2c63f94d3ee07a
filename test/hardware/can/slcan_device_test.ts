import assert from "node:assert/strict";
import { type CanFrame, showFrame } from "../../../hardware/can/frame.ts";
import {
  busOffStatus,
  type SlcanChannelSettings,
  SlcanDevice,
  type SlcanDeviceOptions,
} from "../../../hardware/can/slcan_device.ts";
import { byteStreamPair, type PairEnd } from "../../support/byte_stream_pair.ts";
import { type MemoryNode, MemoryWire } from "./memory_bus.ts";

/** A host that types, an adapter, and a further node on its bus. */
class Typist implements AsyncDisposable {
  readonly host: PairEnd;
  readonly device: SlcanDevice;
  readonly wire = new MemoryWire();
  readonly other: MemoryNode;
  readonly joined: SlcanChannelSettings[] = [];
  readonly #line: PairEnd;

  constructor(options: Partial<SlcanDeviceOptions> = {}) {
    [this.host, this.#line] = byteStreamPair();
    this.other = this.wire.join("other");
    this.device = new SlcanDevice(this.#line, {
      join: (settings) => {
        this.joined.push(settings);
        return this.wire.join("adapter");
      },
      ...options,
    });
  }

  /** What the adapter answers to that, all of it. */
  async type(text: string): Promise<string> {
    const before = this.#line.text().length;
    await this.host.write(new TextEncoder().encode(text));
    return this.since(before);
  }

  /** What the adapter tells by itself while something is done. */
  async told(run: () => unknown): Promise<string> {
    const before = this.#line.text().length;
    await run();
    return this.since(before);
  }

  async since(before: number): Promise<string> {
    // Everything here happens in microtasks; a macrotask later all of it has.
    await new Promise((resolve) => setTimeout(resolve, 0));
    return this.#line.text().slice(before);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device.close();
  }
}

const frame = (id: number, ...data: number[]): CanFrame => ({
  id,
  extended: false,
  data: new Uint8Array(data),
});

Deno.test("frames are acknowledged with z and Z, commands with a carriage return", async () => {
  await using typist = new Typist();
  assert.equal(await typist.type("S6\rO\r"), "\r\r");
  assert.equal(await typist.type("t1232AABB\r"), "z\r");
  assert.equal(await typist.type("T18DA10F10\r"), "Z\r");
  assert.equal(await typist.type("r1234\r"), "z\r");
  assert.equal(await typist.type("R000001231\r"), "Z\r");
  assert.deepEqual(typist.wire.frames.map(showFrame), ["123#AABB", "18DA10F1#", "123#R4", "00000123#R1"]);
});

Deno.test("frames are acknowledged with a carriage return where that is set, and nothing where that is", async () => {
  await using cr = new Typist({ acknowledgement: "cr" });
  assert.equal(await cr.type("S6\rO\rt1230\rT000001230\r?\r"), "\r\r\r\r\x07");
  await using none = new Typist({ acknowledgement: "none", version: " free text 1.2", serialNumber: "0001" });
  assert.equal(await none.type("S6\rO\rt1230\r?\rV\rN\rF\r"), "V free text 1.2\rN0001\rF00\r");
  assert.equal(none.wire.frames.length, 1);
});

Deno.test("what is no command is refused, and the next line is read", async () => {
  await using typist = new Typist();
  assert.equal(
    await typist.type("O\rt12\rt1239\rhello\rS9\r" + "x".repeat(600) + "\rV\r"),
    "\r\x07\x07\x07\x07\x07V1013\r",
  );
  assert.equal(typist.wire.frames.length, 0);
});

Deno.test("a strict adapter is not opened twice, closed twice, or set while open", async () => {
  await using strict = new Typist();
  assert.equal(
    await strict.type("C\rO\rO\rL\rS4\rZ1\rM00000000\rC\rC\r"),
    "\x07\r\x07\x07\x07\x07\x07\r\x07",
  );
  await using lax = new Typist({ strict: false });
  assert.equal(await lax.type("C\rO\rO\rL\rS4\rZ1\rC\rC\r"), "\r".repeat(8));
});

Deno.test("nothing is sent on a closed channel, nor on one that only listens", async () => {
  await using typist = new Typist();
  assert.equal(await typist.type("t1230\rL\rt1230\r"), "\x07\r\x07");
  assert.equal(await typist.told(() => typist.other.send(frame(0x321, 1))), "t321101\r");
  assert.equal(typist.wire.frames.length, 1);
  assert.equal(typist.joined[0].listenOnly, true);
});

Deno.test("the bit rates that the host sets are those that the bus is joined with", async () => {
  await using typist = new Typist({ s7BitRate: 750_000 });
  await typist.type("S7\rY5\rO\rC\rs031C\rO\rC\rS0\rY2\rL\r");
  assert.deepEqual(typist.joined, [
    { bitRate: 750_000, dataBitRate: 5_000_000, listenOnly: false },
    { bitRate: 125_000, dataBitRate: 5_000_000, listenOnly: false },
    { bitRate: 10_000, dataBitRate: 2_000_000, listenOnly: true },
  ]);
});

Deno.test("time stamps count milliseconds and begin again at 60,000", async () => {
  await using typist = new Typist();
  await typist.type("Z1\rO\r");
  typist.wire.now = () => 59_999.7;
  assert.equal(await typist.told(() => typist.other.send(frame(1, 0xab))), "t0011ABEA5F\r");
  typist.wire.now = () => 60_000;
  assert.equal(await typist.told(() => typist.other.send(frame(1, 0xab))), "t0011AB0000\r");
});

Deno.test("an adapter without FD neither sends nor tells FD frames", async () => {
  const flexible = { ...frame(1, 1), fd: true, bitRateSwitch: true };
  await using classic = new Typist({ fd: false });
  assert.equal(await classic.type("Y2\rO\rb001101\r"), "\x07\r\x07");
  assert.equal(await classic.told(() => classic.other.send(flexible)), "");
  await using fd = new Typist();
  assert.equal(await fd.type("Y2\rO\rb001101\rD000000010\r"), "\r\rz\rZ\r");
  assert.equal(await fd.told(() => fd.other.send(flexible)), "b001101\r");
});

Deno.test("acceptance registers keep frames out", async () => {
  await using typist = new Typist();
  // Single filter: 0x7E8 and nothing else, as data frame or remote.
  await typist.type("W1\rMFD000000\rm001FFFFF\rO\r");
  assert.equal(await typist.told(() => typist.other.send(frame(0x7e8, 1))), "t7E8101\r");
  assert.equal(await typist.told(() => typist.other.send(frame(0x7e9, 1))), "");
});

Deno.test("with polling on, frames wait to be fetched", async () => {
  await using typist = new Typist({ transmitQueue: 2 });
  assert.equal(await typist.type("X0\rO\rP\r"), "\r\r\r");
  const told = await typist.told(async () => {
    for (const id of [1, 2, 3]) await typist.other.send(frame(id));
  });
  assert.equal(told, "");
  // The third had no room: receive queue full, data overrun. Reading the flags clears them.
  assert.equal(await typist.type("F\rF\r"), "F09\rF00\r");
  assert.equal(await typist.type("P\rA\rA\rt1230\r"), "t0010\rt0020\rA\rA\r\r");
});

Deno.test("a controller that is bus off refuses frames and says so", async () => {
  let status = 0;
  await using typist = new Typist({ status: () => status });
  assert.equal(await typist.type("F\rO\rF\r"), "\x07\rF00\r");
  status = busOffStatus | 0x04;
  assert.equal(await typist.type("t1230\rF\r"), "\x07FA4\r");
});

Deno.test("a bus that takes nothing fills the queue, and then frames are refused where that is set", async () => {
  const taken: (() => void)[] = [];
  const wire = new MemoryWire();
  const slow = () =>
    Object.assign(wire.join(), { send: () => new Promise<void>((resolve) => taken.push(resolve)) });
  await using typist = new Typist({ transmitQueue: 2, whenFull: "refuse", join: slow });
  assert.equal(await typist.type("O\rt1230\rt1230\rt1230\rF\r"), "\rz\rz\r\x07F02\r");
  taken.shift()?.();
  assert.equal(await typist.type("t1230\r"), "z\r");
});

Deno.test("a bus that takes nothing holds the line back otherwise", async () => {
  const taken: (() => void)[] = [];
  const wire = new MemoryWire();
  const slow = () =>
    Object.assign(wire.join(), { send: () => new Promise<void>((resolve) => taken.push(resolve)) });
  await using typist = new Typist({ transmitQueue: 1, join: slow });
  assert.equal(await typist.type("O\rt1230\rt1230\r"), "\rz\rz\r");
  assert.equal(await typist.type("V\r"), "");
  const before = "\rz\rz\r".length;
  taken.shift()?.();
  assert.equal(await typist.since(before), "V1013\r");
});

Deno.test("what the host does not read is bounded, and the flags tell of the loss", async () => {
  // 5 bytes for each frame: 100 of them fit.
  await using typist = new Typist({ receiveBuffer: 500 });
  await typist.type("O\r");
  const told = await typist.told(() => {
    for (let count = 0; count < 1000; count++) void typist.other.send(frame(1));
  });
  assert.ok(told.length > 0 && told.length <= 500, String(told.length));
  assert.equal(await typist.type("F\r"), "F09\r");
});

Deno.test("faults drop, double, garble and lose", async () => {
  let toHost = 1;
  let toBus = 1;
  let noise: Uint8Array | undefined;
  let lose = false;
  await using typist = new Typist({
    faults: {
      repeatToHost: () => toHost,
      repeatToBus: () => toBus,
      garbage: () => noise,
      loseAnswer: () => lose,
    },
  });
  await typist.type("O\r");
  toHost = 0;
  assert.equal(await typist.told(() => typist.other.send(frame(1))), "");
  toHost = 2;
  assert.equal(await typist.told(() => typist.other.send(frame(1))), "t0010\rt0010\r");
  toHost = 1;
  noise = new Uint8Array([0x3f, 0x07]);
  assert.equal(await typist.told(() => typist.other.send(frame(1))), "?\x07t0010\r");
  noise = undefined;
  const before = typist.wire.frames.length;
  toBus = 2;
  assert.equal(await typist.type("t1230\r"), "z\r");
  toBus = 0;
  assert.equal(await typist.type("t1230\r"), "z\r");
  assert.equal(typist.wire.frames.length - before, 2);
  lose = true;
  assert.equal(await typist.type("t1230\rV\r"), "");
});

Deno.test("the bus is left when the host's end of the line is gone", async () => {
  const typist = new Typist();
  await typist.type("O\r");
  assert.equal(typist.wire.nodes.size, 2);
  typist.host.close();
  await typist.device.done;
  assert.equal(typist.wire.nodes.size, 1);
});

Deno.test("settings that cannot be are refused", () => {
  const [, line] = byteStreamPair();
  const join = () => new MemoryWire().join();
  assert.throws(() => new SlcanDevice(line, { join, version: "1\r2" }), /version: expected printable ASCII/);
  assert.throws(() => new SlcanDevice(line, { join, transmitQueue: 0 }), /transmitQueue: .* got 0/);
});
