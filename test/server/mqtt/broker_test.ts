// The broker's rules, with an MQTT client over this product's own TLS.

import assert from "node:assert/strict";
import type { IClientOptions, MqttClient } from "mqtt";
import { routes } from "../../../src/contract/routes.ts";
import { type Caller, eventually, startTestServer, vinA, vinB } from "../running_server.ts";

const idA = `vehicle-${vinA}`;

Deno.test("the broker lets each vehicle do what is its own, and nothing else", async (t) => {
  await using server = await startTestServer("127.0.34.15", {
    mqtt: { maxPayload: 1000 },
    telemetry: { rules: [{ metric: "temp", max: 100 }], batchInterval: 5 },
  });
  const { vehicleA, vehicleB, operator } = server;
  const clients: MqttClient[] = [];
  const open = async (caller: Caller, options: IClientOptions) => {
    const client = await server.mqtt(caller, options);
    client.on("error", () => {});
    clients.push(client);
    return client;
  };
  const registerA = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
  await vehicleA.rest.call(routes.registerVehicle, { body: registerA });
  await vehicleB.rest.call(routes.registerVehicle, { body: { ...registerA, vin: vinB, vmg_id: "VMG-002" } });
  const statusOf = async (vin: string) =>
    (await operator.rest.call(routes.getVehicle, { path: { vin } })).status;
  const telemetryOf = async (vin: string) =>
    (await operator.rest.call(routes.listTelemetry, { path: { vin } })).telemetry;
  const closed = (client: MqttClient) =>
    new Promise<void>((resolve) => client.once("close", () => resolve()));

  try {
    await t.step("CONNECT is for the certificate's own client id", async () => {
      for (const clientId of [`vehicle-${vinB}`, "anything", vinA]) {
        await assert.rejects(open(vehicleA, { clientId }), /Identifier rejected/i, clientId);
      }
      await assert.rejects(open(operator, { clientId: "operator-bench" }), /Not authorized/i);
    });

    await t.step("a will must be the vehicle's own status", async () => {
      const will = (topic: string, payload: string) => ({
        topic,
        payload: Buffer.from(payload),
        qos: 1 as const,
        retain: true,
      });
      for (
        const [topic, payload] of [
          ["vehicle/VMG-002/status", '{"status":"offline"}'],
          ["vehicle/VMG-001/telemetry", '{"speed":1}'],
          ["vehicle/VMG-001/status", '{"status":"gone"}'],
          ["vehicle/VMG-001/status", "offline"],
        ]
      ) {
        await assert.rejects(
          open(vehicleA, { clientId: idA, will: will(topic, payload) }),
          /Not authorized/i,
          topic,
        );
      }
    });

    let client = await open(vehicleA, { clientId: idA, clean: false });

    await t.step("a connection makes the vehicle online, with its link", async () => {
      await eventually("online", async () => await statusOf(vinA) === "online");
      const { links } = await operator.rest.call(routes.getVehicle, { path: { vin: vinA } });
      assert.ok(
        links.some((link) =>
          link.listener === "mqtt" && link.protocol === "TLSv1.3" && link.group === "X25519MLKEM768" &&
          link.signature_scheme === "ecdsa_secp256r1_sha256"
        ),
      );
      assert.ok(
        server.lines.some((line) =>
          /\[MQTT\] TLS handshake successful \(X25519MLKEM768, ECDSA P-256\) vehicle-/.test(line)
        ),
      );
    });

    await t.step("telemetry is in the database when its PUBACK is there", async () => {
      await client.publishAsync("vehicle/VMG-001/telemetry", '{"speed":50,"message_id":"a-1"}', { qos: 1 });
      assert.deepEqual((await telemetryOf(vinA)).map((row) => row.metrics), [{ speed: 50 }]);
      await client.publishAsync("vehicle/VMG-001/telemetry", '{"speed":50,"message_id":"a-1"}', { qos: 1 });
      await client.publishAsync(`vehicle/${vinA}/telemetry`, '{"temp":101,"message_id":"a-2"}', { qos: 2 });
      assert.equal((await telemetryOf(vinA)).length, 2);
      assert.ok(
        server.lines.some((line) =>
          line.endsWith("INFO - [MQTT] Received message on vehicle/VMG-001/telemetry")
        ),
      );
      assert.ok(server.lines.some((line) => line.endsWith("INFO - [MQTT] Telemetry from VMG-001 stored")));
      const anomalies = await eventually("an anomaly", async () => {
        const found = (await operator.rest.call(routes.listAnomalies, { path: { vin: vinA } })).anomalies;
        return found.length > 0 && found;
      });
      assert.deepEqual(anomalies.map(({ metric, rule, value }) => [metric, rule, value]), [[
        "temp",
        "limit",
        101,
      ]]);
    });

    await t.step("what does not fit is acknowledged, kept aside and not stored", async () => {
      for (const payload of ["not json", '{"speed":"fast"}', "[]", '{"speed":1e999}']) {
        await client.publishAsync("vehicle/VMG-001/telemetry", payload, { qos: 1 });
      }
      assert.equal((await telemetryOf(vinA)).length, 2);
      assert.equal(server.lines.filter((line) => line.includes("refused: malformed JSON")).length, 1);
    });

    await t.step("foreign filters are refused one by one, own ones granted", async () => {
      const topics = [
        "#",
        "vehicle/+/control",
        "vehicle/VMG-002/#",
        "$SYS/#",
        "vehicle/VMG-001/#",
        `vehicle/${vinA}/control`,
      ];
      const granted = await new Promise<number[]>((resolve) => {
        client.subscribe(
          Object.fromEntries(topics.map((topic) => [topic, { qos: 1 as const }])),
          (_error, list, packet) => {
            resolve(packet?.granted?.map(Number) ?? list?.map((it) => it.qos) ?? []);
          },
        );
      });
      assert.deepEqual(granted, [128, 128, 128, 128, 1, 1]);
    });

    await t.step(
      "a command arrives once though both names are heard, and its PUBACK acknowledges it",
      async () => {
        const heard: string[] = [];
        client.on("message", (topic, payload) => heard.push(`${topic} ${payload}`));
        const body = { vin: vinA, ecu_id: "ECU_001", service_id: "0x22", data: "F190" };
        const { request_id } = await operator.rest.call(routes.sendDiagnostic, { body });
        await eventually("the request", () => heard.some((text) => text.includes(request_id)));
        await operator.rest.call(routes.putConfig, { path: { vin: vinA }, body: { interval: 1 } });
        await eventually("the configuration", () => heard.some((text) => text.includes('"interval":1')));
        await eventually("nothing pending", async () => {
          const { messages } = await vehicleA.rest.call(routes.pendingMessages, { path: { vin: vinA } });
          return messages.length === 0;
        });
        assert.equal(heard.filter((text) => text.includes(request_id)).length, 1);
        assert.ok(heard[0].startsWith("vehicle/VMG-001/diagnostics "));
        const answer = { request_id, ecu_id: "ECU_001", service_id: "0x22", nrc: "0x31" };
        await client.publishAsync("vehicle/VMG-001/diagnostics", JSON.stringify(answer), { qos: 1 });
        const result = await operator.rest.call(routes.getDiagnostic, { path: { request_id } });
        assert.equal(result.status, "failed");
        assert.deepEqual(result.decoded, { nrc: "0x31", name: "requestOutOfRange" });
      },
    );

    await t.step(
      "what is sent while the vehicle is away comes when it is back, without being asked for",
      async () => {
        await client.endAsync();
        await eventually("offline", async () => await statusOf(vinA) === "offline");
        const body = { vin: vinA, ecu_id: "ECU_002", service_id: "0x3E", data: "00" };
        const { request_id } = await operator.rest.call(routes.sendDiagnostic, { body });
        const heard: string[] = [];
        // The message may come in the same record as CONNACK.
        client = await server.mqtt(
          vehicleA,
          { clientId: idA, clean: false },
          (payload) => heard.push(payload),
        );
        client.on("error", () => {});
        clients.push(client);
        await eventually("the request", () => heard.some((text) => text.includes(request_id)));
        assert.equal(await statusOf(vinA), "online");
      },
    );

    await t.step("a clean session's PUBACK counts as well", async () => {
      const other = await open(vehicleB, { clientId: `vehicle-${vinB}`, clean: true });
      await other.subscribeAsync("vehicle/VMG-002/#", { qos: 1 });
      const body = { vin: vinB, ecu_id: "ECU_001", service_id: "0x3E", data: "00" };
      await operator.rest.call(routes.sendDiagnostic, { body });
      await eventually("nothing pending", async () => {
        const { messages } = await vehicleB.rest.call(routes.pendingMessages, { path: { vin: vinB } });
        return messages.length === 0;
      });
    });

    await t.step("the configuration is retained", async () => {
      const heard: string[] = [];
      await client.unsubscribeAsync(["vehicle/VMG-001/#", `vehicle/${vinA}/control`]);
      client.on("message", (topic, payload, packet) => heard.push(`${packet.retain} ${topic} ${payload}`));
      await client.subscribeAsync(`vehicle/${vinA}/config`, { qos: 1 });
      await eventually("the configuration", () => heard.length > 0);
      assert.equal(heard[0], `true vehicle/${vinA}/config {"version":1,"config":{"interval":1}}`);
    });

    await t.step(
      "a second connection of the same client takes over, and the first one's will is void",
      async () => {
        const will = {
          topic: "vehicle/VMG-001/status",
          payload: Buffer.from('{"status":"offline"}'),
          qos: 1 as const,
          retain: false,
        };
        const first = await open(vehicleA, { clientId: idA, clean: false, will });
        const gone = closed(first);
        const second = await open(vehicleA, { clientId: idA, clean: false, will });
        await gone;
        await second.publishAsync("vehicle/VMG-001/telemetry", '{"speed":1}', { qos: 1 });
        assert.equal(await statusOf(vinA), "online");
        second.stream.destroy();
        await eventually("offline by the will", async () => await statusOf(vinA) === "offline");
        client = await open(vehicleA, { clientId: idA, clean: false });
      },
    );

    await t.step(
      "PUBLISH that is too long is kept aside and acknowledged: it must not hold up the rest",
      async () => {
        const count = (await telemetryOf(vinA)).length;
        const client = await open(vehicleA, { clientId: idA });
        const payload = `{"x":"${"y".repeat(2000)}"}`;
        await client.publishAsync("vehicle/VMG-001/telemetry", payload, { qos: 1 });
        await client.publishAsync("vehicle/VMG-001/telemetry", '{"speed":3}', { qos: 1 });
        assert.equal((await telemetryOf(vinA)).length, count + 1);
        assert.ok(
          server.lines.some((line) => /refused: expected at most \d+ bytes, got 2008/.test(line)),
          server.lines.slice(-5).join("\n"),
        );
        client.end(true);
      },
    );

    await t.step("PUBLISH on a foreign topic, or longer than any message, ends the connection", async () => {
      const count = (await telemetryOf(vinB)).length;
      for (
        const [topic, payload] of [
          ["vehicle/VMG-002/telemetry", '{"speed":1}'],
          ["vehicle/VMG-001/control", "{}"],
          ["other", "{}"],
          ["vehicle/VMG-001/telemetry", "y".repeat(200_000)],
        ]
      ) {
        const bad = await open(vehicleA, { clientId: idA });
        const end = closed(bad);
        bad.publish(topic, payload, { qos: 1 });
        await end;
      }
      assert.equal((await telemetryOf(vinB)).length, count);
    });

    await t.step("what was acknowledged is there after a restart", async () => {
      const before = (await telemetryOf(vinA)).length;
      await server.restart();
      assert.equal((await telemetryOf(vinA)).length, before);
      const again = await open(vehicleA, { clientId: idA, clean: false });
      await again.publishAsync("vehicle/VMG-001/telemetry", '{"speed":2}', { qos: 1 });
      assert.equal((await telemetryOf(vinA)).length, before + 1);
    });
  } finally {
    for (const client of clients) client.end(true);
  }
});
