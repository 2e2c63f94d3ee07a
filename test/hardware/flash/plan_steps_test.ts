// What a plan makes of the sequence: the requests on the wire, written by hand, against an ECU that agrees to everything.

import assert from "node:assert/strict";
import { buildFingerprint } from "../../../hardware/flash/fingerprint.ts";
import { memoryImage } from "../../../hardware/flash/format/memory_image.ts";
import type { DownloadHints } from "../../../hardware/flash/image.ts";
import type { FlashPlan } from "../../../hardware/flash/plan.ts";
import { resolveFlashPlan } from "../../../hardware/flash/plan.ts";
import { flashEcu, FlashError } from "../../../hardware/flash/sequence.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { echoLength } from "../../../hardware/uds/services.ts";
import type { DiagnosticEndpoint } from "../../../hardware/uds/transport.ts";
import { bytes, LoopbackTransport, text } from "../uds/loopback.ts";

/** Says yes to every request; reads give what `dids` holds. */
function agreeable(dids: Record<number, string>): DiagnosticEndpoint {
  return {
    handle: (request, _context, respond) => {
      const sid = request[0];
      if (sid === 0x10) return respond(Uint8Array.of(0x50, request[1], 0, 50, 1, 0xf4));
      if (sid === 0x22) {
        const data = dids[request[1] << 8 | request[2]];
        if (data === undefined) return respond(Uint8Array.of(0x7f, 0x22, 0x31));
        return respond(Uint8Array.of(0x62, request[1], request[2], ...bytes(data)));
      }
      // 0x27 01: all zero, unlocked already.
      if (sid === 0x27) return respond(Uint8Array.of(0x67, request[1], 0, 0));
      if (sid === 0x34) return respond(Uint8Array.of(0x74, 0x20, 0x01, 0x02));
      respond(Uint8Array.of(sid + 0x40, ...request.subarray(1, 1 + echoLength(sid))));
    },
  };
}

const image = (hints?: DownloadHints) =>
  memoryImage([{ address: 0x100, length: 2 }, { address: 0x8000, length: 9 }], payload, hints);
const payload = Uint8Array.of(0xaa, 0xbb, ...new TextEncoder().encode("123456789"));

/** Flashes and gives the requests. */
async function sent(
  plan: FlashPlan,
  { hints, dids = {} }: { hints?: DownloadHints; dids?: Record<number, string> } = {},
): Promise<string[]> {
  const transport = new LoopbackTransport(agreeable({ 0xf189: "32 2E 30", 0x0105: "32 2E 30", ...dids }));
  using client = new UdsClient(transport, { ecu: "ECU_001", testerPresentInterval: 0 });
  await flashEcu(client, image(hints), {
    plan: { seedKey: { algorithm: "xor", constant: "A5" }, ...plan },
    version: "2.0",
    fingerprint: Uint8Array.of(1, 2),
  });
  return transport.sent.map(text);
}

Deno.test("a plan changes sessions, order, identifiers and widths", async () => {
  const requests = await sent({
    extendedSession: 0x40,
    programmingSession: 0x42,
    communicationFirst: true,
    communicationControl: 0x01,
    communicationType: 0x03,
    securityLevel: 0x11,
    fingerprintDid: 0xf15c,
    preconditions: [{ routine: 0x0205, option: bytes("01 02") }, { did: 0xf40d, min: 12, scale: 0.1 }],
    eraseRoutine: 0xff05,
    erase: "range",
    addressBytes: 3,
    sizeBytes: 2,
    dataFormat: 0x11,
    checkMemoryRoutine: 0x0212,
    checkMethod: "crc32",
    checkDependenciesRoutine: 0xff11,
    checkDependenciesOption: bytes("CA FE"),
    resetType: 0x03,
    versionDid: 0x0105,
  }, { dids: { 0xf40d: "78" } });
  assert.deepEqual(requests, [
    "10 40",
    "31 01 02 05 01 02",
    "22 F4 0D",
    "28 01 03",
    "85 02",
    "10 42",
    "27 11",
    "2E F1 5C 01 02",
    "31 01 FF 05 23 00 01 00 7F 09",
    "34 11 23 00 01 00 00 02",
    "36 01 AA BB",
    "37",
    "34 11 23 00 80 00 00 09",
    "36 01 31 32 33 34 35 36 37 38 39",
    "37",
    // CRC-32 of AA BB 31 … 39, made with Python's zlib.
    "31 01 02 12 23 BE 0E 66",
    "31 01 FF 11 CA FE",
    "11 03",
    "3E 00",
    "10 40",
    "28 00 03",
    "85 01",
    "10 01",
    "22 01 05",
  ]);
});

