// Each setting of a flash plan against a simulated ECU that wants to be flashed that way: with the setting the flash is done
// and the memory holds the image, without it the ECU refuses.
import assert from "node:assert/strict";
import { deflateRawSync, deflateSync } from "node:zlib";
import { memoryImage } from "../../../hardware/flash/format/memory_image.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import type { FlashPlan } from "../../../hardware/flash/plan.ts";
import { flashEcu, FlashError } from "../../../hardware/flash/sequence.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { InflateError, Inflater } from "../../../hardware/sim/inflater.ts";
import { bytes, text } from "../uds/loopback.ts";
import { settle } from "../uds/test_clock.ts";
import { bootedEcu, clientOf, fingerprint, holds, payload, plan as usual, smallImage } from "./fixtures.ts";

/** Sends a request and gives what came back once the ECU had its turn. */
async function ask(ecu: SimulatedEcu, request: string): Promise<string> {
  let first = "";
  ecu.handle(bytes(request), { tester: 0x0e00, addressing: "physical" }, (answer) => first ||= text(answer));
  for (let turn = 0; turn < 50 && first === ""; turn++) await settle();
  return first;
}

async function unlock(ecu: SimulatedEcu): Promise<void> {
  await ask(ecu, "10 03");
  await ask(ecu, "10 02");
  const seed = bytes((await ask(ecu, "27 01")).slice(6));
  assert.equal(await ask(ecu, `27 02 ${text(seed.map((byte) => byte ^ 0xa5))}`), "67 02");
}

/** An image whose first bytes tell its type, hardware and version. */
function labelledImage(version: string): FirmwareImage {
  const data = payload(3_000, 9);
  data.set(new TextEncoder().encode(`BCM H1 ${version}\0`));
  return memoryImage([{ address: 0, length: 2_000 }, { address: 0x1000_1000, length: 1_000 }], data);
}

interface Case {
  flash: FlashPlan;
  /** Step at which an ECU of that plan refuses the usual sequence; undefined: it does not. */
  refuses?: string;
  image?: FirmwareImage;
}

const cases: Record<string, Case> = {
  "sessions of its own": {
    flash: { programmingSession: 0x42, extendedSession: 0x43 },
    refuses: "extended_session",
  },
  "a precondition with an option": {
    flash: { preconditions: [{ routine: 0xd001, option: Uint8Array.of(1, 2) }] },
    refuses: "check_preconditions",
  },
  "another identifier for the fingerprint": {
    flash: { fingerprintDid: 0xf15c },
    refuses: "write_fingerprint",
  },
  "another routine to erase": { flash: { eraseRoutine: 0xff10 }, refuses: "erase_memory" },
  "an erase of the whole range": {
    flash: { erase: "range" },
    image: memoryImage([{ address: 0x100, length: 500 }, { address: 0x900, length: 500 }], payload(1_000, 4)),
  },
  "an erase of everything by one byte": { flash: { erase: "all", eraseOption: Uint8Array.of(0x01) } },
  "short sizes": { flash: { sizeBytes: 3 }, refuses: "erase_memory" },
  "long addresses": { flash: { addressBytes: 5 }, refuses: "erase_memory" },
  "zlib on the way": { flash: { compression: "zlib" } },
  "deflate on the way, under a format of its own": { flash: { compression: "deflate", dataFormat: 0x30 } },
  "bytes that were encrypted before": { flash: { dataFormat: 0x01 } },
  "CRC-32 over the image": { flash: { checkMethod: "crc32" }, refuses: "check_memory" },
  "CRC-16 of each segment": {
    flash: { checkMethod: "crc16", checkScope: "segments" },
    refuses: "check_memory",
  },
  "SHA-256 of each segment": { flash: { checkScope: "segments" }, refuses: "check_memory" },
  "a check that is told nothing": {
    flash: { checkMethod: "none", checkMemoryRoutine: 0x0205 },
    refuses: "check_memory",
  },
  "another routine for the dependencies, told by bytes": {
    flash: { checkDependenciesRoutine: 0xff02, checkDependenciesOption: Uint8Array.of(0xaa) },
    image: labelledImage("2.0.0"),
    refuses: "check_dependencies",
  },
  "no routine for the dependencies: its reset takes over": {
    flash: { steps: { check_dependencies: false } },
    image: labelledImage("2.0.0"),
  },
  "no dependencies, no reset: the last check takes over, it restarts by itself": {
    flash: { steps: { check_dependencies: false, ecu_reset: false }, checkScope: "segments" },
    image: labelledImage("2.0.0"),
  },
  "a reset that it makes by itself": { flash: { steps: { ecu_reset: false } } },
  "a status of its own for success": { flash: { routineOk: 0x10 }, refuses: "check_preconditions" },
  "another reset": { flash: { resetType: 0x60 } },
  "another identifier for the version": { flash: { versionDid: 0xf1a0 } },
  "no security": { flash: { steps: { security_access: false } } },
};

