// Services of a simulated ECU beyond flashing and identification: data, memory, files, fault memory, authentication.
import assert from "node:assert/strict";
import { NegativeResponseError } from "../../../hardware/uds/errors.ts";
import type { SecuritySublayer } from "../../../hardware/uds/secured.ts";
import { SecuredTransport } from "../../../hardware/uds/secured.ts";
import { SecuredMessage } from "../../../hardware/uds/codec/secured.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import type { SimulatedDtcOptions } from "../../../hardware/sim/options.ts";
import { bytes, LoopbackTransport, text } from "../uds/loopback.ts";
import { testPki } from "../uds/pki.ts";
import { settle, TestClock } from "../uds/test_clock.ts";
import { bootedEcu, clientOf, payload, seedKey } from "./fixtures.ts";
import { createSeedKey } from "../../../hardware/uds/seed_key.ts";

/** Sends a request and gives what came back once the ECU had its turn. */
async function ask(ecu: SimulatedEcu, request: string, unasked: string[] = []): Promise<string> {
  let answers = 0;
  let first = "";
  ecu.handle(bytes(request), { tester: 0x0e00, addressing: "physical" }, (answer) => {
    if (answers++ === 0) first = text(answer);
    else unasked.push(text(answer));
  });
  for (let turn = 0; turn < 10 && answers === 0; turn++) await settle();
  return first;
}

/** In the programming session, unlocked. */
async function programming(ecu: SimulatedEcu): Promise<UdsClient> {
  const client = clientOf(ecu, { testerPresentInterval: 0 });
  await client.diagnosticSessionControl(3);
  await client.diagnosticSessionControl(2);
  await client.unlock(1, createSeedKey(seedKey));
  return client;
}

async function refusal(promise: Promise<unknown>): Promise<number> {
  const error = await promise.then(() => assert.fail("expected a refusal"), (error) => error);
  assert.ok(error instanceof NegativeResponseError, String(error));
  return error.nrc;
}

Deno.test("24 gives scaling, 2A the counter that moves, 2C parts of both", async () => {
  const clock = new TestClock();
  const ecu = await bootedEcu({}, { clock });
  assert.equal(await ask(ecu, "24 F2 01"), "64 F2 01 04");
  assert.equal(await ask(ecu, "24 F1 90"), "7F 24 31");
  await ask(ecu, "10 03");
  const unasked: string[] = [];
  assert.equal(await ask(ecu, "2A 02 01", unasked), "6A");
  await clock.advance(400);
  assert.deepEqual(unasked, ["6A 01 00 00 00 02", "6A 01 00 00 00 04"]);
  assert.equal(await ask(ecu, "2C 01 F3 00 F1 86 01 01 F2 01 04 01"), "6C 01 F3 00");
  assert.equal(await ask(ecu, "22 F3 00"), "62 F3 00 03 04");
  ecu.close();
});

Deno.test("2F takes an output over, bit by bit where a mask says so, and gives it back with the session", async () => {
  const ecu = await bootedEcu();
  assert.equal(await ask(ecu, "2F 01 00 03 12 34"), "7F 2F 7F");
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, "2F 01 00 03 12 34"), "6F 01 00 03 12 34");
  assert.equal(await ask(ecu, "22 01 00"), "62 01 00 12 34");
  assert.equal(await ask(ecu, "2F 01 00 03 FF FF 0F 00"), "6F 01 00 03 1F 34");
  assert.equal(await ask(ecu, "2F 01 00 02"), "6F 01 00 02 1F 34");
  assert.equal(await ask(ecu, "2F 01 00 01"), "6F 01 00 01 00 00");
  assert.equal(await ask(ecu, "2F 01 00 03 12"), "7F 2F 13");
  assert.equal(await ask(ecu, "2F 01 00 04"), "7F 2F 31");
  assert.equal(await ask(ecu, "2F F1 90 00"), "7F 2F 31");
  await ask(ecu, "2F 01 00 03 12 34");
  assert.equal(await ask(ecu, "2F 01 00 00"), "6F 01 00 00 00 00");
  await ask(ecu, "2F 01 00 03 12 34");
  await ask(ecu, "10 01");
  assert.equal(await ask(ecu, "22 01 00"), "62 01 00 00 00");
  ecu.close();
});

