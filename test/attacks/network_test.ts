// What can be done to an update by whoever has the network: with the server's stolen TLS key he sits in the middle of it and keeps
// back, delays, repeats and mixes what he has seen; without it he sees and changes nothing.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { ServerResponse } from "node:http";
import { attest } from "../../src/uptane/time.ts";
import { startForwarder } from "../support/forwarder.ts";
import { serverLeaf, testAuthority } from "../support/certificates.ts";
import { eventually } from "../server/running_server.ts";
import { forgePackage } from "./support/forge.ts";
import { Lab } from "./support/lab.ts";
import { ManInTheMiddle } from "./support/man_in_the_middle.ts";
import { AttackedVehicle, type VehicleOptions } from "./support/vehicle.ts";

const day = 86_400_000;
/** Least bytes of what is secret that must not be found on the wire. */
const run = 12;

Deno.test("the network", async (test) => {
  await using lab = await Lab.start("127.0.99.1");
  const attack = (
    name: string,
    work: (vehicle: AttackedVehicle) => Promise<void>,
    options: VehicleOptions = {},
  ) =>
    test.step(name, async () => {
      await using vehicle = await AttackedVehicle.start(lab, options);
      await work(vehicle);
    });

  await test.step("eavesdrop: a whole update shows nothing but TLS records", () => eavesdrop(lab));

  await attack("a server with another authority's certificate is not talked to", async (vehicle) => {
    const authority = await testAuthority("Another Authority");
    await vehicle.end();
    const { trust } = vehicle.credentials;
    await using impostor = await ManInTheMiddle.start({
      hostname: lab.hostname,
      vin: vehicle.vin,
      server: await serverLeaf(authority, { names: [lab.hostname] }),
      vehicle: vehicle.credentials,
      trust,
      https: () => lab.server.server.https.port,
      mqtt: () => lab.server.server.mqtt.port,
    });
    let asked = 0;
    impostor.on("(?:GET|POST)", ".*", (_passing, forward) => {
      asked++;
      return forward();
    });
    vehicle.options.ports = { https: impostor.httpsPort, mqtt: impostor.mqttPort };
    const at = vehicle.lines.length;
    await vehicle.begin();
    const line = await eventually(
      "the refusal in the log",
      () => vehicle.lines.slice(at).find((it) => /certificate|UnknownIssuer|trust/i.test(it)),
      60_000,
    );
    assert.match(line, /certificate|UnknownIssuer|trust/i);
    assert.equal(asked, 0);
  });

  await attack("drop request: metadata that is withheld", async (vehicle) => {
    await vehicle.release(1);
    vehicle.middle.on("GET", "/api/v1/uptane/director/.*", () => ({ status: 404, bytes: new Uint8Array() }));
    await vehicle.assertRefused("metadata_present", "drop request");
    vehicle.middle.rest();
    vehicle.middle.on("GET", "/api/v1/uptane/image/.*", () => ({ status: 503, bytes: new Uint8Array() }));
    await vehicle.assertRefused("metadata_present", "drop request");
    vehicle.middle.rest();
    vehicle.middle.on("GET", "/api/v1/ota/package/.*", (_passing, _forward, response) => {
      response.destroy();
      return "taken";
    });
    await vehicle.assertRefused("package_present", "drop request");
  });

  await attack(
    "drop request: a command that is swallowed comes again with the next connection",
    async (vehicle) => {
      const released = await vehicle.release(1);
      let swallowed = 0;
      vehicle.middle.onCommand = () => {
        swallowed++;
        return undefined;
      };
      const update = await vehicle.start();
      await eventually("the command is swallowed", () => swallowed > 0, 60_000);
      assert.equal((await vehicle.look(update)).status, "pending");
      await vehicle.end();
      vehicle.middle.rest();
      await vehicle.begin();
      const { status, error } = await vehicle.ended(update);
      assert.equal(status, "completed", error);
      vehicle.assertRuns(released);
    },
  );

  await attack("slow retrieval: metadata that trickles", async (vehicle) => {
    await vehicle.release(1);
    vehicle.middle.on("GET", "/api/v1/uptane/image/timestamp.json", async (_passing, forward, response) => {
      const { bytes } = await forward();
      return trickle(response, bytes);
    });
    await vehicle.assertRefused("metadata_speed", "slow retrieval");
  }, { limits: { fileTime: 200 }, vmg: { update: { downloadPatience: 300 } } });

  await attack("slow retrieval: a package that trickles", async (vehicle) => {
    await vehicle.release(1);
    vehicle.middle.on("GET", "/api/v1/ota/package/[^/]+", async (_passing, forward, response) => {
      const { bytes } = await forward();
      response.writeHead(200, { "content-length": bytes.length, etag: '"slow"' });
      return trickle(response, bytes);
    });
    await vehicle.assertRefused("package_speed", "slow retrieval");
  }, { vmg: { update: { downloadPatience: 500 } } });

  await attack("freeze: what was recorded is given out for ever", async (vehicle) => {
    await vehicle.release(1);
    const recorded = await lab.record("director", vehicle.vin);
    const time = await lab.steal("director", "time");
    // Before it expires the vehicle does not see that there is more: nothing is installed.
    vehicle.middle.give("director", recorded);
    await vehicle.assertRefused("package_directed", "arbitrary software");
    // A week later it does. The time is the server's own, as it will be then; to the server of today the report comes early.
    vehicle.middle.on("POST", "/api/v1/uptane/time", async ({ body }) => {
      const { nonces } = JSON.parse(new TextDecoder().decode(body));
      return { status: 200, bytes: await attest(new Date(Date.now() + 8 * day), nonces, time) };
    });
    await vehicle.assertRefused("timestamp_expiry", "freeze", undefined, "report_future");
  });

  await attack("freeze: a recorded time", async (vehicle) => {
    await vehicle.release(1);
    let recorded: Uint8Array | undefined;
    vehicle.middle.on("POST", "/api/v1/uptane/time", async (_passing, forward) => {
      recorded ??= (await forward()).bytes;
      return { status: 200, bytes: recorded };
    });
    assert.equal((await vehicle.update(["ECU_001"])).status, "completed");
    await vehicle.assertRefused("time_nonce", "replay", () => vehicle.update(["ECU_002"]));
  });

  await attack("rollback: files that the vehicle has seen later ones of", async (vehicle) => {
    const image = await lab.record("image", vehicle.vin);
    const first = await vehicle.release(1);
    const update = await vehicle.start();
    const director = await lab.record("director", vehicle.vin);
    assert.equal((await vehicle.ended(update)).status, "completed");
    vehicle.assertRuns(first);
    await vehicle.verified({ ECU_001: "1.1.0", ECU_002: "1.1.0" });
    const second = await vehicle.release(2);
    await vehicle.updated(second);
    await vehicle.release(3);
    vehicle.middle.give("director", director);
    await vehicle.assertRefused("timestamp_rollback", "rollback");
    vehicle.middle.rest();
    vehicle.middle.give("image", image);
    await vehicle.assertRefused("timestamp_rollback", "rollback");
    vehicle.assertRuns(second);
  });

  await attack("mix-and-match: files of different releases", async (vehicle) => {
    await vehicle.release(1);
    const before = await lab.bundle("image", vehicle.vin);
    // Signatures of ECDSA have some bytes more or less: what is too long is refused for that.
    let now = before;
    for (let minor = 2; now === before || now.snapshot.bytes.length < before.snapshot.bytes.length; minor++) {
      await vehicle.release(minor);
      now = await lab.bundle("image", vehicle.vin);
    }
    // In the order of the checks: what was found good is not fetched again.
    const cases = [
      ["snapshot_hashes", `${now.snapshot.version}.snapshot.json`, before.snapshot.bytes],
      ["targets_hashes", `${now.targets.version}.targets.json`, before.targets.bytes],
    ] as const;
    for (const [code, name, bytes] of cases) {
      vehicle.middle.rest();
      vehicle.middle.give("image", new Map([[name, bytes]]));
      await vehicle.assertRefused(code, "mix-and-match");
    }
  });

  await attack("mixed bundles: the package of another update", async (vehicle) => {
    await vehicle.release(1);
    let other: Uint8Array | undefined;
    vehicle.middle.on("GET", "/api/v1/ota/package/[^/]+", async (_passing, forward) => {
      const answer = await forward();
      other ??= answer.bytes;
      return { ...answer, status: 200, bytes: other };
    });
    assert.equal((await vehicle.update(["ECU_001"])).status, "completed");
    await vehicle.assertRefused("package_directed", "arbitrary software", () => vehicle.update(["ECU_002"]));
    await vehicle.release(2);
    await vehicle.assertRefused("package_hash", "arbitrary software", () => vehicle.update(["ECU_001"]));
  });

  await attack("partial bundle: a command that names a part of the update's ECUs", async (vehicle) => {
    await vehicle.release(1);
    vehicle.middle.onCommand = (command) => ({ ...command, target_ecus: ["ECU_001"] });
    const { error } = await vehicle.assertRefused("package_ecus", "partial bundle");
    assert.match(error, /ECU_002: the package has an image that was not asked for/);
  });

  await attack("endless data: metadata and packages without an end", async (vehicle) => {
    await vehicle.release(1);
    let sent = 0;
    vehicle.middle.on(
      "GET",
      "/api/v1/uptane/director/[^/]+/timestamp.json",
      async (_passing, _forward, response): Promise<"taken"> => {
        response.writeHead(200, { "content-type": "application/json" });
        const closed = new Promise<void>((resolve) => response.once("close", resolve));
        while (!response.destroyed && response.writable) {
          sent += 16_384;
          if (response.write(Buffer.alloc(16_384, 0x20))) continue;
          await Promise.race([closed, new Promise<void>((resolve) => response.once("drain", resolve))]);
        }
        return "taken";
      },
    );
    await vehicle.assertRefused("metadata_length", "endless data");
    assert.ok(sent < 16 * 1024 ** 2, `${sent} bytes were taken`);
    vehicle.middle.rest();
    for (const length of [undefined, 2 ** 52]) {
      vehicle.middle.on("GET", "/api/v1/ota/package/[^/]+", (_passing, _forward, response) => {
        response.writeHead(200, length === undefined ? {} : { "content-length": length });
        response.write("OTAP");
        return "taken";
      });
      await vehicle.assertRefused("package_size", "endless data");
    }
  });

  await attack("arbitrary software: blobs that were changed on their way", async (vehicle) => {
    await vehicle.release(1);
    vehicle.middle.on("GET", "/api/v1/ota/package/[^/]+", async (_passing, forward) => {
      const answer = await forward();
      const bytes = answer.bytes.slice();
      bytes[bytes.length - 1] ^= 1;
      return { ...answer, bytes };
    });
    const { error } = await vehicle.assertRefused("package_content", "arbitrary software");
    assert.match(error, /block_hash/);
  });

  await attack("wrong vehicle: another vehicle's command, metadata and package", async (vehicle) => {
    await using other = await AttackedVehicle.start(lab);
    await other.release(1);
    await vehicle.release(1);
    const update = await other.start();
    const director = await lab.record("director", other.vin);
    await other.ended(update);
    vehicle.middle.give("director", director);
    await vehicle.assertRefused("director_vehicle", "wrong vehicle");
    vehicle.middle.rest();
    const key = await lab.packageKey();
    const released = await vehicle.release(2);
    vehicle.middle.swapPackage((manifest) =>
      forgePackage(
        manifest,
        key,
        ({ ecu_id }) => ({ image: released[ecu_id], bytes: Uint8Array.from(released[ecu_id].bytes) }),
        lab.pool,
        { vehicleId: other.vin },
      )
    );
    await vehicle.assertRefused("package_vehicle", "wrong vehicle");
  });

  await attack("replayed commands are acted on once", async (vehicle) => {
    const topic = `vehicle/${vehicle.vmgId}/control`;
    await vehicle.updated(await vehicle.release(1));
    const [command] = vehicle.middle.commands.filter((it) => it.command === "START_OTA_UPDATE");
    const before = vehicle.running();
    const operations = vehicle.bench.ecus.map(({ flashOperations }) => flashOperations);
    const logged = async (text: RegExp) => {
      const at = vehicle.lines.length;
      await eventually(String(text), () => vehicle.lines.slice(at).some((line) => text.test(line)), 60_000);
    };
    let waiting = logged(/Received START_OTA_UPDATE .* again: it was acted on before/);
    vehicle.middle.inject(topic, command);
    await waiting;
    waiting = logged(new RegExp(`Update ${command.update_id} is known already`));
    vehicle.middle.inject(topic, { ...command, message_id: crypto.randomUUID() });
    await waiting;
    // As if it were another update: nothing is directed any more.
    waiting = logged(/Refused as arbitrary software .* package_directed: /);
    const update_id = crypto.randomUUID();
    vehicle.middle.inject(topic, { ...command, message_id: crypto.randomUUID(), update_id });
    await waiting;
    assert.deepEqual(vehicle.running(), before);
    assert.deepEqual(vehicle.bench.ecus.map(({ flashOperations }) => flashOperations), operations);
  });
});