for (const [name, { flash, refuses, image = smallImage() }] of Object.entries(cases)) {
  Deno.test(`an ECU with ${name} is flashed by its plan${refuses ? `, and refuses another at ${refuses}` : ""}`, async () => {
    const ecu = await bootedEcu({ flash });
    const client = clientOf(ecu, { testerPresentInterval: 0 });
    const options = { version: "2.0.0", fingerprint };
    if (refuses !== undefined) {
      const error = await flashEcu(client, image, { ...options, plan: usual }).then(
        () => assert.fail("expected the ECU to refuse"),
        (error) => error,
      );
      assert.ok(error instanceof FlashError, String(error));
      assert.equal(error.step, refuses);
      await ecu.ready();
      assert.equal(ecu.version, "1.0.0");
    }
    const result = await flashEcu(client, image, { ...options, plan: { ...usual, ...flash } });
    assert.equal(result.version, "2.0.0");
    assert.equal(ecu.version, "2.0.0");
    assert.ok(await holds(ecu, image));
    client.close();
    ecu.close();
  });
}

Deno.test("software that an image says to call is called where it was loaded, and nowhere else", async () => {
  const said: string[] = [];
  const ecu = await bootedEcu({}, { log: (message) => said.push(message) });
  const client = clientOf(ecu, { testerPresentInterval: 0 });
  const image = { ...smallImage(), hints: { call: 0x0000_0600 } };
  await flashEcu(client, image, { version: "2.0.0", fingerprint, plan: usual });
  assert.ok(said.includes("ECU_001: software called at 0x00000600"), said.join("\n"));
  const elsewhere = { ...smallImage(), hints: { call: 0x0000_0a00 } };
  await assert.rejects(
    flashEcu(client, elsewhere, { version: "3.0.0", fingerprint, plan: usual }),
    /call_software.*0x31/s,
  );
  client.close();
  ecu.close();
});

Deno.test("an image that does not tell its version is not taken over where nobody else tells it", async () => {
  const flash: FlashPlan = { checkDependenciesOption: new Uint8Array() };
  const ecu = await bootedEcu({ flash });
  const client = clientOf(ecu, { testerPresentInterval: 0 });
  await assert.rejects(
    flashEcu(client, smallImage(), { version: "2.0.0", fingerprint, plan: { ...usual, ...flash } }),
    /check_dependencies.*status 0x01, expected 0x00/s,
  );
  await ecu.ready();
  assert.equal(ecu.version, "1.0.0");
  client.close();
  ecu.close();
});

Deno.test("a reset takes over what was found right, and nothing that was not checked", async () => {
  const flash: FlashPlan = { steps: { check_dependencies: false } };
  const ecu = await bootedEcu({ flash });
  const client = clientOf(ecu, { testerPresentInterval: 0 });
  ecu.inject({ kind: "negative_response", service: 0x34, occurrence: 2, nrc: 0x70 });
  const options = { version: "2.0.0", fingerprint, plan: { ...usual, ...flash } };
  await assert.rejects(flashEcu(client, labelledImage("2.0.0"), options), /request_download/);
  await ecu.ready();
  assert.equal(ecu.version, "1.0.0");
  client.close();
  ecu.close();
});

