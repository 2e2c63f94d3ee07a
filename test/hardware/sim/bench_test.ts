import assert from "node:assert/strict";
import { DoipConnection } from "../../../hardware/doip/client.ts";
import { memoryImage } from "../../../hardware/flash/format/memory_image.ts";
import { readMemory } from "../../../hardware/flash/read_memory.ts";
import { flashEcu, FlashError } from "../../../hardware/flash/sequence.ts";
import { SimulatedBench, type SimulatedBenchOptions } from "../../../hardware/sim/bench.ts";
import { UdsClient, type UdsClientOptions } from "../../../hardware/uds/client.ts";
import { UdsTimeoutError, UdsTransportError } from "../../../hardware/uds/transport.ts";
import { bytes, text } from "../uds/loopback.ts";
import { ecuOptions, fingerprint, holds, payload, plan, smallImage, vin } from "./fixtures.ts";

/** A bench of two gateways with two ECUs and one. */
function benchOptions(more: Partial<SimulatedBenchOptions> = {}): SimulatedBenchOptions {
  const gateway = { port: 0, vin };
  return {
    timing: "none",
    gateways: [
      {
        ...gateway,
        zonalGatewayId: "ZG_BODY",
        hostname: "127.0.32.1",
        logicalAddress: 0x1000,
        ecus: [
          ecuOptions({ ecuId: "ECU_001", logicalAddress: 0x1001 }),
          ecuOptions({ ecuId: "ECU_002", logicalAddress: 0x1002, banks: 1 }),
        ],
      },
      {
        ...gateway,
        zonalGatewayId: "ZG_CHASSIS",
        hostname: "127.0.32.2",
        logicalAddress: 0x1100,
        ecus: [ecuOptions({ ecuId: "ECU_003", logicalAddress: 0x1101, serialNumber: "SN-0003" })],
      },
    ],
    ...more,
  };
}

interface Session {
  bench: SimulatedBench;
  connection: DoipConnection;
  client: UdsClient;
}

/** Runs a test on a bench with a connection to the ECU's gateway and a client of the ECU. */
async function withClient(
  ecuId: string,
  run: (session: Session) => Promise<void>,
  options: { bench?: Partial<SimulatedBenchOptions>; client?: UdsClientOptions } = {},
): Promise<void> {
  await using bench = await SimulatedBench.start(benchOptions(options.bench));
  const gateway = bench.gateways.find(({ ecus }) => ecus.some((ecu) => ecu.ecuId === ecuId));
  assert.ok(gateway !== undefined);
  await using connection = await DoipConnection.connect({
    hostname: gateway.hostname,
    port: gateway.port,
    warn: () => {},
  });
  const transport = connection.transport(bench.ecu(ecuId).logicalAddress);
  using client = new UdsClient(transport, { ecu: ecuId, latency: 150, ...options.client });
  await run({ bench, connection, client });
}

Deno.test("each ECU of a bench answers at its gateway", async () => {
  await using bench = await SimulatedBench.start(benchOptions());
  assert.deepEqual(bench.ecus.map(({ ecuId }) => ecuId), ["ECU_001", "ECU_002", "ECU_003"]);
  assert.throws(() => bench.ecu("ECU_009"), /expected one of ECU_001, ECU_002, ECU_003, got ECU_009/);
  for (const gateway of bench.gateways) {
    await using connection = await DoipConnection.connect({ hostname: gateway.hostname, port: gateway.port });
    assert.equal(connection.entityAddress, gateway.logicalAddress);
    for (const ecu of gateway.ecus) {
      using client = new UdsClient(connection.transport(ecu.logicalAddress));
      const serial = await client.readDataByIdentifier(0xf18c);
      assert.equal(new TextDecoder().decode(serial), ecu.options.serialNumber);
    }
  }
});