async function eavesdrop(lab: Lab): Promise<void> {
  const directions = new Map<object, Uint8Array[]>();
  const eavesdropper = (direction: object, bytes: Uint8Array) => {
    const parts = directions.get(direction) ?? [];
    if (parts.length === 0) directions.set(direction, parts);
    parts.push(bytes.slice());
  };
  const { https, mqtt } = lab.server.server;
  const target = (port: number) => [{ hostname: lab.hostname, port }];
  await using one = startForwarder(lab.hostname, target(https.port), eavesdropper);
  await using two = startForwarder(lab.hostname, target(mqtt.port), eavesdropper);
  await using vehicle = await AttackedVehicle.start(lab, { ports: { https: one.port, mqtt: two.port } });
  const released = await vehicle.release(1);
  await vehicle.updated(released);
  await vehicle.end();
  const streams = [...directions.values()].map((parts) => Buffer.concat(parts));
  const { vin, vmgId, types } = vehicle;
  const words = ["START_OTA_UPDATE", vin, vmgId, "ECU_001", types.ECU_001, "sw_version", "OTAP", "HTTP/1.1"];
  const seen = new Set<string>();
  let carried = 0;
  for (const stream of streams) {
    for (const word of words) assert.ok(!stream.includes(word), `${word} in clear`);
    for (const part of runs(stream)) seen.add(part);
    carried += applicationData(stream);
  }
  for (const { bytes } of Object.values(released)) {
    for (const part of runs(Buffer.from(bytes))) assert.ok(!seen.has(part), "bytes of an image in clear");
  }
  const images = Object.values(released).reduce((sum, { bytes }) => sum + bytes.length, 0);
  assert.ok(carried > images, `${carried} bytes went by, ${images} of images among them`);
}