Deno.test("3D writes RAM for whoever is unlocked, 23 reads it, and the power takes it", async () => {
  const ecu = await bootedEcu();
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, "3D 14 20 00 00 10 02 AB CD"), "7F 3D 33");
  const client = await programming(ecu);
  await client.data.writeMemory(0x2000_0010, bytes("AB CD"));
  assert.equal(text(await client.readMemoryByAddress({ address: 0x2000_0010, size: 2 })), "AB CD");
  assert.equal(await refusal(client.data.writeMemory(0x2000_0fff, bytes("AB CD"))), 0x31);
  assert.equal(await refusal(client.data.writeMemory(0, bytes("AB"))), 0x31);
  client.close();
  ecu.powerOff();
  await ecu.powerOn();
  assert.equal(await ask(ecu, "23 14 20 00 00 10 02"), "63 00 00");
  ecu.close();
});

Deno.test("35 gives memory in blocks, a repeated counter the same block again", async () => {
  const ecu = await bootedEcu();
  const client = await programming(ecu);
  assert.deepEqual(await client.requestUpload({ address: 0, size: 300 }), { maxBlockLength: 258 });
  const first = await client.transferData(1, new Uint8Array());
  assert.deepEqual(await client.transferData(1, new Uint8Array()), first);
  assert.equal(await refusal(client.transferData(3, new Uint8Array())), 0x73);
  assert.equal(await refusal(client.requestTransferExit()), 0x24);
  const second = await client.transferData(2, new Uint8Array());
  assert.deepEqual(Uint8Array.of(...first, ...second), ecu.readMemory(0, 300));
  assert.equal(await refusal(client.transferData(3, new Uint8Array())), 0x24);
  assert.equal(await refusal(client.requestDownload({ address: 0, size: 4 })), 0x22);
  await client.requestTransferExit();
  assert.equal(await refusal(client.requestUpload({ address: 0x4000_0000, size: 4 })), 0x31);
  client.close();
  ecu.close();
});

Deno.test("38 adds, reads, lists, replaces, resumes and deletes files", async () => {
  const ecu = await bootedEcu({ files: { "/logs/a.txt": "6869" } });
  const client = await programming(ecu);
  assert.equal(text(await client.files.read("/logs/a.txt")), "68 69");
  const image = payload(1_000, 3);
  await client.files.add("/logs/map.bin", image);
  assert.deepEqual(await client.files.read("/logs/map.bin"), image);
  assert.equal(new TextDecoder().decode(await client.files.readDirectory("/logs")), "a.txt\nmap.bin\n");
  assert.equal(await refusal(client.files.add("/logs/map.bin", image)), 0x31);
  // Broken off after one block, gone on with after the session has begun anew.
  const fresh = payload(1_000, 4);
  await client.files.request({
    mode: 3,
    path: "/logs/map.bin",
    dataFormat: 0,
    size: 1_000,
    compressedSize: 1_000,
  });
  await client.transferData(1, fresh.subarray(0, 256));
  assert.equal(await refusal(client.requestTransferExit()), 0x24);
  client.close();
  const again = await programming(ecu);
  assert.deepEqual(await again.files.read("/logs/map.bin"), image);
  const blocks: number[] = [];
  await again.files.resume("/logs/map.bin", fresh, { onProgress: (done) => blocks.push(done) });
  assert.deepEqual(blocks, [512, 768, 1_000]);
  assert.deepEqual(await again.files.read("/logs/map.bin"), fresh);
  await again.files.delete("/logs/map.bin");
  assert.equal(await refusal(again.files.read("/logs/map.bin")), 0x31);
  assert.equal(await refusal(again.files.delete("/../etc")), 0x31);
  again.close();
  ecu.close();
});

const dtcs: SimulatedDtcOptions[] = [
  {
    code: 0x123456,
    status: 0x2f,
    severity: 0x40,
    functionalUnit: 0x10,
    functionalGroup: 0x33,
    permanent: true,
    snapshots: [{ record: 1, data: "01F18603" }],
    extendedData: [{ record: 5, data: "17" }],
  },
  { code: 0xc10000, status: 0x08, severity: 0x20, counter: 96 },
  { code: 0x080511, status: 0x09, memory: 0x18, extendedData: [{ record: 2, data: "AA" }] },
];

