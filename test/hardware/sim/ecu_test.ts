import assert from "node:assert/strict";
import { readIdentification } from "../../../hardware/flash/identification.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { UdsTimeoutError } from "../../../hardware/uds/transport.ts";
import { bytes, text } from "../uds/loopback.ts";
import { settle, TestClock } from "../uds/test_clock.ts";
import { bootedEcu, clientOf, ecuOptions, fingerprint, holds, plan, smallImage, vin } from "./fixtures.ts";
import { flashEcu } from "../../../hardware/flash/sequence.ts";
import { SimulatedEcu as Ecu } from "../../../hardware/sim/ecu.ts";

/** Sends a request and gives what came back once the ECU had its turn. */
async function ask(ecu: SimulatedEcu, request: string): Promise<string> {
  const answers: string[] = [];
  ecu.handle(
    bytes(request),
    { tester: 0x0e00, addressing: "physical" },
    (answer) => answers.push(text(answer)),
  );
  for (let turn = 0; turn < 10 && answers.length === 0; turn++) await settle();
  return answers.join(" / ");
}

/** Into the programming session and unlocked: the key is the seed xor A5. */
async function unlock(ecu: SimulatedEcu): Promise<void> {
  await ask(ecu, "10 03");
  await ask(ecu, "10 02");
  const seed = bytes((await ask(ecu, "27 01")).slice(6));
  assert.equal(await ask(ecu, `27 02 ${text(seed.map((byte) => byte ^ 0xa5))}`), "67 02");
}

Deno.test("an ECU identifies itself by its options", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  assert.deepEqual(await readIdentification(client), {
    partNumber: "PN-0001",
    swVersion: "1.0.0",
    supplier: "Zonebench",
    serialNumber: "SN-0001",
    vin,
    hardwareNumber: "PN-0001",
    hwVersion: "H1",
    supplierSwVersion: "1.0.0",
    systemName: "BCM",
  });
});

Deno.test("an ECU without an application does not tell a version", async () => {
  const ecu = await bootedEcu({ banks: 1 });
  await unlock(ecu);
  assert.equal(await ask(ecu, "31 01 FF 00 44 00 00 00 00 00 00 04 00"), "71 01 FF 00 00");
  await ask(ecu, "11 01");
  await ecu.ready();
  assert.equal(ecu.state, "boot");
  using client = clientOf(ecu);
  const identification = await readIdentification(client);
  assert.equal(identification.swVersion, undefined);
  assert.equal(identification.supplierSwVersion, undefined);
  assert.equal(identification.partNumber, "PN-0001");
  assert.equal(await ask(ecu, "22 F1 89"), "7F 22 22");
  assert.equal(await ask(ecu, "19 02 FF"), "7F 19 11");
});

Deno.test("the active session is F186, several identifiers come in one answer, unknown ones are left out", async () => {
  const ecu = await bootedEcu();
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, "22 F1 86"), "62 F1 86 03");
  assert.equal(await ask(ecu, "22 F1 86 00 01 F1 93"), "62 F1 86 03 F1 93 48 31");
  assert.equal(await ask(ecu, "22 00 01"), "7F 22 31");
  assert.equal(await ask(ecu, "22 F1"), "7F 22 13");
  assert.equal(await ask(ecu, "22 F1 86 00"), "7F 22 13");
});

Deno.test("memory is read in every session, of any width, within the regions only", async () => {
  const ecu = await bootedEcu();
  // The factory image begins with type, hardware and version.
  assert.equal(await ask(ecu, "23 11 00 0C"), `63 ${text(new TextEncoder().encode("BCM H1 1.0.0"))}`);
  assert.equal(await ask(ecu, "23 14 10 00 10 00 02"), "63 FF FF");
  assert.equal(await ask(ecu, "23 14 30 00 00 00 01"), "7F 23 31");
  assert.equal(await ask(ecu, "23 11 00 00"), "7F 23 31");
  assert.equal(await ask(ecu, "23 10 00 01"), "7F 23 31");
  assert.equal(await ask(ecu, "23 11 00 01 00"), "7F 23 13");
  assert.equal(await ask(ecu, "23 44 00 00 00"), "7F 23 13");
});

Deno.test("memory behind security is refused until unlocked", async () => {
  const ecu = await bootedEcu({ readMemorySecured: true });
  assert.equal(await ask(ecu, "23 11 00 03"), "7F 23 33");
  await unlock(ecu);
  assert.equal(await ask(ecu, "23 11 00 03"), "63 42 43 4D");
});

