// Modes, approvals and deadlines on the vehicle: against simulated ECUs and a server's stand-in, over restarts and cuts.

import assert from "node:assert/strict";
import { join } from "node:path";
import { approveLocally, localUpdates } from "../../../src/vmg/mod.ts";
import type { VmgOptions } from "../../../src/vmg/options.ts";
import { serveFile } from "../support/counterpart.ts";
import { holdCommands } from "../support/held_commands.ts";
import { type StartCommand, TestBench, type TestPackage, vin, vmgId } from "../support/vehicle.ts";

interface Report {
  update_id: string;
  status: string;
  error?: string;
  retryable?: boolean;
  approved_by?: string;
  waiting?: { for: string; detail: string };
  ecus: { ecu_id: string; status: string }[];
}

async function ready(vmg: Partial<VmgOptions> = {}): Promise<TestBench> {
  const bench = await TestBench.start({ vmg });
  await bench.vmg();
  await bench.server.connected();
  await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
  return bench;
}

function offer(bench: TestBench, made: TestPackage): void {
  const file = serveFile({ bytes: made.bytes, etag: () => made.etag });
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, file.handler);
}

/** Sends a start that says more than the usual one. */
async function begin(
  bench: TestBench,
  more: Record<string, unknown>,
  made?: TestPackage,
): Promise<StartCommand> {
  const wanted = made ?? await bench.package(["ECU_001"]);
  offer(bench, wanted);
  const command = { ...bench.start(wanted), ...more };
  await send(bench, command);
  return command;
}

async function send(bench: TestBench, command: Record<string, unknown>): Promise<void> {
  await bench.server.send(`vehicle/${vmgId}/control`, command);
}

let count = 0;

function command(name: string, updateId: string, more = {}): Record<string, unknown> {
  return { message_id: `message-${++count}`, command: name, update_id: updateId, ...more };
}

function reports(bench: TestBench, updateId: string): Report[] {
  return (bench.server.messages("ota/status") as unknown as Report[]).filter((it) =>
    it.update_id === updateId
  );
}

async function waits(bench: TestBench, updateId: string, what: string): Promise<void> {
  await bench.server.until(
    `the wait for ${what}`,
    () => reports(bench, updateId).at(-1)?.waiting?.for === what,
  );
}

async function ended(bench: TestBench, updateId: string): Promise<Report> {
  return await bench.server.ended(updateId) as unknown as Report;
}

async function logged(bench: TestBench, text: RegExp): Promise<void> {
  await bench.server.until(String(text), () => bench.lines.some((line) => text.test(line)));
}

function operations(bench: TestBench): number[] {
  return bench.bench.ecus.map(({ flashOperations }) => flashOperations);
}

const directory = (bench: TestBench) => join(bench.directory, vin);
const parked = { name: "test", read: () => ({ speed: 0 }) };

