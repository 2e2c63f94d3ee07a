// Approvals, further attempts and time-outs against a running server, which is started anew in each wait.

import assert from "node:assert/strict";
import { ProblemError } from "../../../src/contract/client.ts";
import { type Control, control } from "../../../src/contract/mqtt.ts";
import type { Update } from "../../../src/contract/ota.ts";
import { routes } from "../../../src/contract/routes.ts";
import { generateSigner } from "../../../src/uptane/keys.ts";
import { registerVehicle, uploadFirmware } from "../fleet.ts";
import {
  type Caller,
  ecu,
  eventually,
  startTestServer,
  type TestServer,
  vinA,
  vinB,
} from "../running_server.ts";

function problem(status: number, code: string): (error: unknown) => boolean {
  return (error) => error instanceof ProblemError && error.status === status && error.code === code;
}

/** A vehicle whose one ECU is outdated. */
const outdatedVehicle = (caller: Caller, vin: string, vmgId: string) =>
  registerVehicle(caller, vin, vmgId, [ecu("ECU_001", "1.0.0")]);

const addFirmware = (server: TestServer) => uploadFirmware(server, "2.0.0", "firmware");

/** Commands that wait for the vehicle; each is acknowledged. */
async function commands({ rest }: Caller, vin: string): Promise<Control[]> {
  const { messages } = await rest.call(routes.pendingMessages, { path: { vin } });
  for (const { message_id } of messages) {
    await rest.call(routes.acknowledgeMessage, { path: { vin, message_id } });
  }
  return messages.filter(({ topic }) => topic.endsWith("/control")).map(({ payload }) =>
    control.parse(payload)
  );
}

async function commandFor<N extends Control["command"]>(
  caller: Caller,
  name: N,
): Promise<Extract<Control, { command: N }>> {
  let found: Control | undefined;
  await eventually(name, async () => {
    found = (await commands(caller, vinA)).find(({ command }) => command === name);
    return found !== undefined;
  });
  return found as Extract<Control, { command: N }>;
}

