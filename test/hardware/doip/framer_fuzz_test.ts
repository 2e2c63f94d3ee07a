// Streams of good, broken and random messages, cut anywhere: the framer gives the same items whatever the cuts, never
// throws, and never holds more than one message of the largest size. DOIP_FUZZ_COUNT streams (default 3,000), seed printed.

import assert from "node:assert/strict";
import { DoipFramer, type FramerItem } from "../../../hardware/doip/framer.ts";
import { decodeMessage } from "../../../hardware/doip/message.ts";

const count = Number(Deno.env.get("DOIP_FUZZ_COUNT") ?? 3_000);
const seed = Number(Deno.env.get("DOIP_FUZZ_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
const maxPayloadLength = 300;
const accepts = new Set([0x0000, 0x0005, 0x0006, 0x0007, 0x0008, 0x8001, 0x8002, 0x8003]);
/** The first buffer, which does not shrink below this. */
const firstBuffer = 65_536;

/** mulberry32: small, and the same everywhere. */
function generator(start: number): (below: number) => number {
  let state = start >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000 * below);
  };
}

function stream(random: (below: number) => number): Uint8Array {
  const bytes: number[] = [];
  const types = [...accepts, 0x0001, 0x4001, 0x1234];
  const fixed = new Map([[0, 1], [5, 7], [6, 9], [7, 0], [8, 2]]);
  for (let messages = 1 + random(6); messages > 0; messages--) {
    if (random(12) === 0) {
      for (let length = random(40); length > 0; length--) bytes.push(random(256));
      continue;
    }
    const version = random(20) === 0 ? random(256) : 1 + random(4);
    const type = types[random(types.length)];
    const right = (fixed.get(type) ?? 5 + random(100)) + (type === 5 && version === 1 ? 1 : 0);
    const length = [right, right, right, right, random(400), random(0x1_0000_0000)][random(6)];
    const inverse = random(25) === 0 ? random(256) : version ^ 0xff;
    bytes.push(version, inverse, type >>> 8, type & 0xff);
    bytes.push(length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff);
    for (let sent = random(15) === 0 ? random(300) : Math.min(length, 400); sent > 0; sent--) {
      bytes.push(random(256));
    }
  }
  return Uint8Array.from(bytes);
}

function shown(item: FramerItem): string {
  if (item.nack !== undefined) {
    return `nack ${item.nack} ${item.version} ${item.payloadType} ${item.payloadLength}`;
  }
  // Whatever the framer lets through can be decoded.
  decodeMessage(item);
  return `${item.version} ${item.payloadType} ${item.payload.toHex()}`;
}

function items(bytes: Uint8Array, cut: (left: number) => number): string[] {
  const framer = new DoipFramer({ accepts, maxPayloadLength });
  const all: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const room = framer.writable();
    assert.ok(room.length > 0);
    const part = bytes.subarray(at, at + Math.min(room.length, Math.max(1, cut(bytes.length - at))));
    room.set(part);
    framer.commit(part.length);
    at += part.length;
    for (let item = framer.next(); item !== null; item = framer.next()) all.push(shown(item));
    assert.ok(framer.capacity <= firstBuffer);
  }
  return all;
}

Deno.test("any cut of any stream gives the same messages", () => {
  console.log(`DOIP_FUZZ_SEED=${seed} DOIP_FUZZ_COUNT=${count}`);
  const random = generator(seed);
  let messages = 0;
  for (let run = 0; run < count; run++) {
    const bytes = stream(random);
    const whole = items(bytes, (left) => left);
    const context = () => `seed ${seed}, stream ${run}: ${bytes.toHex()}`;
    const most = 1 + random(20);
    const cut = items(bytes, () => 1 + random(most));
    if (whole.length !== cut.length || whole.some((item, index) => item !== cut[index])) {
      assert.deepEqual(cut, whole, context());
    }
    messages += whole.length;
  }
  assert.ok(messages > count / 2, `only ${messages} messages in ${count} streams: the generator is broken`);
});
