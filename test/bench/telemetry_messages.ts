// Telemetry messages a second that are stored before their PUBACK, over MQTT with mutual TLS; mosquitto, which stores
// nothing, takes the same messages from the same client in the same run where it is installed.

import { join } from "node:path";
import { MqttClient } from "mqtt";
import { routes } from "../../src/contract/routes.ts";
import { silentLogger } from "../../src/log.ts";
import { profileById } from "../../src/pqc/profiles.ts";
import { connect } from "../../src/tls/connect.ts";
import { peers, present } from "../support/peers.ts";
import { startTestServer, type TestServer, vinA } from "../server/running_server.ts";
import type { BenchRow } from "./row.ts";

const messages = 10_000;
/** Messages without their PUBACK at once. */
const inFlight = 1000;

export async function run(): Promise<BenchRow[]> {
  await using server = await startTestServer("127.0.34.32", { log: silentLogger });
  const body = { vin: vinA, vehicle_model: "Bench", vehicle_year: 2026, vmg_id: "VMG-001" };
  await server.vehicleA.rest.call(routes.registerVehicle, { body });
  const { hostname, port } = server.server.mqtt;
  const stored = await rate(server, hostname, port);
  const beside = await besideMosquitto(server);
  return [{ what: "telemetry messages stored, one vehicle, QoS 1", value: `${stored} messages/s`, beside }];
}

/** Messages a second that are acknowledged. */
async function rate(server: TestServer, hostname: string, port: number, profile = 2): Promise<number> {
  const { credentials } = server.vehicleA;
  const { stream } = await connect({
    hostname,
    port,
    credentials,
    profile: profileById(profile),
    trust: credentials.trust,
    // What mosquitto shows covers localhost and the address of the server under test.
    serverName: "localhost",
  });
  stream.once("end", () => stream.destroy());
  const client = new MqttClient(() => stream, {
    clientId: `vehicle-${vinA}`,
    reconnectPeriod: 0,
    protocolVersion: 4,
  });
  await new Promise<void>((resolve, reject) => {
    client.once("connect", () => resolve());
    client.once("error", reject);
  });
  try {
    const send = (index: number) =>
      client.publishAsync(
        "vehicle/VMG-001/telemetry",
        JSON.stringify({
          battery_soc: 80,
          speed: index % 200,
          temp: 21.5,
          timestamp: new Date().toISOString(),
        }),
        { qos: 1 },
      );
    for (let i = 0; i < 500; i++) await Promise.all([send(i), send(i)]);
    const began = performance.now();
    let next = 0;
    await Promise.all(Array.from({ length: inFlight }, async () => {
      while (next < messages) await send(next++);
    }));
    return Math.round(messages / ((performance.now() - began) / 1000));
  } finally {
    await client.endAsync();
  }
}

async function besideMosquitto(server: TestServer): Promise<string | undefined> {
  if (!present(peers.mosquitto)) return undefined;
  const port = 34_883;
  const configuration = join(server.directory, "mosquitto.conf");
  await Deno.writeTextFile(
    configuration,
    [
      `listener ${port} 127.0.34.33`,
      `cafile ${join(server.pki, "ca.crt")}`,
      `certfile ${join(server.pki, "server.crt")}`,
      `keyfile ${join(server.pki, "server.key")}`,
      "require_certificate true",
      "allow_anonymous true",
      "max_inflight_messages 0",
      "max_queued_messages 0",
      // mosquitto gives its rights up as root and could not read the key then.
      "user root",
      "",
    ].join("\n"),
  );
  const broker = new Deno.Command("mosquitto", {
    args: ["-c", configuration],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  })
    .spawn();
  try {
    for (let attempt = 0; attempt < 50; attempt++) {
      try {
        (await Deno.connect({ hostname: "127.0.34.33", port })).close();
        break;
      } catch {
        // Not listening yet.
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    // Debian's mosquitto knows no ML-KEM.
    return `mosquitto, nothing stored: ${await rate(server, "127.0.34.33", port, 0)} messages/s`;
  } finally {
    broker.kill("SIGTERM");
    await broker.status;
  }
}