Deno.test("approvals, attempts and time-outs hold over restarts of the server", async (t) => {
  await using server = await startTestServer("127.0.91.11", {
    maintenance: { interval: 50 },
    updates: { retryDelay: 400, maxRetryDelay: 400, deadlineGrace: 1_000 },
  });
  // A restart makes new ones.
  const vehicle = () => server.vehicleA;
  const rest = () => server.operator.rest;
  await addFirmware(server);
  await outdatedVehicle(vehicle(), vinA, "VMG-001");
  await outdatedVehicle(server.vehicleB, vinB, "VMG-002");

  const get = (id: string) => rest().call(routes.getUpdate, { path: { id } });
  const approve = (id: string) => rest().call(routes.approveUpdate, { path: { id } });
  const cancel = (id: string) => rest().call(routes.cancelUpdate, { path: { id } });
  const begin = async (body: { mode?: Update["mode"]; retries?: number; timeout?: number }) =>
    (await rest().call(routes.startUpdate, { body: { vin: vinA, ...body } })).update_id;
  const tell = (
    id: string,
    status: "verifying" | "installing" | "failed" | "cancelled" | "completed",
    more = {},
  ) =>
    vehicle().rest.call(routes.reportUpdate, {
      body: { update_id: id, vehicle_id: vinA, status, progress: 35, ...more },
    });

  let approved = "";
  await t.step("an update in the mode approve shows that it waits for it, also after a restart", async () => {
    approved = await begin({ mode: "approve" });
    assert.deepEqual((await get(approved)).waiting?.for, "vehicle");
    const start = await commandFor(vehicle(), "START_OTA_UPDATE");
    assert.deepEqual([start.mode, start.approved], ["approve", false]);
    await tell(approved, "verifying", { waiting: { for: "approval", detail: "for an approval" } });
    await server.restart();
    const shown = await get(approved);
    assert.deepEqual(shown.waiting, { for: "approval", detail: "for an approval", until: null });
    assert.equal(shown.approved, null);
  });

  await t.step("a vehicle's certificate does not approve, and an unknown update is none", async () => {
    for (const { rest } of [vehicle(), server.vehicleB]) {
      await assert.rejects(
        rest.call(routes.approveUpdate, { path: { id: approved } }),
        problem(403, "wrong_caller"),
      );
    }
    await assert.rejects(approve(crypto.randomUUID()), problem(404, "not_found"));
    assert.equal((await get(approved)).approved, null);
  });

  await t.step("an approval is sent once, for this update, and outlives a restart", async () => {
    assert.match((await approve(approved)).message, /^approved; the vehicle is told/);
    await server.restart();
    const command = await commandFor(vehicle(), "APPROVE_OTA_UPDATE");
    assert.equal(command.update_id, approved);
    assert.match((await approve(approved)).message, /^it was approved before, by the operator at /);
    assert.deepEqual(await commands(vehicle(), vinA), [], "the second approval sends nothing");
    assert.deepEqual(
      (await commands(server.vehicleB, vinB)).filter((it) => it.command === "APPROVE_OTA_UPDATE"),
      [],
    );
    assert.equal((await get(approved)).approved?.by, "operator");
  });

  await t.step("after a cancel and after the end nothing is approved", async () => {
    await cancel(approved);
    await assert.rejects(approve(approved), problem(409, "cancel_requested"));
    await tell(approved, "cancelled");
    await assert.rejects(approve(approved), problem(409, "update_ended"));
    await commands(vehicle(), vinA);
  });

  await t.step("what needs no approval takes none", async () => {
    const id = await begin({ mode: "when-parked" });
    await assert.rejects(approve(id), problem(409, "no_approval_needed"));
    await cancel(id);
    assert.equal((await get(id)).status, "cancelled", "the vehicle had not taken it");
    await commands(vehicle(), vinA);
  });

  let third = "";
  await t.step("a failed update is tried again, attempt after attempt, each to be seen", async () => {
    const first = await begin({ mode: "approve", retries: 2, timeout: 3600 });
    const { deadline, issued } = await commandFor(vehicle(), "START_OTA_UPDATE");
    assert.equal(Date.parse(deadline!) - Date.parse(issued!) <= 3_600_000, true);
    await tell(first, "verifying", { approved_by: "vehicle" });
    await tell(first, "failed", { error: "ECU_001: NRC 0x72" });
    const failed = await get(first);
    assert.deepEqual([failed.status, failed.attempt, failed.attempts], ["failed", 1, 3]);
    assert.deepEqual([failed.waiting?.for, failed.waiting?.detail], ["retry", "attempt 2 of 3"]);
    await server.restart();
    const start = await commandFor(vehicle(), "START_OTA_UPDATE");
    assert.deepEqual([start.attempt, start.attempts, start.mode], [2, 3, "approve"]);
    assert.equal(start.approved, true, "the images are those that were approved");
    assert.equal(start.deadline, deadline, "all attempts have one time");
    assert.notEqual(start.update_id, first);
    const second = await get(start.update_id);
    assert.deepEqual([second.attempt, second.retry_of, second.approved?.by], [2, first, "vehicle"]);
    assert.deepEqual([(await get(first)).retried_by, (await get(first)).waiting], [second.update_id, null]);
    // A late report of the first changes nothing.
    await tell(first, "completed");
    assert.equal((await get(first)).status, "failed");
    await tell(second.update_id, "failed");
    third = (await commandFor(vehicle(), "START_OTA_UPDATE")).update_id;
    assert.equal((await get(third)).attempt, 3);
    assert.match(
      (await approve(first)).message,
      /approved before, by the vehicle/,
      "the last attempt is meant",
    );
  });

  await t.step(
    "after the last attempt there is none, and the first one's cancel means the last",
    async () => {
      assert.equal((await cancel((await get(third)).retry_of!)).update_id, third);
      await tell(third, "failed");
      const end = await get(third);
      assert.deepEqual([end.status, end.waiting, end.retried_by], ["failed", null, null]);
    },
  );

  const ends: [string, object][] = [
    ["that the vehicle says no other try mends", { retryable: false }],
    ["that leaves an ECU without software", {
      ecus: [{ ecu_id: "ECU_001", status: "failed", progress: 0, error: "not brought back" }],
    }],
  ];
  for (const [what, more] of ends) {
    await t.step(`a failure ${what} is not followed by another attempt`, async () => {
      await commands(vehicle(), vinA);
      const id = await begin({ retries: 2 });
      await commandFor(vehicle(), "START_OTA_UPDATE");
      await tell(id, "failed", more);
      assert.equal((await get(id)).waiting, null);
    });
  }

  await t.step(
    "an attempt whose vehicle has yet to report waits for that, and the vehicle is asked once",
    async () => {
      await commands(vehicle(), vinA);
      const id = await begin({ retries: 1 });
      await commandFor(vehicle(), "START_OTA_UPDATE");
      // From now on only signed reports direct updates, and there is none.
      const { key } = await generateSigner("ecdsa-p256");
      const entry = { vin: vinA, ecu_id: "VMG-001", primary: true, keys: [key.keyval.public] };
      await rest().call(routes.addToInventory, { body: entry });
      await tell(id, "failed");
      const asked = () =>
        server.lines.filter((line) => line.includes(`${id}: its next attempt waits for a report`));
      await eventually("the vehicle is asked for a report", () => asked().length > 0);
      assert.ok((await commands(vehicle(), vinA)).some(({ command }) => command === "REPORT_VCI"));
      assert.equal((await get(id)).waiting?.for, "retry");
      await rest().call(routes.removeFromInventory, { body: { vin: vinA, ecu_id: "VMG-001" } });
      const start = await commandFor(vehicle(), "START_OTA_UPDATE");
      assert.deepEqual([start.attempt, start.attempts], [2, 2]);
      assert.equal(asked().length, 1, "it is asked once");
      await tell(start.update_id, "cancelled");
    },
  );

  await t.step("an attempt that is waited for is called off by a cancel, or by another update", async () => {
    await commands(vehicle(), vinA);
    const id = await begin({ retries: 2 });
    await tell(id, "failed");
    assert.equal((await cancel(id)).message, "attempt 1 of 3 had failed; the next one is called off");
    assert.match(String((await get(id)).error), /not tried again: called off/);
    const second = await begin({ retries: 2 });
    await tell(second, "failed");
    const other = await begin({});
    await eventually("the attempt is called off", async () => (await get(second)).waiting === null);
    assert.match(String((await get(second)).error), /not tried again: .* has update .* under way/);
    await tell(other, "cancelled");
    await commands(vehicle(), vinA);
  });

  await t.step(
    "an update whose time runs out before the vehicle takes it is cancelled, over a restart",
    async () => {
      const id = await begin({ timeout: 1 });
      assert.notEqual((await get(id)).deadline, null);
      await server.restart();
      await eventually("its end", async () => (await get(id)).status === "cancelled");
      assert.match(String((await get(id)).error), /^its time ran out at .* before the vehicle took it$/);
      assert.deepEqual(
        (await commands(vehicle(), vinA)).map(({ command }) => command).filter((it) => it !== "REPORT_VCI"),
        [
          "CANCEL_OTA_UPDATE",
        ],
      );
    },
  );

  await t.step(
    "an update under way is asked to stop when its time runs out, and fails when nothing is said",
    async () => {
      const id = await begin({ timeout: 5, retries: 3 });
      await commandFor(vehicle(), "START_OTA_UPDATE");
      await tell(id, "installing");
      const command = await commandFor(vehicle(), "CANCEL_OTA_UPDATE");
      assert.match(String(command.reason), /^its time ran out at /);
      await eventually("its end", async () => (await get(id)).status === "failed");
      const end = await get(id);
      assert.match(String(end.error), /its time ran out, and the vehicle did not say how it ended/);
      assert.equal(end.waiting, null, "what ran out of time is not tried again");
    },
  );
});
