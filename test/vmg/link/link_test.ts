// The link to the server: comes up, comes back, loses nothing that must not be lost.

import assert from "node:assert/strict";
import { readLinkState, StateLockedError } from "../../../src/vmg/mod.ts";
import { TestBench, vin, vmgId } from "../support/vehicle.ts";

const source = {
  name: "a counting test source",
  count: 0,
  read() {
    return { battery_soc: 80, count: this.count++ };
  },
};

Deno.test("the gateway registers, reports its ECUs and says that it is online, then offline", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  await bench.server.until(
    "the first VCI",
    () => bench.server.calls.some(({ path }) => path.endsWith("/vci")),
  );
  const calls = bench.server.calls.filter(({ path }) => !path.includes("/uptane/"));
  const [registration, report] = calls;
  assert.equal(registration.path, "/api/v1/vehicles/register");
  assert.deepEqual(registration.body, { vin, vehicle_model: "Test", vehicle_year: 2026, vmg_id: vmgId });
  const { ecus, timestamp, version_manifest: _, ...head } = report.body as Record<string, unknown>;
  assert.deepEqual(head, { device_id: vmgId, vin, trigger: "startup" });
  assert(!Number.isNaN(Date.parse(String(timestamp))));
  assert.deepEqual((ecus as unknown[])[2], {
    ecu_id: "ECU_003",
    ecu_type: "BRAKE",
    zonal_gateway_id: "ZG_CHASSIS",
    sw_version: "1.0.0",
    hw_version: "HW-2.0",
    serial_number: "SN-0003",
    part_number: "PN-0003",
    supplier: "ACME",
    status: "ok",
  });
  await bench.stop();
  const status = bench.server.published.filter(({ topic }) => topic === `vehicle/${vin}/status`);
  assert.deepEqual(status.map(({ payload }) => payload.status), ["online", "offline"]);
  assert(bench.lines.some((line) => line.includes("[MQTT] Attempting connection to 127.0.0.1:")));
});

Deno.test("the broker tells the vehicle's last will when the connection breaks, and the vehicle comes back", async () => {
  await using bench = await TestBench.start();
  const vmg = await bench.vmg();
  await bench.server.connected();
  bench.server.cut();
  await bench.server.until("the vehicle is back", () => bench.server.messages("status").length >= 3);
  assert.deepEqual(bench.server.messages("status").map(({ status }) => status).slice(0, 3), [
    "online",
    "offline",
    "online",
  ]);
  assert(bench.lines.some((line) => line.includes("session restored")));
  assert(
    bench.lines.some((line) =>
      /\[MQTT\] Reconnected successfully: 2 connections, \d+ tries failed, 1 again, 0 changes of address, \d+\.\d s offline, \d+ messages sent, 0 received, 0 given up, \d+ wait/
        .test(line)
    ),
    bench.lines.join("\n"),
  );
  assert.equal(vmg.link.reconnections, 1);
  await bench.server.send(`vehicle/${vmgId}/control`, { message_id: "m-1", command: "REPORT_VCI" });
  await bench.server.until(
    "a VCI on command",
    () =>
      bench.server.calls.some(({ body }) =>
        (body as { trigger?: string } | undefined)?.trigger === "command"
      ),
  );
});

Deno.test("a gateway whose address goes comes back from the next one", async () => {
  let address = "127.0.79.31";
  const network = {
    addresses: () => new Set([address]),
    sourceFor: () => Promise.resolve(undefined),
    get bindAddress() {
      return address;
    },
  };
  await using bench = await TestBench.start({ vmg: { link: { network, interfaceInterval: 10 } } });
  const vmg = await bench.vmg();
  await bench.server.connected();
  assert.equal(vmg.link.localAddress, "127.0.79.31");
  address = "127.0.79.32";
  await bench.server.until("it is back", () => vmg.link.localAddress === "127.0.79.32");
  assert.equal(vmg.link.addressChanges, 1);
  const online = await bench.server.until("it says so", () => {
    const found = bench.server.messages("status").filter(({ status }) => status === "online");
    return found.length >= 2 && found;
  });
  assert.deepEqual(online.map(({ ip }) => ip), ["127.0.79.31", "127.0.79.32"]);
  assert(bench.lines.some((line) => line.includes("Local IP changed: 127.0.79.31 → none")));
});