const erase = "31 01 FF 00 44 00 00 00 00 00 00 04 00";
const download = "34 00 44 00 00 00 00 00 00 00 04";

Deno.test("nothing is erased or written outside an unlocked programming session", async () => {
  const ecu = await bootedEcu();
  const before = ecu.readMemory(0, 600);
  assert.equal(await ask(ecu, erase), "7F 31 31");
  assert.equal(await ask(ecu, download), "7F 34 7F");
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, erase), "7F 31 31");
  assert.equal(await ask(ecu, download), "7F 34 7F");
  assert.equal(await ask(ecu, "36 01 00"), "7F 36 7F");
  assert.equal(await ask(ecu, "37"), "7F 37 7F");
  await ask(ecu, "10 02");
  assert.equal(await ask(ecu, erase), "7F 31 33");
  assert.equal(await ask(ecu, download), "7F 34 33");
  assert.equal(await ask(ecu, "31 01 FF 01 32"), "7F 31 33");
  assert.equal(await ask(ecu, "2E F1 5A 01"), "7F 2E 33");
  assert.equal(ecu.flashOperations, 0);
  assert.deepEqual(ecu.readMemory(0, 600), before);
});

Deno.test("a download keeps to its sequence, and each breach has its code", async () => {
  const ecu = await bootedEcu();
  await unlock(ecu);
  assert.equal(await ask(ecu, "36 01 00"), "7F 36 24");
  assert.equal(await ask(ecu, "37"), "7F 37 24");
  assert.equal(await ask(ecu, "34 00 44 00 00 FF FF 00 00 00 02"), "7F 34 31");
  assert.equal(await ask(ecu, "34 10 44 00 00 00 00 00 00 00 04"), "7F 34 31");
  assert.equal(await ask(ecu, "34 00 44 00 00 00 00 00 00 00"), "7F 34 13");
  assert.equal(await ask(ecu, download), "74 20 01 02");
  assert.equal(await ask(ecu, download), "7F 34 22");
  assert.equal(await ask(ecu, "36 02 AA"), "7F 36 73");
  assert.equal(await ask(ecu, "36 00 AA"), "7F 36 73");
  assert.equal(await ask(ecu, "36 01"), "7F 36 13");
  assert.equal(await ask(ecu, "36 01 AA BB"), "76 01");
  assert.equal(await ask(ecu, "37"), "7F 37 24");
  assert.equal(await ask(ecu, "36 03 CC"), "7F 36 73");
  assert.equal(await ask(ecu, "36 02 CC DD EE"), "7F 36 71");
  assert.equal(await ask(ecu, "36 02 CC DD"), "76 02");
  assert.equal(await ask(ecu, "36 03 EE"), "7F 36 24");
  assert.equal(await ask(ecu, "37 00"), "7F 37 13");
  assert.equal(await ask(ecu, "37"), "77");
});

Deno.test("a repeated counter is acknowledged without writing twice", async () => {
  const ecu = await bootedEcu();
  await unlock(ecu);
  await ask(ecu, download);
  assert.equal(await ask(ecu, "36 01 AA BB"), "76 01");
  assert.equal(await ask(ecu, "36 01 AA BB"), "76 01");
  assert.equal(await ask(ecu, "36 02 CC DD"), "76 02");
  assert.equal(await ask(ecu, "36 02 CC DD"), "76 02");
  assert.equal(await ask(ecu, "37"), "77");
  assert.equal(ecu.flashOperations, 2);
});

Deno.test("the block counter goes from FF to 00", async () => {
  const ecu = await bootedEcu();
  await unlock(ecu);
  await ask(ecu, "34 00 44 00 00 00 00 00 00 01 02");
  for (let block = 1; block <= 0x102; block++) {
    const counter = (block % 256).toString(16).padStart(2, "0").toUpperCase();
    assert.equal(await ask(ecu, `36 ${counter} AA`), `76 ${counter}`);
  }
  assert.equal(await ask(ecu, "37"), "77");
});

Deno.test("programming cells that were not erased is a programming failure", async () => {
  const ecu = await bootedEcu({ banks: 1 });
  await unlock(ecu);
  await ask(ecu, download);
  assert.equal(await ask(ecu, "36 01 AA BB"), "7F 36 72");
});

