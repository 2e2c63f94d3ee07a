// Every route against a running server, from registration to a finished update and a diagnosis.

import assert from "node:assert/strict";
import type { z } from "zod";
import { ProblemError } from "../../../src/contract/client.ts";
import type { messageBatch } from "../../../src/contract/mqtt.ts";
import { routes } from "../../../src/contract/routes.ts";
import { chunks, ecu, eventually, raw, report, startTestServer, vinA, vinB } from "../running_server.ts";

// Intel HEX by hand: 4 bytes at 0x0000 (sum 04+00+00+00+01+02+03+04 = 0E, checksum F2), end record.
const hexFile = ":0400000001020304F2\n:00000001FF\n";

Deno.test("the REST interface takes a vehicle from registration to a finished update", async (t) => {
  await using server = await startTestServer("127.0.34.11");
  const { vehicleA, vehicleB, operator } = server;

  await t.step("the log has the start of the design", () => {
    const text = server.lines.map((line) => line.replace(/^\[[^\]]+\] /, "")).join("\n");
    for (
      const line of [
        "INFO - Initializing PQC Manager...",
        "INFO -   Loaded 13 PQC configurations",
        "INFO - Starting MQTT Server...",
        `INFO - MQTT server started on 127.0.34.11:${server.server.mqtt.port}`,
        "INFO - Starting HTTPS Server...",
        `INFO - HTTPS server started on 127.0.34.11:${server.server.https.port}`,
        "INFO - OTA Server Running",
        "INFO - Active Services: MQTT, HTTPS",
        "INFO - Press Ctrl+C to stop",
      ]
    ) assert.ok(text.includes(line), `no line "${line}" in\n${text}`);
  });

  await t.step("a vehicle registers itself, and again", async () => {
    const body = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
    assert.equal((await vehicleA.rest.call(routes.registerVehicle, { body })).status, "registered");
    assert.equal((await vehicleA.rest.call(routes.registerVehicle, { body })).status, "already_registered");
    const other = { vin: vinB, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-002" };
    assert.equal((await vehicleB.rest.call(routes.registerVehicle, { body: other })).status, "registered");
  });

  await t.step("the gateway's name of another vehicle is a conflict", async () => {
    const body = { vin: vinB, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
    await assert.rejects(vehicleB.rest.call(routes.registerVehicle, { body }), problem(409));
  });

  await t.step("an operator uploads firmware; the same file again is the same image", async () => {
    const query = {
      ecu_type: "BODY_CONTROLLER",
      hw_version: "HW1",
      version: "1.10.0",
      priority: "high",
    } as const;
    const image = await operator.rest.upload(routes.addFirmware, { query, stream: chunks(hexFile) });
    assert.equal(image.format, "intel-hex");
    assert.deepEqual(image.segments, [{ address: 0, length: 4 }]);
    // printf '\1\2\3\4' | sha256sum
    assert.equal(image.payload_sha256, "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a");
    const again = await operator.rest.upload(routes.addFirmware, { query, stream: chunks(hexFile) });
    assert.equal(again.image_id, image.image_id);
    const other = new Uint8Array([9, 9, 9]);
    await assert.rejects(
      operator.rest.upload(routes.addFirmware, {
        query: { ...query, format: "binary" },
        stream: chunks(other),
      }),
      problem(409),
    );
    const older = { ...query, version: "1.9.9", format: "binary" as const, base_address: 0x100 };
    await operator.rest.upload(routes.addFirmware, { query: older, stream: chunks(other) });
    const list = await operator.rest.call(routes.listFirmware, { query: { ecu_type: "BODY_CONTROLLER" } });
    assert.equal(list.total, 2);
  });

  await t.step(
    "release counters, dependencies and conditions are kept, and a rollback is refused",
    async () => {
      const query = { ecu_type: "RADIO", hw_version: "HW1", format: "binary", base_address: 0 } as const;
      const add = (version: string, more: { release?: number; depends_on?: string; conditions?: string }) =>
        operator.rest.upload(routes.addFirmware, {
          query: { ...query, version, ...more },
          stream: chunks(new TextEncoder().encode(version)),
        });
      const asks = { release: 5, depends_on: "BODY_CONTROLLER@1.0.0", conditions: "speed<=0,soc>=30" };
      const image = await add("2.0.0", asks);
      assert.equal(image.release, 5);
      assert.deepEqual(image.depends_on, [{ ecu_type: "BODY_CONTROLLER", version: "1.0.0" }]);
      assert.deepEqual(image.conditions, [{ signal: "speed", max: 0 }, { signal: "soc", min: 30 }]);
      assert.equal((await add("2.0.0", asks)).image_id, image.image_id);
      await assert.rejects(add("2.0.0", { ...asks, release: 6 }), problem(409));
      await assert.rejects(
        add("2.1.0", { release: 4 }),
        (error) =>
          error instanceof ProblemError && error.status === 422 &&
          error.code === "firmware_release_rollback" &&
          /2\.1\.0 .* would have release 4, below release 5 of the older version 2\.0\.0.*--release 5 or more/
            .test(
              error.message,
            ),
      );
      await assert.rejects(add("1.9.0", { release: 6 }), problem(422, "firmware_release_rollback"));
      await assert.rejects(
        add("2.1.0", { release: 5, depends_on: "RADIO" }),
        problem(422, "firmware_depends_on_itself"),
      );
      await assert.rejects(
        add("2.1.0", { release: 5, conditions: "speed<0" }),
        problem(400, "invalid_query"),
      );
      assert.equal(
        (await operator.rest.call(routes.listFirmware, { query: { ecu_type: "RADIO" } })).total,
        1,
      );
    },
  );

  await t.step("a VBF file is recognized, and what it says of its download is kept", async () => {
    const query = { ecu_type: "GATEWAY_CONTROLLER", hw_version: "HW1", version: "1.0.0" } as const;
    // One block, 01 02 03 04 at 0x8000; CRC-16 and CRC-32 were made with Python's binascii and zlib.
    const file = new Uint8Array([
      ...new TextEncoder().encode(
        "vbf_version = 2.6; header { call = 0x8000; erase = {{0x8000, 0x400}}; file_checksum = 0x093F05CB; }",
      ),
      ...Uint8Array.fromHex("00008000000000040102030489c3"),
    ]);
    const image = await operator.rest.upload(routes.addFirmware, { query, stream: chunks(file) });
    assert.equal(image.format, "vbf");
    assert.deepEqual(image.segments, [{ address: 0x8000, length: 4 }]);
    assert.deepEqual(image.download, { erase: [{ address: 0x8000, length: 0x400 }], call: 0x8000 });
    const list = await operator.rest.call(routes.listFirmware, { query: { ecu_type: "GATEWAY_CONTROLLER" } });
    assert.deepEqual(list.images, [image]);
    file[file.length - 3] ^= 1;
    await assert.rejects(
      operator.rest.upload(routes.addFirmware, {
        query: { ...query, version: "1.0.1" },
        stream: chunks(file),
      }),
      /CRC-16/,
    );
  });

  await t.step("a report shows what is outdated by semantic version", async () => {
    const body = report(vinA, "VMG-001", [
      ecu("ECU_001", "1.9.9"),
      ecu("ECU_002", "1.10.0"),
      ecu("ECU_003", "1.2.0", { zonal_gateway_id: "ZG_ADAS" }),
      ecu("ECU_004", "1.0.0", { hw_version: "HW2" }),
      ecu("ECU_005", "unknown build"),
      { ...ecu("ECU_006", "x"), sw_version: undefined, status: "unreachable", error: "no answer" },
    ]);
    const answer = await vehicleA.rest.call(routes.submitVci, { path: { vin: "VMG-001" }, body });
    assert.deepEqual(answer.outdated_ecus, [
      { ecu_id: "ECU_001", current: "1.9.9", latest: "1.10.0", priority: "high" },
      { ecu_id: "ECU_003", current: "1.2.0", latest: "1.10.0", priority: "high" },
      { ecu_id: "ECU_005", current: "unknown build", latest: "1.10.0", priority: "high" },
    ]);
    assert.equal(answer.update_available, true);
    assert.ok(server.lines.some((line) => line.endsWith("INFO - [HTTPS] Analyzing VCI for VMG-001")));
    assert.ok(server.lines.some((line) => line.endsWith("INFO - [HTTPS] Found 3 outdated ECUs")));
    const check = await vehicleA.rest.call(routes.checkUpdate, { body: { vehicle_id: vinA } });
    assert.equal(check.outdated_ecus.length, 3);
  });

  await t.step("signs of life, metadata and configuration reach the registry", async () => {
    const path = { vin: vinA };
    const body = {
      ip: "10.2.5.200",
      status: "online" as const,
      timestamp: new Date().toISOString(),
      location: { latitude: 37.5, longitude: 127 },
      battery: 81.5,
    };
    await vehicleA.rest.call(routes.heartbeat, { path, body });
    await vehicleA.rest.call(routes.heartbeat, { path, body: { ...body, ip: "10.3.9.150" } });
    await vehicleA.rest.call(routes.putMetadata, { path, body: { color: "red", doors: [1, 2] } });
    await operator.rest.call(routes.putConfig, { path, body: { interval: 5 } });
    assert.deepEqual(await vehicleA.rest.call(routes.getConfig, { path }), {
      version: 1,
      config: { interval: 5 },
    });
    const detail = await operator.rest.call(routes.getVehicle, { path: { vin: "VMG-001" } });
    assert.equal(detail.current_ip, "10.3.9.150");
    assert.equal(detail.status, "online");
    assert.equal(detail.battery, 81.5);
    assert.deepEqual(detail.metadata, { color: "red", doors: [1, 2] });
    assert.deepEqual(detail.addresses.map((address) => address.ip), ["10.3.9.150", "10.2.5.200"]);
    assert.equal(detail.outdated_ecus.length, 3);
    assert.equal(detail.links[0].listener, "https");
    assert.equal(detail.links[0].group, "X25519MLKEM768");
    assert.equal(detail.links[0].signature_scheme, "ecdsa_secp256r1_sha256");
    const list = await operator.rest.call(routes.listVehicles, { query: { status: "online" } });
    assert.deepEqual(list.vehicles.map((vehicle) => vehicle.vin), [vinA]);
  });

  let updateId = "";
  let packageId = "";
  await t.step("an operator starts an update; a second one is a conflict", async () => {
    const body = { vin: "VMG-001", target_ecus: ["ECU_001", "ECU_003"] };
    const started = await operator.rest.call(routes.startUpdate, { body });
    assert.equal(started.status, "pending");
    ({ update_id: updateId, package_id: packageId } = started);
    await assert.rejects(
      operator.rest.call(routes.startUpdate, { body }),
      (error) =>
        error instanceof ProblemError && error.code === "update_active" && error.message.includes(updateId),
    );
    await assert.rejects(
      operator.rest.call(routes.startUpdate, { body: { vin: vinB } }),
      problem(409, "no_report"),
    );
  });

  await t.step(
    "the command waits for the vehicle, and acknowledging it makes the update accepted",
    async () => {
      const path = { vin: vinA };
      const { messages } = await vehicleA.rest.call(routes.pendingMessages, { path });
      const start = messages.find(({ topic }) => topic === "vehicle/VMG-001/control");
      assert.deepEqual(start?.payload, {
        message_id: start?.message_id,
        command: "START_OTA_UPDATE",
        update_id: updateId,
        package_id: packageId,
        download_url: `/api/v1/ota/package/${packageId}`,
        target_ecus: ["ECU_001", "ECU_003"],
        mode: "forced",
        attempt: 1,
        attempts: 1,
        approved: false,
      });
      const ack = { ...path, message_id: start?.message_id ?? "" };
      assert.equal(
        (await vehicleA.rest.call(routes.acknowledgeMessage, { path: ack })).status,
        "acknowledged",
      );
      assert.equal(
        (await vehicleA.rest.call(routes.acknowledgeMessage, { path: ack })).status,
        "already_acknowledged",
      );
      assert.equal(
        (await operator.rest.call(routes.getUpdate, { path: { id: updateId } })).status,
        "accepted",
      );
      const other = { vin: vinB, message_id: ack.message_id };
      await assert.rejects(vehicleB.rest.call(routes.acknowledgeMessage, { path: other }), problem(404));
    },
  );

  await t.step("the manifest is by zonal gateway and names the vehicle", async () => {
    const { manifest } = await vehicleA.rest.call(routes.getManifest, { path: { id: packageId } });
    assert.equal(manifest.vehicle_id, vinA);
    assert.deepEqual(manifest.zonal_gateways.map((zone) => zone.zonal_gateway_id), ["ZG_ADAS", "ZG_BODY"]);
    await assert.rejects(vehicleB.rest.call(routes.getManifest, { path: { id: packageId } }), problem(404));
  });

  await t.step("reports move the update forward, never back, and end it once", async () => {
    const ecus = [{ ecu_id: "ECU_001", status: "installing" as const, progress: 50, step: "transferData" }];
    const send = (status: "downloading" | "installing" | "completed" | "failed", progress: number) =>
      vehicleA.rest.call(routes.reportUpdate, {
        body: {
          update_id: updateId,
          vehicle_id: vinA,
          status,
          progress,
          ecus: status === "installing" ? ecus : [],
        },
      });
    await send("downloading", 10);
    await send("installing", 55.5);
    await send("downloading", 20);
    const middle = await operator.rest.call(routes.getUpdate, { path: { id: updateId } });
    assert.equal(middle.status, "installing");
    assert.equal(middle.progress, 55.5);
    assert.equal(middle.ecus.find((it) => it.ecu_id === "ECU_001")?.step, "transferData");
    await send("completed", 100);
    await send("failed", 100);
    const end = await operator.rest.call(routes.getUpdate, { path: { id: updateId } });
    assert.equal(end.status, "completed");
    assert.deepEqual(end.ecus.map((it) => [it.ecu_id, it.status, it.progress]), [
      ["ECU_001", "completed", 100],
      ["ECU_003", "completed", 100],
    ]);
    const list = await operator.rest.call(routes.listUpdates, {
      query: { status: "completed", vin: "VMG-001" },
    });
    assert.equal(list.total, 1);
    // The server asks what runs now.
    const { messages } = await vehicleA.rest.call(routes.pendingMessages, { path: { vin: vinA } });
    assert.ok(messages.some(({ payload }) => JSON.stringify(payload).includes("REPORT_VCI")));
    const foreign = { update_id: updateId, vehicle_id: vinB, status: "failed" as const, progress: 0 };
    await assert.rejects(vehicleB.rest.call(routes.reportUpdate, { body: foreign }), problem(404));
  });

  await t.step("a vehicle asks for a package itself; the same content is not built again", async () => {
    const body = { vehicle_id: "VMG-001", target_ecus: ["ECU_001"] };
    const first = await vehicleA.rest.call(routes.requestPackage, { body });
    const second = await vehicleA.rest.call(routes.requestPackage, { body });
    assert.equal(second.package_id, first.package_id);
    assert.equal(second.update_id, first.update_id);
    await assert.rejects(
      vehicleA.rest.call(routes.requestPackage, { body: { vehicle_id: vinA } }),
      problem(409, "update_active"),
    );
    await assert.rejects(
      vehicleA.rest.call(routes.requestPackage, { body: { vehicle_id: vinA, target_ecus: ["ECU_002"] } }),
      problem(409, "not_outdated"),
    );
    await assert.rejects(
      vehicleA.rest.call(routes.requestPackage, { body: { vehicle_id: vinA, target_ecus: ["ECU_999"] } }),
      problem(409, "unknown_ecu"),
    );
    const cancelled = await operator.rest.call(routes.cancelUpdate, { path: { id: first.update_id } });
    assert.equal(cancelled.status, "pending");
    await vehicleA.rest.call(routes.reportUpdate, {
      body: { update_id: first.update_id, vehicle_id: vinA, status: "cancelled", progress: 0 },
    });
    assert.equal(
      (await operator.rest.call(routes.getUpdate, { path: { id: first.update_id } })).status,
      "cancelled",
    );
  });

  await t.step("a diagnosis is sent, answered and decoded", async () => {
    const body = { vin: "VMG-001", ecu_id: "ECU_001", service_id: "0x22", data: "f190" };
    const sent = await operator.rest.call(routes.sendDiagnostic, { body });
    const path = { request_id: sent.request_id };
    assert.equal(sent.polling_url, `/api/v1/diagnostics/results/${sent.request_id}`);
    assert.equal((await operator.rest.call(routes.getDiagnostic, { path })).status, "pending");
    const messages: z.infer<typeof messageBatch>["messages"] = [
      // 62 F190 and the VIN in ASCII.
      {
        message_id: "m-1",
        topic: "vehicle/VMG-001/diagnostics",
        payload: {
          request_id: sent.request_id,
          ecu_id: "ECU_001",
          service_id: "0x22",
          response_data: "62F1904B4D4854455354314141413030303030" + "31",
        },
      },
      { message_id: "m-2", topic: `vehicle/${vinB}/telemetry`, payload: { speed: 1 } },
      { message_id: "m-3", topic: `vehicle/${vinA}/telemetry`, payload: { speed: 42.5 } },
      { message_id: "m-4", topic: `vehicle/${vinA}/telemetry`, payload: { speed: "fast" } },
    ];
    const answer = await vehicleA.rest.call(routes.sendMessages, { path: { vin: vinA }, body: { messages } });
    assert.deepEqual(answer.accepted, ["m-1", "m-3"]);
    assert.deepEqual(answer.rejected.map((it) => it.message_id).sort(), ["m-2", "m-4"]);
    const result = await operator.rest.call(routes.getDiagnostic, { path });
    assert.equal(result.status, "completed");
    assert.deepEqual(result.decoded, {
      did: "0xF190",
      name: "vin",
      text: "KMHTEST1AAA000001",
      hex: "4B4D485445535431414141303030303031",
    });
    const again = await vehicleA.rest.call(routes.sendMessages, { path: { vin: vinA }, body: { messages } });
    assert.deepEqual(again.accepted, ["m-1", "m-3"]);
    const { telemetry } = await operator.rest.call(routes.listTelemetry, { path: { vin: vinA } });
    assert.deepEqual(telemetry.map((row) => row.metrics), [{ speed: 42.5 }]);
    assert.deepEqual((await operator.rest.call(routes.listAnomalies, { path: { vin: vinA } })).anomalies, []);
  });

  await t.step("a broadcast asks every ECU of a gateway", async () => {
    const body = { vin: vinA, zonal_gateway_id: "ZG_BODY", service_id: "0x19", data: "02FF" };
    const { requests } = await operator.rest.call(routes.broadcastDiagnostic, { body });
    assert.deepEqual(requests.map((it) => it.ecu_id).sort(), [
      "ECU_001",
      "ECU_002",
      "ECU_004",
      "ECU_005",
      "ECU_006",
    ]);
    const none = { ...body, zonal_gateway_id: "ZG_NONE" };
    await assert.rejects(
      operator.rest.call(routes.broadcastDiagnostic, { body: none }),
      problem(409, "no_ecu_known"),
    );
    const list = await operator.rest.call(routes.listDiagnostics, {
      query: { vin: vinA, status: "pending" },
    });
    assert.equal(list.total, 5);
  });

  await t.step("the description of the interface names every route", async () => {
    const { json } = await raw(server, operator, "GET", "/api/v1/openapi.json");
    const document = json as { openapi: string; paths: Record<string, Record<string, unknown>> };
    assert.equal(document.openapi, "3.1.0");
    for (const { path, method } of Object.values(routes)) {
      assert.ok(document.paths[path][method.toLowerCase()], path);
    }
  });

  await t.step("everything is there after a restart", async () => {
    await server.restart();
    const list = await operator.rest.call(routes.listVehicles, {});
    assert.equal(list.total, 2);
    assert.equal((await operator.rest.call(routes.listFirmware, {})).total, 4);
    assert.equal(
      (await operator.rest.call(routes.getUpdate, { path: { id: updateId } })).status,
      "completed",
    );
    const response = await operator.rest.open(routes.downloadPackage, { path: { id: packageId } });
    assert.ok((await response.body.arrayBuffer()).byteLength > 3309);
    await eventually(
      "the health is good",
      async () => (await raw(server, operator, "GET", "/healthz")).status === 200,
    );
  });
});

function problem(status: number, code?: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ProblemError, String(error));
    assert.equal(error.status, status, error.message);
    if (code !== undefined) assert.equal(error.code, code);
    return true;
  };
}
