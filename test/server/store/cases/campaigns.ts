// Approvals, further attempts and deadlines.
import assert from "node:assert/strict";
import type { Store, UpdateInput, UpdateWithEcus } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

const minute = 60_000;

async function start(store: Store, changes: Partial<UpdateInput> = {}): Promise<UpdateWithEcus> {
  return await store.updates.create({
    vin: VIN,
    initiator: "operator",
    ecus: [{ ecuId: "ECU_001", zonalGatewayId: "ZG_BODY" }],
    ...changes,
  });
}

async function fail(store: Store, updateId: string): Promise<void> {
  await store.updates.report({
    updateId,
    vin: VIN,
    status: "failed",
    progress: 0,
    error: "ECU_001: NRC 0x72",
  });
}

export const campaignCases: StoreTest[] = [
  {
    name: "an update knows its mode, its attempt and when its time runs out",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const plain = await start(store);
      assert.deepEqual(
        [plain.mode, plain.attempt, plain.attempts, plain.deadline, plain.approvedAt, plain.waitingFor],
        ["forced", 1, 1, null, null, null],
      );
      await store.updates.end(plain.updateId, "cancelled", "test");
      const deadline = clock.in(minute);
      const retryOf = plain.updateId;
      const { updateId } = await start(store, {
        mode: "approve",
        attempt: 2,
        attempts: 3,
        deadline,
        retryOf,
        approvedBy: "operator",
      });
      const found = await store.updates.find(updateId);
      assert.deepEqual(
        [found?.mode, found?.attempt, found?.attempts, found?.deadline, found?.retryOf, found?.approvedAt],
        ["approve", 2, 3, deadline, retryOf, clock.now()],
      );
    },
  },
  {
    name: "what the vehicle waits for stands until it waits no longer, and not after its end",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { updateId } = await start(store);
      const report = async (status: "verifying" | "installing" | "failed", detail?: string) => {
        const waiting = detail === undefined ? undefined : { for: "parked" as const, detail };
        await store.updates.report({ updateId, vin: VIN, status, progress: 35, waiting });
        const { waitingFor, waitingDetail } = (await store.updates.find(updateId))!;
        return [waitingFor, waitingDetail];
      };
      assert.deepEqual(await report("verifying", "speed: 30"), ["parked", "speed: 30"]);
      assert.deepEqual(await report("verifying", "speed: 20"), ["parked", "speed: 20"]);
      assert.deepEqual(await report("installing"), [null, null]);
      assert.deepEqual(await report("installing", "speed: 1"), ["parked", "speed: 1"]);
      assert.deepEqual(await report("failed", "speed: 1"), [null, null]);
    },
  },
  {
    name: "an update is approved once, and not after its end or a cancel",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const first = await start(store, { mode: "approve" });
      assert.equal(await store.campaigns.approve(first.updateId), true);
      clock.advance(1000);
      assert.equal(await store.campaigns.approve(first.updateId), false);
      const found = await store.updates.find(first.updateId);
      assert.deepEqual([found?.approvedBy, found?.approvedAt], ["operator", clock.in(-1000)]);
      await store.updates.requestCancel(first.updateId);
      assert.equal(await store.campaigns.approve(first.updateId), null);
      await store.updates.end(first.updateId, "cancelled", "test");
      assert.equal(await store.campaigns.approve(first.updateId), null);
      assert.equal(await store.campaigns.approve(crypto.randomUUID()), null);
      assert.equal(await store.campaigns.approve("x"), null);
    },
  },
  {
    name: "an approval at the vehicle is kept with its first time",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { updateId } = await start(store, { mode: "approve" });
      const report = { updateId, vin: VIN, status: "verifying", progress: 35 } as const;
      await store.updates.report({ ...report, approvedBy: "vehicle" });
      clock.advance(1000);
      await store.updates.report({ ...report, approvedBy: "vehicle" });
      await store.updates.report(report);
      const found = await store.updates.find(updateId);
      assert.deepEqual([found?.approvedBy, found?.approvedAt], ["vehicle", clock.in(-1000)]);
    },
  },
  {
    name: "a failed update is due again after its wait, as often as it may be, and within its time",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const first = await start(store, { attempts: 2, deadline: clock.in(5 * minute) });
      assert.equal(await store.campaigns.schedule(first.updateId, minute), null, "it has not failed");
      await fail(store, first.updateId);
      assert.equal(await store.campaigns.schedule(first.updateId, 5 * minute), null, "its time is over then");
      assert.deepEqual((await store.campaigns.schedule(first.updateId, minute))?.retryAt, clock.in(minute));
      assert.deepEqual(await store.campaigns.due(), []);
      clock.advance(minute);
      assert.deepEqual((await store.campaigns.due()).map(({ updateId }) => updateId), [first.updateId]);
      const second = await start(store, { attempt: 2, attempts: 2, retryOf: first.updateId });
      assert.equal(await store.campaigns.retried(first.updateId, second.updateId), true);
      assert.equal(await store.campaigns.retried(first.updateId, second.updateId), false, "once");
      assert.deepEqual(await store.campaigns.due(), []);
      assert.equal((await store.updates.find(first.updateId))?.retriedBy, second.updateId);
      await fail(store, second.updateId);
      assert.equal(await store.campaigns.schedule(second.updateId, minute), null, "no attempt is left");
    },
  },
  {
    name: "a further attempt that is called off is not due, and the update says why",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { updateId } = await start(store, { attempts: 3 });
      await fail(store, updateId);
      await store.campaigns.schedule(updateId, minute);
      assert.equal(await store.campaigns.callOff(updateId, "another update was started"), true);
      assert.equal(await store.campaigns.callOff(updateId, "again"), false);
      clock.advance(minute);
      assert.deepEqual(await store.campaigns.due(), []);
      assert.equal(
        (await store.updates.find(updateId))?.error,
        "ECU_001: NRC 0x72; not tried again: another update was started",
      );
    },
  },
  {
    name:
      "updates out of time are found until they are asked to stop, and failed when their vehicle stays silent",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const { updateId } = await start(store, { deadline: clock.in(minute) });
      await start(store, { vin: OTHER_VIN });
      await store.updates.report({ updateId, vin: VIN, status: "installing", progress: 40 });
      assert.deepEqual(await store.campaigns.pastDeadline(), []);
      clock.advance(minute);
      assert.deepEqual((await store.campaigns.pastDeadline()).map((it) => it.updateId), [updateId]);
      await store.updates.requestCancel(updateId);
      assert.deepEqual(await store.campaigns.pastDeadline(), []);
      clock.advance(minute);
      assert.deepEqual(await store.campaigns.failOverdue(2 * minute), []);
      await store.updates.report({ updateId, vin: VIN, status: "installing", progress: 90 });
      clock.advance(minute);
      assert.deepEqual(await store.campaigns.failOverdue(2 * minute), [], "it is heard of");
      clock.advance(minute);
      const [overdue] = await store.campaigns.failOverdue(2 * minute);
      assert.equal(overdue.status, "failed");
      assert.match(overdue.error ?? "", /its time ran out, .* last stage installing/);
    },
  },
  {
    name: "a vehicle that waits for an approval or until it is parked may be silent for longer",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { updateId } = await start(store, { mode: "approve" });
      const waiting = { for: "approval", detail: "approval" } as const;
      await store.updates.report({ updateId, vin: VIN, status: "verifying", progress: 35, waiting });
      clock.advance(2 * minute);
      assert.deepEqual(await store.updates.failSilent(minute, 3 * minute), []);
      clock.advance(2 * minute);
      const [silent] = await store.updates.failSilent(minute, 3 * minute);
      assert.equal(silent.error, "no report for 180 s, last stage verifying, waiting: approval");
    },
  },
];
