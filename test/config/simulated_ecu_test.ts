import assert from "node:assert/strict";
import { ConfigError, loadConfig } from "../../src/config/load.ts";
import { simulationOf } from "../../src/commands/bench_description.ts";

const engine = "bench.vehicles.0.gateways.0.ecus.0";
const type = "bench.ecu_types.ENGINE_CONTROLLER";

async function refusal(...set: string[]): Promise<string> {
  try {
    await loadConfig({ set });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail("the setting was taken");
}

Deno.test("what a simulated ECU has and does wrong reaches the simulation", async () => {
  const { bench } = await loadConfig({
    set: [
      `${type}.data_identifiers=[{did: 0xF201, data: "0001", counting: true, scaling: "02"}]`,
      `${type}.files={"/log/boot": "CAFE"}`,
      `${type}.authentication={algorithm: ml-dsa-44}`,
      `${engine}.dtcs=[{code: 0x9A0115, status: 0x2F, severity: 0x40, functional_unit: 2, functional_group: 0x33, memory: 1,
        permanent: true, counter: -5, snapshots: [{record: 2, values: [{did: 0xF40D, data: "07"}, {did: 0x0102, data: "0A0B"}]}],
        extended_data: [{record: 1, data: "03"}]}]`,
      `${engine}.faults=[{kind: wrong_block_counter, occurrence: 3}, {kind: late_answer, service: 0x22, occurrence: 1, delay: 5}]`,
    ],
  });
  const anchor = Uint8Array.of(0x30, 0x00);
  const { gateways } = simulationOf(bench, "data/bench", new Map([["ENGINE_CONTROLLER", [anchor]]]));
  const { dataIdentifiers = [], files, authentication, dtcs, faults } = gateways[0].ecus[0];
  assert.deepEqual(dataIdentifiers.map(({ did }) => did), [0x0100, 0xf201]);
  assert.deepEqual(dataIdentifiers[1], { did: 0xf201, data: "0001", counting: true, scaling: "02" });
  assert.deepEqual(files, { "/log/boot": "CAFE" });
  assert.deepEqual(authentication, { trustAnchors: [anchor], forProgramming: true });
  assert.deepEqual(dtcs, [{
    code: 0x9a0115,
    status: 0x2f,
    severity: 0x40,
    functionalUnit: 2,
    functionalGroup: 0x33,
    memory: 1,
    permanent: true,
    counter: -5,
    // Two identifiers, F40D with 07 and 0102 with 0A0B.
    snapshots: [{ record: 2, data: "02f40d0701020A0B" }],
    extendedData: [{ record: 1, data: "03" }],
  }]);
  assert.deepEqual(faults, [
    { kind: "wrong_block_counter", occurrence: 3 },
    { kind: "late_answer", service: 0x22, occurrence: 1, delay: 5 },
  ]);
  assert.equal(gateways[0].ecus[1].authentication, undefined);
});

Deno.test("faults are for simulated ECUs alone", async () => {
  const faults = `${engine}.faults=[{kind: power_cut, operation: 1}]`;
  assert.match(await refusal(faults, "bench.simulated=false"), /faults.*is for simulated ECUs alone/);
  const light = "bench.vehicles.0.gateways.2.ecus.2";
  assert.match(
    await refusal(
      `${light}.faults=[{kind: power_cut, operation: 1}]`,
      "bench.vehicles.0.adapters.0.port=tcp://192.0.2.1:20107",
    ),
    /faults.*is for simulated ECUs alone/,
  );
});

for (
  const [name, set, message] of [
    ["a kind that there is not", `${engine}.faults=[{kind: gremlin}]`, /faults\[0\]\.kind/],
    [
      "a fault without its count",
      `${engine}.faults=[{kind: silence, service: 0x22}]`,
      /faults\[0\]\.occurrence/,
    ],
    ["half a byte", `${type}.data_identifiers=[{did: 1, data: "0"}]`, /two a byte/],
    [
      "a record 0xFF",
      `${engine}.dtcs=[{code: 1, status: 1, extended_data: [{record: 255, data: "00"}]}]`,
      /record/,
    ],
    ["no way to authenticate", `${type}.authentication={}`, /must have algorithm.*or certificate and key/],
    [
      "a certificate without key",
      `${type}.authentication={certificate: a.crt}`,
      /certificate and key together/,
    ],
    [
      "a certificate that is not there",
      `${type}.authentication={certificate: nowhere.crt, key: nowhere.key}`,
      /authentication\.certificate: must be a file that is there, got "nowhere\.crt"/,
    ],
  ] as const
) {
  Deno.test(`a bench file is refused with ${name}`, async () => {
    assert.match(await refusal(set), message);
  });
}
