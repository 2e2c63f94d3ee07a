// The server as a client of mosquitto, with mosquitto_pub and mosquitto_sub as the vehicle, under the access rules that the
// program writes.

import assert from "node:assert/strict";
import { join } from "node:path";
import { ProblemError } from "../../src/contract/client.ts";
import { routes } from "../../src/contract/routes.ts";
import { initAuthority, issueServerClient } from "../../src/pqc/authority.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { profileById } from "../../src/pqc/profiles.ts";
import type { ExternalBrokerOptions } from "../../src/server/mod.ts";
import { eventually, startTestServer, type TestServer, vinA, vinB } from "../server/running_server.ts";
import { startMosquitto, type TestMosquitto } from "../support/mosquitto.ts";
import { interopTest, peers } from "../support/peers.ts";
import { postgresql, startPostgres } from "../support/postgres.ts";

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
    /** The servers' port leaves client ids as they are: a vehicle can be there twice. */
    port?: number,
  ): Promise<{ code: number; text: string }>;
}

async function startBench(
  hostname: string,
  overrides: Partial<ExternalBrokerOptions> = {},
  database?: { url: string },
): Promise<Bench> {
  const directory = await Deno.makeTempDir({ prefix: "zonebench-external-" });
  const pki = join(directory, "pki");
  await initAuthority({ directory: pki });
  await issueServerClient({ directory: pki });
  const { trust, ...credentials } = await loadCredentials(pki, "server-client");
  const broker = await startMosquitto({ hostname, pki, vehicles });
  const server = await startTestServer(hostname, {
    pki,
    database,
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
    run: async (tool, certificate, args, port = broker.vehiclePort) => {
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
    .map((row) => row.metrics.speed ?? NaN);
const publish = ({ run, broker }: Bench, certificate: string, topic: string, payload: string) =>
  run("mosquitto_pub", certificate, ["-q", "1", "-t", topic, "-m", payload], broker.serverPort);

interopTest("mosquitto stands between vehicles and server as the embedded broker would", needs, async (t) => {
  await using bench = await startBench("127.0.39.1");
  const { server, run, broker } = bench;
  const { rest } = server.operator;
  const pending = async () =>
    (await server.vehicleA.rest.call(routes.pendingMessages, { path: { vin: vinA } })).messages;

  await t.step("what a vehicle publishes is stored once, and the log says what was negotiated", async () => {
    assert.ok(
      server.lines.some((line) =>
        line.includes("TLS handshake successful (X25519, ECDSA P-256, classical) MQTT broker 127.0.39.1")
      ),
      server.lines.join("\n"),
    );
    await publish(bench, a, `vehicle/${vinA}/telemetry`, '{"speed":12.5,"message_id":"t-1"}');
    await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":13,"message_id":"t-2"}');
    await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":13,"message_id":"t-2"}');
    await publish(bench, a, `vehicle/${vinA}/status`, '{"status":"online"}');
    const detail = await eventually("the vehicle is online", async () => {
      const found = await rest.call(routes.getVehicle, { path: { vin: vinA } });
      return found.status === "online" && found.links.some((link) => link.listener === "mqtt") && found;
    });
    assert.deepEqual(
      detail.links.filter((link) => link.listener === "mqtt").map(({ protocol, group }) => [protocol, group]),
      [["unknown (external broker)", "unknown"]],
    );
    assert.deepEqual((await speeds(bench, vinA)).sort(), [12.5, 13]);
  });

  await t.step("the rules refuse what is another's, whatever the client says it is", async () => {
    const listening = run("mosquitto_sub", b, [
      ...["-q", "1", "-W", "6", "-v", "-t", `vehicle/${vinA}/#`, "-t", "vehicle/VMG-001/#"],
      ...["-t", "zonebench/#", "-t", "$share/zonebench/vehicle/+/telemetry", "-t", "vehicle/VMG-002/#"],
    ], broker.serverPort);
    const own = run("mosquitto_sub", a, [
      "-q",
      "1",
      "-i",
      a,
      "-W",
      "15",
      "-C",
      "1",
      "-t",
      "vehicle/VMG-001/telemetry",
    ]);
    await eventually("both have subscribed", async () => {
      const log = await broker.log();
      return log.includes("vehicle/VMG-002/# (QoS 1)") && log.includes("vehicle/VMG-001/telemetry (QoS 1)");
    });
    // Its client id is another's: it is not believed, and nobody's session is ended.
    await run("mosquitto_pub", b, [
      "-q",
      "1",
      "-i",
      a,
      "-t",
      `vehicle/${vinA}/telemetry`,
      "-m",
      '{"speed":1}',
    ]);
    await publish(bench, b, "vehicle/VMG-001/control", '{"command":"REPORT_VCI"}');
    await publish(bench, "operator-bench", `vehicle/${vinA}/telemetry`, '{"speed":2}');
    const none = await run("mosquitto_pub", b, [
      "-V",
      "mqttv5",
      "-q",
      "1",
      "-t",
      "vehicle/VMG-001/telemetry",
      "-m",
      "x",
    ]);
    assert.match(none.text, /Not authorized/);
    await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":77}');
    await publish(bench, b, "vehicle/VMG-002/telemetry", '{"speed":88}');
    assert.equal((await own).text.trim(), '{"speed":77}');
    assert.equal(
      (await listening).text.trim().replace("Timed out", "").trim(),
      'vehicle/VMG-002/telemetry {"speed":88}',
    );
    await eventually("what is right is stored", async () => (await speeds(bench, vinB)).includes(88));
    assert.deepEqual((await speeds(bench, vinA)).sort(), [12.5, 13, 77]);
  });

  await t.step("a request reaches the vehicle and stays until the answer shows that it has it", async () => {
    const heard = run("mosquitto_sub", a, [
      "-q",
      "1",
      "-c",
      "-i",
      a,
      "-C",
      "1",
      "-t",
      "vehicle/VMG-001/diagnostics",
    ]);
    await eventually(
      "it has subscribed",
      async () => (await broker.log()).includes("vehicle/VMG-001/diagnostics (QoS 1)"),
    );
    const { request_id } = await rest.call(routes.sendDiagnostic, {
      body: { vin: vinA, ecu_id: "ECU_001", service_id: "0x22", data: "F190" },
    });
    const request = JSON.parse((await heard).text);
    assert.deepEqual([request.request_id, request.data], [request_id, "F190"]);
    assert.deepEqual((await pending()).map((it) => it.message_id), [request.message_id]);
    await publish(
      bench,
      a,
      "vehicle/VMG-001/diagnostics",
      JSON.stringify({ request_id, ecu_id: "ECU_001", service_id: "0x22", response_data: "62F19041" }),
    );
    await eventually(
      "it is answered",
      async () => (await rest.call(routes.getDiagnostic, { path: { request_id } })).status === "completed",
    );
    assert.deepEqual(await pending(), []);
    assert.ok(
      !server.lines.some((line) => line.includes("refused")),
      "the server does not mind its own request",
    );
  });

  await t.step(
    "the server says what is stored, the vehicle what it has taken: neither is the broker's to say",
    async () => {
      const again = await server.vehicleA.rest.call(routes.registerVehicle, {
        body: { ...vehicles[0], vehicle_model: "Test", vehicle_year: 2026 },
      });
      assert.equal(again.acknowledged_by, "server");
      const heard = run("mosquitto_sub", a, [
        ...["-q", "1", "-i", a, "-C", "3", "-v"],
        ...["-t", "vehicle/VMG-001/stored", "-t", `vehicle/${vinA}/stored`],
      ]);
      await eventually(
        "it has subscribed",
        async () => (await broker.log()).includes(`vehicle/${vinA}/stored (QoS 1)`),
      );
      await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":21,"message_id":"s-1"}');
      await publish(bench, a, `vehicle/${vinA}/telemetry`, '{"speed":21,"message_id":"s-1"}');
      // What is stored together is told together: the next is for itself.
      const stored = async () => (await speeds(bench, vinA)).filter((speed) => speed === 21).length;
      await eventually("it is stored", async () => await stored() === 1);
      // Kept aside for good: the vehicle need not keep it.
      await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":"fast","message_id":"s-2"}');
      assert.deepEqual((await heard).text.trim().split("\n"), [
        'vehicle/VMG-001/stored {"message_ids":["s-1"]}',
        `vehicle/${vinA}/stored {"message_ids":["s-1"]}`,
        'vehicle/VMG-001/stored {"message_ids":["s-2"]}',
      ]);
      assert.equal(await stored(), 1);

      await rest.call(routes.putConfig, { path: { vin: vinA }, body: { mode: "first" } });
      const [{ message_id }] = await pending();
      const taken = JSON.stringify({ message_ids: ["unknown", message_id] });
      await publish(bench, b, "vehicle/VMG-002/taken", taken);
      await eventually(
        "the other's word is heard",
        () => server.lines.some((line) => line.includes("Received message on vehicle/VMG-002/taken")),
      );
      assert.equal((await pending()).length, 1, "another vehicle's word does not count");
      await publish(bench, a, "vehicle/VMG-001/taken", taken);
      await eventually("it is taken", async () => (await pending()).length === 0);
    },
  );

  await t.step("a broker that crashed and retains an old configuration is brought the new one", async () => {
    const retained = () =>
      run("mosquitto_sub", a, ["-q", "1", "-i", a, "-C", "1", "-t", "vehicle/VMG-001/config"]);
    const back = async (count: number) => {
      await eventually(
        "the server is back",
        () =>
          server.lines.filter((line) => line.includes("as zonebench-server-1 (session restored)")).length ===
            count,
      );
    };
    await broker.stop("SIGTERM");
    await broker.start();
    await back(1);
    assert.equal(JSON.parse((await retained()).text).version, 1);
    await rest.call(routes.putConfig, { path: { vin: vinA }, body: { mode: "second" } });
    await eventually("the broker has it", async () => JSON.parse((await retained()).text).version === 2);
    const [{ message_id }] = await pending();
    await publish(bench, a, "vehicle/VMG-001/taken", JSON.stringify({ message_ids: [message_id] }));
    await eventually("it is taken", async () => (await pending()).length === 0);
    await broker.stop("SIGKILL");
    await broker.start();
    await back(2);
    await eventually("it is the new one again", async () => {
      const { version, config } = JSON.parse((await retained()).text);
      return version === 2 && config.mode === "second";
    });
  });

  await t.step("a command that the broker dropped comes when the vehicle says that it is there", async () => {
    await rest.call(routes.putConfig, { path: { vin: vinA }, body: { mode: "test" } });
    await eventually(
      "it is with the broker",
      () => server.lines.filter((line) => line.includes("Sent CONFIG")).length === 3,
    );
    await broker.stop("SIGKILL");
    await broker.forget();
    await broker.start();
    await eventually(
      "the server is back",
      () => server.lines.filter((line) => line.includes("as zonebench-server-1 (new session)")).length === 2,
    );
    await eventually(
      "it brought the configuration",
      () => server.lines.filter((line) => line.includes("Brought 1 remote configuration")).length === 3,
    );
    const retained = await run("mosquitto_sub", a, [
      "-q",
      "1",
      "-i",
      a,
      "-C",
      "1",
      "-t",
      "vehicle/VMG-001/config",
    ]);
    assert.deepEqual(JSON.parse(retained.text), { version: 3, config: { mode: "test" } });

    const { request_id } = await rest.call(routes.sendDiagnostic, {
      body: { vin: vinA, ecu_id: "ECU_002", service_id: "0x3E", data: "00" },
    });
    await eventually(
      "nobody hears it",
      () => server.lines.filter((line) => line.includes("Sent DIAGNOSTIC")).length === 2,
    );
    const heard = run("mosquitto_sub", a, [
      "-q",
      "1",
      "-c",
      "-i",
      a,
      "-C",
      "1",
      "-t",
      "vehicle/VMG-001/diagnostics",
    ]);
    await eventually(
      "it has subscribed",
      async () => (await broker.log()).split("vehicle/VMG-001/diagnostics (QoS 1)").length === 3,
    );
    await publish(bench, a, `vehicle/${vinA}/status`, '{"status":"online"}');
    assert.equal(JSON.parse((await heard).text).request_id, request_id);
  });

  await t.step("what came while the server was away is stored when it is back", async () => {
    await server.server.stop();
    for (const speed of [201, 202, 203]) {
      await publish(bench, a, "vehicle/VMG-001/telemetry", `{"speed":${speed}}`);
    }
    await server.restart();
    assert.equal(
      server.lines.filter((line) => line.includes("as zonebench-server-1 (session restored)")).length,
      3,
    );
    await eventually(
      "it is stored",
      async () => (await speeds(bench, vinA)).filter((it) => it > 200).length === 3,
    );
  });
});

interopTest(
  "while the database is away nothing is acknowledged to the broker; it comes again and is stored once",
  [...needs, postgresql],
  async () => {
    const postgres = await startPostgres();
    try {
      await using bench = await startBench("127.0.39.2", { names: ["vin"] }, { url: postgres.url });
      const { server, run, broker } = bench;
      await publish(bench, a, "vehicle/VMG-001/telemetry", '{"speed":1,"message_id":"d-1"}');
      await eventually("it is stored", async () => (await speeds(bench, vinA)).length === 1);
      await postgres.crash();
      for (const number of [2, 3, 4]) {
        await publish(
          bench,
          a,
          "vehicle/VMG-001/telemetry",
          `{"speed":${number},"message_id":"d-${number}"}`,
        );
      }
      await eventually(
        "the server notices",
        () => server.lines.some((line) => /could not be taken over|is away/.test(line)),
      );
      assert.ok(!/Received PUBACK from zonebench-server-1-\w+ \(Mid: [234],/.test(await broker.log()));
      await postgres.restart();
      await eventually("all is stored", async () => {
        try {
          return (await speeds(bench, vinA)).length === 4;
        } catch (error) {
          // The database has only just come back.
          if (error instanceof ProblemError) return false;
          throw error;
        }
      }, 40_000);
      assert.deepEqual((await speeds(bench, vinA)).sort(), [1, 2, 3, 4]);

      // Sent to under the name that the settings say.
      const heard = run("mosquitto_sub", a, [
        "-q",
        "1",
        "-i",
        a,
        "-C",
        "1",
        "-v",
        "-t",
        `vehicle/${vinA}/config`,
      ]);
      await server.operator.rest.call(routes.putConfig, { path: { vin: vinA }, body: { mode: "vin" } });
      assert.ok((await heard).text.startsWith(`vehicle/${vinA}/config {`));
    } finally {
      await postgres.stop();
    }
  },
);
