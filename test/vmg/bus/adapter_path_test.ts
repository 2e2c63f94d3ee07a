import assert from "node:assert/strict";
import { openPort } from "../../../hardware/serial/open_port.ts";
import { SimulatedBench } from "../../../hardware/sim/bench.ts";
import type { SimulatedAdapter } from "../../../hardware/sim/adapter.ts";
import { createLogger } from "../../../src/log.ts";
import { VehicleBus } from "../../../src/vmg/bus/bus.ts";
import { AdapterUnreachableError } from "../../../src/vmg/errors.ts";
import type { VehicleDescription } from "../../../src/vmg/vehicle.ts";
import { eventually } from "../../support/program.ts";

const hostname = "127.0.66.1";
const vin = "KMHTEST0000000066";
const log = createLogger({ format: "text", level: "error" });
const address = (n: number) => ({ format: "normal", requestId: 0x700 + n, responseId: 0x708 + n } as const);

function start(port = 0): Promise<SimulatedBench> {
  const ecu = (n: number) => ({
    ecuId: `ECU_00${n}`,
    ecuType: "DOOR",
    logicalAddress: 0x1100 + n,
    can: { adapterId: "CAN_BODY", address: address(n) },
    hwVersion: "H1",
    swVersion: "1.0.0",
    serialNumber: `SN-000${n}`,
    partNumber: "PN-0001",
    supplier: "Zonebench",
  });
  return SimulatedBench.start({
    timing: "none",
    adapters: [{ adapterId: "CAN_BODY", hostname, port }],
    gateways: [{
      zonalGatewayId: "ZG_BODY",
      hostname,
      port: 0,
      logicalAddress: 0x1000,
      vin,
      ecus: [ecu(1), ecu(2)],
    }],
  });
}

/** A bus with two ECUs behind the adapter; `opened` counts how often its line was opened. */
function busOf(port: number): { bus: VehicleBus; opened: () => number } {
  let opened = 0;
  const vehicle: VehicleDescription = {
    vin,
    vmgId: "VMG-066",
    model: "Test",
    year: 2026,
    gateways: [{ zonalGatewayId: "ZG_BODY", hostname, port: 1, logicalAddress: 0x1000 }],
    adapters: [{
      adapterId: "CAN_BODY",
      where: `tcp://${hostname}:${port}`,
      openLine: (signal) => {
        opened++;
        return openPort(`tcp://${hostname}:${port}`, { signal });
      },
      settings: { bitRate: 500_000, acknowledgement: "z" },
    }],
    ecus: [1, 2].map((n) => ({
      ecuId: `ECU_00${n}`,
      ecuType: "DOOR",
      zonalGatewayId: "ZG_BODY",
      logicalAddress: 0x1100 + n,
      can: { adapterId: "CAN_BODY", address: address(n), isotp: {} },
      flashPlan: { seedKey: { algorithm: "xor", constant: "A5" } },
    })),
  };
  const settings = { downFor: 200, adapterRetryDelay: 10, maxAdapterRetryDelay: 50 };
  return { bus: new VehicleBus(vehicle, settings, log), opened: () => opened };
}

async function serialNumber(bus: VehicleBus, ecuId: string): Promise<string> {
  const answer = await bus.use(
    ecuId,
    { purpose: "test" },
    (client) => client.raw(Uint8Array.of(0x22, 0xf1, 0x8c)),
  );
  return new TextDecoder().decode(answer?.subarray(3));
}

const isAway = (error: unknown) =>
  error instanceof AdapterUnreachableError && /CAN_BODY at tcp:/.test(error.message);

Deno.test("the ECUs of one adapter are used side by side over one line, opened once", async () => {
  await using bench = await start();
  const { bus, opened } = busOf(bench.adapter("CAN_BODY").port);
  try {
    assert.deepEqual(
      await Promise.all([serialNumber(bus, "ECU_001"), serialNumber(bus, "ECU_002")]),
      ["SN-0001", "SN-0002"],
    );
    assert.equal(await serialNumber(bus, "ECU_001"), "SN-0001");
    assert.equal(opened(), 1);
  } finally {
    await bus.close();
  }
});

Deno.test("an adapter that was unplugged fails requests at once, and is found again by itself", async () => {
  await using bench = await start();
  const adapter: SimulatedAdapter = bench.adapter("CAN_BODY");
  const { bus } = busOf(adapter.port);
  try {
    assert.equal(await serialNumber(bus, "ECU_001"), "SN-0001");
    const back = adapter.unplug(300);
    await eventually("the loss is noticed", async () => {
      try {
        await serialNumber(bus, "ECU_001");
      } catch (error) {
        return isAway(error) ? true : undefined;
      }
    });
    await back;
    await eventually("the adapter is used again", async () => {
      try {
        return await serialNumber(bus, "ECU_002") === "SN-0002" ? true : undefined;
      } catch (error) {
        if (!isAway(error)) throw error;
      }
    });
  } finally {
    await bus.close();
  }
});

Deno.test("an adapter that is not there is not asked for by each ECU anew, and is found when it comes", async () => {
  let port: number;
  {
    await using bench = await start();
    ({ port } = bench.adapter("CAN_BODY"));
  }
  const { bus, opened } = busOf(port);
  try {
    await assert.rejects(serialNumber(bus, "ECU_001"), isAway);
    await assert.rejects(serialNumber(bus, "ECU_002"), isAway);
    assert.equal(opened(), 1);
    await using _bench = await start(port);
    await eventually("the adapter is found", async () => {
      try {
        return await serialNumber(bus, "ECU_001") === "SN-0001" ? true : undefined;
      } catch (error) {
        if (!isAway(error)) throw error;
      }
    });
  } finally {
    await bus.close();
  }
});

Deno.test("a diagnostic session holds from one use to the next", async () => {
  await using bench = await start();
  const { bus } = busOf(bench.adapter("CAN_BODY").port);
  try {
    await bus.use("ECU_001", { purpose: "test" }, (client) => client.raw(Uint8Array.of(0x10, 0x03)));
    assert.equal(bench.ecu("ECU_001").session, 3);
    assert.equal(await serialNumber(bus, "ECU_001"), "SN-0001");
    assert.equal(bench.ecu("ECU_001").session, 3);
  } finally {
    await bus.close();
  }
});
