// Tables written from ISO 15765-2:2016, 9.6: the clause stands beside each row.

import assert from "node:assert/strict";
import {
  decodePdu,
  decodeStMin,
  encodeConsecutiveFrame,
  encodeFirstFrame,
  encodeFlowControl,
  encodeSingleFrame,
  encodeStMin,
  maxSingleFrameLength,
  minFirstFrameLength,
} from "../../../hardware/isotp/pci.ts";

/** Bytes from hex; `…` fills with 55 up to the length that follows it. */
function bytes(text: string): Uint8Array {
  const [head, length] = text.replaceAll(" ", "").split("…");
  const known = Uint8Array.fromHex(head);
  if (length === undefined) return known;
  const all = new Uint8Array(Number(length)).fill(0x55);
  all.set(known);
  return all;
}

Deno.test("frames that the standard allows are read", () => {
  const rows: [clause: string, data: string, offset: number, expected: unknown][] = [
    ["9.6.2.1 shortest SF", "01 3E", 0, { type: "single_frame", start: 1, length: 1 }],
    ["9.6.2.1 SF, 7 bytes", "07 …8", 0, { type: "single_frame", start: 1, length: 7 }],
    ["9.6.2.1 SF with padding", "02 3E 00 CC CC CC CC CC", 0, { type: "single_frame", start: 1, length: 2 }],
    ["9.6.2.1 SF, address byte, 6 bytes", "F1 06 …8", 1, { type: "single_frame", start: 2, length: 6 }],
    ["9.6.2.1 SF escape, CAN_DL 12, 8 bytes", "00 08 …12", 0, { type: "single_frame", start: 2, length: 8 }],
    ["9.6.2.1 SF escape, CAN_DL 12, 10 bytes", "00 0A …12", 0, {
      type: "single_frame",
      start: 2,
      length: 10,
    }],
    ["9.6.2.1 SF escape, CAN_DL 64, 62 bytes", "00 3E …64", 0, {
      type: "single_frame",
      start: 2,
      length: 62,
    }],
    ["9.6.2.1 SF escape, address byte, 7", "F1 00 07 …12", 1, { type: "single_frame", start: 3, length: 7 }],
    ["9.6.2.1 SF escape, address byte, 61", "F1 00 3D …64", 1, {
      type: "single_frame",
      start: 3,
      length: 61,
    }],
    ["9.6.3.1 FF_DLmin 8 of RX_DL 8", "10 08 …8", 0, { type: "first_frame", start: 2, length: 8, rxDl: 8 }],
    ["9.6.3.1 FF_DLmin 7, address byte", "F1 10 07 …8", 1, {
      type: "first_frame",
      start: 3,
      length: 7,
      rxDl: 8,
    }],
    ["9.6.3.1 FF_DLmin 11 of RX_DL 12", "10 0B …12", 0, {
      type: "first_frame",
      start: 2,
      length: 11,
      rxDl: 12,
    }],
    ["9.6.3.1 FF_DLmin 63 of RX_DL 64", "10 3F …64", 0, {
      type: "first_frame",
      start: 2,
      length: 63,
      rxDl: 64,
    }],
    ["9.6.3.1 FF_DLmin 62, address byte", "F1 10 3E …64", 1, {
      type: "first_frame",
      start: 3,
      length: 62,
      rxDl: 64,
    }],
    ["9.6.3.1 FF_DL 4095", "1F FF …8", 0, { type: "first_frame", start: 2, length: 4_095, rxDl: 8 }],
    ["9.6.3.1 FF escape, 4096", "10 00 00 00 10 00 …8", 0, {
      type: "first_frame",
      start: 6,
      length: 4_096,
      rxDl: 8,
    }],
    ["9.6.3.1 FF escape, 4294967295", "10 00 FF FF FF FF …8", 0, {
      type: "first_frame",
      start: 6,
      length: 4_294_967_295,
      rxDl: 8,
    }],
    ["9.6.4.1 CF", "21 01", 0, { type: "consecutive_frame", start: 1, sequenceNumber: 1 }],
    ["9.6.4.1 CF, SN F, address byte", "F1 2F 01", 1, {
      type: "consecutive_frame",
      start: 2,
      sequenceNumber: 15,
    }],
    ["9.6.5.1 FC CTS", "30 08 14", 0, { type: "flow_control", flowStatus: 0, blockSize: 8, stMin: 20 }],
    ["9.6.5.1 FC WAIT", "31 00 00 …8", 0, { type: "flow_control", flowStatus: 1, blockSize: 0, stMin: 0 }],
    ["9.6.5.1 FC OVFLW", "32 00 00", 0, { type: "flow_control", flowStatus: 2, blockSize: 0, stMin: 0 }],
    ["9.6.5.1 FC reserved FS", "3F 00 F3", 0, {
      type: "flow_control",
      flowStatus: 15,
      blockSize: 0,
      stMin: 0.3,
    }],
  ];
  for (const [clause, data, offset, expected] of rows) {
    assert.deepEqual(decodePdu(bytes(data), offset), expected, clause);
  }
});

