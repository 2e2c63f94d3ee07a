import assert from "node:assert/strict";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { NegativeResponseError, UdsProtocolError } from "../../../hardware/uds/errors.ts";
import { UdsTimeoutError } from "../../../hardware/uds/transport.ts";
import { bytes, ScriptedTransport, text } from "./loopback.ts";
import { TestClock } from "./test_clock.ts";

function setUp(options: ConstructorParameters<typeof UdsClient>[1] = {}) {
  const clock = new TestClock();
  const transport = new ScriptedTransport(clock);
  const client = new UdsClient(transport, { ecu: "ECU_001", latency: 0, clock, ...options });
  return { clock, transport, client };
}

/** The promise's rejection, or a failed assertion; never unhandled. */
function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => assert.fail("expected a rejection"), (error) => error);
}

Deno.test("the client sends a request as the standard writes it and returns the data behind the echo", async () => {
  const { transport, client } = setUp();
  transport.answers = [["62 F1 90 57 41 55"]];
  assert.equal(text(await client.readDataByIdentifier(0xf190)), "57 41 55");
  assert.deepEqual(transport.sent.map(text), ["22 F1 90"]);
});

Deno.test("a negative response carries service, code, name and step", async () => {
  const { transport, client } = setUp();
  transport.answers = [["7F 2E 33"]];
  const error = await rejection(
    client.writeDataByIdentifier(0xf15a, bytes("01"), { step: "write_fingerprint" }),
  );
  assert.ok(error instanceof NegativeResponseError);
  assert.equal(error.sid, 0x2e);
  assert.equal(error.nrc, 0x33);
  assert.equal(error.nrcName, "securityAccessDenied");
  assert.equal(error.step, "write_fingerprint");
  assert.equal(
    error.message,
    "ECU_001: write_fingerprint: WriteDataByIdentifier refused with NRC 0x33 securityAccessDenied",
  );
});

Deno.test("answers to other requests are passed over: other service, other identifier, other refusal", async () => {
  const { transport, client } = setUp();
  transport.answers = [["7E 00", "62 F1 89 31", "7F 31 10", "62 F1", "62 F1 90 41"]];
  assert.equal(text(await client.readDataByIdentifier(0xf190)), "41");
});

Deno.test("a block counter that is not the request's is another block's answer", async () => {
  const { transport, client } = setUp();
  transport.answers = [["76 01", "76 02"]];
  await client.transferData(2, bytes("AA"));
  assert.deepEqual(transport.sent.map(text), ["36 02 AA"]);
});

Deno.test("what is left over from before is dropped when a request is sent", async () => {
  const { transport, client } = setUp();
  transport.deliver("62 F1 90 00");
  transport.answers = [["62 F1 90 41"]];
  assert.equal(text(await client.readDataByIdentifier(0xf190)), "41");
});

Deno.test("endless answers to other requests end the wait", async () => {
  const { transport, client } = setUp({ maxForeign: 3 });
  transport.answers = [["7E 00", "7E 00", "7E 00", "7E 00", "62 F1 90 41"]];
  const error = await rejection(client.readDataByIdentifier(0xf190));
  assert.ok(error instanceof UdsProtocolError);
  assert.match(error.message, /gave up after 4 answers to other requests/);
});

Deno.test("without an answer the wait ends with P2, whatever else comes in", async () => {
  const { clock, transport, client } = setUp();
  const waiting = rejection(client.readDataByIdentifier(0xf190));
  await clock.advance(49);
  transport.deliver("7E 00");
  await clock.advance(1);
  const error = await waiting;
  assert.ok(error instanceof UdsTimeoutError);
  assert.match(
    error.message,
    /^ECU_001: .*1 answers to other requests passed over.*no answer to ReadDataByIdent/,
  );
});

Deno.test("latency is added to P2", async () => {
  const { clock, transport, client } = setUp({ latency: 1_000 });
  const answer = client.readDataByIdentifier(0xf190);
  await clock.advance(1_049);
  transport.deliver("62 F1 90 41");
  assert.equal(text(await answer), "41");
});