Deno.test("a functional request reaches every ECU of a gateway", async () => {
  await using bench = await SimulatedBench.start(benchOptions());
  const [gateway] = bench.gateways;
  await using connection = await DoipConnection.connect({ hostname: gateway.hostname, port: gateway.port });
  const all = connection.transport(0xe400);
  await all.send(bytes("22 F1 8C"), { timeout: 1_000 });
  const sources: number[] = [];
  for (let count = 0; count < 2; count++) {
    const { message, source } = await all.receiveFrom({ timeout: 1_000 });
    assert.equal(text(message.subarray(0, 3)), "62 F1 8C");
    sources.push(source);
  }
  assert.deepEqual(sources.sort(), [0x1001, 0x1002]);
  // 31 is not sent to a functional request.
  await all.send(bytes("22 00 01"), { timeout: 1_000 });
  await assert.rejects(all.receive({ timeout: 100 }), UdsTimeoutError);
});

for (const ecuId of ["ECU_001", "ECU_002"]) {
  Deno.test(`${ecuId} is flashed over DoIP and its memory read back`, async () => {
    await withClient(ecuId, async ({ bench, client }) => {
      const image = smallImage(5);
      await flashEcu(client, image, { plan, version: "2.0.0", fingerprint });
      assert.equal(bench.ecu(ecuId).version, "2.0.0");
      assert.ok(await holds(bench.ecu(ecuId), image));
      const back: number[] = [];
      for await (const { data } of readMemory(client, image.segments)) back.push(...data);
      assert.deepEqual(Uint8Array.from(back), payload(image.size, 5));
    });
  });
}

Deno.test("blocks of 64 KiB and more are taken when the ECU allows them", async () => {
  const options = benchOptions();
  const [gateway] = options.gateways;
  gateway.ecus = [ecuOptions({
    memory: [{ name: "main", address: 0x8000_0000, size: 0x10_0000 }],
    maxBlockLength: 0x1_8000,
  })];
  await withClient("ECU_001", async ({ bench, client }) => {
    const image = memoryImage([{ address: 0x8000_0000, length: 300_000 }], payload(300_000, 6));
    const { blocks } = await flashEcu(client, image, {
      plan: { ...plan, maxBlockLength: 0x1_8000 },
      version: "2.0.0",
      fingerprint,
    });
    assert.equal(blocks, Math.ceil(300_000 / (0x1_8000 - 2)));
    assert.ok(await holds(bench.ecu("ECU_001"), image));
  }, { bench: options });
});

Deno.test("a realistic ECU is flashed with 0x78 while it erases and silence while it boots", async () => {
  const options = benchOptions({ timing: "realistic" });
  const [gateway] = options.gateways;
  gateway.ecus = [ecuOptions({
    banks: 1,
    bootTime: 150,
    factoryImageSize: 6_000,
    memory: [{ name: "main", address: 0, size: 0x4000, sectorSize: 0x800, eraseTime: 40, programTime: 1 }],
  })];
  await withClient("ECU_001", async ({ bench, client }) => {
    const image = memoryImage([{ address: 0, length: 6_000 }], payload(6_000, 6));
    await flashEcu(client, image, { plan, version: "2.0.0", fingerprint });
    assert.equal(bench.ecu("ECU_001").version, "2.0.0");
    assert.ok(await holds(bench.ecu("ECU_001"), image));
  }, { bench: options });
});

for (const nrc of [0x22, 0x33, 0x72]) {
  Deno.test(`over DoIP, NRC 0x${nrc.toString(16)} in mid-flash fails with step, ECU and code`, async () => {
    await withClient("ECU_001", async ({ bench, client }) => {
      bench.ecu("ECU_001").inject({ kind: "negative_response", service: 0x36, occurrence: 3, nrc });
      const error = await flashEcu(client, smallImage(), { plan, version: "2.0.0", fingerprint })
        .then(() => assert.fail("expected the flash to fail"), (error) => error);
      assert.ok(error instanceof FlashError);
      assert.equal(error.ecu, "ECU_001");
      assert.equal(error.step, "transfer_data");
      assert.equal(error.nrc, nrc);
      await bench.ecu("ECU_001").ready();
      assert.equal(bench.ecu("ECU_001").version, "1.0.0");
      assert.equal(bench.ecu("ECU_001").session, 1);
    });
  });
}

