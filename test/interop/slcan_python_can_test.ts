// python-can's slcan, which knows nothing of this project, at the other end of a serial line: as host of our adapter, and as
// a second host at the far end of the line under our own.

import assert from "node:assert/strict";
import { join } from "node:path";
import type { CanBus } from "../../hardware/can/bus.ts";
import type { CanFrame } from "../../hardware/can/frame.ts";
import { showFrame } from "../../hardware/can/frame.ts";
import { SlcanBus } from "../../hardware/can/slcan_bus.ts";
import { type Acknowledgement, SlcanDevice } from "../../hardware/can/slcan_device.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { makePty } from "../../hardware/serial/pty.ts";
import { MemoryWire } from "../hardware/can/memory_bus.ts";
import { interopTest } from "../support/peers.ts";
import { ptyPair, pythonCan, socat } from "../support/serial_peers.ts";

const script = new URL("slcan_python_can.py", import.meta.url).pathname;

const frames: CanFrame[] = [
  { id: 0x7e0, extended: false, data: new Uint8Array([0x02, 0x10, 0x03]) },
  { id: 0x000, extended: false, data: new Uint8Array() },
  { id: 0x7ff, extended: false, data: new Uint8Array([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]) },
  { id: 0x18da10f1, extended: true, data: new Uint8Array([0x30, 0, 0]) },
  { id: 0x1fffffff, extended: true, data: new Uint8Array(8).fill(0x0d) },
  { id: 0x123, extended: false, data: new Uint8Array(), remote: true, remoteLength: 4 },
  { id: 0x18db33f1, extended: true, data: new Uint8Array(), remote: true, remoteLength: 8 },
];

/** python-can in a process of its own. */
class PythonCan implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncGenerator<Record<string, unknown>>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(channel: string, bitRate: number) {
    this.#child = new Deno.Command(pythonCan.command, {
      args: [script, channel, String(bitRate)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#lines = this.#read();
  }

  async opened(): Promise<void> {
    assert.deepEqual((await this.#lines.next()).value, { open: true });
  }

  /** The next frame that python-can heard, in candump's form. */
  async heard(): Promise<string> {
    const { value } = await this.#lines.next();
    assert.ok(value !== undefined, "python-can ended");
    const { id, extended, remote, dlc, data } = value;
    assert.ok(typeof id === "number" && typeof dlc === "number" && typeof data === "string");
    const name = id.toString(16).toUpperCase().padStart(extended ? 8 : 3, "0");
    return remote ? `${name}#R${dlc}` : `${name}#${data.toUpperCase()}`;
  }

  async send(frame: CanFrame): Promise<void> {
    const message = {
      id: frame.id,
      extended: frame.extended,
      remote: frame.remote ?? false,
      dlc: frame.remote ? frame.remoteLength ?? 0 : frame.data.length,
      data: frame.data.toHex(),
    };
    await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(message)}\n`));
  }

  async *#read(): AsyncGenerator<Record<string, unknown>> {
    let text = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (text + chunk).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) yield JSON.parse(line);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    for await (const _ of this.#lines) { /* until it ends */ }
    await this.#child.status;
  }
}

/** Frames that a bus hears, in candump's form, to be waited for one by one. */
function ears(bus: CanBus): () => Promise<string> {
  const heard: string[] = [];
  let wake = () => {};
  bus.listen(({ frame }) => {
    heard.push(showFrame(frame));
    wake();
  });
  return async () => {
    while (heard.length === 0) await new Promise<void>((resolve) => wake = resolve);
    return heard.shift()!;
  };
}

for (const acknowledgement of ["none", "cr", "z"] satisfies Acknowledgement[]) {
  interopTest(
    `python-can reaches a bus through our adapter (${acknowledgement})`,
    [socat, pythonCan],
    async () => {
      const folder = await Deno.makeTempDir();
      const path = join(folder, "adapter");
      const wire = new MemoryWire();
      const node = wire.join();
      const next = ears(node);
      const rates: number[] = [];
      const device = new SlcanDevice(await makePty(path), {
        acknowledgement,
        // python-can opens the channel twice, and expects that to work.
        strict: false,
        join: ({ bitRate }) => {
          rates.push(bitRate);
          return wire.join("adapter");
        },
      });
      try {
        await using python = new PythonCan(path, 250_000);
        await python.opened();
        for (const frame of frames) {
          await python.send(frame);
          assert.equal(await next(), showFrame(frame));
        }
        assert.equal(rates.at(-1), 250_000);
        for (const frame of frames) {
          await node.send(frame);
          assert.equal(await python.heard(), showFrame(frame));
        }
      } finally {
        await device.close();
        await Deno.remove(folder, { recursive: true });
      }
    },
  );
}

interopTest(
  "python-can at the far end of the line is the second node under our host",
  [socat, pythonCan],
  async () => {
    await using pair = await ptyPair();
    await using python = new PythonCan(pair.right, 500_000);
    await python.opened();
    const bus = await SlcanBus.open(() => openPort(pair.left), { bitRate: 500_000, versionTimeout: 50 });
    try {
      assert.equal(bus.identity.version, undefined);
      const next = ears(bus);
      for (const frame of frames) {
        await bus.send(frame);
        assert.equal(await python.heard(), showFrame(frame));
        await python.send(frame);
        assert.equal(await next(), showFrame(frame));
      }
    } finally {
      await bus.close();
    }
  },
);

interopTest("two of our hosts at the two ends of a line are a bus of two nodes", [socat], async () => {
  await using pair = await ptyPair();
  const options = { bitRate: 500_000, versionTimeout: 50, dataBitRate: 2_000_000 };
  const left = await SlcanBus.open(() => openPort(pair.left), options);
  const right = await SlcanBus.open(() => openPort(pair.right), options);
  try {
    const next = ears(right);
    const back = ears(left);
    const flexible = {
      id: 0x18da10f1,
      extended: true,
      fd: true,
      bitRateSwitch: true,
      data: new Uint8Array(64).fill(0xa5),
    };
    for (const frame of [...frames, flexible]) {
      await left.send(frame);
      assert.equal(await next(), showFrame(frame));
      await right.send(frame);
      assert.equal(await back(), showFrame(frame));
    }
  } finally {
    await left.close();
    await right.close();
  }
});