Deno.test("0x78 reloads P2* each time", async () => {
  const { clock, transport, client } = setUp();
  const answer = client.startRoutine(0xff00);
  await clock.advance(40);
  for (let times = 0; times < 4; times++) {
    transport.deliver("7F 31 78");
    await clock.advance(4_999);
  }
  transport.deliver("71 01 FF 00 00");
  assert.equal(text(await answer), "00");
});

Deno.test("0x78 without end is capped", async () => {
  const { clock, transport, client } = setUp({ pendingLimit: 10_000 });
  const answer = rejection(client.startRoutine(0xff00));
  for (let times = 0; times < 4; times++) {
    transport.deliver("7F 31 78");
    await clock.advance(3_000);
  }
  const error = await answer;
  assert.ok(error instanceof UdsTimeoutError);
  assert.match(error.message, /no final answer to RoutineControl/);
});

Deno.test("silence after 0x78 ends with P2*", async () => {
  const { clock, transport, client } = setUp();
  const answer = rejection(client.startRoutine(0xff00));
  await clock.advance(0);
  transport.deliver("7F 31 78");
  await clock.advance(5_000);
  assert.ok(await answer instanceof UdsTimeoutError);
});

Deno.test("0x21 is answered by the same request after 200 ms", async () => {
  const { clock, transport, client } = setUp();
  transport.answers = [["7F 22 21"], ["62 F1 90 41"]];
  const answer = client.readDataByIdentifier(0xf190);
  await clock.advance(199);
  assert.equal(transport.sent.length, 1);
  await clock.advance(1);
  assert.equal(text(await answer), "41");
  assert.deepEqual(transport.sent.map(text), ["22 F1 90", "22 F1 90"]);
});

Deno.test("0x21 without end is capped and reported", async () => {
  const { clock, transport, client } = setUp({ busyRepeats: 2 });
  transport.answers = [["7F 22 21"], ["7F 22 21"], ["7F 22 21"], ["62 F1 90 41"]];
  const answer = rejection(client.readDataByIdentifier(0xf190));
  await clock.advance(1_000);
  const error = await answer;
  assert.ok(error instanceof NegativeResponseError);
  assert.equal(error.nrc, 0x21);
  assert.equal(transport.sent.length, 3);
});

Deno.test("P2 and P2* of the session answer are taken over, P2* in units of 10 ms", async () => {
  const { clock, transport, client } = setUp();
  transport.answers = [["50 03 00 19 00 C8"]];
  assert.deepEqual(await client.diagnosticSessionControl(3), { session: 3, p2: 25, p2Star: 2_000 });
  const late = rejection(client.readDataByIdentifier(0xf190));
  await clock.advance(25);
  assert.ok(await late instanceof UdsTimeoutError);
  client.close();
});

Deno.test("a suppressed answer is waited for P2 and no longer", async () => {
  const { clock, client } = setUp();
  const answer = client.raw(bytes("3E 80"));
  await clock.advance(50);
  assert.equal(await answer, undefined);
});

Deno.test("a refusal comes through although the positive answer was suppressed", async () => {
  const { transport, client } = setUp();
  transport.answers = [["7F 28 22"]];
  const error = await rejection(client.raw(bytes("28 83 01")));
  assert.ok(error instanceof NegativeResponseError);
});

Deno.test("after 0x78 the final answer is waited for although it was suppressed", async () => {
  const { clock, transport, client } = setUp();
  const answer = client.raw(bytes("11 81"));
  await clock.advance(10);
  transport.deliver("7F 11 78");
  await clock.advance(1_000);
  transport.deliver("51 01");
  assert.equal(text(await answer ?? bytes("")), "51 01");
});

Deno.test("silence after 0x78 is a timeout although the answer was suppressed", async () => {
  const { clock, transport, client } = setUp();
  const answer = rejection(client.raw(bytes("11 81")));
  await clock.advance(10);
  transport.deliver("7F 11 78");
  await clock.advance(5_000);
  assert.ok(await answer instanceof UdsTimeoutError);
});

