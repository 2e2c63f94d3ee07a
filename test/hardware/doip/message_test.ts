import assert from "node:assert/strict";
import {
  decodeMessage,
  type DoipMessage,
  encodeMessage,
  isLengthAllowed,
  readHeader,
} from "../../../hardware/doip/message.ts";
import { DoipMessageError } from "../../../hardware/doip/errors.ts";
import { bytes, hex } from "./support.ts";

/** Each payload type, written by hand after the tables of ISO 13400-2:2019. */
const examples: [name: string, wire: string, message: DoipMessage][] = [
  ["a header NACK", "02FD 0000 00000001 02", { type: 0x0000, code: 2 }],
  ["an identification request to any version", "FF00 0001 00000000", { type: 0x0001 }],
  ["an identification request by EID", "03FC 0002 00000006 0A0B0C0D0E0F", {
    type: 0x0002,
    eid: bytes("0A0B0C0D0E0F"),
  }],
  [
    "an identification request by VIN",
    "02FD 0003 00000011 57444231323334353637463839303132 33",
    { type: 0x0003, vin: "WDB1234567F890123" },
  ],
  [
    "an announcement with synchronization status",
    "03FC 0004 00000021 5744423132333435363746383930313233 1000 020000000001 020000000002 00 10",
    {
      type: 0x0004,
      vin: "WDB1234567F890123",
      logicalAddress: 0x1000,
      eid: bytes("020000000001"),
      gid: bytes("020000000002"),
      furtherAction: 0,
      syncStatus: 0x10,
    },
  ],
  [
    "an announcement of 32 bytes from a vehicle without VIN",
    "02FD 0004 00000020 FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF E001 020000000001 000000000000 10",
    {
      type: 0x0004,
      vin: "",
      logicalAddress: 0xe001,
      eid: bytes("020000000001"),
      gid: bytes("000000000000"),
      furtherAction: 0x10,
    },
  ],
  ["a routing activation request", "02FD 0005 00000007 0E80 01 00000000", {
    type: 0x0005,
    sourceAddress: 0x0e80,
    activationType: 1,
  }],
  [
    "a routing activation request with OEM field",
    "02FD 0005 0000000B 0E80 E0 00000000 DEADBEEF",
    { type: 0x0005, sourceAddress: 0x0e80, activationType: 0xe0, oem: 0xdeadbeef },
  ],
  ["a routing activation request of the 2010 edition", "01FE 0005 00000008 0E80 0001 00000000", {
    type: 0x0005,
    sourceAddress: 0x0e80,
    activationType: 1,
  }],
  [
    "a routing activation request of the 2010 edition with OEM field",
    "01FE 0005 0000000C 0E80 E000 00000000 00000001",
    { type: 0x0005, sourceAddress: 0x0e80, activationType: 0xe000, oem: 1 },
  ],
  ["a routing activation response", "04FB 0006 00000009 0E80 1000 10 00000000", {
    type: 0x0006,
    testerAddress: 0x0e80,
    entityAddress: 0x1000,
    code: 0x10,
  }],
  ["a routing activation response with OEM field", "04FB 0006 0000000D 0E80 1000 06 00000000 00000102", {
    type: 0x0006,
    testerAddress: 0x0e80,
    entityAddress: 0x1000,
    code: 0x06,
    oem: 0x0102,
  }],
  ["an alive check request", "02FD 0007 00000000", { type: 0x0007 }],
  ["an alive check response", "02FD 0008 00000002 0E00", { type: 0x0008, sourceAddress: 0x0e00 }],
  ["an entity status request", "02FD 4001 00000000", { type: 0x4001 }],
  ["an entity status response without size", "02FD 4002 00000003 01 10 02", {
    type: 0x4002,
    nodeType: 1,
    maxSockets: 16,
    openSockets: 2,
  }],
  ["an entity status response", "02FD 4002 00000007 00 FF 00 80000001", {
    type: 0x4002,
    nodeType: 0,
    maxSockets: 255,
    openSockets: 0,
    maxDataSize: 0x80000001,
  }],
  ["a power mode request", "02FD 4003 00000000", { type: 0x4003 }],
  ["a power mode response", "02FD 4004 00000001 01", { type: 0x4004, mode: 1 }],
  ["a diagnostic message", "02FD 8001 00000007 0E00 1001 22F190", {
    type: 0x8001,
    sourceAddress: 0x0e00,
    targetAddress: 0x1001,
    userData: bytes("22F190"),
  }],
  ["a positive acknowledgement", "02FD 8002 00000005 1001 0E00 00", {
    type: 0x8002,
    sourceAddress: 0x1001,
    targetAddress: 0x0e00,
    code: 0,
    previous: bytes(""),
  }],
  ["a negative acknowledgement that quotes the message", "02FD 8003 00000008 1001 0E00 06 22F190", {
    type: 0x8003,
    sourceAddress: 0x1001,
    targetAddress: 0x0e00,
    code: 6,
    previous: bytes("22F190"),
  }],
];

