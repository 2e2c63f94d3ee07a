// SLCAN: how fast lines are written and read, and frames cross an unpaced pseudo terminal, each way and each way of acknowledging.

import { join } from "node:path";
import type { CanFrame } from "../../hardware/can/frame.ts";
import { SlcanBus } from "../../hardware/can/slcan_bus.ts";
import { type Acknowledgement, SlcanDevice } from "../../hardware/can/slcan_device.ts";
import { maxFrameLine, SlcanFrameReader, writeFrame } from "../../hardware/can/slcan_frame.ts";
import { SlcanLineReader } from "../../hardware/can/slcan_lines.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { makePty } from "../../hardware/serial/pty.ts";
import { MemoryWire } from "../hardware/can/memory_bus.ts";
import { present } from "../support/peers.ts";
import { pythonCan } from "../support/serial_peers.ts";
import type { BenchRow } from "./row.ts";

/** Frames of a run; a block of ISO-TP is sent at once. */
const count = 200_000;
const block = 500;
const pythonCount = 5000;

function frame(id: number): CanFrame {
  return { id, extended: false, data: new Uint8Array(8).fill(0xa5) };
}

export async function run(): Promise<BenchRow[]> {
  const python = present(pythonCan) ? await pythonRates() : undefined;
  const rows = [...grammar()];
  for (const acknowledgement of ["none", "z"] satisfies Acknowledgement[]) {
    const { toBus, toHost } = await line(acknowledgement);
    const how = acknowledgement === "none" ? "not acknowledged" : "each acknowledged";
    rows.push(
      { what: `host to adapter over a PTY, ${how}`, value: rate(toBus), beside: beside(python?.sent) },
      { what: `adapter to host over a PTY, ${how}`, value: rate(toHost), beside: beside(python?.received) },
    );
  }
  return rows;
}

function rate(perSecond: number): string {
  // A line of 8 data bytes and a base identifier has 22 characters.
  return `${Math.round(perSecond).toLocaleString("en")} frames/s, ${(perSecond * 22 / 1e6).toFixed(1)} MB/s`;
}

function beside(perSecond: number | undefined): string {
  return perSecond === undefined
    ? `python-can, which is not here (${pythonCan.install})`
    : `python-can ${Math.round(perSecond).toLocaleString("en")} frames/s`;
}

/** Writing and reading lines in memory. */
function grammar(): BenchRow[] {
  const frames = Array.from({ length: 2000 }, (_, index) => frame(index & 0x7ff));
  const bytes = new Uint8Array(frames.length * (maxFrameLine + 1));
  const repeats = count / frames.length * 10;
  let length = 0;
  let started = performance.now();
  for (let repeat = 0; repeat < repeats; repeat++) {
    length = 0;
    for (const one of frames) length = writeFrame(one, bytes, length);
  }
  const writing = (performance.now() - started) / 1000;

  let heard = 0;
  const reader = new SlcanFrameReader();
  const lines = new SlcanLineReader({
    line: (chunk, start, end) => {
      if (reader.read(chunk, start, end) === undefined) heard++;
    },
    bell: () => {},
    dropped: () => {},
  });
  // As a tty gives them: 4 KiB at once, lines cut anywhere.
  started = performance.now();
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (let at = 0; at < length; at += 4096) lines.push(bytes.subarray(at, Math.min(length, at + 4096)));
  }
  const reading = (performance.now() - started) / 1000;
  if (heard !== repeats * frames.length) {
    throw new Error(`${heard} of ${repeats * frames.length} frames read`);
  }
  return [
    { what: "lines written", value: rate(repeats * frames.length / writing) },
    { what: "lines read", value: rate(repeats * frames.length / reading) },
  ];
}

/** Frames per second over a pseudo terminal, to the bus and to the host. */
async function line(acknowledgement: Acknowledgement): Promise<{ toBus: number; toHost: number }> {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "adapter");
  const wire = new MemoryWire();
  const node = wire.join();
  const device = new SlcanDevice(await makePty(path), {
    acknowledgement,
    join: () => wire.join("adapter"),
    receiveBuffer: 32 * 1024 * 1024,
  });
  const bus = await SlcanBus.open(() => openPort(path), { bitRate: 500_000, acknowledgement });
  try {
    const frames = Array.from({ length: block }, (_, index) => frame(index));
    const arrived = arrivals(node.listen.bind(node), count);
    let started = performance.now();
    for (let sent = 0; sent < count; sent += block) await bus.sendAll(frames, { timeout: 10_000 });
    await arrived;
    const toBus = count / (performance.now() - started) * 1000;

    const heard = arrivals(bus.listen.bind(bus), count);
    started = performance.now();
    for (let sent = 0; sent < count; sent += block) {
      for (const one of frames) void node.send(one);
      // Other work of the same process has its turn.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await heard;
    return { toBus, toHost: count / (performance.now() - started) * 1000 };
  } finally {
    await bus.close();
    await device.close();
    await Deno.remove(folder, { recursive: true });
  }
}

function arrivals(listen: (receive: () => void) => () => void, expected: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      stop();
      reject(new Error(`${seen} of ${expected} frames came within a minute`));
    }, 60_000);
    let seen = 0;
    const stop = listen(() => {
      if (++seen < expected) return;
      clearTimeout(late);
      stop();
      resolve();
    });
  });
}

async function pythonRates(): Promise<{ received: number; sent: number }> {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "adapter");
  const wire = new MemoryWire();
  const node = wire.join();
  const device = new SlcanDevice(await makePty(path), {
    acknowledgement: "none",
    join: () => wire.join("adapter"),
  });
  const child = new Deno.Command(pythonCan.command, {
    args: [new URL("slcan_python_can.py", import.meta.url).pathname, path, String(pythonCount)],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  try {
    let text = "";
    let fed = false;
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (fed) continue;
      fed = true;
      // It says that it is open when it has written the command: the adapter opens a moment later.
      while (!device.open) await new Promise((resolve) => setTimeout(resolve, 10));
      for (let sent = 0; sent < pythonCount; sent++) await node.send(frame(sent & 0x7ff));
    }
    const [, received, sent] = text.trim().split("\n").map(Number);
    return { received: pythonCount / received, sent: pythonCount / sent };
  } finally {
    await child.status;
    await device.close();
    await Deno.remove(folder, { recursive: true });
  }
}
