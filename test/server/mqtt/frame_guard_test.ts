// Frames are followed by their fixed headers; what is too long or no MQTT ends the stream before it is gathered.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { guardFrames } from "../../../src/server/mqtt/frame_guard.ts";

function guarded(maxSilence = 60_000): { client: Duplex; broker: Duplex } {
  const [client, server] = duplexPair();
  client.on("error", () => {});
  return { client, broker: guardFrames(server, { maxPacket: 200, maxConnect: 100, maxSilence }) };
}

// CONNECT with 2 bytes behind its header, PUBLISH with 130 (0x82 0x01), PINGREQ.
const good = [0x10, 0x02, 1, 2, 0x30, 0x82, 0x01, ...new Array(130).fill(7), 0xc0, 0x00];

Deno.test("well-formed frames pass unchanged, in whatever pieces they come", async () => {
  for (const size of [1, 2, 3, 7, 1000]) {
    const { client, broker } = guarded();
    for (let at = 0; at < good.length; at += size) client.write(Uint8Array.from(good.slice(at, at + size)));
    client.end();
    const received: number[] = [];
    for await (const chunk of broker) received.push(...chunk);
    assert.deepEqual(received, good);
  }
});

Deno.test("a packet beyond the limit ends the stream at its header", async () => {
  const { client, broker } = guarded();
  broker.resume();
  const failed = once(broker, "error");
  // 201 = 0xC9 0x01
  client.write(Uint8Array.from([0x10, 0x00, 0x30, 0xc9, 0x01]));
  assert.match(String((await failed)[0]), /at most 200 bytes, got 201/);
});

Deno.test("the first packet must be CONNECT, and short", async () => {
  for (const bytes of [[0x30, 0x00], [0x10, 0x65], [0x47, 0x45]]) {
    const { client, broker } = guarded();
    broker.resume();
    const failed = once(broker, "error");
    client.write(Uint8Array.from(bytes));
    assert.match(String((await failed)[0]), /expected/);
  }
});

Deno.test("a remaining length of more than four bytes is malformed (section 2.2.3)", async () => {
  const { client, broker } = guarded();
  broker.resume();
  const failed = once(broker, "error");
  client.write(Uint8Array.from([0x10, 0x80, 0x80, 0x80, 0x80]));
  assert.match(String((await failed)[0]), /more than four bytes/);
});

Deno.test("a client that is silent for too long is let go", async () => {
  const { broker } = guarded(20);
  broker.resume();
  assert.match(String((await once(broker, "error"))[0]), /nothing came for 20 ms/);
});
