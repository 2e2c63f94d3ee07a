import assert from "node:assert/strict";
import { memoryImage } from "../../../hardware/flash/format/memory_image.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import { readMemory } from "../../../hardware/flash/read_memory.ts";
import {
  FlashCancelledError,
  flashEcu,
  FlashError,
  type FlashOptions,
} from "../../../hardware/flash/sequence.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { bootedEcu, clientOf, fingerprint, holds, payload, plan, smallImage } from "../sim/fixtures.ts";
import { LoopbackTransport, text } from "../uds/loopback.ts";

function options(more: Partial<FlashOptions> = {}): FlashOptions {
  return { plan, version: "2.0.0", fingerprint, ...more };
}

/** Flashes and gives the failure. */
async function failure(
  client: UdsClient,
  image: FirmwareImage,
  more: Partial<FlashOptions> = {},
): Promise<FlashError> {
  try {
    await flashEcu(client, image, options(more));
  } catch (error) {
    assert.ok(error instanceof FlashError, String(error));
    return error;
  }
  return assert.fail("expected the flash to fail");
}

/** The ECU boots what it ran before, whole, in its default session. */
async function assertOld(ecu: SimulatedEcu): Promise<void> {
  await ecu.ready();
  assert.equal(ecu.state, "application");
  assert.equal(ecu.version, "1.0.0");
  assert.equal(ecu.session, 1);
}

Deno.test("a flash sends the steps in their order and ends with the version read back", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport, { ecu: "ECU_001", latency: 50 });
  const image = memoryImage([{ address: 0, length: 300 }], payload(300, 9));
  const steps: string[] = [];
  const result = await flashEcu(
    client,
    image,
    options({ onProgress: (step, done, total) => steps.push(`${step} ${done}/${total}`) }),
  );
  assert.equal(result.version, "2.0.0");
  assert.equal(result.bytes, 300);
  assert.equal(result.blocks, 2);
  const hash = text(image.sha256);
  const sent = transport.sent.map((request) => text(request.subarray(0, 40)));
  assert.equal(sent[6].slice(0, 5), "27 02");
  assert.deepEqual(sent.filter((_, index) => index !== 6), [
    "10 03",
    "31 01 02 03",
    "85 02",
    "28 03 01",
    "10 02",
    "27 01",
    "2E F1 5A 26 11 21 01 02 03",
    "31 01 FF 00 44 00 00 00 00 00 00 01 2C",
    "34 00 44 00 00 00 00 00 00 01 2C",
    `36 01 ${text(payload(300, 9).subarray(0, 38))}`,
    `36 02 ${text(payload(300, 9).subarray(256, 294))}`,
    "37",
    `31 01 02 02 ${hash}`,
    "31 01 FF 01 32 2E 30 2E 30",
    "11 01",
    "3E 00",
    "10 03",
    "28 00 01",
    "85 01",
    "10 01",
    "22 F1 89",
  ]);
  assert.equal(transport.sent[10].length, 258);
  assert.deepEqual(steps, [
    "extended_session 0/300",
    "check_preconditions 0/300",
    "dtc_setting_off 0/300",
    "communication_off 0/300",
    "programming_session 0/300",
    "security_access 0/300",
    "write_fingerprint 0/300",
    "erase_memory 0/300",
    "request_download 0/300",
    "transfer_data 0/300",
    "transfer_data 256/300",
    "transfer_data 300/300",
    "transfer_exit 300/300",
    "check_memory 300/300",
    "check_dependencies 300/300",
    "ecu_reset 300/300",
    "wait_for_restart 300/300",
    "communication_on 300/300",
    "dtc_setting_on 300/300",
    "verify_version 300/300",
  ]);
  assert.equal(ecu.version, "2.0.0");
  assert.equal(ecu.session, 1);
  assert.ok(await holds(ecu, image));
});

for (const banks of [1, 2] as const) {
  Deno.test(`segments that share a sector arrive whole, with ${banks} bank(s), twice in a row`, async () => {
    const ecu = await bootedEcu({ banks });
    for (const version of ["2.0.0", "3.0.0"]) {
      using client = clientOf(ecu);
      const image = smallImage(version.charCodeAt(0));
      await flashEcu(client, image, options({ version }));
      assert.equal(ecu.version, version);
      assert.ok(await holds(ecu, image));
      const back: number[] = [];
      for await (const { address, data } of readMemory(client, image.segments, { chunkSize: 200 })) {
        assert.ok(data.length <= 200);
        assert.ok(image.segments.some((segment) => address >= segment.address));
        back.push(...data);
      }
      assert.deepEqual(Uint8Array.from(back), payload(image.size, version.charCodeAt(0)));
    }
  });
}

Deno.test("more than 256 blocks, and more than one read ahead, arrive in order", async () => {
  const ecu = await bootedEcu({
    memory: [{ name: "main", address: 0, size: 0x40_0000 }],
    maxBlockLength: 4_095,
  });
  using client = clientOf(ecu);
  const image = memoryImage([{ address: 0, length: 2_500_001 }], payload(2_500_001, 3));
  const { blocks } = await flashEcu(client, image, options());
  assert.equal(blocks, Math.ceil(2_500_001 / 4_093));
  assert.ok(await holds(ecu, image));
});

