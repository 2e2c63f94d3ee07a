// mosquitto's clients, on their own TLS (OpenSSL), as vehicles.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../src/contract/routes.ts";
import { startTestServer, type TestServer, vinA, vinB } from "../server/running_server.ts";
import { interopTest, peers } from "../support/peers.ts";

async function mosquitto(
  server: TestServer,
  tool: "mosquitto_pub" | "mosquitto_sub",
  certificate: string | undefined,
  args: string[],
): Promise<{ code: number; text: string }> {
  const { hostname, port } = server.server.mqtt;
  const identity = certificate === undefined ? [] : [
    "--cert",
    join(server.pki, `${certificate}.crt`),
    "--key",
    join(server.pki, `${certificate}.key`),
  ];
  const output = await new Deno.Command("timeout", {
    args: [
      "20",
      tool,
      "-h",
      hostname,
      "-p",
      String(port),
      "--cafile",
      join(server.pki, "ca.crt"),
      ...identity,
      ...args,
    ],
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code: output.code, text: decoder.decode(output.stdout) + decoder.decode(output.stderr) };
}

interopTest("mosquitto_pub is taken as the vehicle that its certificate names, and as no other", [
  peers.mosquittoClients,
], async () => {
  await using server = await startTestServer("127.0.34.21", { profiles: [2, 0] });
  const { vehicleA, vehicleB, operator } = server;
  const registration = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
  await vehicleA.rest.call(routes.registerVehicle, { body: registration });
  await vehicleB.rest.call(routes.registerVehicle, {
    body: { ...registration, vin: vinB, vmg_id: "VMG-002" },
  });
  const detail = (vin: string) => operator.rest.call(routes.getVehicle, { path: { vin } });
  const telemetry = async (vin: string) =>
    (await operator.rest.call(routes.listTelemetry, { path: { vin } })).telemetry.map((row) => row.metrics);
  const publish = (certificate: string | undefined, id: string, topic: string, payload: string) =>
    mosquitto(server, "mosquitto_pub", certificate, ["-q", "1", "-i", id, "-t", topic, "-m", payload]);
  const a = `vehicle-${vinA}`;
  const b = `vehicle-${vinB}`;

  const status = await publish(a, a, `vehicle/${vinA}/status`, '{"status":"online"}');
  assert.equal(status.code, 0, status.text);
  assert.ok(server.lines.some((line) => line.includes(`Received message on vehicle/${vinA}/status`)));
  assert.ok((await detail(vinA)).links.some((link) => link.listener === "mqtt"));

  const stored = await publish(
    a,
    a,
    `vehicle/${vinA}/telemetry`,
    '{"battery_soc":80,"speed":12.5,"temp":21}',
  );
  assert.equal(stored.code, 0, stored.text);
  assert.deepEqual(await telemetry(vinA), [{ battery_soc: 80, speed: 12.5, temp: 21 }]);

  const refused: [what: string, certificate: string | undefined, id: string, topic: string][] = [
    ["another vehicle's certificate", b, a, `vehicle/${vinA}/telemetry`],
    ["another client id", a, "somebody", `vehicle/${vinA}/telemetry`],
    ["another vehicle's topic", a, a, `vehicle/${vinB}/telemetry`],
    ["no certificate", undefined, a, `vehicle/${vinA}/telemetry`],
    ["an operator's certificate", "operator-bench", "operator-bench", `vehicle/${vinA}/telemetry`],
  ];
  for (const [what, certificate, id, topic] of refused) {
    const { code, text } = await publish(certificate, id, topic, '{"speed":1}');
    assert.notEqual(code, 0, `${what}: ${text}`);
  }
  assert.equal((await telemetry(vinA)).length, 1);
  assert.deepEqual(await telemetry(vinB), []);

  // A command that waits comes as soon as mosquitto_sub has subscribed.
  await operator.rest.call(routes.sendDiagnostic, {
    body: { vin: vinA, ecu_id: "ECU_001", service_id: "0x22", data: "F190" },
  });
  const heard = await mosquitto(server, "mosquitto_sub", a, [
    "-q",
    "1",
    "-i",
    a,
    "-t",
    "vehicle/VMG-001/#",
    "-C",
    "1",
  ]);
  assert.equal(heard.code, 0, heard.text);
  assert.equal(JSON.parse(heard.text).data, "F190");
});