for (const [name, wire, message] of examples) {
  Deno.test(`encodeMessage() and decodeMessage() agree with the bytes of ${name}`, () => {
    const frame = bytes(wire);
    assert.equal(hex(encodeMessage(frame[0], message)), hex(frame));
    const { version, inverseVersion, payloadType, payloadLength } = readHeader(frame);
    assert.equal(version ^ inverseVersion, 0xff);
    assert.equal(payloadLength, frame.length - 8);
    const decoded = decodeMessage({ version, payloadType, payload: frame.subarray(8) });
    assert.deepEqual(decoded, message);
  });
}

Deno.test("isLengthAllowed() takes exactly the lengths of each payload type", () => {
  const allowed: [type: number, version: number, right: number[], wrong: number[]][] = [
    [0x0000, 2, [1], [0, 2]],
    [0x0001, 2, [0], [1]],
    [0x0002, 2, [6], [5, 7]],
    [0x0003, 2, [17], [16, 18]],
    [0x0004, 2, [32, 33], [31, 34]],
    [0x0005, 2, [7, 11], [6, 8, 10, 12]],
    [0x0005, 1, [8, 12], [7, 9, 11, 13]],
    [0x0006, 2, [9, 13], [8, 10, 12, 14]],
    [0x0007, 2, [0], [1]],
    [0x0008, 2, [2], [1, 3]],
    [0x4001, 2, [0], [1]],
    [0x4002, 2, [3, 7], [2, 4, 6, 8]],
    [0x4003, 2, [0], [1]],
    [0x4004, 2, [1], [0, 2]],
    [0x8001, 2, [5, 4_096], [0, 4]],
    [0x8002, 2, [5, 6], [4]],
    [0x8003, 2, [5, 6], [4]],
    [0x1234, 2, [], [0, 1]],
  ];
  for (const [type, version, right, wrong] of allowed) {
    for (const length of right) assert.ok(isLengthAllowed(version, type, length), `${type} ${length}`);
    for (const length of wrong) assert.ok(!isLengthAllowed(version, type, length), `${type} ${length}`);
  }
});

Deno.test("decodeMessage() names the type, the length that came and the one expected", () => {
  assert.throws(
    () => decodeMessage({ version: 2, payloadType: 0x0006, payload: bytes("0E00") }),
    (error) =>
      error instanceof DoipMessageError && error.payloadType === 6 &&
      error.message === "routing activation response (0x0006) of 2 bytes; expected 9 or 13",
  );
  assert.throws(
    () => decodeMessage({ version: 2, payloadType: 0x1234, payload: bytes("") }),
    { name: "DoipMessageError", message: "unknown DoIP payload type 0x1234" },
  );
});

Deno.test("decodeMessage() shows bytes that no VIN has instead of inventing a VIN", () => {
  const payload = bytes("00444231323334353637463839303132FF 1000 020000000001 020000000002 00");
  const message = decodeMessage({ version: 2, payloadType: 0x0004, payload });
  assert.ok(message.type === 0x0004);
  assert.equal(message.vin, "\ufffdDB1234567F89012\ufffd");
});

Deno.test("encodeMessage() refuses values that do not fit and quotes them", () => {
  const sent: [DoipMessage, RegExp][] = [
    [{ type: 0x0008, sourceAddress: 0x10000 }, /source address .* is 65536/],
    [{ type: 0x0008, sourceAddress: -1 }, /is -1/],
    [{ type: 0x0005, sourceAddress: 0x0e00, activationType: 0x100 }, /activation type .* is 256/],
    [{ type: 0x0002, eid: bytes("0102") }, /EID has 6 bytes, is 2 long/],
    [{ type: 0x0003, vin: "WDB1234567F89O123" }, /"WDB1234567F89O123"/],
    [{ type: 0x0000, code: 1.5 }, /is 1.5/],
  ];
  for (const [message, expected] of sent) assert.throws(() => encodeMessage(2, message), expected);
});