Deno.test("what was measured while server and gateway were away arrives once and in order", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source, link: { telemetryInterval: 20 } } });
  source.count = 0;
  await bench.server.close();
  await bench.vmg();
  await bench.server.until("messages wait", () => source.count > 5);
  await bench.stop();
  await bench.vmg();
  await bench.server.until("more wait", () => source.count > 10);
  await bench.restartServer();
  await bench.server.until("all have come", () => bench.server.messages("telemetry").length > 12);
  await bench.stop();
  const counts = bench.server.messages("telemetry").map(({ count }) => Number(count));
  assert.deepEqual(counts, counts.map((_, at) => at), "from the first one, without a gap, in order");
  const ids = bench.server.messages("telemetry").map(({ message_id }) => message_id);
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("messages that the broker had not acknowledged when the connection broke are sent again with their ids", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source, link: { telemetryInterval: 20 } } });
  source.count = 0;
  const withheld: string[] = [];
  let withhold = true;
  bench.server.broker.authorizePublish = (_client, packet, done) => {
    // Without an answer there is no acknowledgement.
    if (withhold && packet.topic.endsWith("/telemetry")) withheld.push(packet.payload.toString());
    else done(null);
  };
  const vmg = await bench.vmg();
  await bench.server.until("messages are under way", () => withheld.length >= 3);
  withhold = false;
  bench.server.cut();
  await bench.server.until(
    "they have come",
    () => bench.server.messages("telemetry").length > withheld.length,
  );
  const arrived = bench.server.messages("telemetry");
  assert.deepEqual(arrived.slice(0, withheld.length), withheld.map((text) => JSON.parse(text)));
  const counts = arrived.map(({ count }) => Number(count));
  // The first heartbeat may have taken the first measurement.
  assert.deepEqual(counts, counts.map((_, at) => counts[0] + at));
  assert.equal(vmg.link.totalConnections, 2);
});

Deno.test("a message over which the broker ends the connection holds up no other, and goes once the broker takes it", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source, link: { telemetryInterval: 20 } } });
  source.count = 0;
  let refusing = true;
  bench.server.broker.authorizePublish = (_client, packet, done) => {
    const poison = packet.topic.endsWith("/telemetry") && JSON.parse(packet.payload.toString()).count === 3;
    // As for a message that is larger than it takes, a broker ends the connection.
    done(refusing && poison ? new Error("not this one") : null);
  };
  await bench.vmg();
  const counts = () => bench.server.messages("telemetry").map(({ count }) => Number(count));
  await bench.server.until("others come", () => counts().some((count) => count > 40));
  assert(!counts().includes(3));
  assert(
    bench.lines.some((line) =>
      /Connections end over message [0-9a-f-]{36}: it is held back for 1 s/.test(line)
    ),
  );
  refusing = false;
  await bench.server.until("it has come", () => counts().includes(3));
  await bench.stop();
  const came = [...new Set(counts())].sort((a, b) => a - b);
  // The first heartbeat may have taken the first measurement.
  assert.deepEqual(came, came.map((_, at) => came[0] + at), "none is missing");
});

