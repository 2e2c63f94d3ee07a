// Any stream of frames: no crash, bounded memory, and the next good message comes through. ISOTP_FUZZ_COUNT sets how
// many streams, ISOTP_FUZZ_SEED which.

import assert from "node:assert/strict";
import type { CanBus } from "../../../hardware/can/bus.ts";
import { resolveAddress } from "../../../hardware/isotp/address.ts";
import { IsoTpError } from "../../../hardware/isotp/errors.ts";
import { IsoTpLink } from "../../../hardware/isotp/link.ts";
import { settingsFor } from "../../../hardware/isotp/settings.ts";
import { settled, TestClock } from "./support/memory_bus.ts";

const streams = Number(Deno.env.get("ISOTP_FUZZ_COUNT") ?? 5_000);
const seed = Number(Deno.env.get("ISOTP_FUZZ_SEED") ?? Date.now() % 0x7fff_ffff);

/** Numbers from 0 to 2^32 (mulberry32). */
function generator(state: number): () => number {
  return () => {
    state = state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(state ^ state >>> 15, state | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return (mixed ^ mixed >>> 14) >>> 0;
  };
}

const maxMessageLength = 5_000;

/** Frames of a message, cut by hand: `rxDl` bytes each, after an address byte where there is one. */
function cut(message: Uint8Array, rxDl: number, prefix: number[]): Uint8Array[] {
  const offset = prefix.length;
  if (message.length <= 7 - offset) return [Uint8Array.of(...prefix, message.length, ...message)];
  if (rxDl > 8 && message.length <= rxDl - 2 - offset) {
    const dlc = [12, 16, 20, 24, 32, 48, 64].find((length) => length >= message.length + 2 + offset) ?? 64;
    const frame = new Uint8Array(dlc);
    frame.set([...prefix, 0, message.length, ...message]);
    return [frame];
  }
  const length = message.length;
  const pci = length < 4_096
    ? [0x10 | length >> 8, length & 0xff]
    : [0x10, 0, 0, 0, length >> 8 & 0xff, length & 0xff];
  let at = rxDl - offset - pci.length;
  const frames = [Uint8Array.of(...prefix, ...pci, ...message.subarray(0, at))];
  for (let sequence = 1; at < length; sequence++) {
    const data = message.subarray(at, at + rxDl - offset - 1);
    frames.push(Uint8Array.of(...prefix, 0x20 | sequence & 0x0f, ...data));
    at += data.length;
  }
  return frames;
}

/** A bus that takes everything. */
const sink: CanBus = {
  name: "sink",
  fd: true,
  closed: new Promise(() => {}),
  send: () => Promise.resolve(),
  listen: () => () => {},
  close: () => Promise.resolve(),
};

Deno.test(`after any stream of frames the next message is understood (${streams} streams, seed ${seed})`, async () => {
  const random = generator(seed);
  const below = (limit: number) => random() % limit;
  const clock = new TestClock();
  const setups = [[], [0xf1]].flatMap((prefix) =>
    [0, 3].map((blockSize) => {
      const { request, response } = resolveAddress({ format: "normal", requestId: 1, responseId: 2 });
      const out = { ...request, prefix: prefix.at(0) };
      const heard = { ...response, prefix: prefix.at(0) };
      const settings = settingsFor({ clock, blockSize, maxMessageLength });
      const received: Uint8Array[] = [];
      let reserved = 0;
      const link = new IsoTpLink({ name: "fuzz", bus: sink, out, in: heard, settings }, {
        admit(length) {
          assert.ok(length <= maxMessageLength);
          if (random() % 8 === 0) return random() % 2 === 0 ? "wait" : "overflow";
          reserved += length;
          return "continue";
        },
        released: (length) => reserved -= length,
        began: () => {},
        refused: () => {},
        received: (message) => received.push(message),
        failed: (error) => assert.ok(error instanceof IsoTpError),
      });
      return { prefix, link, received, reserved: () => reserved };
    })
  );
  const before = Deno.memoryUsage();
  for (let i = 0; i < streams; i++) {
    const { prefix, link, received, reserved } = setups[below(setups.length)];
    if (!link.sending && below(4) === 0) {
      link.send(new Uint8Array(1 + below(200))).catch((error) => assert.ok(error instanceof IsoTpError));
      // The first frame is out and a flow control awaited when the stream comes.
      await settled();
    }
    const rxDl = [8, 8, 8, 12, 24, 64][below(6)];
    const message = new Uint8Array(1 + below(below(16) === 0 ? maxMessageLength : 60)).fill(below(256));
    let frames = cut(message, rxDl, prefix);
    for (let changes = below(5); changes > 0; changes--) frames = changed(frames, below);
    for (const frame of frames) link.frame(frame);
    for (const each of received) assert.ok(each.length >= 1 && each.length <= maxMessageLength);
    assert.ok(reserved() <= maxMessageLength);
    if (below(64) === 0) {
      await clock.pass(below(3_000));
      // Either way two timers at most, whatever came.
      assert.ok(clock.pending <= 2 * setups.length);
    }
    // A single frame is always taken, whatever stands unfinished.
    const good = Uint8Array.of(i & 0xff, i >> 8 & 0xff, 0xa5);
    for (const frame of cut(good, 8, prefix)) link.frame(frame);
    assert.deepEqual(received.at(-1), good, `stream ${i}`);
    // A segmented one is taken whole or, by an answer of `admit`, not at all.
    received.length = 0;
    const long = Uint8Array.from({ length: 9 + below(100) }, (_, at) => at + i & 0xff);
    for (const frame of cut(long, 8, prefix)) link.frame(frame);
    if (received.length > 0) assert.deepEqual(received, [long], `stream ${i}`);
    received.length = 0;
    if (i % 1_000 === 0) await settled();
  }
  await clock.pass(400_000);
  assert.equal(clock.pending, 0);
  for (const { link } of setups) assert.equal(link.sending, false);
  const after = Deno.memoryUsage();
  const grown = after.external + after.heapUsed - before.external - before.heapUsed;
  assert.ok(grown < 256 * 2 ** 20, `memory grew by ${grown} bytes`);
});

/** One thing wrong: a frame lost, doubled, moved, cut short, made longer, one byte other, a flow control or noise put in. */
function changed(frames: Uint8Array[], below: (limit: number) => number): Uint8Array[] {
  const result = frames.slice();
  const at = below(result.length + 1);
  const frame = result.at(at) ?? new Uint8Array(0);
  switch (below(8)) {
    case 0:
      result.splice(at, 1);
      break;
    case 1:
      result.splice(at, 0, frame);
      break;
    case 2:
      result.splice(at, 1);
      result.splice(below(result.length + 1), 0, frame);
      break;
    case 3:
      result[Math.min(at, result.length)] = frame.subarray(0, below(frame.length + 1));
      break;
    case 4: {
      const longer = new Uint8Array([8, 12, 16, 64][below(4)]);
      longer.set(frame.subarray(0, longer.length));
      result[Math.min(at, result.length)] = longer;
      break;
    }
    case 5: {
      const other = frame.slice();
      if (other.length > 0) other[below(Math.min(other.length, 4))] = below(256);
      result[Math.min(at, result.length)] = other;
      break;
    }
    case 6: {
      const flowControl = [0x30 | below(4), below(4), below(256)];
      result.splice(at, 0, Uint8Array.from(below(2) === 0 ? flowControl : [0xf1, ...flowControl]));
      break;
    }
    default:
      result.splice(at, 0, Uint8Array.from({ length: below(9) }, () => below(256)));
  }
  return result;
}
