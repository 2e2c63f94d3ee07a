import assert from "node:assert/strict";
import {
  decodeExtendedData,
  decodeSnapshots,
  dtcSeverityNames,
  dtcStatusNames,
  formatDtc,
  parseDtc,
  parseStatusMask,
} from "../../../hardware/uds/dtc.ts";
import { bytes } from "./loopback.ts";

Deno.test("a DTC is written with its letter and failure type", () => {
  assert.equal(formatDtc(0x012345), "P0123-45");
  assert.equal(formatDtc(0x412345), "C0123-45");
  assert.equal(formatDtc(0x9a0011), "B1A00-11");
  assert.equal(formatDtc(0xc10000), "U0100-00");
});

Deno.test("status bits have the standard's names", () => {
  assert.deepEqual(dtcStatusNames(0x09), ["testFailed", "confirmedDtc"]);
  assert.deepEqual(dtcStatusNames(0x80), ["warningIndicatorRequested"]);
});

Deno.test("a DTC is read back from its text, with and without failure type, and from a number", () => {
  assert.equal(parseDtc("P0562-16"), 0x056216);
  assert.equal(parseDtc("u010087"), 0xc10087);
  assert.equal(parseDtc("C0035"), 0x403500);
  assert.equal(parseDtc("B1A01-15"), 0x9a0115);
  assert.equal(parseDtc("0x056216"), 0x056216);
  for (const text of ["P4000-00", "X0562", "P056", "0x05621", "", "P0562-1"]) {
    assert.throws(() => parseDtc(text), new RegExp(`got "${text}"`));
  }
});

Deno.test("a status mask is a number or names", () => {
  assert.equal(parseStatusMask("0x2F"), 0x2f);
  assert.equal(parseStatusMask("9"), 9);
  assert.equal(parseStatusMask("testFailed, confirmedDtc"), 0x09);
  for (const text of ["256", "0x100", "failed", "", "toString"]) {
    assert.throws(() => parseStatusMask(text), RangeError, text);
  }
});

Deno.test("severity bits have names", () => {
  assert.deepEqual(dtcSeverityNames(0xa2), ["class1", "maintenanceOnly", "checkImmediately"]);
});

Deno.test("snapshot records are taken apart by the lengths of their identifiers", () => {
  const lengths = new Map([[0x4711, 5], [0xf186, 1]]);
  const records = bytes("02 02 47 11 A6 66 07 50 20 F1 86 03 03 01 F1 86 01");
  assert.deepEqual(decodeSnapshots(records, (did) => lengths.get(did)), [
    {
      record: 2,
      values: [{ did: 0x4711, data: bytes("A6 66 07 50 20") }, { did: 0xf186, data: bytes("03") }],
    },
    { record: 3, values: [{ did: 0xf186, data: bytes("01") }] },
  ]);
  assert.deepEqual(decodeSnapshots(bytes(""), () => 1), []);
  assert.equal(decodeSnapshots(records, () => undefined), undefined);
  assert.equal(decodeSnapshots(bytes("02 01 47 11 A6"), () => 2), undefined);
  assert.equal(decodeSnapshots(bytes("02"), () => 2), undefined);
});

Deno.test("extended data records are taken apart by their lengths", () => {
  assert.deepEqual(decodeExtendedData(bytes("01 07 05 17 79"), (record) => record === 1 ? 1 : undefined), [
    { record: 1, data: bytes("07") },
    { record: 5, data: bytes("17 79") },
  ]);
  assert.equal(decodeExtendedData(bytes("01 07"), () => 2), undefined);
});