Deno.test("TesterPresent holds a session every 2,000 ms of idleness and ends with it", async () => {
  const { clock, transport, client } = setUp();
  transport.answers = [["50 03 00 32 01 F4"]];
  await client.diagnosticSessionControl(3);
  await clock.advance(1_999);
  assert.equal(transport.sent.length, 1);
  await clock.advance(1);
  assert.equal(text(transport.sent[1]), "3E 80");
  await clock.advance(4_000);
  assert.equal(transport.sent.length, 4);
  transport.answers = [["50 01 00 32 01 F4"]];
  await client.diagnosticSessionControl(1);
  await clock.advance(10_000);
  assert.equal(transport.sent.length, 5);
  assert.equal(clock.armed, 0);
});

Deno.test("TesterPresent never comes between a request and its answer", async () => {
  const { clock, transport, client } = setUp();
  transport.answers = [["50 03 00 32 01 F4"]];
  await client.diagnosticSessionControl(3);
  await clock.advance(1_990);
  const answer = client.startRoutine(0xff00);
  await clock.advance(0);
  transport.deliver("7F 31 78");
  await clock.advance(4_000);
  assert.deepEqual(transport.sent.map(text), ["10 03", "31 01 FF 00"]);
  transport.deliver("71 01 FF 00 00");
  await answer;
  await clock.advance(2_500);
  assert.equal(text(transport.sent[2]), "3E 80");
  client.close();
  assert.equal(clock.armed, 0);
});

Deno.test("requests made at once go out one after another", async () => {
  const { clock, transport, client } = setUp();
  const first = client.readDataByIdentifier(0xf190);
  const second = client.readDataByIdentifier(0xf189);
  await clock.advance(10);
  assert.deepEqual(transport.sent.map(text), ["22 F1 90"]);
  transport.deliver("62 F1 90 41");
  await first;
  await clock.advance(0);
  transport.deliver("62 F1 89 42");
  assert.equal(text(await second), "42");
});

Deno.test("a signal ends the wait and the late answer is not taken for the next one's", async () => {
  const { clock, transport, client } = setUp();
  const controller = new AbortController();
  const first = rejection(client.requestSeed(1, { signal: controller.signal }));
  await clock.advance(1);
  controller.abort(new Error("enough"));
  assert.match(String(await first), /enough/);
  transport.deliver("67 01 11 11");
  transport.answers = [["67 01 22 22"]];
  assert.equal(text(await client.requestSeed(1)), "22 22");
});

for (
  const [name, call, answer] of [
    ["session timing cut short", (client: UdsClient) => client.diagnosticSessionControl(3), "50 03 00 32"],
    ["reset with too much", (client: UdsClient) => client.ecuReset(1), "51 01 00 00"],
    ["clear with a tail", (client: UdsClient) => client.dtc.clear(), "54 00"],
    ["count of DTCs cut short", (client: UdsClient) => client.dtc.count(0xff), "59 01 FF 01 00"],
    [
      "DTC list with half a record",
      (client: UdsClient) => client.dtc.byStatusMask(0xff),
      "59 02 FF 01 02 03",
    ],
    ["snapshot of another DTC", (client: UdsClient) => client.dtc.snapshot(0x010203), "59 04 01 02 04 09"],
    ["identifier without data", (client: UdsClient) => client.readDataByIdentifier(0xf190), "62 F1 90"],
    [
      "memory one byte short",
      (client: UdsClient) => client.readMemoryByAddress({ address: 0, size: 3 }),
      "63 01 02",
    ],
    ["seed of no bytes", (client: UdsClient) => client.requestSeed(1), "67 01"],
    ["key answer with a tail", (client: UdsClient) => client.sendKey(1, bytes("00")), "67 02 00"],
    [
      "download without length",
      (client: UdsClient) => client.requestDownload({ address: 0, size: 1 }),
      "74 20 0F",
    ],
    [
      "download of blocks of 2",
      (client: UdsClient) => client.requestDownload({ address: 0, size: 1 }),
      "74 10 02",
    ],
    [
      "write with a tail",
      (client: UdsClient) => client.writeDataByIdentifier(0xf15a, bytes("01")),
      "6E F1 5A 01",
    ],
  ] as const
) {
  Deno.test(`a positive answer of the wrong shape is refused: ${name}`, async () => {
    const { transport, client } = setUp({ testerPresentInterval: 0 });
    transport.answers = [[answer]];
    assert.ok(await rejection(call(client)) instanceof UdsProtocolError);
  });
}

