// What does not fit is refused with a problem that says where; the server serves on.

import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { problem as problemSchema } from "../../../src/contract/problem.ts";
import { routes } from "../../../src/contract/routes.ts";
import { connect } from "../../../src/tls/connect.ts";
import {
  chunks,
  ecu,
  eventually,
  raw,
  report,
  startTestServer,
  type TestServer,
  vinA,
  vinB,
} from "../running_server.ts";

const json = { "content-type": "application/json" };
const registration = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };

Deno.test("the REST interface refuses what does not fit", async (t) => {
  await using server = await startTestServer("127.0.34.13", {
    https: { maxBody: 2000, maxFirmware: 5000, headerTimeout: 1000, idleTimeout: 1000 },
  });
  const { vehicleA, vehicleB, operator } = server;
  await vehicleA.rest.call(routes.registerVehicle, { body: registration });
  await vehicleB.rest.call(routes.registerVehicle, {
    body: { ...registration, vin: vinB, vmg_id: "VMG-002" },
  });

  /** Sends and checks the problem. */
  async function refused(
    caller: Parameters<typeof raw>[1],
    method: string,
    path: string,
    options: Parameters<typeof raw>[4],
    status: number,
    code: string,
  ) {
    const answer = await raw(server, caller, method, path, options);
    assert.equal(answer.status, status, answer.text);
    assert.match(String(answer.headers["content-type"]), /^application\/problem\+json/);
    const problem = problemSchema.parse(answer.json);
    assert.equal(problem.code, code, answer.text);
    assert.equal(problem.status, status);
    return { problem, headers: answer.headers };
  }
  const heartbeat = `/api/v1/vehicles/${vinA}/heartbeat`;

  await t.step("malformed JSON, with its place", async () => {
    const { problem } = await refused(
      vehicleA,
      "POST",
      heartbeat,
      { body: '{"ip": }', headers: json },
      400,
      "malformed_json",
    );
    assert.match(problem.detail, /line 1, column 8/);
    await refused(vehicleA, "POST", heartbeat, { body: "", headers: json }, 400, "body_missing");
    const deep = "[".repeat(900) + "]".repeat(900);
    await refused(
      vehicleA,
      "POST",
      `/api/v1/vehicles/${vinA}/metadata`,
      { body: `{"a":${deep}}`, headers: json },
      400,
      "malformed_json",
    );
  });

  await t.step("unknown and wrong fields, each with its path", async () => {
    const body = JSON.stringify({ ...registration, vehicle_year: "new", color: "red" });
    const { problem } = await refused(
      vehicleA,
      "POST",
      "/api/v1/vehicles/register",
      { body, headers: json },
      400,
      "invalid_body",
    );
    assert.deepEqual(problem.errors?.map((it) => it.path), ["vehicle_year", "(top)"]);
    assert.match(problem.errors?.[1].message ?? "", /unknown field "color"/);
    await refused(operator, "GET", "/api/v1/vehicles?limit=0", {}, 400, "invalid_query");
    await refused(operator, "GET", "/api/v1/vehicles?limit=1&limit=2", {}, 400, "invalid_query");
    await refused(operator, "GET", "/api/v1/vehicles?nonsense=1", {}, 400, "invalid_query");
    await refused(operator, "GET", "/api/v1/ota/updates/nonsense", {}, 400, "invalid_path");
    await refused(operator, "GET", "/api/v1/vehicles/a%20b", {}, 400, "invalid_path");
  });

  await t.step("a body beyond the limit, announced or not", async () => {
    const body = JSON.stringify({ a: "x".repeat(3000) });
    const path = `/api/v1/vehicles/${vinA}/metadata`;
    await refused(vehicleA, "POST", path, { body, headers: json }, 413, "body_too_large");
    const answer = await onTheWire(
      server,
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n` +
        `bb8\r\n${"x".repeat(3000)}\r\n0\r\n\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 413 /);
  });

  await t.step("other types, other codings, types that the client does not take", async () => {
    const body = JSON.stringify(registration);
    const path = "/api/v1/vehicles/register";
    await refused(
      vehicleA,
      "POST",
      path,
      { body, headers: { "content-type": "text/plain" } },
      415,
      "not_json",
    );
    await refused(
      vehicleA,
      "POST",
      path,
      { body, headers: { ...json, "content-encoding": "gzip" } },
      415,
      "content_coding",
    );
    await refused(
      vehicleA,
      "POST",
      path,
      { body, headers: { ...json, accept: "text/html" } },
      406,
      "not_acceptable",
    );
  });

  await t.step("unknown paths and wrong methods", async () => {
    await refused(operator, "GET", "/api/v1/nothing", {}, 404, "no_such_path");
    const { headers } = await refused(operator, "DELETE", "/api/v1/vehicles", {}, 405, "method_not_allowed");
    assert.equal(headers.allow, "GET, HEAD");
    const config = await refused(
      operator,
      "POST",
      `/api/v1/vehicles/${vinA}/config`,
      {},
      405,
      "method_not_allowed",
    );
    assert.equal(config.headers.allow, "GET, HEAD, PUT");
    await refused(operator, "GET", `/api/v1/vehicles/KMHTEST1ZZZ000009`, {}, 404, "vehicle_unknown");
    await refused(operator, "GET", `/api/v1/ota/package/${crypto.randomUUID()}`, {}, 404, "not_found");
  });

  await t.step("another vehicle's names, in path and body; another kind of caller", async () => {
    const beat = JSON.stringify({ ip: "10.0.0.1", status: "online", timestamp: new Date().toISOString() });
    for (const name of [vinA, "VMG-001", "KMHTEST1ZZZ000009"]) {
      await refused(
        vehicleB,
        "POST",
        `/api/v1/vehicles/${name}/heartbeat`,
        { body: beat, headers: json },
        403,
        "vin_mismatch",
      );
    }
    await refused(
      vehicleB,
      "POST",
      "/api/v1/vehicles/register",
      { body: JSON.stringify(registration), headers: json },
      403,
      "vin_mismatch",
    );
    const vci = JSON.stringify(report(vinA, "VMG-001", [ecu("ECU_001", "1.0.0")]));
    await refused(
      vehicleB,
      "POST",
      `/api/v1/vehicles/${vinB}/vci`,
      { body: vci, headers: json },
      403,
      "vin_mismatch",
    );
    const check = JSON.stringify({ vehicle_id: "VMG-001" });
    await refused(vehicleB, "POST", "/api/v1/ota/check", { body: check, headers: json }, 403, "vin_mismatch");
    await refused(
      vehicleB,
      "POST",
      "/api/v1/ota/package",
      { body: check, headers: json },
      403,
      "vin_mismatch",
    );
    await refused(vehicleA, "GET", "/api/v1/vehicles", {}, 403, "wrong_caller");
    await refused(
      vehicleA,
      "POST",
      "/api/v1/firmware?ecu_type=T&hw_version=H&version=1.0.0",
      { body: "x" },
      403,
      "wrong_caller",
    );
    await refused(operator, "POST", heartbeat, { body: beat, headers: json }, 403, "wrong_caller");
  });

  await t.step("firmware with a fault names its line, and leaves nothing", async () => {
    const query = "ecu_type=T&hw_version=H&version=1.0.0";
    const path = `/api/v1/firmware?${query}`;
    // The first record's checksum should be F2.
    const bad = ":0400000001020304F3\n:00000001FF\n";
    const { problem } = await refused(operator, "POST", path, { body: bad }, 422, "firmware_bad_checksum");
    assert.match(problem.detail, /line 1/);
    await refused(operator, "POST", path, { body: ":0400000001020304F2\n" }, 422, "firmware_missing_end");
    await refused(
      operator,
      "POST",
      `${path}&base_address=16`,
      { body: ":0400000001020304F2\n:00000001FF\n" },
      422,
      "firmware_bad_option",
    );
    await refused(operator, "POST", `/api/v1/firmware?${query}1.2`, { body: bad }, 400, "invalid_query");
    await refused(operator, "POST", path, { body: "x".repeat(6000) }, 413, "body_too_large");
    await empty(join(server.directory, "data", "tmp"));
  });

  await t.step("a client that goes away in mid-upload leaves nothing", async () => {
    const { stream } = await connect({
      hostname: server.server.https.hostname,
      port: server.server.https.port,
      credentials: operator.credentials,
      trust: operator.credentials.trust,
    });
    stream.on("error", () => {});
    stream.write(
      "POST /api/v1/firmware?ecu_type=T&hw_version=H&version=9.0.0 HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n" +
        ":0400000001020304F2\n",
    );
    const temporary = join(server.directory, "data", "tmp");
    await eventually("a temporary file", () => [...Deno.readDirSync(temporary)].length > 0);
    stream.destroy();
    await eventually("no temporary file", () => [...Deno.readDirSync(temporary)].length === 0);
  });

  await t.step("a body that stops coming is given up", async () => {
    const answer = await onTheWire(
      server,
      `POST ${heartbeat} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
    );
    assert.match(answer, /^HTTP\/1\.1 408 /);
  });

  await t.step("a head that trickles, and what is no HTTP", async () => {
    assert.equal(await onTheWire(server, "GET / HTTP/1.1\r\nHos"), "");
    assert.match(await onTheWire(server, "NONSENSE\r\n\r\n"), /^HTTP\/1\.1 400 [\s\S]*malformed_http/);
    assert.match(
      await onTheWire(server, `GET / HTTP/1.1\r\nHost: x\r\nX: ${"a".repeat(20_000)}\r\n\r\n`),
      /^HTTP\/1\.1 431 /,
    );
  });

  await t.step("requests that follow each other without waiting are answered in order", async () => {
    const answer = await onTheWire(
      server,
      `GET /api/v1/vehicles/${vinA}/config HTTP/1.1\r\nHost: x\r\n\r\n` +
        `GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    const first = answer.indexOf('"version":0');
    assert.ok(first > 0 && first < answer.indexOf('"state"'), answer);
  });

  await t.step("the local listener answers its own names only, on a loopback address only", async () => {
    const { hostname, port } = server.server.local;
    const local = (host: string, path = "/healthz") =>
      plain(hostname, port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assert.match(await local(`${hostname}:${port}`), /^HTTP\/1\.1 200 /);
    assert.match(await local(`localhost:${port}`), /^HTTP\/1\.1 200 /);
    assert.match(await local(`evil.example:${port}`), /^HTTP\/1\.1 421 /);
    assert.match(await local(`localhost`), /^HTTP\/1\.1 421 /);
    assert.match(await local(`localhost:${port}`, "/metrics"), /zonebench_http_requests_total\{/);
    assert.match(await local(`localhost:${port}`, "/api/v1/vehicles"), /^HTTP\/1\.1 404 /);
    const page = await local(`localhost:${port}`, "/");
    assert.match(page, /content-security-policy: default-src 'none'; script-src 'sha256-/i);
    assert.ok(
      !/https?:\/\//.test(page.slice(page.indexOf("<!doctype"))),
      "the page refers to something elsewhere",
    );
    await assert.rejects(
      startTestServer("127.0.34.14", { local: { hostname: "0.0.0.0", port: 0 } }),
      /loopback/,
    );
  });

  await t.step("the dashboard's events tell what is there and what happens", async () => {
    const { hostname, port } = server.server.local;
    const response = await fetch(`http://${hostname}:${port}/events`);
    const reader = (response.body ?? assert.fail()).pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    const until = async (part: string) => {
      while (!text.includes(part)) {
        text += (await reader.read()).value ?? assert.fail(`ended without ${part}`);
      }
    };
    await until('"vmg_id":"VMG-001"');
    const messages = [{ message_id: "t-1", topic: `vehicle/${vinA}/telemetry`, payload: { speed: 12 } }];
    await vehicleA.rest.call(routes.sendMessages, { path: { vin: vinA }, body: { messages } });
    await until('event: telemetry\ndata: {"type":"telemetry"');
    await reader.cancel();
  });

  await t.step("and it serves on", async () => {
    await operator.rest.upload(routes.addFirmware, {
      query: { ecu_type: "T", hw_version: "H", version: "2.0.0", format: "binary" },
      stream: chunks("abc"),
    });
    assert.equal((await raw(server, operator, "GET", "/healthz")).status, 200);
  });
});

async function empty(directory: string): Promise<void> {
  await eventually(`nothing in ${directory}`, () => [...Deno.readDirSync(directory)].length === 0);
}

/** Sends bytes as vehicle A and gives what comes back until the server closes. */
async function onTheWire(server: TestServer, text: string): Promise<string> {
  const { stream } = await connect({
    hostname: server.server.https.hostname,
    port: server.server.https.port,
    credentials: server.vehicleA.credentials,
    trust: server.vehicleA.credentials.trust,
  });
  stream.on("error", () => {});
  stream.write(text);
  const answer = await collected(stream);
  stream.destroy();
  return answer;
}

async function plain(hostname: string, port: number, text: string): Promise<string> {
  const socket = connectTcp(port, hostname);
  socket.on("error", () => {});
  socket.write(text);
  return await collected(socket);
}

function collected(stream: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    stream.setEncoding("utf8");
    stream.on("data", (part: string) => answer += part);
    stream.once("end", () => resolve(answer));
    stream.once("close", () => resolve(answer));
  });
}
