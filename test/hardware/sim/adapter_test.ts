// A simulated adapter with its ECUs, used as a real one is: SLCAN over a stream, ISO-TP above it.
import assert from "node:assert/strict";
import { CanBusError } from "../../../hardware/can/bus.ts";
import type { CanFrame } from "../../../hardware/can/frame.ts";
import { SlcanBus, type SlcanBusOptions } from "../../../hardware/can/slcan_bus.ts";
import { IsoTpClient } from "../../../hardware/isotp/client.ts";
import { SimulatedBench } from "../../../hardware/sim/bench.ts";
import type { SimulatedAdapter } from "../../../hardware/sim/adapter.ts";
import type { SimulatedAdapterOptions, SimulatedBenchOptions } from "../../../hardware/sim/options.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";

const vin = "KMHTEST0000000060";
const hostname = "127.0.60.1";
const normal = { format: "normal", requestId: 0x7a7, responseId: 0x7af } as const;
const fixed = { format: "normal_fixed", ecu: 0x48 } as const;

/** A gateway with one ECU behind it and two on CAN. */
function options(adapter: Partial<SimulatedAdapterOptions> = {}): SimulatedBenchOptions {
  const ecu = (number: number) => ({
    ecuId: `ECU_00${number}`,
    ecuType: "BCM",
    logicalAddress: 0x1100 + number,
    hwVersion: "H1",
    swVersion: "1.0.0",
    serialNumber: `SN-000${number}`,
    partNumber: "PN-0001",
    supplier: "Zonebench",
    bootTime: 1,
  });
  return {
    timing: "none",
    adapters: [{ adapterId: "CAN_TEST", hostname, port: 0, ...adapter }],
    gateways: [{
      zonalGatewayId: "ZG_TEST",
      hostname,
      port: 0,
      logicalAddress: 0x1000,
      vin,
      ecus: [
        ecu(1),
        {
          ...ecu(2),
          can: { adapterId: "CAN_TEST", address: normal, functional: { format: "normal", requestId: 0x7df } },
        },
        { ...ecu(3), can: { adapterId: "CAN_TEST", address: fixed } },
      ],
    }],
  };
}

/** Opens a serial line to a simulated adapter. */
function hostOf(adapter: SimulatedAdapter, more: Partial<SlcanBusOptions> = {}): Promise<SlcanBus> {
  const { hostname, port } = adapter;
  return SlcanBus.open(async () => {
    const connection = await Deno.connect({ hostname, port });
    connection.setNoDelay();
    return connection;
  }, { name: "host", bitRate: 500_000, acknowledgement: "z", purgeTime: 1, ...more });
}

async function readVin(bus: SlcanBus, address: typeof normal | typeof fixed): Promise<string> {
  const isotp = new IsoTpClient(bus);
  using client = new UdsClient(isotp.transport(address));
  const answer = await client.raw(Uint8Array.of(0x22, 0xf1, 0x90));
  isotp.close();
  return new TextDecoder().decode(answer?.subarray(3));
}

Deno.test("ECUs on CAN answer through the adapter, by each addressing, and not over DoIP", async () => {
  await using bench = await SimulatedBench.start(options());
  const bus = await hostOf(bench.adapter("CAN_TEST"));
  try {
    assert.equal(await readVin(bus, normal), vin);
    assert.equal(await readVin(bus, fixed), vin);
    assert.deepEqual(bench.ecus.map(({ ecuId }) => ecuId), ["ECU_001", "ECU_002", "ECU_003"]);
  } finally {
    await bus.close();
  }
});