Deno.test("every step that can be left out is left out, and what remains is a flash", async () => {
  const requests = await sent({
    steps: {
      extended_session: false,
      check_preconditions: false,
      dtc_setting_off: false,
      communication_off: false,
      security_access: false,
      write_fingerprint: false,
      erase_memory: false,
      call_software: false,
      check_memory: false,
      check_dependencies: false,
      ecu_reset: false,
      wait_for_restart: false,
      communication_on: false,
      dtc_setting_on: false,
    },
  }, { hints: { call: 0x8000 } });
  assert.deepEqual(requests, [
    "10 02",
    "34 00 44 00 00 01 00 00 00 00 02",
    "36 01 AA BB",
    "37",
    "34 00 44 00 00 80 00 00 00 00 09",
    "36 01 31 32 33 34 35 36 37 38 39",
    "37",
    "10 01",
    "22 F1 89",
  ]);
});

Deno.test("the memory is checked segment by segment, with address and size before each value", async () => {
  const checks = async (plan: FlashPlan) =>
    (await sent(plan)).filter((request) => request.startsWith("31 01 02 02"));
  // CRC-16/CCITT-FALSE and CRC-32 of "123456789" are the catalogue's check values; the others are Python's.
  assert.deepEqual(await checks({ checkScope: "segments", checkMethod: "crc16" }), [
    "31 01 02 02 44 00 00 01 00 00 00 00 02 F9 0A",
    "31 01 02 02 44 00 00 80 00 00 00 00 09 29 B1",
  ]);
  assert.deepEqual(await checks({ checkScope: "segments", checkMethod: "crc32" }), [
    "31 01 02 02 44 00 00 01 00 00 00 00 02 49 82 2C 98",
    "31 01 02 02 44 00 00 80 00 00 00 00 09 CB F4 39 26",
  ]);
  assert.deepEqual(await checks({ checkScope: "segments", checkMethod: "sha256" }), [
    "31 01 02 02 44 00 00 01 00 00 00 00 02 D7 98 D1 FA C6 BD 4B B1 C1 1F 50 31 27 60 35 10 13 37 9A 0A B6 F0 A8 C0 AF 8A 50 6B 96 B2 52 5A",
    "31 01 02 02 44 00 00 80 00 00 00 00 09 15 E2 B0 D3 C3 38 91 EB B0 F1 EF 60 9E C4 19 42 0C 20 E3 20 CE 94 C6 5F BC 8C 33 12 44 8E B2 25",
  ]);
  assert.deepEqual(await checks({ checkMethod: "none" }), ["31 01 02 02"]);
});

for (const compression of ["zlib", "deflate"] as const) {
  Deno.test(`each segment is compressed with ${compression} on its way, and its own size asked for`, async () => {
    const long = new Uint8Array(200_000).map((_, at) => at % 251 * (at >> 12));
    const transport = new LoopbackTransport(agreeable({ 0xf189: "32 2E 30" }));
    using client = new UdsClient(transport, { ecu: "ECU_001", testerPresentInterval: 0 });
    const progress: number[] = [];
    const result = await flashEcu(
      client,
      memoryImage([{ address: 0, length: 3 }, { address: 0x8000, length: long.length - 3 }], long),
      {
        plan: { seedKey: { algorithm: "xor", constant: "A5" }, compression },
        version: "2.0",
        fingerprint: Uint8Array.of(1),
        onProgress: (step, done) => step === "transfer_data" && progress.push(done),
      },
    );
    assert.equal(result.bytes, 200_000);
    assert.equal(progress.at(-1), 200_000);
    const streams: Uint8Array<ArrayBuffer>[] = [];
    const asked: string[] = [];
    for (const request of transport.sent) {
      if (request[0] === 0x34) asked.push(text(request));
      if (request[0] === 0x34) streams.push(new Uint8Array());
      if (request[0] === 0x36) {
        streams.push(Uint8Array.from([...streams.pop() ?? [], ...request.subarray(2)]));
      }
    }
    assert.deepEqual(asked, ["34 10 44 00 00 00 00 00 00 00 03", "34 10 44 00 00 80 00 00 03 0D 3D"]);
    assert.ok(streams[1].length < 100_000, `${streams[1].length} bytes are not compressed`);
    // The web's own decompression, by the names of the Compression Streams standard.
    const format = compression === "zlib" ? "deflate" : "deflate-raw";
    for (const [index, part] of [long.subarray(0, 3), long.subarray(3)].entries()) {
      const stream = new Blob([streams[index]]).stream().pipeThrough(new DecompressionStream(format));
      assert.deepEqual(new Uint8Array(await new Response(stream).arrayBuffer()), part);
    }
  });
}

Deno.test("what was compressed before is not compressed again", async () => {
  const requests = await sent({ compression: "zlib" }, { hints: { dataFormat: 0x20 } });
  assert.ok(requests.includes("36 01 AA BB"));
  assert.ok(requests.includes("34 20 44 00 00 01 00 00 00 00 02"));
});

