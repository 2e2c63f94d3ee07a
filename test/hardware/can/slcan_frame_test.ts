import assert from "node:assert/strict";
import { type CanFrame, showFrame } from "../../../hardware/can/frame.ts";
import { encodeFrame, SlcanFrameReader } from "../../../hardware/can/slcan_frame.ts";

const ascii = (text: string) => new TextEncoder().encode(text);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function read(line: string): { frame: CanFrame; timestamp: number } | string {
  const reader = new SlcanFrameReader();
  const bytes = ascii(line);
  const fault = reader.read(bytes, 0, bytes.length);
  return fault ??
    { frame: { ...reader.frame, data: reader.frame.data.slice() }, timestamp: reader.timestamp };
}

/** Lines by hand after the LAWICEL manual and the FD letters of adapters, and the frame that each is. */
const lines: [string, CanFrame][] = [
  ["t10021133", { id: 0x100, extended: false, data: new Uint8Array([0x11, 0x33]) }],
  ["t7FF0", { id: 0x7ff, extended: false, data: new Uint8Array() }],
  ["t00080011223344AABBFF", {
    id: 0,
    extended: false,
    data: new Uint8Array([0, 0x11, 0x22, 0x33, 0x44, 0xaa, 0xbb, 0xff]),
  }],
  ["T0000010021133", { id: 0x100, extended: true, data: new Uint8Array([0x11, 0x33]) }],
  ["T18DA10F13021003", { id: 0x18da10f1, extended: true, data: new Uint8Array([2, 0x10, 3]) }],
  ["T1FFFFFFF0", { id: 0x1fffffff, extended: true, data: new Uint8Array() }],
  ["r1002", { id: 0x100, extended: false, data: new Uint8Array(), remote: true, remoteLength: 2 }],
  ["R000001008", { id: 0x100, extended: true, data: new Uint8Array(), remote: true, remoteLength: 8 }],
  ["d1231FF", { id: 0x123, extended: false, data: new Uint8Array([0xff]), fd: true }],
  ["D000001239" + "0102030405060708090A0B0C", {
    id: 0x123,
    extended: true,
    data: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    fd: true,
  }],
  ["b123F" + "5A".repeat(64), {
    id: 0x123,
    extended: false,
    data: new Uint8Array(64).fill(0x5a),
    fd: true,
    bitRateSwitch: true,
  }],
  ["B1FFFFFFFE" + "00".repeat(48), {
    id: 0x1fffffff,
    extended: true,
    data: new Uint8Array(48),
    fd: true,
    bitRateSwitch: true,
  }],
];

Deno.test("each kind of frame is written as the manual says", () => {
  for (const [line, frame] of lines) assert.equal(text(encodeFrame(frame)), `${line}\r`);
});

Deno.test("each kind of frame is read, with and without a time stamp", () => {
  for (const [line, frame] of lines) {
    const expected = { remote: false, remoteLength: 0, fd: false, bitRateSwitch: false, ...frame };
    assert.deepEqual(read(line), { frame: expected, timestamp: -1 });
    assert.deepEqual(read(`${line}EA5F`), { frame: expected, timestamp: 59_999 });
  }
});

Deno.test("a time stamp stands after the data, four digits", () => {
  assert.equal(text(encodeFrame({ id: 1, extended: false, data: new Uint8Array([2]) }, 10)), "t001102000A\r");
});

Deno.test("hexadecimal digits are read in either case", () => {
  assert.deepEqual(read("t7ea2abCd"), read("t7EA2ABCD"));
  assert.deepEqual(read("T18da10f10"), read("T18DA10F10"));
});

Deno.test("a classic DLC above 8 stands for eight bytes", () => {
  const frame = read("t001F1122334455667788");
  assert.ok(typeof frame === "object");
  assert.equal(frame.frame.data.length, 8);
  const remote = read("r001F");
  assert.ok(typeof remote === "object");
  assert.equal(remote.frame.remoteLength, 8);
});

Deno.test("what is no frame is told by its reason", () => {
  assert.equal(read("x1230"), "unknown letter");
  assert.equal(read("t"), "wrong length");
  assert.equal(read("t123"), "wrong length");
  assert.equal(read("t1232AA"), "wrong length");
  assert.equal(read("t1231AABB"), "wrong length");
  assert.equal(read("t1231AA123"), "wrong length");
  assert.equal(read("t8000"), "identifier too large");
  assert.equal(read("T200000000"), "identifier too large");
  assert.equal(read("t12G0"), "no hexadecimal digit");
  assert.equal(read("t123G"), "no hexadecimal digit");
  assert.equal(read("t1231A-"), "no hexadecimal digit");
  assert.equal(read("t1231AA00G0"), "no hexadecimal digit");
});

Deno.test("every identifier and length goes there and back", () => {
  const reader = new SlcanFrameReader();
  for (let id = 0; id <= 0x7ff; id++) {
    const frame = { id, extended: false, data: new Uint8Array(id % 9).fill(id) };
    const bytes = encodeFrame(frame);
    assert.equal(reader.read(bytes, 0, bytes.length - 1), undefined);
    assert.equal(showFrame(reader.frame), showFrame(frame));
  }
});
