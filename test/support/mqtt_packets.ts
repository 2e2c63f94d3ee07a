// MQTT 3.1.1 packets, written out by hand: for tests that cut them anywhere and for load that must cost little.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";

/** Section 1.5.3: two bytes of length, then UTF-8. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

/** Section 2.2: type and flags, remaining length, the rest. */
function packet(header: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  assert.ok(body.length < 16_384, `expected less than 16384 bytes, got ${body.length}`);
  const length = body.length < 128 ? [body.length] : [body.length & 0x7f | 0x80, body.length >> 7];
  return Buffer.concat([Buffer.from([header, ...length]), body]);
}

function twoBytes(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

/** Section 3.1, clean session 0. @param will QoS 1, not retained */
export function connectPacket(
  clientId: string,
  keepalive: number,
  will?: { topic: string; payload: string },
): Buffer {
  const flags = Buffer.from([4, will === undefined ? 0 : 0b0000_1100]);
  const rest = will === undefined ? [] : [text(will.topic), text(will.payload)];
  return packet(0x10, text("MQTT"), flags, twoBytes(keepalive), text(clientId), ...rest);
}

/** Section 3.3, QoS 1. */
export function publishPacket(id: number, topic: string, payload: string): Buffer {
  return packet(0x32, text(topic), twoBytes(id), Buffer.from(payload));
}

/** Section 3.8, QoS 1. */
export function subscribePacket(id: number, ...filters: string[]): Buffer {
  return packet(0x82, twoBytes(id), ...filters.flatMap((filter) => [text(filter), Buffer.from([1])]));
}

/** Section 3.14. */
export const disconnectPacket: Uint8Array = Buffer.from([0xe0, 0]);