Deno.test("through a broker that is not the server, a message waits for the server's word, and the vehicle gives its own", async () => {
  await using bench = await TestBench.start({
    vmg: { telemetry: source, link: { telemetryInterval: 50, acknowledgeTimeout: 300 } },
  });
  source.count = 0;
  bench.server.on("POST", "/api/v1/vehicles/register", () => ({
    status: 200,
    body: { status: "registered", vehicle_id: vin, message: "welcome", acknowledged_by: "server" },
  }));
  const vmg = await bench.vmg();
  const telemetry = () => bench.server.messages("telemetry");
  // The broker has acknowledged them; nobody has said that they are stored.
  await bench.server.until("they are sent again", () => {
    const ids = telemetry().map(({ message_id }) => message_id);
    return ids.length > new Set(ids).size;
  });
  assert.equal(
    vmg.link.messagesSent,
    bench.server.messages("status").length + bench.server.messages("heartbeat").length,
  );
  assert.ok(vmg.link.queued >= new Set(telemetry().map(({ message_id }) => message_id)).size);
  assert.ok(
    bench.lines.some((line) => line.includes("messages that the server did not confirm within 300 ms")),
  );
  await bench.server.until("nothing waits", async () => {
    const message_ids = [...new Set(telemetry().map(({ message_id }) => String(message_id)))];
    await bench.server.send(`vehicle/${vmgId}/stored`, { message_ids });
    return vmg.link.queued <= 2;
  });

  const command = { message_id: "m-7", command: "REPORT_VCI" };
  for (let time = 0; time < 2; time++) await bench.server.send(`vehicle/${vmgId}/control`, command);
  await bench.server.until(
    "the vehicle says that it has it",
    () => bench.server.messages("taken").length > 0,
  );
  assert.deepEqual(
    new Set(bench.server.messages("taken").flatMap(({ message_ids }) => message_ids)),
    new Set(["m-7"]),
  );
});

Deno.test("a broker that refuses the topic of the server's word is the server: its acknowledgement counts", async () => {
  await using bench = await TestBench.start({
    vmg: { telemetry: source, link: { telemetryInterval: 20 } },
  });
  bench.server.on("POST", "/api/v1/vehicles/register", () => ({
    status: 200,
    body: { status: "registered", vehicle_id: vin, message: "welcome", acknowledged_by: "server" },
  }));
  bench.server.broker.authorizeSubscribe = (_client, subscription, done) =>
    done(null, subscription.topic.endsWith("/stored") ? null : subscription);
  const vmg = await bench.vmg();
  await bench.server.until("telemetry", () => bench.server.messages("telemetry").length >= 20);
  await bench.server.until("nothing waits", () => vmg.link.queued <= 1);
  const ids = bench.server.messages("telemetry").map(({ message_id }) => message_id);
  assert.equal(new Set(ids).size, ids.length);
  await bench.server.send(`vehicle/${vmgId}/control`, { message_id: "m-8", command: "REPORT_VCI" });
  await bench.server.until(
    "the command",
    () => bench.lines.some((line) => line.includes("Received REPORT_VCI on")),
  );
  assert.deepEqual(bench.server.messages("taken"), []);
});

Deno.test("a broker that has forgotten the vehicle is a reason to register again", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const registrations = () => bench.server.calls.filter(({ path }) => path.endsWith("/register")).length;
  bench.server.cut();
  await bench.server.until("it is back", () => bench.lines.some((line) => line.includes("session restored")));
  assert.equal(registrations(), 1);
  await bench.restartServer();
  await bench.server.until("it has registered again", () => registrations() >= 1);
});

Deno.test("each new connection brings a heartbeat with the vehicle's address at once", async () => {
  await using bench = await TestBench.start({ vmg: { link: { heartbeatInterval: 3_600_000 } } });
  await bench.vmg();
  const first = await bench.server.until("the first heartbeat", () => bench.server.messages("heartbeat")[0]);
  assert.equal(first.ip, "127.0.0.1");
  bench.server.cut();
  await bench.server.until("the second heartbeat", () => bench.server.messages("heartbeat")[1]);
});

Deno.test("heartbeats go over MQTT, and over HTTPS while that is away", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source, link: { heartbeatInterval: 20 } } });
  await bench.vmg();
  const beat = await bench.server.until("a heartbeat over MQTT", () => bench.server.messages("heartbeat")[0]);
  const { timestamp, link, ...rest } = beat;
  assert.deepEqual(rest, { vin, ip: "127.0.0.1", status: "online", battery: 80 });
  const { mode, total_connections, queued, local_address } = link as Record<string, unknown>;
  assert.deepEqual({ mode, total_connections, local_address }, {
    mode: "mqtt",
    total_connections: 1,
    local_address: "127.0.0.1",
  });
  assert.equal(typeof queued, "number");
  assert(!Number.isNaN(Date.parse(String(timestamp))));
  await bench.stop();
  // A broker's port where nobody listens.
  const vmg = await bench.vmg({ mqtt: { hostname: "127.0.0.1", port: 1 } });
  await bench.server.until(
    "a heartbeat over HTTPS",
    () => bench.server.calls.some(({ path }) => path === `/api/v1/vehicles/${vin}/heartbeat`),
  );
  assert.equal(vmg.link.connected, false);
});

