// The server as a client of mosquitto, with mosquitto_pub and mosquitto_sub as the vehicle, under the access rules that the
// program writes.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../src/contract/routes.ts";
import { initAuthority, issueServerClient } from "../../src/pqc/authority.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { profileById } from "../../src/pqc/profiles.ts";
import type { ExternalBrokerOptions } from "../../src/server/mod.ts";
import {
  ecu,
  eventually,
  report,
  startTestServer,
  type TestServer,
  vinA,
  vinB,
} from "../server/running_server.ts";
import { startMosquitto, type TestMosquitto } from "../support/mosquitto.ts";
import { interopTest, peers } from "../support/peers.ts";

const vehicles = [{ vin: vinA, vmg_id: "VMG-001" }, { vin: vinB, vmg_id: "VMG-002" }];
const needs = [peers.mosquitto, peers.mosquittoClients];

interface Bench extends AsyncDisposable {
  broker: TestMosquitto;
  server: TestServer;
  /** Runs a client of mosquitto as a vehicle, or as the server, to its end. */
  run(
    tool: "mosquitto_pub" | "mosquitto_sub",
    certificate: string,
    args: string[],
  ): Promise<{ code: number; text: string }>;
}

async function startBench(hostname: string, overrides: Partial<ExternalBrokerOptions> = {}): Promise<Bench> {
  const directory = await Deno.makeTempDir({ prefix: "zonebench-external-" });
  const pki = join(directory, "pki");
  await initAuthority({ directory: pki });
  await issueServerClient({ directory: pki });
  const { trust, ...credentials } = await loadCredentials(pki, "server-client");
  const broker = await startMosquitto({ hostname, pki, vehicles });
  const server = await startTestServer(hostname, {
    pki,
    externalBroker: {
      hostname,
      port: broker.serverPort,
      credentials,
      trust,
      profile: profileById(0),
      reconnectDelay: 100,
      maxReconnectDelay: 500,
      ...overrides,
    },
  });
  for (
    const [caller, { vin, vmg_id }] of [[server.vehicleA, vehicles[0]], [
      server.vehicleB,
      vehicles[1],
    ]] as const
  ) {
    await caller.rest.call(routes.registerVehicle, {
      body: { vin, vmg_id, vehicle_model: "Test", vehicle_year: 2026 },
    });
  }
  return {
    broker,
    server,
    run: async (tool, certificate, args) => {
      const port = certificate === "server-client" ? broker.serverPort : broker.vehiclePort;
      const output = await new Deno.Command("timeout", {
        args: [
          ...["20", tool, "-h", hostname, "-p", String(port), "--cafile", join(pki, "ca.crt")],
          ...["--cert", join(pki, `${certificate}.crt`), "--key", join(pki, `${certificate}.key`), ...args],
        ],
        stdin: "null",
      }).output();
      const decoder = new TextDecoder();
      return { code: output.code, text: decoder.decode(output.stdout) + decoder.decode(output.stderr) };
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

const a = `vehicle-${vinA}`;
const b = `vehicle-${vinB}`;
const speeds = async ({ server }: Bench, vin: string) =>
  (await server.operator.rest.call(routes.listTelemetry, { path: { vin } })).telemetry
    .map((row) => row.metrics.speed);
const publish = ({ run }: Bench, certificate: string, topic: string, payload: string, more: string[] = []) =>
  run("mosquitto_pub", certificate, ["-q", "1", "-i", certificate, "-t", topic, "-m", payload, ...more]);

interopTest(
  "what a vehicle publishes at mosquitto is stored, and the log says what was negotiated with it",
  needs,
  async () => {
    await using bench = await startBench("127.0.39.1");
    const { server } = bench;
    assert.ok(
      server.lines.some((line) =>
        /TLS handshake successful \(X25519, ECDSA-P256\) MQTT broker 127\.0\.39\.1/.test(line)
      ),
      server.lines.join("\n"),
    );
    await publish(bench, a, `vehicle/${vinA}/telemetry`, '{"speed":12.5,"message_id":"t-1"}');
    await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":13,"message_id":"t-2"}');
    await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":13,"message_id":"t-2"}');
    await eventually("both are stored", async () => (await speeds(bench, vinA)).length === 2);
    await publish(bench, a, `vehicle/${vinA}/status`, '{"status":"online"}');
    const detail = await eventually("the vehicle is online", async () => {
      const found = await server.operator.rest.call(routes.getVehicle, { path: { vin: vinA } });
      return found.status === "online" && found;
    });
    assert.deepEqual(
      detail.links.filter((link) => link.listener === "mqtt").map(({ protocol, group }) => [protocol, group]),
      [["unknown (external broker)", "unknown"]],
    );
    assert.deepEqual((await speeds(bench, vinA)).sort(), [12.5, 13]);
  },
);
