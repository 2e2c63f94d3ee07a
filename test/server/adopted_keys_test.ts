// Keys of ECUs that a running server is told of.

import assert from "node:assert/strict";
import { control } from "../../src/contract/mqtt.ts";
import { routes } from "../../src/contract/routes.ts";
import { generateSigner } from "../../src/uptane/keys.ts";
import { ecu, report, startTestServer, vinA } from "./running_server.ts";

Deno.test("keys that a running server is told of are in the inventory, and a report that they can bear out is asked for", async () => {
  await using server = await startTestServer("127.0.201.22");
  const { rest } = server.vehicleA;
  const path = { vin: vinA };
  const commands = async () =>
    (await rest.call(routes.pendingMessages, { path })).messages.map(({ payload }) =>
      control.parse(payload).command
    );
  await rest.call(routes.registerVehicle, {
    body: { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" },
  });
  await rest.call(routes.submitVci, { path, body: report(vinA, "VMG-001", [ecu("ECU_001", "1.0.0")]) });
  assert.deepEqual(await commands(), []);

  const { key } = await generateSigner("ecdsa-p256");
  const keys = [key.keyval.public];
  await server.server.adoptKeys([
    { vin: vinA, ecu_id: "VMG-001", primary: true, keys },
    { vin: vinA, ecu_id: "ECU_001", primary: false, keys },
  ]);
  const { ecus } = await server.operator.rest.call(routes.listInventory, { query: { vin: vinA } });
  assert.deepEqual(ecus.map(({ ecu_id, primary }) => [ecu_id, primary]), [["ECU_001", false], [
    "VMG-001",
    true,
  ]]);
  assert.deepEqual(await commands(), ["REPORT_VCI"]);
});
