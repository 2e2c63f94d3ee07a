// Answers in words. Bytes are written out by ISO 14229-1:2020.

import assert from "node:assert/strict";
import { decodeAnswer, decodeNrc } from "../../../src/server/diagnostics/decode.ts";

const decode = (service: number, hex: string) => decodeAnswer(service, Uint8Array.fromHex(hex));

Deno.test("a read identifier is named, with its text where it is text", () => {
  assert.deepEqual(decode(0x22, "62f189312e322e330000"), {
    did: "0xF189",
    name: "ecuSoftwareVersion",
    text: "1.2.3",
    hex: "312E322E330000",
  });
  assert.deepEqual(decode(0x22, "62123401ff"), { did: "0x1234", hex: "01FF" });
});

Deno.test("trouble codes are listed with their status", () => {
  // P0562-16, confirmed and test failed (0x09).
  assert.deepEqual(decode(0x19, "5902ff05621609"), {
    status_availability_mask: "0xFF",
    dtcs: [{ code: "P0562-16", status: "0x09", status_names: ["testFailed", "confirmedDtc"] }],
  });
  assert.deepEqual(decode(0x19, "5901ff010003"), { status_availability_mask: "0xFF", format: 1, count: 3 });
});

Deno.test("a session's timing is in milliseconds", () => {
  assert.deepEqual(decode(0x10, "5003003201f4"), { session: "extended", p2_ms: 50, p2_star_ms: 5000 });
});

Deno.test("a negative answer has its code's name", () => {
  assert.deepEqual(decode(0x22, "7f2231"), {
    service: "ReadDataByIdentifier",
    nrc: "0x31",
    name: "requestOutOfRange",
  });
  assert.deepEqual(decodeNrc(0x33), { nrc: "0x33", name: "securityAccessDenied" });
});

Deno.test("what is cut short, foreign or unknown is not guessed at", () => {
  for (
    const [service, hex] of [
      [0x22, ""],
      [0x22, "62f1"],
      [0x22, "5003"],
      [0x19, "5902ff0562"],
      [0x10, "5003"],
      [0x7f, "7f22"],
      [0x3e, "7e00"],
    ] as const
  ) {
    assert.equal(decode(service, hex), null, hex);
  }
});

Deno.test("a security seed is counted, not shown", () => {
  assert.deepEqual(decode(0x27, "6701aabbccdd"), { level: 1, seed_bytes: 4 });
  assert.deepEqual(decode(0x27, "6702"), { level: 1, unlocked: true });
});

Deno.test("every service's answer is told by the fields of its codec", () => {
  const cases: [number, string, unknown][] = [
    [0x23, "63CAFE", { data: "CAFE" }],
    [0x23, `63${"00".repeat(300)}`, { data_bytes: 300 }],
    [0x24, "64F20104", { did: "0xF201", scaling: [{ type: 0, length: 4, extension: "" }] }],
    [0x28, "6803", { control: "disableRxAndTx" }],
    [0x29, "6903120000", {
      task: "proofOfOwnership",
      result: "ownershipVerifiedAuthenticationComplete",
      session_key_info_bytes: 0,
    }],
    [0x29, "690010", { task: "deAuthenticate", result: "deAuthenticationSuccessful" }],
    [0x2f, "6F0100031234", { did: "0x0100", control: "shortTermAdjustment", state: "1234" }],
    [0x34, "74200FFF", { max_block_length: 4095 }],
    [0x36, "7605", { counter: 5, data: "" }],
    [0x85, "C502", { setting: "off" }],
    [0x83, "C303003201F4", { access: "readActive", timing: { p2_ms: 50, p2_star_ms: 5000 } }],
    [0x19, "5904056216090101F40D00", {
      report: "0x04",
      code: "P0562-16",
      status: "0x09",
      status_names: ["testFailed", "confirmedDtc"],
      records: "0101F40D00",
    }],
    [0x19, "5914056216FF", { report: "0x14", counters: [{ dtc: "P0562-16", counter: -1 }] }],
    [0x19, "5908FF200005621609", {
      report: "0x08",
      status_availability_mask: "0xFF",
      dtcs: [{
        severity: "0x20",
        severity_names: ["maintenanceOnly"],
        functional_unit: 0,
        code: "P0562-16",
        status: "0x09",
        status_names: ["testFailed", "confirmedDtc"],
      }],
    }],
  ];
  for (const [service, hex, expected] of cases) {
    assert.deepEqual(decode(service, hex.toLowerCase()), expected, hex);
  }
});
