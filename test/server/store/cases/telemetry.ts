// Telemetry, anomalies, and the messages that came in.
import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, VIN } from "./sample.ts";

export const telemetryCases: StoreTest[] = [
  {
    name: "a batch is stored in one statement and read back by time",
    run: async ({ store, clock }) => {
      const at = (ms: number) => clock.in(ms);
      const { stored, duplicates } = await store.telemetry.add([
        { vin: VIN, timestamp: at(-2000), metrics: { battery_soc: 80.5, speed: 0, temp: -3 } },
        { vin: VIN, timestamp: at(-1000), metrics: { battery_soc: 80, "tyre.front_left": 2.4 } },
        { vin: OTHER_VIN, timestamp: at(-500), metrics: {} },
        { vin: VIN, timestamp: at(-3000), metrics: { speed: 1e-7 } },
      ]);
      assert.deepEqual([stored, duplicates], [4, []]);
      const rows = await store.telemetry.list({ vin: VIN });
      assert.deepEqual(rows.map((row) => row.metrics), [
        { battery_soc: 80, "tyre.front_left": 2.4 },
        { battery_soc: 80.5, speed: 0, temp: -3 },
        { speed: 1e-7 },
      ]);
      assert.deepEqual(rows[1], {
        vin: VIN,
        messageId: null,
        timestamp: at(-2000),
        received: clock.now(),
        batterySoc: 80.5,
        speed: 0,
        temp: -3,
        metrics: { battery_soc: 80.5, speed: 0, temp: -3 },
      });
      assert.deepEqual((await store.telemetry.latest(VIN))?.timestamp, at(-1000));
      assert.equal(await store.telemetry.latest("KMHXX00XXXX000009"), null);
      const range = await store.telemetry.list({ vin: VIN, since: at(-3000), until: at(-1000) });
      assert.deepEqual(range.map((row) => row.timestamp), [at(-2000), at(-3000)]);
      assert.deepEqual(
        (await store.telemetry.list({ vin: VIN, limit: 1, offset: 1 })).map((row) => row.temp),
        [-3],
      );
    },
  },
  {
    name: "a message is stored once, within a batch, in later batches and in batches at once",
    run: async ({ store, clock }) => {
      const row = (messageId: string | null, speed: number, vin = VIN) => ({
        vin,
        messageId,
        timestamp: clock.now(),
        metrics: { speed },
      });
      assert.deepEqual(
        await store.telemetry.add([row("a", 1), row(null, 2), row("a", 3), row("b", 4), row(null, 2)]),
        {
          stored: 4,
          duplicates: [2],
        },
      );
      assert.deepEqual(
        await store.telemetry.add([row("b", 5), row("c", 6), row("a", 7, OTHER_VIN), row("c", 8)]),
        {
          stored: 2,
          duplicates: [0, 3],
        },
      );
      const batch = Array.from({ length: 50 }, (_, n) => row(`m${n}`, 100 + n));
      const results = await Promise.all(Array.from({ length: 5 }, () => store.telemetry.add(batch)));
      assert.equal(results.reduce((sum, { stored }) => sum + stored, 0), 50);
      const speeds = (await store.telemetry.list({ vin: VIN, limit: 1000 })).map((entry) => entry.speed);
      assert.equal(speeds.length, 55);
      assert.equal(speeds.includes(3) || speeds.includes(5) || speeds.includes(8), false);
    },
  },
  {
    name: "a batch with one impossible row is refused whole",
    run: async ({ store, clock }) => {
      const good = { vin: VIN, timestamp: clock.now(), metrics: { speed: 1 } };
      await assert.rejects(store.telemetry.add([good, { ...good, timestamp: new Date(NaN) }]));
      assert.deepEqual(await store.telemetry.list({ vin: VIN }), []);
      assert.deepEqual(await store.telemetry.add([]), { stored: 0, duplicates: [] });
    },
  },
  {
    name: "twenty thousand rows are one batch, more than fifty thousand are refused",
    run: async ({ store, database, clock }) => {
      const row = { vin: VIN, timestamp: clock.now(), metrics: { battery_soc: 50, speed: 10, temp: 20 } };
      await store.telemetry.add(Array.from({ length: 20_000 }, () => row));
      assert.deepEqual(await database.query("select count(*) as rows from telemetry"), [{ rows: 20_000 }]);
      await assert.rejects(
        store.telemetry.add(Array.from({ length: 50_001 }, () => row)),
        InvalidArgumentError,
      );
    },
  },
  {
    name: "anomalies are stored with what was expected, newest first",
    run: async ({ store, clock }) => {
      const event = (metric: string, value: number) => ({
        vin: VIN,
        metric,
        rule: "limit" as const,
        value,
        expected: { max: 60 },
        timestamp: clock.in(-100),
        message: `${metric} is ${value}`,
      });
      await store.anomalies.add([event("temp", 90), event("speed", 300)]);
      await store.anomalies.add([]);
      const [latest, ...others] = await store.anomalies.list(VIN);
      assert.equal(others.length, 1);
      assert.deepEqual(latest, {
        ...event("speed", 300),
        anomalyId: latest.anomalyId,
        received: clock.now(),
      });
      assert.deepEqual(await store.anomalies.list(OTHER_VIN), []);
    },
  },
  {
    name: "running figures outlive the program that kept them",
    run: async ({ store, clock }) => {
      const state = (metric: string, count: number) => ({
        vin: VIN,
        metric,
        count,
        mean: 20.123456789012345,
        m2: 0.1 + 0.2,
        lastValue: -1e300,
        lastTimestamp: clock.now(),
      });
      await store.anomalies.saveStates([state("temp", 1), state("speed", 5)]);
      await store.anomalies.saveStates([state("temp", 2)]);
      await store.anomalies.saveStates([]);
      assert.deepEqual(await store.anomalies.states(VIN), [state("speed", 5), state("temp", 2)]);
      assert.deepEqual(await store.anomalies.states(OTHER_VIN), []);
    },
  },
  {
    name: "a message of a vehicle is claimed once, together with what it says",
    run: async ({ store, clock }) => {
      const messages = [{ messageId: "m1", topic: "t" }, { messageId: "m2", topic: "t" }];
      assert.deepEqual(await store.inbound.claim(VIN, messages), new Set(["m1", "m2"]));
      assert.deepEqual(
        await store.inbound.claim(VIN, [...messages, { messageId: "m3", topic: "t" }]),
        new Set(["m3"]),
      );
      assert.deepEqual(await store.inbound.claim(OTHER_VIN, messages), new Set(["m1", "m2"]));
      assert.deepEqual(await store.inbound.claim(VIN, []), new Set());
      await assert.rejects(
        store.transaction(async (tx) => {
          assert.equal((await tx.inbound.claim(VIN, [{ messageId: "m4", topic: "t" }])).size, 1);
          await tx.telemetry.add([{ vin: VIN, timestamp: clock.now(), metrics: {} }]);
          throw new Error("the disk is full");
        }),
        /the disk is full/,
      );
      assert.equal((await store.inbound.claim(VIN, [{ messageId: "m4", topic: "t" }])).size, 1);
      assert.deepEqual(await store.telemetry.list({ vin: VIN }), []);
    },
  },
  {
    name: "refused messages are kept in part, whatever bytes they had, and only the newest ten thousand",
    run: async ({ store, database }) => {
      await store.inbound.reject({
        vin: VIN,
        source: "mqtt",
        topic: "vehicle/x\0/telemetry",
        reason: "not JSON",
        payload: `\0\ud800${"x".repeat(5000)}`,
      });
      const [message] = await store.inbound.rejected({ vin: VIN });
      assert.equal(message.topic, "vehicle/x\ufffd/telemetry");
      assert.equal(message.excerpt, `\ufffd\ufffd${"x".repeat(1022)}`);
      await database.query(
        `insert into rejected_messages (vin, source, topic, reason, excerpt, received)
         select null, 'https', null, 'x', '', now() from generate_series(1, 10500)`,
      );
      await store.inbound.reject({ vin: null, source: "https", topic: null, reason: "last", payload: "" });
      assert.deepEqual(await database.query("select count(*) as rows from rejected_messages"), [{
        rows: 10_000,
      }]);
      assert.equal((await store.inbound.rejected({ limit: 1 }))[0].reason, "last");
      assert.deepEqual(await store.inbound.rejected({ vin: VIN }), []);
    },
  },
];