Deno.test("frames that the standard tells to ignore are ignored, with the clause", () => {
  const rows: [clause: string, data: string, offset: number][] = [
    ["10.4.3", "", 0],
    ["10.4.3", "F1", 1],
    ["9.6.2.2", "00 …8", 0], // SF_DL 0
    ["9.6.2.2", "08 …8", 0], // SF_DL above 7
    ["9.6.2.2", "0F …8", 0],
    ["9.6.2.2", "F1 07 …8", 1], // above 6 with an address byte
    ["9.6.2.2", "03 22 F1", 0], // shorter than SF_DL says
    ["9.6.2.1", "02 3E 00 …12", 0], // CAN_DL above 8 without the escape
    ["9.6.2.2", "00 00 …12", 0], // escaped SF_DL 0
    ["9.6.2.2", "00 07 …12", 0], // escaped though CAN_DL 8 holds it
    ["9.6.2.2", "F1 00 06 …12", 1],
    ["9.6.2.2", "00 0B …12", 0], // above CAN_DL - 2
    ["9.6.2.2", "F1 00 0A …12", 1], // above CAN_DL - 3
    ["9.5.4", "10 14 01 02 03 04 05", 0], // FF of CAN_DL 7
    ["9.5.4", "10 14", 0],
    ["9.6.3.2", "10 07 …8", 0], // below FF_DLmin
    ["9.6.3.2", "F1 10 06 …8", 1],
    ["9.6.3.2", "10 3E …64", 0],
    ["9.6.3.2", "F1 10 3D …64", 1],
    ["9.6.3.2", "10 00 00 00 0F FF …8", 0], // escape though 12 bits hold it
    ["9.6.3.2", "10 00 00 00 00 00 …8", 0],
    ["10.4.3", "21", 0], // CF without data
    ["10.4.3", "F1 21", 1],
    ["10.4.3", "30 00", 0], // FC shorter than three bytes
    ["10.4.3", "F1 30 00", 1],
    ["9.6.1", "40 …8", 0],
    ["9.6.1", "FF …8", 0],
  ];
  for (const [clause, data, offset] of rows) {
    const pdu = decodePdu(bytes(data), offset);
    assert.equal(pdu.type, "ignored", `${clause}: ${data}`);
    assert.ok(pdu.type === "ignored" && pdu.why.includes(`${clause}`), `${data}: ${JSON.stringify(pdu)}`);
  }
});

Deno.test("STmin is read as table 20 says; reserved values are the longest (9.6.5.5)", () => {
  for (let byte = 0; byte <= 0x7f; byte++) assert.equal(decodeStMin(byte), byte);
  for (let byte = 0x80; byte <= 0xf0; byte++) assert.equal(decodeStMin(byte), 127, `byte ${byte}`);
  const fine = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
  fine.forEach((milliseconds, at) => assert.equal(decodeStMin(0xf1 + at), milliseconds));
  for (let byte = 0xfa; byte <= 0xff; byte++) assert.equal(decodeStMin(byte), 127, `byte ${byte}`);
});

Deno.test("STmin is written for what it can tell, and refused for the rest", () => {
  assert.equal(encodeStMin(0), 0x00);
  assert.equal(encodeStMin(127), 0x7f);
  assert.equal(encodeStMin(0.1), 0xf1);
  assert.equal(encodeStMin(0.3), 0xf3);
  assert.equal(encodeStMin(0.7), 0xf7);
  assert.equal(encodeStMin(0.9), 0xf9);
  for (const wrong of [-1, 128, 0.05, 0.95, 1.5, NaN, Infinity]) {
    assert.throws(() => encodeStMin(wrong), new RegExp(`got ${wrong}`));
  }
});

Deno.test("N_PCI bytes are written as the standard lays them out", () => {
  const rows: [expected: string, data: number, write: (into: Uint8Array) => number][] = [
    ["0700000000000000", 1, (into) => encodeSingleFrame(into, 0, 7)],
    ["0006000000000000", 2, (into) => encodeSingleFrame(into, 1, 6)],
    ["0008000000000000", 2, (into) => encodeSingleFrame(into, 0, 8)],
    ["0000070000000000", 3, (into) => encodeSingleFrame(into, 1, 7)],
    ["1008000000000000", 2, (into) => encodeFirstFrame(into, 0, 8)],
    ["1FFF000000000000", 2, (into) => encodeFirstFrame(into, 0, 4_095)],
    ["1000000010000000", 6, (into) => encodeFirstFrame(into, 0, 4_096)],
    ["001000FFFFFFFF00", 7, (into) => encodeFirstFrame(into, 1, 4_294_967_295)],
    ["2100000000000000", 1, (into) => encodeConsecutiveFrame(into, 0, 1)],
    ["2000000000000000", 1, (into) => encodeConsecutiveFrame(into, 0, 16)],
    ["002F000000000000", 2, (into) => encodeConsecutiveFrame(into, 1, 15)],
    ["3008F50000000000", 3, (into) => encodeFlowControl(into, 0, 0, 8, 0xf5)],
    ["0031000000000000", 4, (into) => encodeFlowControl(into, 1, 1, 0, 0)],
    ["3200000000000000", 3, (into) => encodeFlowControl(into, 0, 2, 0, 0)],
  ];
  for (const [expected, data, write] of rows) {
    const into = new Uint8Array(8);
    assert.equal(write(into), data, expected);
    assert.equal(into.toHex().toUpperCase(), expected);
  }
  assert.throws(() => encodeFirstFrame(new Uint8Array(8), 0, 4_294_967_296), /got 4294967296/);
});

Deno.test("what a single frame holds, and where the first frame begins, follows from TX_DL (table 14)", () => {
  const rows: [txDl: number, offset: number, single: number, first: number][] = [
    [8, 0, 7, 8],
    [8, 1, 6, 7],
    [12, 0, 10, 11],
    [12, 1, 9, 10],
    [16, 0, 14, 15],
    [64, 0, 62, 63],
    [64, 1, 61, 62],
  ];
  for (const [txDl, offset, single, first] of rows) {
    assert.equal(maxSingleFrameLength(txDl, offset), single);
    assert.equal(minFirstFrameLength(txDl, offset), first);
  }
});