Deno.test("an update in the mode approve is fetched and verified, and touches no ECU before it is approved", async () => {
  await using bench = await ready({ telemetry: parked });
  const before = operations(bench);
  const { update_id: id } = await begin(bench, { mode: "approve" });
  await waits(bench, id, "approval");
  assert.equal(reports(bench, id).at(-1)?.status, "verifying");
  assert.deepEqual(operations(bench), before);
  await send(bench, command("APPROVE_OTA_UPDATE", id));
  const end = await ended(bench, id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.equal(end.approved_by, "operator");
  assert.equal(bench.bench.ecu("ECU_001").version, "1.2.3");
});

Deno.test("with MQTT away, start and approval come over HTTPS", async () => {
  const nobody = { hostname: "127.0.0.1", port: 1 };
  const link = { fallbackAfter: 50, pollInterval: 30, batchInterval: 10, holdTime: 50 };
  await using bench = await TestBench.start({ vmg: { telemetry: parked, link, mqtt: nobody } });
  const made = await bench.package(["ECU_001"]);
  offer(bench, made);
  const start: Record<string, unknown> = { ...bench.start(made), mode: "approve" };
  const waiting = [start];
  holdCommands(bench.server, waiting);
  await bench.vmg();
  await logged(bench, /waits for approval/);
  assert.equal(bench.bench.ecu("ECU_001").version, "1.0.0");
  waiting.push(command("APPROVE_OTA_UPDATE", String(start.update_id)));
  await logged(bench, /Update .* completed/);
  assert.equal(bench.bench.ecu("ECU_001").version, "1.2.3");
});

Deno.test("approvals that are repeated, of another update, or after a cancel change nothing", async () => {
  await using bench = await ready({ telemetry: parked });
  const before = operations(bench);
  const { update_id: id } = await begin(bench, { mode: "approve" });
  await waits(bench, id, "approval");
  const other = crypto.randomUUID();
  await send(bench, command("APPROVE_OTA_UPDATE", other));
  await logged(bench, new RegExp(`Approval of update ${other} by the operator: unknown`));
  await bench.server.send(`vehicle/KMHZZ81KBMU000099/control`, command("APPROVE_OTA_UPDATE", id));
  await send(bench, { ...command("APPROVE_OTA_UPDATE", id), package_id: "more than there is" });
  await logged(bench, /does not fit the contract/);
  assert.equal(reports(bench, id).at(-1)?.waiting?.for, "approval", "it waits still");
  await send(bench, command("CANCEL_OTA_UPDATE", id));
  const end = await ended(bench, id);
  assert.equal(end.status, "cancelled");
  assert.deepEqual(end.ecus.map(({ status }) => status), ["cancelled"]);
  await send(bench, command("APPROVE_OTA_UPDATE", id));
  await logged(bench, new RegExp(`Approval of update ${id} by the operator: ended`));
  assert.deepEqual(operations(bench), before);

  const { update_id: next } = await begin(bench, { mode: "approve" });
  await waits(bench, next, "approval");
  const approval = command("APPROVE_OTA_UPDATE", next);
  await send(bench, approval);
  await send(bench, approval);
  await logged(bench, /it was acted on before/);
  await send(bench, { ...approval, message_id: "another" });
  assert.equal((await ended(bench, next)).status, "completed");
  await send(bench, { ...approval, message_id: "after the end" });
  const { update_id: third } = await begin(bench, { mode: "approve" }, await bench.package(["ECU_002"]));
  await waits(bench, third, "approval");
});

Deno.test("an approval that overtakes its start is kept, and one that came with the start needs no other", async () => {
  await using bench = await ready({ telemetry: parked });
  const made = await bench.package(["ECU_001"]);
  offer(bench, made);
  const start = { ...bench.start(made), mode: "approve" };
  await send(bench, command("APPROVE_OTA_UPDATE", start.update_id));
  await logged(bench, /by the operator: unknown/);
  await send(bench, start);
  assert.equal((await ended(bench, start.update_id)).status, "completed");
  const again = await begin(bench, { mode: "approve", approved: true, attempt: 2, attempts: 3 });
  assert.equal((await ended(bench, again.update_id)).status, "completed");
  assert.ok(!bench.lines.some((line) => line.includes("waits for approval")));
});

Deno.test("somebody at the vehicle approves through the gateway's socket, which is nobody else's", async () => {
  await using bench = await ready({ telemetry: parked });
  const folder = directory(bench);
  assert.deepEqual(await localUpdates(folder), []);
  const { update_id: id } = await begin(bench, { mode: "approve", attempt: 2, attempts: 3 });
  await waits(bench, id, "approval");
  assert.deepEqual(await localUpdates(folder), [{
    update_id: id,
    status: "verifying",
    target_ecus: ["ECU_001"],
    mode: "approve",
    attempt: 2,
    attempts: 3,
    deadline: null,
    approved_by: null,
    waiting: { for: "approval", detail: "somebody has to approve it" },
  }]);
  assert.equal(Deno.statSync(join(folder, "control.sock")).mode! & 0o777, 0o600);
  assert.equal(Deno.statSync(folder).mode! & 0o777, 0o700);
  assert.equal(await approveLocally(folder, crypto.randomUUID()), "unknown");
  assert.equal(await approveLocally(folder, id), "approved");
  const end = await ended(bench, id);
  assert.deepEqual([end.status, end.approved_by], ["completed", "vehicle"]);
  assert.equal(await approveLocally(folder, id), "ended");
  const { update_id: forced } = await begin(bench, { mode: "forced" }, await bench.package(["ECU_002"]));
  assert.equal((await ended(bench, forced)).status, "completed");
});

Deno.test("what is no request at the socket is answered or cut off, and the gateway goes on", async () => {
  await using bench = await ready();
  const path = join(directory(bench), "control.sock");
  const ask = async (text: string): Promise<string> => {
    using connection = await Deno.connect({ transport: "unix", path });
    await connection.write(new TextEncoder().encode(text));
    const bytes = new Uint8Array(8_192);
    const got = await connection.read(bytes).catch((error: unknown) => {
      if (error instanceof Deno.errors.ConnectionReset) return null;
      throw error;
    });
    return got === null ? "" : new TextDecoder().decode(bytes.subarray(0, got));
  };
  for (
    const wrong of [
      "{}\n",
      "no JSON\n",
      '{"ask":"approve","update_id":"x"}\n',
      '{"ask":"updates","more":1}\n',
    ]
  ) {
    assert.match(await ask(wrong), /^\{"error":/);
  }
  assert.equal(await ask("x".repeat(5_000)), "", "a line without an end is cut off");
  assert.equal(await ask('{"ask":"updates"}\n'), '{"updates":[]}\n');
});

Deno.test("a gateway whose power was cut while it waited goes on waiting, and takes an approval that was given meanwhile", async () => {
  await using bench = await ready({ telemetry: parked });
  const before = operations(bench);
  const { update_id: id } = await begin(bench, { mode: "approve" });
  await waits(bench, id, "approval");
  // What the disk holds at this moment is what a killed process leaves, its socket among it.
  const lost = join(bench.directory, "lost");
  await Deno.mkdir(lost, { recursive: true, mode: 0o700 });
  for (const name of ["vmg.db", "vmg.db-wal"]) {
    await Deno.copyFile(join(directory(bench), name), join(lost, name));
  }
  await bench.stop();
  await Deno.writeTextFile(join(lost, "control.sock"), "");
  assert.deepEqual((await localUpdates(lost)).map(({ update_id }) => update_id), [id]);
  bench.server.published.length = 0;
  await bench.vmg({ directory: lost });
  await waits(bench, id, "approval");
  assert.deepEqual(operations(bench), before);
  await bench.stop();
  assert.equal(await approveLocally(lost, id), "approved", "the gateway does not run");
  assert.equal(await approveLocally(lost, id), "before");
  await bench.vmg({ directory: lost });
  const end = await ended(bench, id);
  assert.deepEqual([end.status, end.approved_by], ["completed", "vehicle"]);
});

Deno.test("a socket whose path would be too long lies elsewhere, for this user alone", async () => {
  await using bench = await TestBench.start();
  const folder = join(bench.directory, "a".repeat(60), "b".repeat(60));
  await bench.vmg({ directory: folder });
  assert.deepEqual(await localUpdates(folder), []);
  const path = Deno.readTextFileSync(join(folder, "control.path"));
  assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
  assert.equal(Deno.statSync(join(path, "..")).mode! & 0o777, 0o700);
  await bench.stop();
  assert.throws(() => Deno.statSync(path), Deno.errors.NotFound);
});

Deno.test("when-parked and approve wait for a parked vehicle, forced does not; conditions hold in every mode", async () => {
  let values: Record<string, number> = { speed: 30, ignition: 1, soc: 80 };
  const telemetry = { name: "test", read: () => values };
  await using bench = await ready({ telemetry, update: { conditionInterval: 5 } });
  const { update_id: first } = await begin(bench, { mode: "when-parked" });
  await waits(bench, first, "parked");
  assert.match(reports(bench, first).at(-1)?.waiting?.detail ?? "", /^speed: expected 0, it is 30$/);
  values = { ...values, speed: 0 };
  await logged(bench, /ignition: expected 0, it is 1/);
  // A vehicle without a signal for its gear is parked without it.
  values = { ...values, ignition: 0 };
  assert.equal((await ended(bench, first)).status, "completed");

  values = { speed: 30, soc: 10 };
  const { update_id: second } = await begin(bench, { mode: "approve" }, await bench.package(["ECU_002"]));
  await waits(bench, second, "approval");
  await send(bench, command("APPROVE_OTA_UPDATE", second));
  await waits(bench, second, "parked");
  values = { speed: 0, soc: 10 };
  assert.equal((await ended(bench, second)).status, "completed");

  values = { speed: 30, soc: 10 };
  const conditions = [{ signal: "soc", min: 30 }];
  const { update_id: third } = await begin(
    bench,
    { mode: "forced" },
    await bench.package(["ECU_003"], { conditions }),
  );
  await waits(bench, third, "conditions");
  assert.match(reports(bench, third).at(-1)?.waiting?.detail ?? "", /^soc: expected at least 30, it is 10$/);
  values = { speed: 30, soc: 30 };
  assert.equal((await ended(bench, third)).status, "completed");
});

Deno.test("a vehicle that is not parked in time fails the update, which another attempt may mend", async () => {
  const telemetry = { name: "test", read: () => ({ speed: 7 }) };
  await using bench = await ready({ telemetry, update: { conditionInterval: 5, parkedTimeout: 30 } });
  const before = operations(bench);
  const { update_id: id } = await begin(bench, { mode: "when-parked" });
  const end = await ended(bench, id);
  assert.deepEqual([end.status, end.retryable], ["failed", true]);
  assert.match(String(end.error), /^wait: speed: expected 0, it is 7; waited 0 s$/);
  assert.deepEqual(operations(bench), before);
});

Deno.test("an approval that nobody gives in time cancels the update", async () => {
  await using bench = await ready({ telemetry: parked, update: { approvalTimeout: 30 } });
  const { update_id: id } = await begin(bench, { mode: "approve" });
  const end = await ended(bench, id);
  assert.deepEqual([end.status, end.error], ["cancelled", "nobody approved it within 0 s"]);
});

Deno.test("while it waits, the vehicle reports again and again that it does", async () => {
  await using bench = await ready({ update: { waitReportInterval: 20 } });
  const { update_id: id } = await begin(bench, { mode: "approve" });
  await bench.server.until(
    "five reports of the same wait",
    () => reports(bench, id).filter(({ waiting }) => waiting?.for === "approval").length >= 5,
  );
});

for (const what of ["approval", "parked"] as const) {
  Deno.test(`a cancel ends the wait (${what}) at once, and no ECU was touched`, async () => {
    await using bench = await ready({ telemetry: { name: "test", read: () => ({ speed: 9 }) } });
    const before = operations(bench);
    const { update_id: id } = await begin(bench, { mode: "approve", approved: what === "parked" });
    await waits(bench, id, what);
    await send(bench, command("CANCEL_OTA_UPDATE", id, { reason: "the operator's reason" }));
    const end = await ended(bench, id);
    assert.deepEqual([end.status, end.error, end.waiting], ["cancelled", "the operator's reason", undefined]);
    assert.deepEqual(operations(bench), before);
  });
}

/** Terms with a deadline so many milliseconds from now. Attested time is cut to the second: it may be that much behind. */
function within(ms: number): { issued: string; deadline: string } {
  const now = Date.now();
  return { issued: new Date(now - 1000).toISOString(), deadline: new Date(now + ms).toISOString() };
}

Deno.test("an update whose time runs out while it waits is cancelled, and says why", async () => {
  await using bench = await ready({ telemetry: parked });
  const before = operations(bench);
  const { update_id: id } = await begin(bench, { mode: "approve", ...within(2_000) });
  await waits(bench, id, "approval");
  const end = await ended(bench, id);
  assert.equal(end.status, "cancelled");
  assert.match(String(end.error), /^its time ran out at \d{4}-/);
  assert.equal(await approveLocally(directory(bench), id), "ended");
  assert.deepEqual(operations(bench), before);
});

Deno.test("a command that comes after its deadline installs nothing", async () => {
  await using bench = await ready();
  const before = operations(bench);
  const { update_id: id } = await begin(bench, within(-5_000));
  const end = await ended(bench, id);
  assert.equal(end.status, "cancelled");
  assert.match(String(end.error), /^its time ran out at /);
  assert.deepEqual(operations(bench), before);
});

Deno.test("a gateway that was off until its update's time ran out installs nothing, though it was approved", async () => {
  await using bench = await ready({ telemetry: { name: "test", read: () => ({ speed: 5 }) } });
  const before = operations(bench);
  const { update_id: id } = await begin(bench, { mode: "approve", ...within(4_000) });
  await waits(bench, id, "approval");
  await bench.stop();
  assert.equal(await approveLocally(directory(bench), id), "approved");
  await new Promise((resolve) => setTimeout(resolve, 5_500));
  bench.server.published.length = 0;
  await bench.vmg({ telemetry: parked });
  const end = await ended(bench, id);
  assert.equal(end.status, "cancelled");
  assert.match(String(end.error), /^its time ran out at /);
  assert.deepEqual(operations(bench), before);
});

Deno.test("time that runs out during the activation does not stop it", async () => {
  await using bench = await TestBench.start();
  await bench.vmg({ bus: { latency: 20_000 } });
  await bench.server.connected();
  // Routines of an ECU with two banks: 0203, FF00, 0202 (staging), 0203, 0202 (verifying), 0203, 0210, FF01 (activating).
  bench.bench.ecu("ECU_001").inject({ kind: "late_answer", service: 0x31, occurrence: 8, delay: 4_000 });
  const { update_id: id } = await begin(bench, within(3_000));
  const end = await ended(bench, id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.ok(bench.lines.some((line) => /its time ran out .* are being activated: it goes on/.test(line)));
});

Deno.test("a failure that no other attempt mends is told as such", async () => {
  await using bench = await ready();
  const wrong = await begin(bench, {}, await bench.package(["ECU_001"], { hwVersion: "HW-9" }));
  assert.equal((await ended(bench, wrong.update_id)).retryable, false);
  bench.bench.ecu("ECU_001").inject({ kind: "negative_response", service: 0x36, occurrence: 1, nrc: 0x72 });
  const flash = await begin(bench, {});
  assert.equal((await ended(bench, flash.update_id)).retryable, true);
  bench.bench.ecu("ECU_001").clearFaults();
  const five = await begin(bench, {}, await bench.package(["ECU_001"], { version: "1.2.0", release: 5 }));
  assert.equal((await ended(bench, five.update_id)).status, "completed");
  const four = await begin(bench, {}, await bench.package(["ECU_001"], { version: "1.3.0", release: 4 }));
  assert.equal((await ended(bench, four.update_id)).retryable, false);
});