Deno.test("an image is committed only after it was downloaded and if its hash is right", async () => {
  const ecu = await bootedEcu();
  await unlock(ecu);
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "7F 31 24");
  await ask(ecu, erase);
  await ask(ecu, download);
  await ask(ecu, "36 01 AA BB CC DD");
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "7F 31 24");
  await ask(ecu, "37");
  // printf '\xaa\xbb\xcc\xdd' | sha256sum
  const right = "8d70d691c822d55638b6e7fd54cd94170c87d19eb1f628b757506ede5688d297";
  assert.equal(await ask(ecu, `31 01 02 02 ${"00".repeat(32)}`), "71 01 02 02 01");
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "71 01 FF 01 01");
  assert.equal(await ask(ecu, "31 01 02 02 00"), "7F 31 13");
  assert.equal(await ask(ecu, `31 01 02 02 ${right}`), "71 01 02 02 00");
  assert.equal(await ask(ecu, "31 01 FF 01 32 20 30"), "7F 31 31");
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "71 01 FF 01 00");
  assert.equal(ecu.version, "1.0.0");
  await ask(ecu, "11 01");
  await ecu.ready();
  assert.equal(ecu.version, "2.0");
  assert.equal(text(ecu.readMemory(0, 5)), "AA BB CC DD FF");
});

Deno.test("an erase takes back what was downloaded there, and what was committed and has not started yet", async () => {
  const ecu = await bootedEcu();
  await unlock(ecu);
  await ask(ecu, erase);
  await ask(ecu, download);
  await ask(ecu, "36 01 AA BB CC DD");
  await ask(ecu, "37");
  await ask(ecu, erase);
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "7F 31 24");
  await ask(ecu, download);
  await ask(ecu, "36 01 AA BB CC DD");
  await ask(ecu, "37");
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "71 01 FF 01 00");
  // Another region: the committed segments are still whole, and yet another update has begun.
  assert.equal(await ask(ecu, "31 01 FF 00 44 10 00 10 00 00 00 04 00"), "71 01 FF 00 00");
  await ask(ecu, "11 01");
  await ecu.ready();
  assert.equal(ecu.version, "1.0.0");
});

Deno.test("leaving the programming session forgets what was downloaded", async () => {
  const ecu = await bootedEcu();
  await unlock(ecu);
  await ask(ecu, erase);
  await ask(ecu, download);
  await ask(ecu, "36 01 AA BB CC DD");
  await ask(ecu, "37");
  await ask(ecu, "10 01");
  await unlock(ecu);
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "7F 31 24");
});

Deno.test("the fingerprint can be written while programming and is read in F15B", async () => {
  const ecu = await bootedEcu();
  assert.equal(await ask(ecu, "22 F1 5B"), "7F 22 22");
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, "2E F1 5A 01"), "7F 2E 22");
  assert.equal(await ask(ecu, "2E F1 90 01"), "7F 2E 31");
  await unlock(ecu);
  assert.equal(await ask(ecu, "2E F1 5A 26 11 21"), "6E F1 5A");
  assert.equal(await ask(ecu, "22 F1 5B"), "62 F1 5B 26 11 21");
});

const dtcs = [
  { code: 0x123456, status: 0x09, snapshots: [{ record: 1, data: "01F19041" }] },
  { code: 0xc10000, status: 0x20, extendedData: [{ record: 1, data: "07" }, { record: 2, data: "08" }] },
];

Deno.test("DTCs are counted, listed and read with their records", async () => {
  const ecu = await bootedEcu({ dtcs });
  assert.equal(await ask(ecu, "19 01 08"), "59 01 FF 01 00 01");
  assert.equal(await ask(ecu, "19 02 FF"), "59 02 FF 12 34 56 09 C1 00 00 20");
  assert.equal(await ask(ecu, "19 02 40"), "59 02 FF");
  assert.equal(await ask(ecu, "19 0A"), "59 0A FF 12 34 56 09 C1 00 00 20");
  assert.equal(await ask(ecu, "19 04 12 34 56 FF"), "59 04 12 34 56 09 01 01 F1 90 41");
  assert.equal(await ask(ecu, "19 06 C1 00 00 FF"), "59 06 C1 00 00 20 01 07 02 08");
  assert.equal(await ask(ecu, "19 06 C1 00 00 02"), "59 06 C1 00 00 20 02 08");
  assert.equal(await ask(ecu, "19 06 C1 00 00 03"), "7F 19 31");
  assert.equal(await ask(ecu, "19 04 00 00 01 FF"), "7F 19 31");
  assert.equal(await ask(ecu, "19 02"), "7F 19 13");
  assert.equal(await ask(ecu, "19 57"), "7F 19 12");
});