Deno.test("the smallest block length of ECU, plan and path is kept", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu, { maxRequestLength: 130 });
  using client = new UdsClient(transport, { latency: 50 });
  await flashEcu(client, smallImage(), options());
  assert.equal(Math.max(...transport.sent.filter(([sid]) => sid === 0x36).map(({ length }) => length)), 130);
  using second = clientOf(ecu);
  const { blocks } = await flashEcu(
    second,
    memoryImage([{ address: 0, length: 96 }], payload(96, 1)),
    options({ version: "3", plan: { ...plan, maxBlockLength: 34 } }),
  );
  assert.equal(blocks, 3);
});

for (
  const [name, service, nrc, occurrence] of [
    ["conditions not correct", 0x36, 0x22, 3],
    ["security access denied", 0x36, 0x33, 1],
    ["general programming failure", 0x36, 0x72, 2],
    ["wrong block sequence counter", 0x36, 0x73, 4],
    ["transfer data suspended", 0x37, 0x71, 1],
    ["general programming failure at the exit", 0x37, 0x72, 2],
  ] as const
) {
  Deno.test(`a refusal in mid-flash ends it as failed: ${name}`, async () => {
    const ecu = await bootedEcu();
    using client = clientOf(ecu);
    ecu.inject({ kind: "negative_response", service, occurrence, nrc });
    const error = await failure(client, smallImage());
    const step = service === 0x36 ? "transfer_data" : "transfer_exit";
    assert.equal(error.ecu, "ECU_001");
    assert.equal(error.step, step);
    assert.equal(error.nrc, nrc);
    assert.equal(error.sid, service);
    const code = `0x${nrc.toString(16).toUpperCase()}`;
    assert.match(error.message, new RegExp(`^ECU_001: flash failed at ${step}: .*NRC ${code} `));
    await assertOld(ecu);
    await flashEcu(client, smallImage(), options());
    assert.equal(ecu.version, "2.0.0");
  });
}

for (
  const [step, service, occurrence] of [
    ["extended_session", 0x10, 1],
    ["check_preconditions", 0x31, 1],
    ["dtc_setting_off", 0x85, 1],
    ["communication_off", 0x28, 1],
    ["programming_session", 0x10, 2],
    ["security_access", 0x27, 1],
    ["security_access", 0x27, 2],
    ["write_fingerprint", 0x2e, 1],
    ["erase_memory", 0x31, 2],
    ["request_download", 0x34, 1],
    ["check_memory", 0x31, 5],
    ["check_dependencies", 0x31, 6],
    ["ecu_reset", 0x11, 1],
    ["communication_on", 0x28, 2],
    ["dtc_setting_on", 0x85, 2],
    ["verify_version", 0x22, 1],
  ] as const
) {
  Deno.test(`a refusal at ${step} (service 0x${service.toString(16)}) fails there and names it`, async () => {
    const ecu = await bootedEcu();
    using client = clientOf(ecu);
    ecu.inject({ kind: "negative_response", service, occurrence, nrc: 0x22 });
    const error = await failure(client, smallImage());
    assert.equal(error.step, step);
    assert.equal(error.nrc, 0x22);
    assert.equal(error.sid, service);
    await ecu.ready();
    assert.equal(ecu.state, "application");
    assert.equal(ecu.session, 1);
  });
}

Deno.test("an ECU that goes silent in mid-flash ends it as failed after one repeated block", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport, { ecu: "ECU_001", latency: 0 });
  ecu.inject({ kind: "silence", service: 0x36, occurrence: 3 });
  const error = await failure(client, smallImage(), { plan: { ...plan, cleanUpTimeout: 200 } });
  assert.equal(error.step, "transfer_data");
  assert.equal(error.nrc, undefined);
  assert.match(
    error.message,
    /^ECU_001: flash failed at transfer_data: .*no answer to TransferData within 50 ms/,
  );
  const counters = transport.sent.filter(([sid]) => sid === 0x36).map((request) => request[1]);
  assert.deepEqual(counters, [1, 2, 3, 3]);
  ecu.powerOff();
  await ecu.powerOn();
  await assertOld(ecu);
});

Deno.test("a block whose answer was lost is sent again with its counter and written once", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport, { latency: 0 });
  ecu.inject({ kind: "lost_answer", service: 0x36, occurrence: 2 });
  const image = smallImage();
  await flashEcu(client, image, options());
  const counters = transport.sent.filter(([sid]) => sid === 0x36).map((request) => request[1]);
  assert.deepEqual(counters.slice(0, 4), [1, 2, 2, 3]);
  assert.ok(await holds(ecu, image));
});

Deno.test("an answer that comes after its block was repeated is not taken for the next block's", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu, { latency: 0 });
  ecu.inject({ kind: "late_answer", service: 0x36, occurrence: 2, delay: 60 });
  const image = smallImage();
  await flashEcu(client, image, options());
  assert.ok(await holds(ecu, image));
});

