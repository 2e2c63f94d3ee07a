// The bytes of version reports on the bus, written by hand.
import assert from "node:assert/strict";
import { systemClock } from "../../../hardware/clock.ts";
import {
  decodeReportQuestion,
  encodeReportAnswer,
  encodeReportQuestion,
  readVersionReport,
} from "../../../hardware/flash/version_report.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { NegativeResponseError, UdsProtocolError } from "../../../hardware/uds/errors.ts";
import { bytes, ScriptedTransport } from "../uds/loopback.ts";

const nonce = bytes("00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F");
const time = new Date("2026-11-21T10:00:00.900Z");
/** 2026-11-21T10:00:00Z is 1795255200 s after 1970, 0x6B016BA0. */
const question = "01 10 000102030405060708090A0B0C0D0E0F 000000006B016BA0";
const keyid = "ab".repeat(32);
/** Status, format, algorithm 1, key identifier, a report of 3 bytes, a signature of 2. */
const answer = `00 01 01 ${keyid} 0003 7B2D7D 5566`;

async function ask(record: string): Promise<unknown> {
  const transport = new ScriptedTransport(systemClock);
  using client = new UdsClient(transport, { ecu: "ECU_001", latency: 50 });
  transport.answers = [[record]];
  const report = await readVersionReport(client, { nonce, time });
  assert.deepEqual(transport.sent, [bytes(`31 01 02 20 ${question}`)]);
  return report;
}

Deno.test("the question carries format, nonce and time", () => {
  assert.deepEqual(encodeReportQuestion({ nonce, time }), bytes(question));
  assert.deepEqual(decodeReportQuestion(bytes(question)), {
    nonce,
    time: new Date("2026-11-21T10:00:00Z"),
  });
});

Deno.test("the answer carries status, format, algorithm, key, report and signature", async () => {
  const report = {
    report: bytes("7B 2D 7D"),
    algorithm: "ecdsa-p256",
    keyid,
    signature: bytes("55 66"),
  } as const;
  assert.deepEqual(await ask(`71 01 02 20 ${answer}`), report);
  assert.deepEqual(bytes(`00${encodeReportAnswer(report).toHex()}`), bytes(answer));
  assert.deepEqual(
    await ask(`71 01 02 20 ${answer.replace("00 01 01", "00 01 02")}`),
    { ...report, algorithm: "ml-dsa-65" },
  );
});

Deno.test("an ECU takes no question of another shape", () => {
  const wrong = {
    "nothing": "",
    "another format": question.replace("01 10", "02 10"),
    "a short nonce": "01 0F 000102030405060708090A0B0C0D0E 000000006B016BA0",
    "a byte missing": question.slice(0, -2),
    "a byte more": `${question}00`,
    "a time that is none": question.replace("000000006B016BA0", "FFFFFFFFFFFFFFFF"),
  };
  for (const [what, record] of Object.entries(wrong)) {
    assert.equal(decodeReportQuestion(bytes(record)), undefined, what);
  }
});

Deno.test("a question that cannot be asked is refused with its value", () => {
  assert.throws(() => encodeReportQuestion({ nonce: new Uint8Array(15), time }), /16 to 64 bytes, got 15/);
  assert.throws(() => encodeReportQuestion({ nonce, time: new Date(-1) }), /from 1970 on, got -1/);
});

Deno.test("an answer of another shape is refused", async () => {
  const wrong = {
    "no record": "71 01 02 20",
    "another status": `71 01 02 20 ${answer.replace("00 01 01", "01 01 01")}`,
    "another format": `71 01 02 20 ${answer.replace("00 01 01", "00 02 01")}`,
    "another algorithm": `71 01 02 20 ${answer.replace("00 01 01", "00 01 03")}`,
    "an empty report": `71 01 02 20 ${answer.replace("0003 7B2D7D", "0000")}`,
    "no signature": `71 01 02 20 ${answer.replace("0003", "0005")}`,
    "a report that is longer than the answer": `71 01 02 20 ${answer.replace("0003", "FFFF")}`,
  };
  for (const [what, record] of Object.entries(wrong)) {
    await assert.rejects(ask(record), UdsProtocolError, what);
  }
  await assert.rejects(ask("7F 31 31"), NegativeResponseError);
});