/** All runs of so many bytes. */
function* runs(bytes: Buffer): Generator<string> {
  for (let at = 0; at + run <= bytes.length; at++) yield bytes.toString("latin1", at, at + run);
}

/** Every byte belongs to a record of TLS 1.3 (RFC 8446, 5.1), encrypted but for the first handshake messages. @returns bytes that are */
function applicationData(stream: Uint8Array): number {
  let encrypted = 0;
  let plain = 0;
  for (let at = 0; at < stream.length;) {
    const [type, major, minor, high, low] = stream.subarray(at, at + 5);
    const length = high << 8 | low;
    assert.deepEqual([major, length <= 16_384 + 256], [3, true], `record at ${at}`);
    assert.ok(minor === 1 && at === 0 || minor === 3);
    if (type === 23) encrypted += length;
    else {
      // ClientHello, ServerHello or HelloRetryRequest; the change_cipher_spec of compatibility (D.4).
      assert.ok(type === 22 || type === 20 && length === 1, `type ${type} at ${at}`);
      assert.equal(encrypted, 0, "a record in clear after encrypted ones");
      plain++;
    }
    at += 5 + length;
  }
  assert.ok(plain <= 4, `${plain} records in clear`);
  return encrypted;
}

/** Sends a byte now and then. */
function trickle(response: ServerResponse, bytes: Uint8Array): "taken" {
  let at = 0;
  const timer = setInterval(() => response.write(bytes.subarray(at, ++at)), 20);
  response.on("close", () => clearInterval(timer));
  return "taken";
}