for (
  const [request, answer] of [
    ["19 01 2F", "59 01 FF 01 00 02"],
    ["19 03", "59 03 12 34 56 01"],
    ["19 05 01", "59 05 01 12 34 56 2F 01 F1 86 03"],
    ["19 07 40 01", "59 07 FF 01 00 01"],
    ["19 08 60 08", "59 08 FF 40 10 12 34 56 2F 20 00 C1 00 00 08"],
    ["19 09 C1 00 00", "59 09 FF 20 00 C1 00 00 08"],
    ["19 09 00 00 01", "59 09 FF"],
    ["19 0A", "59 0A FF 12 34 56 2F C1 00 00 08"],
    ["19 0B", "59 0B FF 12 34 56 2F"],
    ["19 0C", "59 0C FF 12 34 56 2F"],
    ["19 0D", "59 0D FF 12 34 56 2F"],
    ["19 0E", "59 0E FF C1 00 00 08"],
    ["19 12 FF", "59 12 FF 01 00 01"],
    ["19 13 FF", "59 13 FF 12 34 56 2F"],
    ["19 14", "59 14 C1 00 00 60"],
    ["19 15", "59 15 FF 12 34 56 2F"],
    ["19 16 05", "59 16 05 12 34 56 2F 17"],
    ["19 16 06", "7F 19 31"],
    ["19 17 FF 18", "59 17 18 FF 08 05 11 09"],
    ["19 17 FF 19", "7F 19 31"],
    ["19 18 08 05 11 FF 18", "59 18 18 08 05 11 09"],
    ["19 19 08 05 11 02 18", "59 19 18 08 05 11 09 02 AA"],
    ["19 1A 05", "59 1A FF 05 12 34 56 2F"],
    ["19 1A 06", "7F 19 31"],
    ["19 42 33 08 FF", "59 42 33 FF FF 01 40 12 34 56 2F"],
    ["19 55 33", "59 55 33 FF 01 12 34 56 2F"],
    ["19 56 33 01", "59 56 33 FF 01 01"],
    ["19 0F FF", "7F 19 12"],
    ["19 0A 00", "7F 19 13"],
  ]
) {
  Deno.test(`fault memory: ${request} is answered by ${answer}`, async () => {
    const ecu = await bootedEcu({ dtcs });
    assert.equal(await ask(ecu, request), answer);
    ecu.close();
  });
}

Deno.test("14 clears a functional group, a user defined memory, and refuses those that are not there", async () => {
  const ecu = await bootedEcu({ dtcs });
  assert.equal(await ask(ecu, "14 FF FF 33"), "54");
  assert.equal(await ask(ecu, "19 02 FF"), "59 02 FF 12 34 56 50 C1 00 00 08");
  assert.equal(await ask(ecu, "14 FF FF D0"), "7F 14 31");
  assert.equal(await ask(ecu, "14 FF FF FF 18"), "54");
  assert.equal(await ask(ecu, "19 17 FF 18"), "59 17 18 FF 08 05 11 50");
  assert.equal(await ask(ecu, "14 FF FF FF 19"), "7F 14 31");
  assert.equal(await ask(ecu, "14 FF FF FF 18 00"), "7F 14 13");
  ecu.close();
});

Deno.test("a DTC that a test reports comes as most recent, and as an event", async () => {
  const ecu = await bootedEcu({ dtcs });
  await ask(ecu, "10 03");
  const unasked: string[] = [];
  await ask(ecu, "86 01 02 08 19 0E");
  await ask(ecu, "86 05 02", unasked);
  ecu.reportDtc(0x777777, 0x09);
  await settle();
  assert.deepEqual(unasked, ["59 0E FF 77 77 77 09"]);
  assert.equal(await ask(ecu, "19 0D"), "59 0D FF 77 77 77 09");
  assert.equal(await ask(ecu, "19 0B"), "59 0B FF 12 34 56 2F");
  ecu.close();
});

