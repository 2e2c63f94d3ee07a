// Updates and their guarded transitions.
import assert from "node:assert/strict";
import { ConflictError, InvalidArgumentError, NotFoundError } from "../../../../src/server/store/mod.ts";
import type { Store, UpdateReport, UpdateWithEcus } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

async function start(store: Store, vin = VIN): Promise<UpdateWithEcus> {
  return await store.updates.create({
    vin,
    initiator: "operator",
    requestedEcus: ["ECU_002", "ECU_001"],
    ecus: [
      { ecuId: "ECU_002", zonalGatewayId: "ZG_BODY", fromVersion: "1.0.0", toVersion: "2.0.0" },
      { ecuId: "ECU_001", zonalGatewayId: "ZG_BODY" },
    ],
  });
}

export const updateCases: StoreTest[] = [
  {
    name: "an update begins as pending with its ECUs",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const update = await start(store);
      assert.equal(update.status, "pending");
      assert.equal(update.progress, 0);
      assert.deepEqual(update.requestedEcus, ["ECU_002", "ECU_001"]);
      assert.deepEqual(update.created, clock.now());
      assert.deepEqual(update.ecus.map((ecu) => [ecu.ecuId, ecu.status, ecu.toVersion]), [
        ["ECU_001", "pending", null],
        ["ECU_002", "pending", "2.0.0"],
      ]);
      assert.deepEqual(await store.updates.find(update.updateId), update);
      assert.equal((await store.updates.active(VIN))?.updateId, update.updateId);
      assert.equal(await store.updates.find("nonsense"), null);
    },
  },
  {
    name: "a vehicle has one active update, also when many start at once",
    run: async ({ store }) => {
      await registerVehicle(store);
      const results = await Promise.allSettled(Array.from({ length: 8 }, () => start(store)));
      const begun = results.filter((result) => result.status === "fulfilled");
      assert.equal(begun.length, 1);
      for (const result of results) {
        if (result.status === "fulfilled") continue;
        assert(result.reason instanceof ConflictError);
        assert.equal(result.reason.existing, begun[0].value.updateId);
      }
      await store.updates.end(begun[0].value.updateId, "failed", "test");
      await start(store);
      await assert.rejects(start(store, OTHER_VIN), NotFoundError);
    },
  },
  {
    name: "reports move an update forward, never back, and its progress grows within a stage",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { updateId } = await start(store);
      const seen: unknown[] = [];
      const steps: [UpdateReport["status"], number][] = [
        ["accepted", 0],
        ["downloading", 10.5],
        ["downloading", 60],
        ["downloading", 40],
        ["verifying", 62],
        ["downloading", 99],
        ["installing", 5],
        ["completed", 100],
        ["failed", 0],
      ];
      for (const [status, progress] of steps) {
        clock.advance(1000);
        const result = await store.updates.report({ updateId, vin: VIN, status, progress });
        assert(result.outcome !== "unknown");
        seen.push([result.outcome, result.before, result.update.status, result.update.progress]);
      }
      assert.deepEqual(seen, [
        ["applied", "pending", "accepted", 0],
        ["applied", "accepted", "downloading", 10.5],
        ["applied", "downloading", "downloading", 60],
        ["applied", "downloading", "downloading", 60],
        ["applied", "downloading", "verifying", 62],
        ["behind", "verifying", "verifying", 62],
        ["applied", "verifying", "installing", 5],
        ["applied", "installing", "completed", 100],
        ["ended", "completed", "completed", 100],
      ]);
      const update = await store.updates.find(updateId);
      assert.deepEqual(update?.ended, clock.in(-1000));
      assert.deepEqual(update?.lastReport, clock.in(-1000));
      assert.equal(update?.error, null);
    },
  },
  {
    name:
      "each ECU's status and progress are kept, guarded in the same way; an ECU that is not part of it is not entered",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { updateId } = await start(store);
      const report = (ecus: UpdateReport["ecus"], status: UpdateReport["status"] = "installing") =>
        store.updates.report({ updateId, vin: VIN, status, progress: 50, ecus });
      await report([
        { ecuId: "ECU_001", status: "installing", progress: 30, step: "transferData" },
        { ecuId: "ECU_777", status: "installing", progress: 1 },
      ]);
      await report([
        { ecuId: "ECU_001", status: "installing", progress: 20 },
        { ecuId: "ECU_002", status: "completed", progress: 100, step: "readVersion" },
      ]);
      await report([
        {
          ecuId: "ECU_001",
          status: "failed",
          progress: 30,
          step: "transferData",
          error: "ECU_001: NRC 0x72",
        },
        { ecuId: "ECU_002", status: "installing", progress: 10 },
      ], "failed");
      const update = await store.updates.find(updateId);
      assert.equal(update?.status, "failed");
      assert.deepEqual(
        update?.ecus.map((ecu) => [ecu.ecuId, ecu.status, ecu.progress, ecu.step, ecu.error]),
        [
          ["ECU_001", "failed", 30, "transferData", "ECU_001: NRC 0x72"],
          ["ECU_002", "completed", 100, "readVersion", null],
        ],
      );
    },
  },
  {
    name: "a vehicle cannot report on another vehicle's update, and a wild progress is refused",
    run: async ({ store }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const { updateId } = await start(store);
      const report = { updateId, vin: OTHER_VIN, status: "completed", progress: 100 } as const;
      assert.deepEqual(await store.updates.report(report), { outcome: "unknown" });
      assert.deepEqual(await store.updates.report({ ...report, updateId: "x" }), { outcome: "unknown" });
      for (const progress of [-1, 101, NaN]) {
        await assert.rejects(store.updates.report({ ...report, vin: VIN, progress }), InvalidArgumentError);
      }
      assert.equal((await store.updates.find(updateId))?.status, "pending");
    },
  },
  {
    name: "of reports that come at once the furthest holds",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { updateId } = await start(store);
      await Promise.all(
        Array.from(
          { length: 20 },
          (_, n) =>
            store.updates.report({ updateId, vin: VIN, status: "downloading", progress: (n * 7) % 20 }),
        ),
      );
      assert.equal((await store.updates.find(updateId))?.progress, 19);
    },
  },
  {
    name: "a cancel is noted once while the update runs, and told to be too late afterwards",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { updateId } = await start(store);
      const first = await store.updates.requestCancel(updateId);
      assert.equal(first.outcome, "requested");
      const asked = clock.now();
      clock.advance(1000);
      const again = await store.updates.requestCancel(updateId);
      assert.deepEqual(again.update.cancelRequested, asked);
      await store.updates.report({ updateId, vin: VIN, status: "cancelled", progress: 10 });
      const late = await store.updates.requestCancel(updateId);
      assert.equal(late.outcome, "ended");
      assert.equal(late.update.status, "cancelled");
      await assert.rejects(store.updates.requestCancel(crypto.randomUUID()), NotFoundError);
      assert.equal(await store.updates.end(updateId, "failed", "x"), false);
    },
  },
  {
    name: "a silent update is failed, with the stage where it fell silent",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const silent = await start(store);
      const lively = await start(store, OTHER_VIN);
      await store.updates.report({ updateId: silent.updateId, vin: VIN, status: "downloading", progress: 5 });
      clock.advance(60_000);
      await store.updates.report({
        updateId: lively.updateId,
        vin: OTHER_VIN,
        status: "accepted",
        progress: 0,
      });
      const failed = await store.updates.failSilent(30_000);
      assert.deepEqual(failed.map((update) => [update.updateId, update.status, update.error]), [
        [silent.updateId, "failed", "no report for 30 s, last stage downloading"],
      ]);
      assert.deepEqual(failed[0].ended, clock.now());
      assert.deepEqual(await store.updates.failSilent(30_000), []);
    },
  },
  {
    name: "updates are listed newest first, by vehicle, status and whether they run",
    run: async ({ store }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const first = await start(store);
      await store.updates.end(first.updateId, "failed", "test");
      const second = await start(store);
      const third = await start(store, OTHER_VIN);
      const ids = async (filter: Parameters<Store["updates"]["list"]>[0]) =>
        (await store.updates.list(filter)).items.map((update) => update.updateId);
      assert.deepEqual(await ids({}), [third.updateId, second.updateId, first.updateId]);
      assert.deepEqual(await ids({ vin: VIN }), [second.updateId, first.updateId]);
      assert.deepEqual(await ids({ status: "failed" }), [first.updateId]);
      assert.deepEqual(await ids({ active: true, limit: 1 }), [third.updateId]);
      assert.equal((await store.updates.list({ active: true, limit: 1 })).total, 2);
      const ecus = await store.updates.ecus([first.updateId, third.updateId]);
      assert.equal(ecus.get(first.updateId)?.length, 2);
      assert.equal(ecus.has(second.updateId), false);
    },
  },
];
