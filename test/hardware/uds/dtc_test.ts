import assert from "node:assert/strict";
import { dtcStatusNames, formatDtc } from "../../../hardware/uds/dtc.ts";

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
