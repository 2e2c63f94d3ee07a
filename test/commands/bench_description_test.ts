import assert from "node:assert/strict";
import { placeGateways, simulationOf, vehicleOf } from "../../src/commands/bench_description.ts";
import { loadConfig } from "../../src/config/load.ts";

Deno.test("gateways take the addresses of the network in their order", async () => {
  const { bench } = await loadConfig({ set: ["bench.network=127.0.99.0/24"] });
  assert.deepEqual(
    placeGateways(bench).map((it) => [it.zonalGatewayId, it.hostname, it.port]),
    [["ZG_POWERTRAIN", "127.0.99.1", 13400], ["ZG_CHASSIS", "127.0.99.2", 13400], [
      "ZG_BODY",
      "127.0.99.3",
      13400,
    ]],
  );
});

Deno.test("a gateway with an address of its own does not use one of the network up", async () => {
  const { bench } = await loadConfig({
    set: ["bench.vehicles.0.gateways.0.hostname=192.0.2.7", "bench.vehicles.0.gateways.0.port=3496"],
  });
  const placed = placeGateways(bench);
  assert.deepEqual([placed[0].hostname, placed[0].port], ["192.0.2.7", 3496]);
  assert.equal(placed[1].hostname, "127.0.10.1");
});

Deno.test("a network with too few addresses is refused", async () => {
  const { bench } = await loadConfig({ set: ["bench.network=127.0.99.0/30"] });
  assert.throws(() => placeGateways(bench), /127\.0\.99\.0\/30 has no 3th address/);
});

Deno.test("a network that begins in its middle is the whole network", async () => {
  const { bench } = await loadConfig({ set: ["bench.network=127.0.99.77/24"] });
  assert.equal(placeGateways(bench)[0].hostname, "127.0.99.1");
});

Deno.test("the vehicle that the gateway serves and the simulation agree on every ECU", async () => {
  const config = await loadConfig();
  const { bench } = config;
  const vehicle = vehicleOf(bench, "KMHZB00BENCH00001", {
    config,
    pki: "data/pki",
    holder: "operator bench",
  });
  const simulated = simulationOf(bench, "data/bench").gateways.flatMap((gateway) =>
    gateway.ecus.map((ecu) => [ecu.ecuId, ecu.ecuType, ecu.logicalAddress, gateway.zonalGatewayId])
  );
  assert.deepEqual(
    vehicle.ecus.map((ecu) => [ecu.ecuId, ecu.ecuType, ecu.logicalAddress, ecu.zonalGatewayId]),
    simulated,
  );
  assert.equal(vehicle.vmgId, "VMG-001");
});

Deno.test("a vehicle that is not on the bench is refused", async () => {
  const config = await loadConfig();
  assert.throws(
    () => vehicleOf(config.bench, "KMHZB00BENCH99999", { config, pki: "data/pki", holder: "operator bench" }),
    /expected a vehicle of the bench, got KMHZB00BENCH99999/,
  );
});