Deno.test("the end of an update is told over HTTPS when MQTT stays away", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001"], { size: 100 });
  let asked = false;
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, (_call, response) => {
    asked = true;
    response.writeHead(200, { etag: made.etag, "content-length": made.bytes.length });
    response.write(made.bytes.subarray(0, 10));
    return "taken";
  });
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await bench.server.until("the download", () => asked);
  await bench.stop();
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, () => ({ status: 404, body: "gone" }));
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, (_call, response) => {
    response.writeHead(404, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ type: "about:blank", title: "gone", status: 404, detail: "gone" }));
    return "taken";
  });
  await bench.vmg({
    mqtt: { hostname: "127.0.0.1", port: 1 },
    link: { fallbackAfter: 50 },
  });
  const message = await bench.server.until("the report", () => {
    const sent = bench.server.calls.filter(({ path }) => path === `/api/v1/vehicles/${vin}/messages`)
      .flatMap(({ body }) =>
        (body as { messages: { topic: string; payload: Record<string, unknown> }[] }).messages
      );
    return sent.find(({ topic, payload }) => topic.endsWith("/ota/status") && payload.status === "failed");
  });
  const { status, update_id, error } = message.payload;
  assert.deepEqual({ status, update_id, error }, {
    status: "failed",
    update_id: command.update_id,
    error: "download: gone",
  });
});

Deno.test("a vehicle that updates itself asks for a package, installs it, and does not repeat what failed", async () => {
  await using bench = await TestBench.start({ vmg: { autoUpdate: true } });
  const made = await bench.package(["ECU_002"]);
  const updateId = crypto.randomUUID();
  const outdated = [{ ecu_id: "ECU_002", current: "1.0.0", latest: "1.2.3", priority: "normal" }];
  const broken = made.bytes.slice();
  broken[broken.length - 1] ^= 1;
  bench.server.on("POST", `/api/v1/vehicles/${vin}/vci`, () => ({
    status: 200,
    body: { status: "stored", outdated_ecus: outdated, update_available: true },
  }));
  bench.server.on("POST", "/api/v1/ota/package", () => ({
    status: 201,
    body: {
      status: "ready",
      package_id: made.packageId,
      download_url: `/api/v1/ota/package/${made.packageId}`,
      update_id: updateId,
      size: made.bytes.length,
      sha256: "0".repeat(64),
    },
  }));
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, (_call, response) => {
    response.writeHead(200, { etag: made.etag, "content-length": broken.length }).end(broken);
    return "taken";
  });
  await bench.vmg();
  assert.equal((await bench.server.ended(updateId)).status, "failed");
  await bench.server.until(
    "the next VCI's answer",
    () => bench.lines.some((line) => line.includes("left to the server")),
  );
  const asked = bench.server.calls.filter(({ path }) => path === "/api/v1/ota/package");
  assert.deepEqual(asked.map(({ body }) => body), [
    { vehicle_id: vin, target_ecus: ["ECU_002"] },
  ]);
});

Deno.test("an ECU and a gateway that do not answer are reported as unreachable with the reason", async () => {
  await using bench = await TestBench.start();
  bench.bench.ecu("ECU_001").powerOff();
  await bench.bench.gateways[1].close();
  await bench.vmg();
  const call = await bench.server.until(
    "the VCI",
    () => bench.server.calls.find(({ path }) => path.endsWith("/vci")),
  );
  const { ecus } = call.body as { ecus: Record<string, unknown>[] };
  assert.deepEqual(ecus.map(({ ecu_id, status }) => [ecu_id, status]), [
    ["ECU_001", "unreachable"],
    ["ECU_002", "ok"],
    ["ECU_003", "unreachable"],
  ]);
  assert.deepEqual(Object.keys(ecus[0]).sort(), [
    "ecu_id",
    "ecu_type",
    "error",
    "status",
    "zonal_gateway_id",
  ]);
  assert.match(String(ecus[0].error), /ECU_001|0x06/);
  assert.match(String(ecus[2].error), /ZG_CHASSIS at 127\.0\.36\.2:\d+ is unreachable after 2 tries/);
});