Deno.test("DTCs are cleared one by one or all, with their records", async () => {
  const ecu = await bootedEcu({ dtcs });
  assert.equal(await ask(ecu, "14 12 34 56"), "54");
  assert.equal(await ask(ecu, "19 0A"), "59 0A FF 12 34 56 50 C1 00 00 20");
  assert.equal(await ask(ecu, "19 04 12 34 56 FF"), "59 04 12 34 56 50");
  assert.equal(await ask(ecu, "14 00 00 01"), "7F 14 31");
  assert.equal(await ask(ecu, "14 FF FF FF"), "54");
  assert.equal(await ask(ecu, "19 01 AF"), "59 01 FF 01 00 00");
});

Deno.test("no DTC is stored while their setting is off, and the default session turns it on", async () => {
  const ecu = await bootedEcu({ dtcs });
  assert.equal(await ask(ecu, "85 02"), "7F 85 7F");
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, "85 02"), "C5 02");
  assert.equal(ecu.reportDtc(0x123456, 0x2f), false);
  assert.equal(await ask(ecu, "19 02 09"), "59 02 FF 12 34 56 09");
  await ask(ecu, "10 01");
  assert.equal(ecu.reportDtc(0x123456, 0x2f), true);
  assert.equal(await ask(ecu, "19 02 04"), "59 02 FF 12 34 56 2F");
});

Deno.test("communication control is kept until the default session", async () => {
  const ecu = await bootedEcu();
  await ask(ecu, "10 03");
  assert.equal(await ask(ecu, "28 03 01"), "68 03");
  assert.equal(ecu.communication, 3);
  assert.equal(await ask(ecu, "28 03 00"), "7F 28 31");
  assert.equal(await ask(ecu, "28 07 01"), "7F 28 12");
  await ask(ecu, "10 01");
  assert.equal(ecu.communication, 0);
});

Deno.test("an ECU that boots is silent for its boot time, and answers no sooner than its response time", async () => {
  const clock = new TestClock();
  const ecu = new Ecu(ecuOptions({ bootTime: 400 }), { vin, timing: "realistic", clock });
  const on = ecu.powerOn();
  assert.equal(await ask(ecu, "3E 00"), "");
  await clock.advance(399);
  assert.equal(ecu.state, "booting");
  await clock.advance(100);
  await on;
  const answers: string[] = [];
  const tell = (request: string) =>
    ecu.handle(bytes(request), { tester: 1, addressing: "physical" }, (answer) => answers.push(text(answer)));
  tell("3E 00");
  await clock.advance(1);
  assert.equal(answers.length, 0);
  await clock.advance(1);
  assert.deepEqual(answers, ["7E 00"]);
  tell("11 01");
  await clock.advance(2);
  assert.deepEqual(answers, ["7E 00", "51 01"]);
  assert.equal(ecu.state, "booting");
  assert.equal(await ask(ecu, "3E 00"), "");
});

Deno.test("an ECU without power is silent and starts from the beginning", async () => {
  const ecu = await bootedEcu();
  await ask(ecu, "10 03");
  ecu.powerOff();
  assert.equal(await ask(ecu, "3E 00"), "");
  await ecu.powerOn();
  assert.equal(await ask(ecu, "22 F1 86"), "62 F1 86 01");
});

Deno.test("a fault meets the n-th request of its service", async () => {
  const ecu = await bootedEcu();
  ecu.inject({ kind: "negative_response", service: 0x22, occurrence: 2, nrc: 0x22 });
  assert.equal(await ask(ecu, "22 F1 86"), "62 F1 86 01");
  assert.equal(await ask(ecu, "3E 00"), "7E 00");
  assert.equal(await ask(ecu, "22 F1 86"), "7F 22 22");
  assert.equal(await ask(ecu, "22 F1 86"), "62 F1 86 01");
});