Deno.test("several hosts are nodes of one bus: each hears what the others send", async () => {
  await using bench = await SimulatedBench.start(options());
  const adapter = bench.adapter("CAN_TEST");
  const [first, second] = [await hostOf(adapter), await hostOf(adapter)];
  try {
    const heard = Promise.withResolvers<CanFrame>();
    second.listen(({ frame }) => heard.resolve({ ...frame, data: frame.data.slice() }));
    await first.send({ id: 0x123, extended: false, data: Uint8Array.of(1, 2, 3) });
    const { id, data } = await heard.promise;
    assert.deepEqual([id, data], [0x123, Uint8Array.of(1, 2, 3)]);
    assert.deepEqual(await Promise.all([readVin(first, normal), readVin(second, fixed)]), [vin, vin]);
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
});

Deno.test("an ECU without power is silent on CAN, flow control too, and answers when it has power again", async () => {
  await using bench = await SimulatedBench.start(options());
  const ecu = bench.ecu("ECU_002");
  const adapter = bench.adapter("CAN_TEST");
  const watcher = adapter.bus.attach("watcher");
  let frames = 0;
  watcher.listen(({ frame }) => frame.id === 0x7af && frames++);
  const host = adapter.bus.attach("host");
  ecu.powerOff();
  await host.send({ id: 0x7a7, extended: false, data: Uint8Array.of(0x10, 0x14, 0x2e, 0xf1, 0x5a, 1, 2, 3) });
  await host.send({ id: 0x7a7, extended: false, data: Uint8Array.of(0x02, 0x3e, 0x00) });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(frames, 0);
  await ecu.powerOn();
  const bus = await hostOf(adapter);
  try {
    assert.equal(await readVin(bus, normal), vin);
  } finally {
    await bus.close();
  }
});

Deno.test("a functional request reaches the ECUs that listen to it", async () => {
  await using bench = await SimulatedBench.start(options());
  const bus = await hostOf(bench.adapter("CAN_TEST"));
  try {
    const isotp = new IsoTpClient(bus);
    const all = isotp.functional({ format: "normal", requestId: 0x7df }, { responders: [normal] });
    await all.send(Uint8Array.of(0x3e, 0x00), { timeout: 1000 });
    const { source, message } = await all.receiveFrom({ timeout: 1000 });
    assert.deepEqual([source, message], [0x7af, Uint8Array.of(0x7e, 0x00)]);
    isotp.close();
  } finally {
    await bus.close();
  }
});

Deno.test("an adapter set to another bit rate than the bus is not opened", async () => {
  await using bench = await SimulatedBench.start(options());
  await assert.rejects(hostOf(bench.adapter("CAN_TEST"), { bitRate: 250_000 }), CanBusError);
});

Deno.test("an adapter that is unplugged ends its lines, and is found again when it is back", async () => {
  await using bench = await SimulatedBench.start(options());
  const adapter = bench.adapter("CAN_TEST");
  const lost = await hostOf(adapter);
  const back = adapter.unplug(20);
  assert.ok(await lost.closed instanceof Error);
  await back;
  const bus = await hostOf(adapter);
  try {
    assert.equal(await readVin(bus, normal), vin);
  } finally {
    await bus.close();
  }
});

Deno.test("garbage on the serial line, a doubled frame and a bus-off disturb a dialogue, and it goes on", async () => {
  await using bench = await SimulatedBench.start(
    options({
      faults: [
        { kind: "garbage", occurrence: 2, id: 0x7af, bytes: "00ff743132330d07" },
        { kind: "double", occurrence: 5, id: 0x7af },
      ],
    }),
  );
  const adapter = bench.adapter("CAN_TEST");
  const bus = await hostOf(adapter, { busOffRecovery: { from: 1, to: 10 }, statusInterval: 5 });
  try {
    assert.equal(await readVin(bus, normal), vin);
    // The first consecutive frame comes twice: a wrong sequence number ends the message (ISO 15765-2 9.6.4.4).
    await assert.rejects(readVin(bus, normal), /N_WRONG_SN/);
    assert.equal(await readVin(bus, normal), vin);
    adapter.inject({ kind: "bus_off", occurrence: 1, id: 0x7a7 });
    await assert.rejects(readVin(bus, normal));
    while (bus.statistics.busOffs === 0 || !bus.available) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal(await readVin(bus, normal), vin);
  } finally {
    await bus.close();
  }
});

Deno.test("an ECU on an adapter that is not there, and an adapter named twice, are refused", async () => {
  const { adapters, ...rest } = options();
  await assert.rejects(
    SimulatedBench.start(rest),
    /ECU_002 can.adapterId: expected one of no adapters, got CAN_TEST/,
  );
  await assert.rejects(
    SimulatedBench.start({ ...rest, adapters: [...adapters ?? [], ...adapters ?? []] }),
    /adapter ids: expected each once, got CAN_TEST twice/,
  );
});