Deno.test("the remote configuration is taken over, kept, and rules the intervals", async () => {
  await using bench = await TestBench.start();
  const vmg = await bench.vmg();
  await bench.server.connected();
  await bench.server.send(`vehicle/${vmgId}/config`, {
    version: 3,
    config: { telemetry_interval: 5, note: "x" },
  });
  await bench.server.until("it is taken over", () => vmg.remoteConfig.version === 3);
  await bench.stop();
  const again = await bench.vmg();
  assert.deepEqual(again.remoteConfig, { version: 3, config: { telemetry_interval: 5, note: "x" } });
});

Deno.test("a second gateway for the same vehicle and folder is refused", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await assert.rejects(bench.vmg(), StateLockedError);
});

Deno.test("a change of address ends the old connection at once, and the vehicle comes back from the new one", async () => {
  const network = {
    own: new Set(["127.0.0.1"]),
    addresses: () => network.own,
    sourceFor: () => Promise.resolve(undefined),
  };
  // Keep-alive and the full look at the address are far away: only the glance can notice in time.
  const link = { network, keepalive: 600, addressInterval: 600_000, interfaceInterval: 20 };
  await using bench = await TestBench.start({ vmg: { link } });
  const vmg = await bench.vmg();
  await bench.server.connected();
  network.own = new Set(["127.0.0.2"]);
  await bench.server.until("the address change", () => vmg.link.addressChanges === 1);
  network.own = new Set(["127.0.0.1"]);
  await bench.server.until("the vehicle is back", () => vmg.link.totalConnections >= 2 && vmg.link.connected);
  assert(bench.lines.some((line) => line.includes("Local IP changed: 127.0.0.1 → none")));
  assert(bench.lines.some((line) => line.includes("IP changed while connected. Reconnecting...")));
  assert(vmg.link.offlineTime > 0);
});

Deno.test("a new address is a reason to try at once, however long the wait was to be", async () => {
  const network = {
    own: new Set(["127.0.0.1"]),
    addresses: () => network.own,
    sourceFor: () => Promise.resolve(undefined),
  };
  const link = { network, interfaceInterval: 20, reconnectDelay: 3_600_000, maxReconnectDelay: 3_600_000 };
  await using bench = await TestBench.start({ vmg: { link } });
  const vmg = await bench.vmg();
  await bench.server.connected();
  bench.server.cut();
  await bench.server.until("the loss", () => !vmg.link.connected);
  network.own = new Set(["127.0.0.1", "127.0.0.2"]);
  await bench.server.until("the vehicle is back", () => vmg.link.connected);
  assert.equal(vmg.link.reconnections, 1);
});

Deno.test("what the link says of itself stands in a file, also after the end", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const running = await bench.server.until("the file", () => readLinkState(`${bench.directory}/${vin}`));
  assert.deepEqual([running.vin, running.pid, running.stopped, running.running], [
    vin,
    Deno.pid,
    false,
    true,
  ]);
  await bench.stop();
  const stopped = readLinkState(`${bench.directory}/${vin}`);
  assert.deepEqual([stopped?.stopped, stopped?.connected, stopped?.link.total_connections], [true, false, 1]);
  assert.equal(stopped?.running, false);
  // As a gateway that was killed leaves it: no goodbye, and nobody has the lock.
  Deno.writeTextFileSync(
    `${bench.directory}/${vin}/link.json`,
    JSON.stringify({ ...stopped, running: undefined, stopped: false }),
  );
  assert.equal(readLinkState(`${bench.directory}/${vin}`)?.running, false);
  assert.equal(readLinkState(`${bench.directory}/nobody`), undefined);
  Deno.writeTextFileSync(`${bench.directory}/${vin}/link.json`, "{}");
  assert.throws(() => readLinkState(`${bench.directory}/${vin}`), /expected the state of a link/);
});
