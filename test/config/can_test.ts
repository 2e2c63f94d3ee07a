import assert from "node:assert/strict";
import { ConfigError, loadConfig } from "../../src/config/load.ts";

const adapter = "bench.vehicles.0.adapters.0";
/** ECU_007 and ECU_008 of the default bench. */
const normal = "bench.vehicles.0.gateways.2.ecus.2.can";
const fixed = "bench.vehicles.0.gateways.2.ecus.3.can";

async function refusal(...set: string[]): Promise<string> {
  try {
    await loadConfig({ set });
  } catch (error) {
    assert.ok(error instanceof ConfigError, `expected a ConfigError, got ${error}`);
    return error.message;
  }
  throw new assert.AssertionError({ message: `the configuration was taken: ${set.join(" ")}` });
}

Deno.test("two of the eight ECUs of the default bench are on CAN, with 11 and with 29 bits", async () => {
  const { bench } = await loadConfig();
  const [vehicle] = bench.vehicles;
  assert.deepEqual(vehicle.adapters, [
    { adapter_id: "CAN_BODY", serial_baud_rate: 1_000_000, bit_rate: 500_000, acknowledgement: "z" },
  ]);
  const defaults = { fd: false, padding: 0xcc, block_size: 0, st_min: 0 };
  assert.deepEqual(
    vehicle.gateways.flatMap(({ ecus }) => ecus).flatMap(({ ecu_id, can }) => can ? [[ecu_id, can]] : []),
    [
      [
        "ECU_007",
        { adapter: "CAN_BODY", addressing: "normal", request_id: 0x7a7, response_id: 0x7af, ...defaults },
      ],
      ["ECU_008", { adapter: "CAN_BODY", addressing: "normal_fixed", ecu_address: 0x48, ...defaults }],
    ],
  );
});

const refused: [string, string[], RegExp][] = [
  [
    "an adapter that is not there",
    [`${normal}.adapter=CAN_DOOR`],
    /must be an adapter of the vehicle; there are: CAN_BODY.*CAN_DOOR/,
  ],
  [
    "an identifier that stands twice on one adapter",
    [`${fixed}={adapter: CAN_BODY, request_id: 0x7A0, response_id: 0x7A7}`],
    /identifier 0x7A7 stands twice on CAN_BODY/,
  ],
  [
    "an ECU address that stands twice on one adapter",
    [`${normal}={adapter: CAN_BODY, addressing: normal_fixed, ecu_address: 0x48}`],
    /ECU address 0x48 stands twice on CAN_BODY/,
  ],
  ["an identifier of more than 29 bits", [`${normal}.request_id=0x20000000`], /request_id.*536870911/],
  [
    "an identifier that does not fit into 11 bits",
    [`${normal}.id_bits=11`, `${normal}.request_id=0x800`],
    /must be at most 0x7FF with id_bits 11.*2048/,
  ],
  [
    "normal addressing without a response",
    [`${normal}={adapter: CAN_BODY, request_id: 0x700}`],
    /must have response_id/,
  ],
  [
    "extended addressing without an address",
    [`${normal}.addressing=extended`],
    /addressing extended must have ecu_address/,
  ],
  [
    "mixed addressing without an extension",
    [`${normal}.addressing=mixed`],
    /addressing mixed must have address_extension/,
  ],
  [
    "an identifier with fixed addresses",
    [`${fixed}.request_id=0x700`],
    /has no meaning with addressing normal_fixed/,
  ],
  [
    "an addressing that there is not",
    [`${normal}.addressing=fancy`],
    /"normal"\|"normal_fixed"\|"extended"\|"mixed"/,
  ],
  ["FD on a classic bus", [`${normal}.fd=true`], /needs a data_bit_rate at adapter CAN_BODY/],
  ["long frames without FD", [`${normal}.frame_length=64`], /more than 8 bytes need fd: true/],
  ["a length that no frame has", [`${normal}.frame_length=10`], /must be 8, 12, 16, 20, 24, 32, 48 or 64/],
  ["a padding of no byte", [`${normal}.padding=full`], /must be a byte or "none"/],
  ["a block size over 255", [`${normal}.block_size=256`], /block_size.*255/],
  ["an STmin that cannot be told", [`${normal}.st_min=1.5`], /must be 0 to 127 ms, or 0.1 to 0.9 ms/],
  ["a time-out below 0", [`${normal}.timing={n_cr: -1}`], /n_cr/],
  ["a bit rate without a command", [`${adapter}.bit_rate=123456`], /must be one of 10000, 20000, .*123456/],
  ["a window of nothing", [`${adapter}.window=0`], /window/],
  [
    "a window without acknowledgements",
    [`${adapter}.acknowledgement=none`, `${adapter}.window=8`],
    /window.*no meaning with acknowledgement none/,
  ],
  ["750 kbit/s without its firmware", [`${adapter}.bit_rate=750000`], /needs s7_bit_rate: 750000/],
  [
    "a port that is none",
    [`${adapter}.port=COM3`],
    /must be the path of a device such as \/dev\/ttyACM0, or tcp/,
  ],
  ["a real bench without a port", ["bench.simulated=false"], /adapter CAN_BODY must have a port/],
  [
    "a PTY for a real adapter",
    [`${adapter}.port=/dev/ttyACM0`, `${adapter}.pty=/tmp/can`],
    /is for simulated adapters alone/,
  ],
  [
    "an adapter that stands twice",
    [
      "bench.vehicles.0.adapters=[{adapter_id: CAN_BODY, serial_baud_rate: 115200, bit_rate: 500000, acknowledgement: none}, " +
      "{adapter_id: CAN_BODY, serial_baud_rate: 115200, bit_rate: 500000, acknowledgement: none}]",
    ],
    /adapter CAN_BODY stands twice/,
  ],
];

for (const [what, set, message] of refused) {
  Deno.test(`refused: ${what}`, async () => assert.match(await refusal(...set), message));
}

Deno.test("each addressing is taken with what it needs", async () => {
  for (
    const can of [
      "{adapter: CAN_BODY, request_id: 0x18DA10F1, response_id: 0x18DAF110, functional_id: 0x18DB33F1}",
      "{adapter: CAN_BODY, addressing: extended, request_id: 0x6F1, response_id: 0x612, ecu_address: 0x12, st_min: 0.5}",
      "{adapter: CAN_BODY, addressing: mixed, request_id: 0x700, response_id: 0x708, address_extension: 0x05}",
      "{adapter: CAN_BODY, addressing: mixed, ecu_address: 0x10, address_extension: 0x05, padding: none}",
      "{adapter: CAN_BODY, addressing: normal_fixed, ecu_address: 0x10, tester_address: 0xF2, timing: {n_bs: 500}}",
    ]
  ) {
    await loadConfig({ set: [`${normal}=${can}`] });
  }
  await loadConfig({
    set: [`${adapter}.data_bit_rate=2000000`, `${normal}.fd=true`, `${normal}.frame_length=64`],
  });
  await loadConfig({ set: [`${adapter}.port=tcp://10.0.0.5:20108`] });
});
