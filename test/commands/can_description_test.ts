import assert from "node:assert/strict";
import { simulationOf, vehicleOf } from "../../src/commands/bench_description.ts";
import { ecuOnCan, placeAdapters, simulatedCan } from "../../src/commands/can_description.ts";
import { loadConfig } from "../../src/config/load.ts";

const ecu = "bench.vehicles.0.gateways.2.ecus.2.can";

async function canOf(text: string) {
  const { bench } = await loadConfig({
    set: [`${ecu}=${text}`, "bench.vehicles.0.adapters.0.data_bit_rate=2000000"],
  });
  const { can } = bench.vehicles[0].gateways[2].ecus[2];
  assert.ok(can !== undefined);
  return { tester: ecuOnCan(can), simulated: simulatedCan(can) };
}

Deno.test("a simulated adapter has the network's next address after the gateways, a real one its port", async () => {
  const { bench } = await loadConfig({ set: ["bench.network=127.0.99.0/24"] });
  assert.deepEqual(
    placeAdapters(bench).map(({ target, simulated }) => [target, simulated]),
    [["tcp://127.0.99.4:20107", { hostname: "127.0.99.4", port: 20107 }]],
  );
  const real = await loadConfig({ set: ["bench.vehicles.0.adapters.0.port=/dev/ttyACM0"] });
  assert.deepEqual(
    placeAdapters(real.bench).map(({ target, simulated }) => [target, simulated]),
    [["/dev/ttyACM0", undefined]],
  );
});

Deno.test("the vehicle and the simulation agree on who is on CAN, and by which address", async () => {
  const config = await loadConfig();
  const vehicle = vehicleOf(config.bench, "KMHZB00BENCH00001", {
    config,
    pki: "data/pki",
    holder: "operator bench",
  });
  const simulation = simulationOf(config.bench, "data/bench");
  const expected = [
    ["ECU_007", "CAN_BODY", { format: "normal", requestId: 0x7a7, responseId: 0x7af, idBits: undefined }],
    ["ECU_008", "CAN_BODY", { format: "normal_fixed", ecu: 0x48, tester: undefined }],
  ];
  assert.deepEqual(
    vehicle.ecus.flatMap(({ ecuId, can }) => can ? [[ecuId, can.adapterId, can.address]] : []),
    expected,
  );
  assert.deepEqual(
    simulation.gateways.flatMap(({ ecus }) => ecus)
      .flatMap(({ ecuId, can }) => can ? [[ecuId, can.adapterId, can.address]] : []),
    expected,
  );
  assert.deepEqual(simulation.adapters?.map(({ adapterId }) => adapterId), ["CAN_BODY"]);
  assert.deepEqual(vehicle.adapters.map(({ adapterId, where, settings }) => [adapterId, where, settings]), [
    [
      "CAN_BODY",
      "tcp://127.0.10.4:20107",
      {
        bitRate: 500_000,
        dataBitRate: undefined,
        acknowledgement: "z",
        window: undefined,
        s7BitRate: undefined,
      },
    ],
  ]);
});

Deno.test("what is behind a real adapter is not simulated", async () => {
  const { bench } = await loadConfig({ set: ["bench.vehicles.0.adapters.0.port=/dev/ttyACM0"] });
  const { gateways, adapters } = simulationOf(bench, "data/bench");
  assert.deepEqual(adapters, []);
  assert.deepEqual(gateways[2].ecus.map(({ ecuId }) => ecuId), ["ECU_005", "ECU_006"]);
});

Deno.test("each addressing becomes the stack's own, with the group that reaches all", async () => {
  const cases: [string, unknown, unknown][] = [
    [
      "{adapter: CAN_BODY, request_id: 0x18DA10F1, response_id: 0x18DAF110}",
      { format: "normal", requestId: 0x18da10f1, responseId: 0x18daf110, idBits: undefined },
      { format: "normal", requestId: 0x18db33f1, idBits: undefined },
    ],
    [
      "{adapter: CAN_BODY, request_id: 0x700, response_id: 0x708}",
      { format: "normal", requestId: 0x700, responseId: 0x708, idBits: undefined },
      { format: "normal", requestId: 0x7df, idBits: undefined },
    ],
    [
      "{adapter: CAN_BODY, addressing: normal_fixed, ecu_address: 0x10, tester_address: 0xF2}",
      { format: "normal_fixed", ecu: 0x10, tester: 0xf2 },
      { format: "normal_fixed", group: 0x33, tester: 0xf2 },
    ],
    [
      "{adapter: CAN_BODY, addressing: extended, request_id: 0x6F1, response_id: 0x612, ecu_address: 0x12}",
      {
        format: "extended",
        requestId: 0x6f1,
        responseId: 0x612,
        idBits: undefined,
        ecu: 0x12,
        tester: undefined,
      },
      undefined,
    ],
    [
      "{adapter: CAN_BODY, addressing: mixed, request_id: 0x700, response_id: 0x708, address_extension: 5, functional_id: 0x7DF}",
      { format: "mixed_11", requestId: 0x700, responseId: 0x708, idBits: undefined, addressExtension: 5 },
      { format: "mixed_11", requestId: 0x7df, addressExtension: 5, idBits: undefined },
    ],
    [
      "{adapter: CAN_BODY, addressing: mixed, ecu_address: 0x10, address_extension: 5}",
      { format: "mixed_29", ecu: 0x10, tester: undefined, addressExtension: 5 },
      { format: "mixed_29", group: 0x33, tester: undefined, addressExtension: 5 },
    ],
  ];
  for (const [text, address, functional] of cases) {
    const { tester, simulated } = await canOf(text);
    assert.deepEqual(tester.address, address, text);
    assert.deepEqual(simulated.functional, functional, text);
  }
});

Deno.test("frames and timing become the stack's own", async () => {
  const { tester } = await canOf(
    "{adapter: CAN_BODY, request_id: 0x700, response_id: 0x708, fd: true, padding: none, block_size: 8, st_min: 0.5, " +
      "timing: {n_as: 1, n_ar: 2, n_bs: 3, n_br: 4, n_cr: 5, frame_time: 6}}",
  );
  assert.deepEqual(tester.isotp, {
    fd: true,
    txDl: 64,
    padding: "none",
    blockSize: 8,
    stMin: 0.5,
    nAs: 1,
    nAr: 2,
    nBs: 3,
    nBr: 4,
    nCr: 5,
    frameTime: 6,
  });
});