Deno.test("a plan that leaves no way to take new software over is refused", async () => {
  await assert.rejects(
    bootedEcu({ flash: { steps: { check_dependencies: false, ecu_reset: false, check_memory: false } } }),
    /ECU_001 flash\.steps: expected one of check_dependencies, ecu_reset, check_memory/,
  );
});

Deno.test("a resuming routine tells address and missing bytes in the plan's widths, behind its status", async () => {
  const flash: FlashPlan = { resume: { routine: 0x0310 }, addressBytes: 3, sizeBytes: 2 };
  const ecu = await bootedEcu({ flash });
  await unlock(ecu);
  assert.equal(await ask(ecu, "31 01 03 10"), "7F 31 22");
  assert.equal(await ask(ecu, "31 01 FF 00 23 00 00 00 04 00"), "71 01 FF 00 00");
  assert.equal(await ask(ecu, "34 00 23 00 00 00 00 08"), "74 20 01 02");
  assert.equal(await ask(ecu, "36 01 AA BB CC"), "76 01");
  await unlock(ecu);
  assert.equal(await ask(ecu, "31 01 03 10"), "71 01 03 10 00 00 00 03 00 05");
  ecu.close();
});

Deno.test("a compressed download fills the memory that was announced, block by block, whole or not at all", async () => {
  const flash: FlashPlan = { compression: "zlib" };
  const ecu = await bootedEcu({ flash });
  const contents = new Uint8Array(1_024).fill(0x5a);
  const packed = deflateSync(contents);
  const half = packed.length >> 1;
  await unlock(ecu);
  const erase = "31 01 FF 00 44 00 00 00 00 00 00 04 00";
  const download = "34 10 44 00 00 00 00 00 00 04 00";
  assert.equal(await ask(ecu, erase), "71 01 FF 00 00");
  assert.equal(await ask(ecu, download), "74 20 01 02");
  assert.equal(await ask(ecu, `36 01 ${text(packed.subarray(0, half))}`), "76 01");
  assert.equal(await ask(ecu, `36 01 ${text(packed.subarray(0, half))}`), "76 01");
  assert.equal(await ask(ecu, "37"), "7F 37 71");
  await ask(ecu, erase);
  await ask(ecu, download);
  assert.equal(await ask(ecu, `36 01 ${text(packed.subarray(0, half))}`), "76 01");
  assert.equal(await ask(ecu, `36 02 ${text(packed.subarray(half))}`), "76 02");
  assert.equal(await ask(ecu, "37"), "77");
  assert.equal(await ask(ecu, "31 01 FF 01 32 2E 30"), "71 01 FF 01 00");
  await ask(ecu, "11 01");
  await ecu.ready();
  assert.deepEqual(ecu.readMemory(0, 1_024), contents);
  ecu.close();
});

Deno.test("what cannot be uncompressed, or is more than was announced, is refused with 71", async () => {
  const ecu = await bootedEcu({ flash: { compression: "deflate" } });
  for (const block of [Uint8Array.of(0xff, 0xff, 0xff), deflateRawSync(new Uint8Array(100_000))]) {
    await unlock(ecu);
    await ask(ecu, "31 01 FF 00 44 00 00 00 00 00 00 04 00");
    assert.equal(await ask(ecu, "34 10 44 00 00 00 00 00 00 04 00"), "74 20 01 02");
    assert.equal(await ask(ecu, `36 01 ${text(block)}`), "7F 36 71");
  }
  ecu.close();
});

Deno.test("an inflater keeps nothing beyond what was announced", async () => {
  const inflater = new Inflater("deflate", 1_000);
  await assert.rejects(inflater.push(deflateRawSync(new Uint8Array(1 << 24))), InflateError);
  await assert.rejects(inflater.push(Uint8Array.of(0)), /expected at most 1000 bytes, got more/);
  inflater.close();
});
