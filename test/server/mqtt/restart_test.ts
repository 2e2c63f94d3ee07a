// A session outlives the server: subscriptions, what waits, and what was sent and not acknowledged.

import assert from "node:assert/strict";
import type { MqttClient } from "mqtt";
import { routes } from "../../../src/contract/routes.ts";
import { eventually, startTestServer, vinA } from "../running_server.ts";

const clientId = `vehicle-${vinA}`;

interface Heard {
  requestId: string;
  packetId: number | undefined;
  dup: boolean;
}

Deno.test("a restarted server goes on with each client's session", async (t) => {
  await using server = await startTestServer("127.0.34.17");
  const { vehicleA, operator } = server;
  const clients: MqttClient[] = [];
  /** Connects without subscribing. @param acknowledges whether messages are acknowledged */
  const open = async (acknowledges: boolean, clean = false) => {
    const heard: Heard[] = [];
    const options = { clientId, clean, resubscribe: false };
    const client = await server.mqtt(vehicleA, options, undefined, (it) => {
      it.on("error", () => {});
      it.handleMessage = (packet, done) => {
        heard.push({
          requestId: JSON.parse(packet.payload.toString()).request_id,
          packetId: packet.messageId,
          dup: packet.dup,
        });
        if (acknowledges) done();
      };
    });
    clients.push(client);
    return { client, heard };
  };
  const ask = async () => {
    const body = { vin: vinA, ecu_id: "ECU_001", service_id: "0x22", data: "F190" };
    return (await operator.rest.call(routes.sendDiagnostic, { body })).request_id;
  };
  const waiting = async () =>
    (await vehicleA.rest.call(routes.pendingMessages, { path: { vin: vinA } })).messages.length;
  const body = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
  await vehicleA.rest.call(routes.registerVehicle, { body });

  try {
    let first = "", second = "";
    let packetId: number | undefined;
    await t.step("a message that was sent and not acknowledged stays", async () => {
      const { client, heard } = await open(false);
      await client.subscribeAsync("vehicle/VMG-001/diagnostics", { qos: 1 });
      first = await ask();
      await eventually("the request", () => heard.length === 1);
      packetId = heard[0].packetId;
      assert.equal(heard[0].dup, false);
      client.stream.destroy();
    });

    await t.step("a message that comes while the vehicle is away waits", async () => {
      second = await ask();
      await server.restart();
      assert.equal(await waiting(), 2);
    });

    await t.step(
      "after the restart both come by themselves, once each, the first as it was sent",
      async () => {
        const { client, heard } = await open(true);
        await eventually("both requests", () => heard.length === 2);
        assert.deepEqual(heard[0], { requestId: first, packetId, dup: true });
        assert.deepEqual([heard[1].requestId, heard[1].dup], [second, false]);
        await eventually("nothing waiting", async () => await waiting() === 0);
        const third = await ask();
        await eventually("a third one", () => heard.length === 3);
        assert.equal(heard[2].requestId, third);
        assert.ok(server.lines.some((line) => line.includes(`Session of ${clientId} restored`)));
        await client.endAsync();
      },
    );

    await t.step("what was acknowledged does not come again", async () => {
      await server.restart();
      const { client, heard } = await open(true);
      const fourth = await ask();
      await eventually("a fourth one", () => heard.length > 0);
      assert.deepEqual(heard.map(({ requestId }) => requestId), [fourth]);
      await client.endAsync();
    });

    await t.step("a clean session takes the kept one away, over a restart too", async () => {
      const { client } = await open(true, true);
      await client.endAsync();
      await server.restart();
      const { client: again, heard } = await open(true);
      await ask();
      await again.publishAsync("vehicle/VMG-001/telemetry", '{"speed":1}', { qos: 1 });
      assert.deepEqual(heard, []);
      assert.equal(await waiting(), 1);
    });
  } finally {
    for (const client of clients) client.end(true);
  }
});
