// The timers of a running server: silent vehicles, silent updates, unanswered diagnoses.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../../src/contract/routes.ts";
import { uploadFirmware } from "../fleet.ts";
import { ecu, eventually, report, startTestServer, vinA } from "../running_server.ts";

Deno.test("what stays silent is ended by the timers", async (t) => {
  await using server = await startTestServer("127.0.34.17", {
    maintenance: { interval: 100, offlineAfter: 500 },
    diagnostics: { timeout: 300 },
    updates: { timeout: 700, commandTimeout: 700 },
  });
  const { vehicleA, operator } = server;
  const path = { vin: vinA };
  const registration = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
  await vehicleA.rest.call(routes.registerVehicle, { body: registration });

  await t.step("a vehicle without signs of life is offline", async () => {
    const body = { ip: "10.0.0.1", status: "online" as const, timestamp: new Date().toISOString() };
    await vehicleA.rest.call(routes.heartbeat, { path, body });
    await eventually("offline", async () => {
      return (await operator.rest.call(routes.getVehicle, { path })).status === "offline";
    });
    assert.ok(server.lines.some((line) => line.includes("VMG-001 is offline: no sign of life")));
  });

  await t.step(
    "a diagnosis without an answer has timed out, and its request is no longer delivered",
    async () => {
      const body = { vin: vinA, ecu_id: "ECU_001", service_id: "0x22", data: "F190" };
      const { request_id } = await operator.rest.call(routes.sendDiagnostic, { body });
      await eventually("timeout", async () => {
        return (await operator.rest.call(routes.getDiagnostic, { path: { request_id } })).status ===
          "timeout";
      });
      assert.deepEqual((await vehicleA.rest.call(routes.pendingMessages, { path })).messages, []);
      // A late answer is taken and changes nothing.
      const messages = [{
        message_id: "late-1",
        topic: "vehicle/VMG-001/diagnostics",
        payload: { request_id, ecu_id: "ECU_001", service_id: "0x22", response_data: "62F19041" },
      }];
      const { accepted } = await vehicleA.rest.call(routes.sendMessages, { path, body: { messages } });
      assert.deepEqual(accepted, ["late-1"]);
      assert.equal(
        (await operator.rest.call(routes.getDiagnostic, { path: { request_id } })).status,
        "timeout",
      );
    },
  );

  await t.step("an update whose vehicle is silent has failed, and says at which stage", async () => {
    await uploadFirmware(server, "2.0.0", "firmware");
    const vci = report(vinA, "VMG-001", [ecu("ECU_001", "1.0.0")]);
    await vehicleA.rest.call(routes.submitVci, { path, body: vci });
    const { update_id } = await operator.rest.call(routes.startUpdate, { body: { vin: vinA } });
    const update = await eventually("failed", async () => {
      const found = await operator.rest.call(routes.getUpdate, { path: { id: update_id } });
      return found.status === "failed" && found;
    });
    assert.match(update.error ?? "", /no report for 0\.7 s, last stage pending/);
  });

  await t.step("left-over files go once they are old, others stay", async () => {
    const old = join(server.directory, "data", "tmp", "left.tmp");
    const young = join(server.directory, "data", "tmp", "young.tmp");
    const orphan = join(server.directory, "data", "images", `${"a".repeat(64)}.bin`);
    for (const file of [old, young, orphan]) await Deno.writeTextFile(file, "x");
    const before = new Date(Date.now() - 3 * 86_400_000);
    for (const file of [old, orphan]) await Deno.utime(file, before, before);
    // The files are looked at when the server's timers begin.
    await server.restart();
    const names = (directory: string) =>
      [...Deno.readDirSync(join(server.directory, "data", directory))].map((it) => it.name);
    await eventually(
      "the old ones gone",
      () => !names("tmp").includes("left.tmp") && !names("images").includes(`${"a".repeat(64)}.bin`),
    );
    assert.ok(names("tmp").includes("young.tmp"));
    assert.equal(names("images").length, 2);
  });
});