Deno.test("each service goes out as the standard writes it", async () => {
  const { transport, client } = setUp({ testerPresentInterval: 0 });
  transport.answers = [
    ["51 01"],
    ["54"],
    ["59 01 FF 01 00 02"],
    ["59 02 FF 12 34 56 09"],
    ["59 06 12 34 56 09 01 AA"],
    ["59 0A FF"],
    ["63 DE AD"],
    ["68 03"],
    ["74 20 0F FF"],
    ["74 30 01 00 02"],
    ["75 20 0F FF"],
    ["77 AB"],
    ["7E 00"],
    ["C5 02"],
    ["71 03 02 03 01 02"],
  ];
  await client.ecuReset(1);
  await client.dtc.clear();
  assert.deepEqual(await client.dtc.count(0x08), { availability: 0xff, format: 1, count: 2 });
  assert.deepEqual(await client.dtc.byStatusMask(0x09), {
    availability: 0xff,
    dtcs: [{ code: 0x123456, status: 9 }],
  });
  assert.deepEqual(await client.dtc.extendedData(0x123456), {
    code: 0x123456,
    status: 9,
    records: bytes("01 AA"),
  });
  assert.deepEqual(await client.dtc.supported(), { availability: 0xff, dtcs: [] });
  await client.readMemoryByAddress({ address: 0x8000_0000, size: 2 });
  await client.communicationControl(3, 1);
  assert.equal((await client.requestDownload({ address: 0x1000, size: 0x20 })).maxBlockLength, 4_095);
  const wide = await client.requestDownload({ address: 0x1000, size: 0x20 }, {
    dataFormat: 0x11,
    format: { addressBytes: 3, sizeBytes: 2 },
  });
  assert.equal(wide.maxBlockLength, 0x010002);
  await client.requestUpload({ address: 0, size: 1 });
  assert.equal(text(await client.requestTransferExit()), "AB");
  await client.testerPresent();
  await client.controlDtcSetting(2);
  assert.equal(text(await client.routineControl(3, 0x0203)), "01 02");
  assert.deepEqual(transport.sent.map(text), [
    "11 01",
    "14 FF FF FF",
    "19 01 08",
    "19 02 09",
    "19 06 12 34 56 FF",
    "19 0A",
    "23 44 80 00 00 00 00 00 00 02",
    "28 03 01",
    "34 00 44 00 00 10 00 00 00 00 20",
    "34 11 23 00 10 00 00 20",
    "35 00 44 00 00 00 00 00 00 00 01",
    "37",
    "3E 00",
    "85 02",
    "31 03 02 03",
  ]);
});

Deno.test("arguments that cannot be are refused before anything is sent", async () => {
  const { transport, client } = setUp();
  await assert.rejects(
    client.readDataByIdentifier(0x10000),
    /data identifier: expected 0 … 0xFFFF, got 65536/,
  );
  await assert.rejects(client.requestSeed(2), /expected an odd number, got 2/);
  await assert.rejects(
    client.requestDownload({ address: 0x1_0000, size: 1 }, { format: { addressBytes: 2 } }),
    /address: expected 0 … 0xFFFF in 2 bytes, got 65536/,
  );
  await assert.rejects(client.raw(new Uint8Array(4_096)), /longer than the path carries \(4095\)/);
  assert.equal(transport.sent.length, 0);
});
