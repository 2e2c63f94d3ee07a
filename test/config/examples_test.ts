import assert from "node:assert/strict";
import { canAdapterOf, placeAdapters } from "../../src/commands/can_description.ts";
import { vehicleOf } from "../../src/commands/bench_description.ts";
import { loadConfig } from "../../src/config/load.ts";
import { checkVehicle } from "../../src/vmg/vehicle.ts";

const folder = "config/examples";

for (const entry of Deno.readDirSync(folder)) {
  Deno.test(`the example ${entry.name} is a bench that can be driven`, async () => {
    const config = await loadConfig({ benchFile: `${folder}/${entry.name}` });
    const { bench } = config;
    assert.equal(bench.simulated, false);
    for (const { vin } of bench.vehicles) {
      checkVehicle(vehicleOf(bench, vin, { config, pki: "data/pki", holder: `vehicle ${vin}` }));
    }
    for (const placed of placeAdapters(bench)) assert.equal(canAdapterOf(placed).where, placed.adapter.port);
  });
}

Deno.test("there is an example for Ethernet and one for CAN", () => {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  assert.deepEqual(names, ["real-doip.yaml", "real-slcan.yaml"]);
});