Deno.test("a silent ECU stays silent until its faults are cleared or its power was cut", async () => {
  const ecu = await bootedEcu();
  ecu.inject({ kind: "silence", service: 0x22, occurrence: 1 });
  assert.equal(await ask(ecu, "22 F1 86"), "");
  assert.equal(await ask(ecu, "3E 00"), "");
  ecu.clearFaults();
  assert.equal(await ask(ecu, "3E 00"), "7E 00");
  ecu.inject({ kind: "silence", service: 0x22, occurrence: 1 });
  assert.equal(await ask(ecu, "22 F1 86"), "");
  ecu.powerOff();
  await ecu.powerOn();
  assert.equal(await ask(ecu, "3E 00"), "7E 00");
});

Deno.test("a late answer comes late, a lost one never", async () => {
  const clock = new TestClock();
  const ecu = await bootedEcu({}, { clock });
  ecu.inject({ kind: "late_answer", service: 0x3e, occurrence: 1, delay: 700 });
  ecu.inject({ kind: "lost_answer", service: 0x10, occurrence: 1 });
  const answers: string[] = [];
  ecu.handle(bytes("3E 00"), { tester: 1, addressing: "physical" }, (answer) => answers.push(text(answer)));
  await clock.advance(699);
  assert.deepEqual(answers, []);
  await clock.advance(1);
  assert.deepEqual(answers, ["7E 00"]);
  assert.equal(await ask(ecu, "10 03"), "");
  assert.equal(ecu.session, 3);
  ecu.close();
});

Deno.test("a block is refused by its number, or acknowledged with the wrong counter and again with the right one", async () => {
  const ecu = await bootedEcu();
  await unlock(ecu);
  await ask(ecu, erase);
  await ask(ecu, download);
  ecu.inject({ kind: "negative_response", service: 0x36, occurrence: 2, nrc: 0x73 });
  ecu.inject({ kind: "wrong_block_counter", occurrence: 3 });
  assert.equal(await ask(ecu, "36 01 AA"), "76 01");
  assert.equal(await ask(ecu, "36 02 BB"), "7F 36 73");
  assert.equal(await ask(ecu, "36 02 BB"), "76 03");
  assert.equal(await ask(ecu, "36 02 BB"), "76 02");
  assert.equal(await ask(ecu, "36 03 CC DD"), "76 03");
  assert.equal(await ask(ecu, "37"), "77");
});

Deno.test("a flash survives one block that is acknowledged with the wrong counter, and not one that always is", async () => {
  for (const times of [1, 2]) {
    const ecu = await bootedEcu();
    const image = smallImage();
    for (let n = 0; n < times; n++) ecu.inject({ kind: "wrong_block_counter", occurrence: 4 + n });
    using client = clientOf(ecu, { testerPresentInterval: 0 });
    const flashed = flashEcu(client, image, { plan, version: "2.0.0", fingerprint });
    if (times === 1) {
      await flashed;
      assert.ok(await holds(ecu, image));
    } else {
      await assert.rejects(flashed, /transfer_data/);
      await ecu.ready();
      assert.equal(ecu.version, "1.0.0");
    }
    ecu.close();
  }
});

Deno.test("faults that cannot be are refused", async () => {
  const ecu = await bootedEcu();
  assert.throws(
    () => ecu.inject({ kind: "silence", service: 0x22, occurrence: 0 }),
    /occurrence: expected 1 or more, got 0/,
  );
  assert.throws(
    () => ecu.inject({ kind: "power_cut", operation: 0 }),
    /operation: expected 1 or more, got 0/,
  );
});

Deno.test("a silent ECU ends the client's wait", async () => {
  const ecu = await bootedEcu();
  ecu.inject({ kind: "silence", service: 0x22, occurrence: 1 });
  using client = clientOf(ecu);
  await assert.rejects(client.readDataByIdentifier(0xf186), UdsTimeoutError);
});

Deno.test("a kept ECU is what it was after a restart of the program", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const first = await bootedEcu({ dtcs }, { directory });
    await unlock(first);
    await ask(first, "2E F1 5A 26 11 21");
    await ask(first, erase);
    await ask(first, download);
    await ask(first, "36 01 AA BB CC DD");
    await ask(first, "37");
    await ask(first, "31 01 FF 01 32 2E 30");
    await ask(first, "14 FF FF FF");
    // Not closed: a killed process closes nothing.
    const second = await bootedEcu({ dtcs }, { directory });
    assert.equal(second.version, "2.0");
    assert.equal(text(second.readMemory(0, 4)), "AA BB CC DD");
    assert.equal(await ask(second, "22 F1 5B"), "62 F1 5B 26 11 21");
    assert.equal(await ask(second, "19 02 09"), "59 02 FF");
    first.close();
    second.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