Deno.test("28 with a node takes its number, and refuses node 0", async () => {
  const ecu = await bootedEcu();
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, "28 04 01 00 0A"), "68 04");
  assert.equal(await ask(ecu, "28 04 01 00 00"), "7F 28 31");
  assert.equal(await ask(ecu, "28 04 01"), "7F 28 13");
  ecu.close();
});

Deno.test("an ECU that wants 29 for programming refuses with 34 until the tester has proven itself", async () => {
  const pki = await testPki("ECDSA P-256");
  const tester = await pki.issue("tester");
  const ecu = await bootedEcu({ authentication: { trustAnchors: [pki.anchor], forProgramming: true } });
  const client = clientOf(ecu, { testerPresentInterval: 0 });
  await client.diagnosticSessionControl(2);
  const range = { address: 0, size: 4 };
  assert.equal(await refusal(client.requestDownload(range)), 0x34);
  assert.equal(await refusal(client.startRoutine(0xff00, bytes("44 00 00 00 00 00 00 04 00"))), 0x34);
  assert.equal(await refusal(client.writeDataByIdentifier(0xf15a, bytes("01"))), 0x34);
  // 27 is no way around.
  await client.unlock(1, createSeedKey(seedKey));
  assert.equal(await refusal(client.requestDownload(range)), 0x34);
  await client.authentication.withCertificate(tester);
  await client.startRoutine(0xff00, bytes("44 00 00 00 00 00 00 04 00"));
  assert.deepEqual(await client.requestDownload(range), { maxBlockLength: 258 });
  client.close();
  ecu.close();
});

/** Turns every bit over and signs with a sum: enough to see what goes where. */
const sublayer: SecuritySublayer = {
  protect: (message, { antiReplayCounter }) =>
    Promise.resolve({
      administrative: SecuredMessage.encrypted | SecuredMessage.signed,
      calculation: 1,
      message: message.map((byte) => byte ^ 0xff),
      signature: Uint8Array.of(message.reduce((sum, byte) => sum + byte, antiReplayCounter) & 0xff),
    }),
  open: ({ message, signature, antiReplayCounter }) => {
    const plain = message.map((byte) => byte ^ 0xff);
    const sum = plain.reduce((sum, byte) => sum + byte, antiReplayCounter) & 0xff;
    return Promise.resolve(signature[0] === sum ? plain : undefined);
  },
};

Deno.test("84 carries requests, answers and refusals, and takes no message twice", async () => {
  const ecu = await bootedEcu({ secured: sublayer });
  const loopback = new LoopbackTransport(ecu);
  const client = new UdsClient(new SecuredTransport(loopback, sublayer), { testerPresentInterval: 0 });
  assert.equal(new TextDecoder().decode(await client.readDataByIdentifier(0xf193)), "H1");
  assert.equal(await refusal(client.readDataByIdentifier(0x7777)), 0x31);
  // What goes over the wire: APAR, calculation, signature length, counter, message with its bits turned, signature.
  assert.equal(text(loopback.sent[0]), "84 8C 00 01 00 01 00 01 DD 0E 6C A7");
  assert.equal(await ask(ecu, text(loopback.sent[0])), "7F 84 3A");
  assert.equal(await ask(ecu, "84 8C 00 01 00 01 00 09 DD 0E 6C 00"), "7F 84 3A");
  assert.equal(await ask(ecu, "84 8C 00"), "7F 84 13");
  client.close();
  ecu.close();
});

Deno.test("wrong keys and their delay outlive the program", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const clock = new TestClock();
    const first = await bootedEcu({}, { directory, clock });
    await ask(first, "10 03");
    for (const answer of ["7F 27 35", "7F 27 35", "7F 27 36"]) {
      await ask(first, "27 01");
      assert.equal(await ask(first, `27 02 ${"00 ".repeat(16).trim()}`), answer);
    }
    first.close();
    const second = await bootedEcu({}, { directory, clock });
    await ask(second, "10 03");
    assert.equal(await ask(second, "27 01"), "7F 27 37");
    await clock.advance(10_000);
    await ask(second, "10 03");
    assert.match(await ask(second, "27 01"), /^67 01/);
    second.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