Deno.test("a connection that is closed in mid-flash ends it as failed, and the ECU still runs the old software", async () => {
  const ecu = await bootedEcu({}, { closeConnection: () => transport.close() });
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport, { ecu: "ECU_001", latency: 50 });
  ecu.inject({ kind: "close_connection", service: 0x36, occurrence: 4 });
  const error = await failure(client, smallImage());
  assert.equal(error.step, "transfer_data");
  assert.match(error.message, /the connection is closed/);
  using again = clientOf(ecu);
  await flashEcu(again, smallImage(), options());
  assert.equal(ecu.version, "2.0.0");
});

Deno.test("a memory check that fails fails the flash, and the old software goes on", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  const image = { ...smallImage(), sha256: new Uint8Array(32) };
  const error = await failure(client, image);
  assert.equal(error.step, "check_memory");
  assert.match(error.message, /routine 0x0202 ended with status 0x01, expected 0x00/);
  await assertOld(ecu);
});

Deno.test("a flash whose version reads back differently has failed", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  // Without the step that takes the new software over, the old version answers.
  const error = await failure(client, smallImage(), {
    plan: { ...plan, steps: { check_dependencies: false } },
  });
  assert.equal(error.step, "verify_version");
  assert.match(error.message, /expected version 2\.0\.0 in 0xF189, got 1\.0\.0/);
});

Deno.test("steps that the plan leaves out are not sent", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport, { latency: 50 });
  const steps = {
    extended_session: false,
    check_preconditions: false,
    dtc_setting_off: false,
    communication_off: false,
    write_fingerprint: false,
    check_memory: false,
    communication_on: false,
    dtc_setting_on: false,
  };
  await flashEcu(client, smallImage(), options({ plan: { ...plan, steps } }));
  const services = new Set(transport.sent.map(([sid]) => sid));
  assert.deepEqual([...services].sort(), [0x10, 0x11, 0x22, 0x27, 0x31, 0x34, 0x36, 0x37, 0x3e]);
  assert.equal(ecu.version, "2.0.0");
});

Deno.test("a cancelled flash stops between two blocks, says where, and leaves the ECU in order", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport, { ecu: "ECU_001", latency: 50 });
  const controller = new AbortController();
  const error = await failure(client, smallImage(), {
    signal: controller.signal,
    onProgress: (_step, done) => {
      if (done >= 512) controller.abort(new Error("cancelled by the operator"));
    },
  });
  assert.ok(error instanceof FlashCancelledError);
  assert.equal(error.step, "transfer_data");
  assert.match(error.message, /stopped: cancelled by the operator/);
  assert.equal(transport.sent.filter(([sid]) => sid === 0x36).length, 2);
  await assertOld(ecu);
});

Deno.test("a signal that was given before stops the flash before anything is sent", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport);
  const error = await failure(client, smallImage(), { signal: AbortSignal.abort(new Error("no")) });
  assert.ok(error instanceof FlashCancelledError);
  assert.equal(transport.sent.length, 0);
});

Deno.test("a failing image reader fails the flash at the block that needed it", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  const image = smallImage();
  const error = await failure(client, {
    ...image,
    open: () =>
      Promise.resolve({
        read: () => Promise.reject(new Error("EIO")),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  });
  assert.equal(error.step, "transfer_data");
  assert.match(error.message, /EIO/);
  await assertOld(ecu);
});

Deno.test("a wrong key fails at security access with the ECU's code", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  const error = await failure(client, smallImage(), {
    plan: { seedKey: { algorithm: "xor", constant: "00" } },
  });
  assert.equal(error.step, "security_access");
  assert.equal(error.nrc, 0x35);
  await assertOld(ecu);
});

Deno.test("an ECU that does not come back after its reset fails at wait_for_restart", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu, { latency: 0 });
  ecu.inject({ kind: "silence", service: 0x3e, occurrence: 1 });
  const error = await failure(client, smallImage(), { plan: { ...plan, restartTimeout: 300 } });
  assert.equal(error.step, "wait_for_restart");
});

Deno.test("plans, versions and fingerprints that cannot be are refused before anything is sent", async () => {
  const ecu = await bootedEcu();
  const transport = new LoopbackTransport(ecu);
  using client = new UdsClient(transport);
  const image = smallImage();
  const refused = (more: Partial<FlashOptions>, message: RegExp) =>
    assert.rejects(flashEcu(client, image, options(more)), (error) => {
      assert.ok(error instanceof RangeError);
      assert.match(error.message, message);
      return true;
    });
  await refused({ plan: {} }, /seedKey: expected an algorithm/);
  await refused({ plan: { ...plan, securityLevel: 2 } }, /securityLevel: expected an odd number, got 2/);
  await refused({ plan: { ...plan, maxBlockLength: 2 } }, /maxBlockLength: expected .* got 2/);
  await refused({ version: "2 0" }, /version: expected printable ASCII without spaces, got "2 0"/);
  await refused({ fingerprint: new Uint8Array() }, /fingerprint: expected at least 1 byte/);
  assert.equal(transport.sent.length, 0);
});