Deno.test("over DoIP, an ECU that goes silent fails the flash", async () => {
  await withClient("ECU_001", async ({ bench, client }) => {
    const ecu = bench.ecu("ECU_001");
    ecu.inject({ kind: "silence", service: 0x36, occurrence: 3 });
    await assert.rejects(
      flashEcu(client, smallImage(), { plan, version: "2.0.0", fingerprint }),
      /^FlashError: ECU_001: flash failed at transfer_data: .*no answer to TransferData/,
    );
    ecu.clearFaults();
    // Its programming session is still on: whoever comes next begins anew.
    await flashEcu(client, smallImage(), { plan, version: "2.0.0", fingerprint });
    assert.equal(ecu.version, "2.0.0");
  });
});

Deno.test("over DoIP, a gateway that closes its connections fails the flash, and the ECU can be flashed again", async () => {
  await withClient("ECU_002", async ({ bench, client }) => {
    const ecu = bench.ecu("ECU_002");
    ecu.inject({ kind: "close_connection", service: 0x36, occurrence: 3 });
    const error = await flashEcu(client, smallImage(), { plan, version: "2.0.0", fingerprint })
      .then(() => assert.fail("expected the flash to fail"), (error) => error);
    assert.ok(error instanceof FlashError);
    assert.equal(error.step, "transfer_data");
    assert.ok(error.cause instanceof UdsTransportError, String(error.cause));
    // With one bank the old software is gone; the ECU says so rather than booting half of it.
    ecu.powerOff();
    await ecu.powerOn();
    assert.equal(ecu.state, "boot");
    const [gateway] = bench.gateways;
    await using connection = await DoipConnection.connect({ hostname: gateway.hostname, port: gateway.port });
    using again = new UdsClient(connection.transport(ecu.logicalAddress), { ecu: "ECU_002", latency: 150 });
    await flashEcu(again, smallImage(), { plan, version: "2.0.0", fingerprint });
    assert.equal(ecu.version, "2.0.0");
  });
});

Deno.test("an ECU without power cannot be reached, and the gateway says so", async () => {
  await withClient("ECU_001", async ({ bench, client }) => {
    bench.ecu("ECU_001").powerOff();
    await assert.rejects(client.readDataByIdentifier(0xf190), UdsTransportError);
    await bench.ecu("ECU_001").powerOn();
    assert.equal(text(await client.readDataByIdentifier(0xf186)), "01");
  });
});

Deno.test("a kept bench runs after a restart what it ran before", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const bench = { directory };
    await withClient("ECU_003", async ({ client }) => {
      await flashEcu(client, smallImage(), { plan, version: "2.0.0", fingerprint });
    }, { bench });
    await withClient("ECU_003", async ({ bench, client }) => {
      assert.equal(new TextDecoder().decode(await client.readDataByIdentifier(0xf189)), "2.0.0");
      assert.equal(bench.ecu("ECU_001").version, "1.0.0");
    }, { bench });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a bench that cannot be leaves nothing running", async () => {
  const taken = Deno.listen({ hostname: "127.0.32.2", port: 0 });
  const options = benchOptions();
  options.gateways[1].port = taken.addr.port;
  await assert.rejects(SimulatedBench.start(options), (error) => {
    assert.ok(error instanceof Deno.errors.AddrInUse);
    const { zonalGatewayId } = options.gateways[1];
    assert.equal(error.message, `${zonalGatewayId} at 127.0.32.2:${taken.addr.port}: the address is in use`);
    return true;
  });
  taken.close();
  const twice = benchOptions();
  twice.gateways[1].ecus[0].ecuId = "ECU_001";
  await assert.rejects(SimulatedBench.start(twice), /ECU ids: expected each once, got ECU_001 twice/);
  const wrong = benchOptions();
  wrong.gateways[0].eid = "0102";
  await assert.rejects(
    SimulatedBench.start(wrong),
    /ZG_BODY eid: expected 12 hexadecimal digits, got "0102"/,
  );
});