Deno.test("everything is erased at once where the plan says so", async () => {
  const requests = await sent({ erase: "all", eraseOption: bytes("01 77") });
  assert.deepEqual(requests.filter((request) => request.startsWith("31 01 FF 00")), ["31 01 FF 00 01 77"]);
});

Deno.test("what an image says of its download goes before the plan", async () => {
  const hints = { dataFormat: 0x10, erase: [{ address: 0, length: 0x10000 }], call: 0x8004 };
  const requests = await sent({ dataFormat: 0x22, erase: "all", callRoutine: 0x0301 }, { hints });
  assert.deepEqual(requests.filter((request) => request.startsWith("31 01 FF 00")), [
    "31 01 FF 00 44 00 00 00 00 00 01 00 00",
  ]);
  assert.deepEqual(requests.filter((request) => request.startsWith("34")), [
    "34 10 44 00 00 01 00 00 00 00 02",
    "34 10 44 00 00 80 00 00 00 00 09",
  ]);
  const call = requests.indexOf("31 01 03 01 00 00 80 04");
  assert.equal(requests[call - 1], "37");
  assert.match(requests[call + 1], /^31 01 02 02/);
});

const compared: { name: string; value: string; precondition: object; message: RegExp }[] = [
  {
    name: "too low",
    value: "77",
    precondition: { min: 12, scale: 0.1, name: "battery voltage" },
    message: /precondition battery voltage \(0xF40D\): expected at least 12, got 11\.9/,
  },
  {
    name: "too high",
    value: "00 05",
    precondition: { max: 0, offset: 1 },
    message: /precondition 0xF40D: expected at most 0, got 5/,
  },
  {
    name: "below zero",
    value: "FF FE",
    precondition: { min: -1, length: 2, signed: true },
    message: /expected at least -1, got -2/,
  },
  {
    name: "not the same bytes",
    value: "01 02 04",
    precondition: { equals: bytes("02 03"), offset: 1 },
    message: /expected 02 03, got 02 04/,
  },
  {
    name: "too short",
    value: "01",
    precondition: { min: 0, length: 4 },
    message: /expected 4 byte\(s\) at 0, got a record of 1/,
  },
];

for (const { name, value, precondition, message } of compared) {
  Deno.test(`a precondition whose value is ${name} ends the flash before anything is changed`, async () => {
    await assert.rejects(
      sent({ preconditions: [{ did: 0xf40d, ...precondition }] }, { dids: { 0xf40d: value } }),
      (error) =>
        error instanceof FlashError && error.step === "check_preconditions" && message.test(error.message),
    );
  });
}

Deno.test("a precondition whose value is within its limits holds", async () => {
  for (const value of ["78", "FF"]) {
    await sent({ preconditions: [{ did: 0xf40d, min: 12, max: 25.5, scale: 0.1 }] }, {
      dids: { 0xf40d: value },
    });
  }
});

Deno.test("a fingerprint is laid out of dates in BCD, bytes and texts", () => {
  const day = new Date(2026, 10, 9);
  const record = buildFingerprint([
    { date: "yymmdd" },
    { date: "yyyymmdd" },
    { date: "ddmmyy" },
    { bytes: bytes("00 FF") },
    { text: "ZB", length: 4 },
    { text: "TESTER", length: 3 },
    { text: "A", length: 2, fill: 0 },
  ], day);
  assert.equal(
    text(record),
    "26 11 09 20 26 11 09 09 11 26 00 FF 5A 42 20 20 54 45 53 41 00",
  );
});

Deno.test("a plan's fingerprint goes before that of whoever flashes", async () => {
  const requests = await sent({ fingerprint: [{ bytes: bytes("BE EF") }] });
  assert.ok(requests.includes("2E F1 5A BE EF"));
});

const impossible: [FlashPlan, RegExp][] = [
  [{ preconditions: [{ did: 0xf40d }] }, /preconditions\[0\]: expected min, max or equals, got none/],
  [{ preconditions: [{ routine: 0x10000 }] }, /preconditions\[0\]: expected an identifier/],
  [{ fingerprint: [] }, /fingerprint: expected 1 … 255 bytes, got 0/],
  [{ fingerprint: [{ text: "é" }] }, /expected printable ASCII/],
  [{ attempts: 0 }, /attempts: expected 0x01 … 0x0A, got 0/],
  [{ resume: { did: -1 } }, /resume: expected/],
  [{ reconnectTimeout: 0 }, /reconnectTimeout/],
  [
    { compression: "zlib", dataFormat: 0x01 },
    /dataFormat: expected a compression method .* with zlib, got 0x01/,
  ],
];

for (const [plan, message] of impossible) {
  Deno.test(`a plan that cannot be is refused: ${JSON.stringify(plan)}`, () => {
    assert.throws(
      () => resolveFlashPlan({ seedKey: { algorithm: "xor", constant: "A5" }, ...plan }),
      message,
    );
  });
}
