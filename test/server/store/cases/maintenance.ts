// Retention, unreferenced files, statistics, and the store as a whole.
import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { addImage, hash, OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

const DAY = 86_400_000;

export const maintenanceCases: StoreTest[] = [
  {
    name: "old telemetry goes in chunks and nothing else does",
    run: async ({ store, clock, database }) => {
      const row = (n: number) => ({ vin: VIN, messageId: `m${n}`, timestamp: clock.now(), metrics: { n } });
      await store.telemetry.add(Array.from({ length: 25 }, (_, n) => row(n)));
      clock.advance(2 * DAY);
      await store.telemetry.add(Array.from({ length: 5 }, (_, n) => row(100 + n)));
      assert.deepEqual(await store.retention.apply({ telemetry: DAY }, { chunk: 10, rounds: 2 }), {
        telemetry: 20,
      });
      assert.deepEqual(await store.retention.apply({ telemetry: DAY }, { chunk: 10 }), { telemetry: 5 });
      assert.deepEqual(await store.retention.apply({ telemetry: DAY }, { chunk: 10 }), { telemetry: 0 });
      assert.deepEqual(await database.query("select count(*) as rows from telemetry"), [{ rows: 5 }]);
    },
  },
  {
    name:
      "retention keeps what is in use: active updates and their packages, pending requests, the newest report and address",
    run: async ({ store, clock, database }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const { imageId } = await addImage(store);
      const built = { sha256: hash("c"), size: 1, etag: '"c"', manifest: {} };
      const used = await store.packages.claim({ vin: VIN, contentKey: "used", imageIds: [imageId] });
      await store.packages.finish(used.package.packageId, built);
      const idle = await store.packages.claim({ vin: VIN, contentKey: "idle", imageIds: [imageId] });
      await store.packages.finish(idle.package.packageId, built);
      const active = await store.updates.create({
        vin: VIN,
        initiator: "operator",
        packageId: used.package.packageId,
        ecus: [{ ecuId: "ECU_001" }],
      });
      const ended = await store.updates.create({
        vin: OTHER_VIN,
        initiator: "vehicle",
        ecus: [{ ecuId: "ECU_001" }],
      });
      await store.updates.end(ended.updateId, "failed", "test");
      const ask = { vin: VIN, ecuId: "ECU_001", serviceId: "0x22", data: "F190", timeout: 1000 };
      const answered = await store.diagnostics.create(ask);
      await store.diagnostics.answer(VIN, answered.requestId, { responseData: "62" });
      const pending = await store.diagnostics.create(ask);
      for (const ip of ["10.0.0.1", "10.0.0.2"]) {
        await store.vehicles.heartbeat(VIN, { ip, timestamp: clock.now() });
        await store.vci.add({
          vin: VIN,
          deviceId: "VMG-001",
          timestamp: clock.now(),
          ecus: [],
          report: { ip },
        });
      }
      const message = { topic: "t", command: "REPORT_VCI", payload: {}, vin: VIN };
      const lasting = await store.commands.add({ ...message, messageId: store.newId(), lifetime: 100 * DAY });
      await store.commands.add({ ...message, messageId: store.newId(), lifetime: 1000 });
      await store.inbound.claim(VIN, [{ messageId: "m", topic: "t" }]);
      await store.inbound.reject({ vin: VIN, source: "mqtt", topic: "t", reason: "r", payload: "" });
      await store.anomalies.add([
        { vin: VIN, metric: "m", rule: "rate", value: 1, expected: 0, timestamp: clock.now(), message: "m" },
      ]);
      clock.advance(10 * DAY);
      const age = 5 * DAY;
      const deleted = await store.retention.apply({
        telemetry: age,
        anomalies: age,
        diagnostics: age,
        updates: age,
        vci: age,
        addresses: age,
        packages: age,
        commands: age,
        inbound: age,
        rejected: age,
      });
      assert.deepEqual(deleted, {
        telemetry: 0,
        anomalies: 1,
        diagnostics: 1,
        updates: 1,
        vci: 1,
        addresses: 1,
        packages: 1,
        commands: 1,
        inbound: 1,
        rejected: 1,
      });
      assert.notEqual(await store.updates.find(active.updateId), null);
      assert.equal(await store.updates.find(ended.updateId), null);
      assert.notEqual(await store.packages.find(used.package.packageId), null);
      assert.equal(await store.packages.find(idle.package.packageId), null);
      assert.notEqual(await store.diagnostics.find(pending.requestId), null);
      assert.notEqual(await store.commands.find(lasting.messageId), null);
      assert.deepEqual((await store.vci.latest(VIN))?.report, { ip: "10.0.0.2" });
      assert.deepEqual((await store.vehicles.addresses(VIN)).map((address) => address.ip), ["10.0.0.2"]);
      assert.deepEqual(await database.query("select count(*) as rows from update_ecus"), [{ rows: 1 }]);
    },
  },
  {
    name: "retention refuses ages and chunks that make no sense",
    run: async ({ store }) => {
      await assert.rejects(store.retention.apply({ telemetry: -1 }), InvalidArgumentError);
      await assert.rejects(store.retention.apply({ telemetry: 1 }, { chunk: 0 }), InvalidArgumentError);
      await assert.rejects(
        store.retention.apply({ telemetry: 1 }, { signal: AbortSignal.abort(new Error("stop")) }),
        {
          message: "stop",
        },
      );
    },
  },
  {
    name: "files that no row refers to are found",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { imageId } = await addImage(store, {
        sha256: hash("1"),
        payloadSha256: hash("2"),
        blob: { sha256: hash("3"), length: 1, encoding: "zstd" },
      });
      const { package: { packageId } } = await store.packages.claim({
        vin: VIN,
        contentKey: "k",
        imageIds: [imageId],
      });
      await store.packages.finish(packageId, { sha256: hash("4"), size: 1, etag: '"4"', manifest: {} });
      const all = ["1", "2", "3", "4"].map(hash);
      assert.deepEqual(
        (await store.retention.unreferenced("images", all)).sort(),
        all.filter((x) => x !== hash("1")),
      );
      assert.deepEqual(
        (await store.retention.unreferenced("payloads", all)).sort(),
        all.filter((x) => x !== hash("2")),
      );
      assert.deepEqual(
        (await store.retention.unreferenced("blobs", all)).sort(),
        all.filter((x) => x !== hash("3")),
      );
      assert.deepEqual(
        (await store.retention.unreferenced("packages", all)).sort(),
        all.filter((x) => x !== hash("4")),
      );
      assert.deepEqual(await store.retention.unreferenced("packages", []), []);
    },
  },
  {
    name: "statistics count what is there and are read back",
    run: async ({ store, clock }) => {
      assert.equal(await store.statistics.read(), null);
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      await store.vehicles.setStatus(VIN, "online");
      await addImage(store);
      await store.updates.create({ vin: VIN, initiator: "operator", ecus: [] });
      await store.telemetry.add([{ vin: VIN, timestamp: clock.now(), metrics: {} }]);
      const statistics = await store.statistics.refresh();
      assert.deepEqual(statistics, {
        refreshed: clock.now(),
        counts: {
          vehicles: { online: 1, offline: 1 },
          updates: { pending: 1 },
          diagnostics: {},
          images: 1,
          packages: 0,
          commandsPending: 0,
          anomalies: 0,
          telemetry: 1,
          vciReports: 0,
          rejectedMessages: 0,
        },
      });
      assert.deepEqual(await store.statistics.read(), statistics);
      clock.advance(1000);
      await store.statistics.refresh();
      assert.deepEqual((await store.statistics.read())?.refreshed, clock.now());
    },
  },
  {
    name: "a transaction over several subjects is stored whole or not at all",
    run: async ({ store }) => {
      const update = await store.transaction(async (tx) => {
        await tx.vehicles.register({ vin: VIN, vmgId: "VMG-001", vehicleModel: "m", vehicleYear: 2026 });
        return await tx.updates.create({ vin: VIN, initiator: "operator", ecus: [] });
      });
      assert.equal((await store.updates.active(VIN))?.updateId, update.updateId);
      await assert.rejects(store.transaction(async (tx) => {
        await tx.vehicles.register({
          vin: OTHER_VIN,
          vmgId: "VMG-002",
          vehicleModel: "m",
          vehicleYear: 2026,
        });
        await tx.updates.create({ vin: VIN, initiator: "operator", ecus: [] });
      }));
      assert.equal(await store.vehicles.find(OTHER_VIN), null);
    },
  },
  {
    name: "the store answers a ping and tidies up",
    run: async ({ store }) => {
      await store.ping();
      await store.tidy();
    },
  },
];
