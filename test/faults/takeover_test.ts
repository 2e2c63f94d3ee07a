// A vehicle that comes a second time while its first connection still stands, in the middle of a message or of nothing; and
// connections of which nothing is heard any more. Packets are written out by hand, so that they can be cut anywhere.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { routes } from "../../src/contract/routes.ts";
import { connect } from "../../src/tls/connect.ts";
import { connectPacket, disconnectPacket, publishPacket, subscribePacket } from "../support/mqtt_packets.ts";
import { eventually, startTestServer, type TestServer, vinA } from "../server/running_server.ts";

const clientId = `vehicle-${vinA}`;
const topic = "vehicle/VMG-001/telemetry";

const offline = { topic: `vehicle/${vinA}/status`, payload: '{"status":"offline"}' };

const telemetry = (id: number, values: unknown) => publishPacket(id, topic, JSON.stringify(values));

/** A connection on which a test says what it likes. */
class Raw {
  received = Buffer.alloc(0);
  ended = false;

  private constructor(readonly stream: Duplex) {
    stream.on("data", (bytes: Uint8Array) => this.received = Buffer.concat([this.received, bytes]));
    for (const event of ["end", "close", "error"]) stream.on(event, () => this.ended = true);
  }

  static async open(server: TestServer, keepalive = 60): Promise<Raw> {
    const { credentials } = server.vehicleA;
    const { hostname, port } = server.server.mqtt;
    const { stream } = await connect({ hostname, port, credentials, trust: credentials.trust });
    const raw = new Raw(stream);
    raw.write(connectPacket(clientId, keepalive, offline));
    return raw;
  }

  write(bytes: Uint8Array): void {
    this.stream.write(bytes);
  }

  /** Waits for the next so many bytes. */
  async take(count: number): Promise<number[]> {
    await eventually(`${count} bytes`, () => this.received.length >= count);
    const bytes = [...this.received.subarray(0, count)];
    this.received = this.received.subarray(count);
    return bytes;
  }
}

const statusOf = async ({ operator }: TestServer) =>
  (await operator.rest.call(routes.getVehicle, { path: { vin: vinA } })).status;

const stored = async ({ operator }: TestServer) =>
  (await operator.rest.call(routes.listTelemetry, { path: { vin: vinA } })).telemetry.map(({ metrics }) =>
    metrics
  );

Deno.test("second and silent connections of a vehicle", async (t) => {
  await using server = await startTestServer("127.0.40.21");
  const body = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
  await server.vehicleA.rest.call(routes.registerVehicle, { body });

  await t.step(
    "a second connection takes over in the middle of a message, which is stored once",
    async () => {
      const message = telemetry(7, { count: 1, message_id: "m-1" });
      for (let cut = 1; cut < message.length; cut += 9) {
        const first = await Raw.open(server);
        // CONNACK (section 3.2): from the second round on the session is there.
        assert.deepEqual(await first.take(4), [0x20, 2, cut === 1 ? 0 : 1, 0]);
        first.write(subscribePacket(1, "vehicle/VMG-001/control"));
        assert.deepEqual(await first.take(5), [0x90, 3, 0, 1, 1]);
        first.write(message.subarray(0, cut));
        const second = await Raw.open(server);
        assert.deepEqual(await second.take(4), [0x20, 2, 1, 0]);
        await eventually("the first connection's end", () => first.ended);
        assert.equal(first.received.length, 0, "half a message is not acknowledged");
        second.write(message);
        assert.deepEqual(await second.take(4), [0x40, 2, 0, 7]);
        assert.equal(await statusOf(server), "online", "the will of the first is void");
        second.write(disconnectPacket);
        await eventually("the second connection's end", () => second.ended);
      }
      assert.deepEqual(await stored(server), [{ count: 1 }]);
    },
  );

  await t.step(
    "of connections that come all at once one is left, and what waits goes to it once",
    async () => {
      const all = await Promise.all(Array.from({ length: 12 }, () => Raw.open(server)));
      await eventually("one is left", () => all.filter(({ ended }) => !ended).length === 1);
      const left = all.find(({ ended }) => !ended);
      assert.ok(left);
      assert.equal((await left.take(4))[0], 0x20);
      left.write(subscribePacket(1, "vehicle/VMG-001/diagnostics"));
      assert.equal((await left.take(5))[0], 0x90);
      const body = { vin: vinA, ecu_id: "ECU_001", service_id: "0x22", data: "F190" };
      const { request_id } = await server.operator.rest.call(routes.sendDiagnostic, { body });
      await eventually("the request", () => left.received.includes(request_id));
      await eventually("it is online", async () => await statusOf(server) === "online");
      assert.equal(left.received.toString().split(request_id).length, 2, "once");
      assert.equal(left.ended, false);
      left.stream.destroy();
    },
  );

  await t.step(
    "a connection of which nothing is heard for one and a half keep-alives is closed, and its will published",
    async () => {
      const silent = await Raw.open(server, 1);
      assert.equal((await silent.take(4))[0], 0x20);
      await eventually("it is online", async () => await statusOf(server) === "online");
      silent.write(telemetry(9, { count: 2 }).subarray(0, 20));
      await eventually("the server closes it", () => silent.ended);
      await eventually("it is offline", async () => await statusOf(server) === "offline");
      assert.deepEqual(await stored(server), [{ count: 1 }], "half a message is none");
    },
  );
});
