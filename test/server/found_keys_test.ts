// Keys of ECUs that a running server is told of.

import assert from "node:assert/strict";
import { control } from "../../src/contract/mqtt.ts";
import { routes } from "../../src/contract/routes.ts";
import { createLogger } from "../../src/log.ts";
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
  await server.server.addFoundKeys([
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

Deno.test("keys that are found take the place of none that somebody entered", async () => {
  const lines: string[] = [];
  const log = createLogger({ level: "info", write: (line) => lines.push(line) });
  await using server = await startTestServer("127.0.201.23", { log });
  const key = async () => [(await generateSigner("ecdsa-p256")).key.keyval.public];
  const entered = await key();
  const found = await key();
  const entry = (ecu_id: string, keys: string[]) => ({
    vin: vinA,
    ecu_id,
    primary: ecu_id === "VMG-001",
    keys,
  });
  await server.operator.rest.call(routes.addToInventory, { body: entry("VMG-001", entered) });
  await server.server.addFoundKeys([entry("VMG-001", found), entry("ECU_001", found)]);
  const listed = async () =>
    (await server.operator.rest.call(routes.listInventory, { query: { vin: vinA } })).ecus
      .map(({ ecu_id, keys }) => [ecu_id, keys.map((one) => one.public)]);
  assert.deepEqual(await listed(), [["VMG-001", entered]]);
  assert.match(lines.join("\n"), /not those in the inventory \(VMG-001\).*zonebench repo inventory add/);

  // What agrees with all that was entered only adds to it.
  await server.server.addFoundKeys([entry("VMG-001", entered), entry("ECU_001", found)]);
  assert.deepEqual(await listed(), [["ECU_001", found], ["VMG-001", entered]]);
});
