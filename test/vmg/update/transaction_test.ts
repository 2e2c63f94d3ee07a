// All ECUs of an update run the new software in the end, or all the old; and what it waits for before it changes any.

import assert from "node:assert/strict";
import type { SimulatedFault } from "../../../hardware/sim/options.ts";
import type { PackageCondition } from "../../../src/contract/package.ts";
import { PackageMismatchError } from "../../../src/vmg/errors.ts";
import { activationGroups } from "../../../src/vmg/update/activation_order.ts";
import { rangesToSave } from "../../../src/vmg/update/backups.ts";
import { EcuProgress } from "../../../src/vmg/update/ecu_progress.ts";
import type { Target } from "../../../src/vmg/update/targets.ts";
import { serveFile } from "../support/counterpart.ts";
import { TestBench, type TestBenchOptions, type TestPackage, vmgId } from "../support/vehicle.ts";

const all = ["ECU_001", "ECU_002", "ECU_003"];

interface Report {
  status: string;
  retryable?: boolean;
  error?: string;
  ecus: {
    ecu_id: string;
    status: string;
    step?: string;
    bytes?: number;
    speed?: number;
    time_left?: number;
  }[];
}

async function ready(options: TestBenchOptions = {}): Promise<TestBench> {
  const bench = await TestBench.start(options);
  await bench.vmg();
  await bench.server.connected();
  await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
  return bench;
}

async function begin(bench: TestBench, made: TestPackage): Promise<string> {
  const file = serveFile({ bytes: made.bytes, etag: () => made.etag });
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, file.handler);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  return command.update_id;
}

async function run(bench: TestBench, made: TestPackage): Promise<Report> {
  return await bench.server.ended(await begin(bench, made)) as unknown as Report;
}

function versions(bench: TestBench): (string | undefined)[] {
  return bench.bench.ecus.map(({ version }) => version);
}

async function cancel(bench: TestBench, updateId: string): Promise<void> {
  await bench.server.send(`vehicle/${vmgId}/control`, {
    message_id: crypto.randomUUID(),
    command: "CANCEL_OTA_UPDATE",
    update_id: updateId,
  });
}

const routine = (occurrence: number): SimulatedFault => ({
  kind: "negative_response",
  service: 0x31,
  occurrence,
  nrc: 0x22,
});
// Routines of an ECU with two banks, counted: 0203, FF00, 0202 (staging), 0203, 0202 (verifying), 0203, 0210, FF01 (activating),
// 0211 (confirming), 0213 (committing).
const points: [string, SimulatedFault, RegExp][] = [
  ["refuses the check after all are staged", routine(5), /ECU_003: flash failed at check_memory/],
  ["refuses to be announced", routine(7), /ECU_003: flash failed at activate/],
  ["refuses to accept", routine(8), /ECU_003: flash failed at check_dependencies/],
  ["refuses to confirm", routine(9), /ECU_003: flash failed at confirm/],
];
for (const [what, fault, message] of points) {
  for (const banks of [2, 1] as const) {
    Deno.test(`an ECU that ${what}: all go back, the others having ${banks} bank(s)`, async () => {
      const others = { banks };
      await using bench = await ready({ ecus: { ECU_001: others, ECU_002: others } });
      const before = bench.bench.ecus.map((ecu) => ecu.readMemory(0, 65_536));
      bench.bench.ecu("ECU_003").inject(fault);
      const end = await run(bench, await bench.package(all));
      assert.equal(end.status, "failed");
      assert.match(String(end.error), message);
      assert.deepEqual(end.ecus.map(({ status }) => status), ["rolled_back", "rolled_back", "rolled_back"]);
      assert.deepEqual(versions(bench), ["1.0.0", "1.0.0", "1.0.0"]);
      assert.deepEqual(bench.bench.ecus.map((ecu) => ecu.readMemory(0, 65_536)), before);
      bench.bench.ecu("ECU_003").clearFaults();
      assert.equal((await run(bench, await bench.package(all))).status, "completed");
      assert.deepEqual(versions(bench), ["1.2.3", "1.2.3", "1.2.3"]);
    });
  }
}

Deno.test("an ECU with one bank goes back though the new image lies where nothing was", async () => {
  await using bench = await ready({ ecus: { ECU_001: { banks: 1 } } });
  const before = bench.bench.ecu("ECU_001").readMemory(0, 262_144);
  bench.bench.ecu("ECU_003").inject(routine(8));
  const end = await run(bench, await bench.package(all, { address: 0x1_0000 }));
  assert.equal(end.status, "failed");
  assert.deepEqual(end.ecus.map(({ status }) => status), ["rolled_back", "rolled_back", "rolled_back"]);
  assert.deepEqual(versions(bench), ["1.0.0", "1.0.0", "1.0.0"]);
  assert.deepEqual(bench.bench.ecu("ECU_001").readMemory(0, 262_144), before);
});

Deno.test("what an ECU accepted and never started does not start after going back", async () => {
  await using bench = await ready();
  // The reset of the activation, and the one that cleans up after its failure.
  for (const occurrence of [1, 2]) {
    bench.bench.ecu("ECU_003").inject({ kind: "negative_response", service: 0x11, occurrence, nrc: 0x22 });
  }
  const end = await run(bench, await bench.package(all));
  assert.equal(end.status, "failed");
  assert.match(String(end.error), /ECU_003: flash failed at ecu_reset/);
  for (const ecu of bench.bench.ecus) {
    ecu.powerOff();
    await ecu.powerOn();
  }
  assert.deepEqual(versions(bench), ["1.0.0", "1.0.0", "1.0.0"]);
});

Deno.test("an ECU that does not commit runs the new software all the same, and is said to keep the old", async () => {
  await using bench = await ready();
  for (let occurrence = 10; occurrence < 1_000; occurrence++) {
    bench.bench.ecu("ECU_003").inject(routine(occurrence));
  }
  const end = await run(bench, await bench.package(all));
  assert.equal(end.status, "completed");
  assert.deepEqual(versions(bench), ["1.2.3", "1.2.3", "1.2.3"]);
  assert.ok(bench.lines.some((line) => /ECU_003.*keeps its old software/.test(line)));
});

Deno.test("a release below the one that an ECU has committed is refused by the ECU, and the report says why", async () => {
  await using bench = await ready();
  const newer = await run(bench, await bench.package(["ECU_001"], { version: "1.2.0", release: 5 }));
  assert.equal(newer.status, "completed");
  // A gateway that was replaced knows of no release: the ECU does.
  await bench.stop();
  await bench.vmg({ directory: `${bench.directory}/replaced` });
  const older = await run(bench, await bench.package(["ECU_001"], { version: "1.3.0", release: 4 }));
  assert.equal(older.status, "failed");
  assert.match(
    String(older.error),
    /ECU_001: 1\.3\.0 is release 4, and the ECU has committed release 5: it takes none below that \(anti-rollback\)/,
  );
  assert.match(String(older.error), /flash failed at activate: .*NRC 0x31 requestOutOfRange/);
  assert.equal(older.retryable, false, "no other attempt mends that");
  assert.equal(bench.bench.ecu("ECU_001").version, "1.2.0");
  assert.equal(older.ecus[0].status, "rolled_back");
});

Deno.test("a cancel after the activation began is not obeyed, and the log says so", async () => {
  await using bench = await ready();
  bench.bench.ecu("ECU_003").inject({ kind: "late_answer", service: 0x31, occurrence: 8, delay: 200 });
  const updateId = await begin(bench, await bench.package(all));
  await bench.server.until(
    "the activation",
    () => bench.lines.some((line) => line.includes("ECU_003: check_dependencies")),
  );
  await cancel(bench, updateId);
  assert.equal((await bench.server.ended(updateId)).status, "completed");
  assert.ok(
    bench.lines.some((line) => /cannot be cancelled any more: its ECUs are being activated/.test(line)),
  );
});

Deno.test("ECUs are changed when the vehicle stands still, and a cancel ends the wait", async () => {
  let speed = 12;
  const source = { name: "test", read: () => ({ speed }) };
  const update = { conditions: [{ signal: "speed", max: 0 }], conditionInterval: 5 };
  await using bench = await ready({ vmg: { telemetry: source, update } });
  const before = bench.bench.ecus.map(({ flashOperations }) => flashOperations);
  const waits = () =>
    bench.server.until(
      "the wait",
      () => bench.lines.some((line) => line.includes("speed: expected at most 0, it is 12")),
    );
  const first = await begin(bench, await bench.package(all));
  await waits();
  await cancel(bench, first);
  const end = await bench.server.ended(first) as unknown as Report;
  assert.equal(end.status, "cancelled");
  assert.deepEqual(end.ecus.map(({ status }) => status), ["cancelled", "cancelled", "cancelled"]);
  assert.deepEqual(bench.bench.ecus.map(({ flashOperations }) => flashOperations), before);
  bench.lines.length = 0;
  const second = await begin(bench, await bench.package(all));
  await waits();
  speed = 0;
  assert.equal((await bench.server.ended(second)).status, "completed");
});

const asked: [string, PackageCondition, RegExp][] = [
  ["too low", { signal: "battery_soc", min: 30 }, /battery_soc: expected at least 30, it is 20; waited 0 s/],
  ["not measured", { signal: "ignition", max: 0 }, /ignition: expected at most 0, it is not measured now/],
];
for (const [what, condition, message] of asked) {
  Deno.test(`a package's own condition whose value is ${what} fails the update in time`, async () => {
    const update = { conditionTimeout: 30, conditionInterval: 5 };
    await using bench = await ready({
      vmg: { telemetry: { name: "test", read: () => ({ battery_soc: 20 }) }, update },
    });
    const end = await run(bench, await bench.package(all, { conditions: [condition] }));
    assert.equal(end.status, "failed");
    assert.match(String(end.error), message);
    assert.deepEqual(end.ecus.map(({ status }) => status), ["cancelled", "cancelled", "cancelled"]);
  });
}

Deno.test("reports tell bytes, speed and time left of a transfer", async () => {
  await using bench = await ready();
  for (let occurrence = 1; occurrence < 5; occurrence++) {
    bench.bench.ecu("ECU_001").inject({ kind: "late_answer", service: 0x36, occurrence, delay: 60 });
  }
  await run(bench, await bench.package(["ECU_001"]));
  const told = bench.server.messages("ota/status").flatMap((report) => (report as unknown as Report).ecus);
  const [one] = told.filter(({ bytes, speed }) => bytes !== undefined && bytes > 0 && speed !== undefined);
  assert.ok(one !== undefined && one.step === "transfer_data", JSON.stringify(told));
  assert.ok(one.speed !== undefined && one.speed > 0 && one.time_left !== undefined && one.time_left >= 0);
});

Deno.test("speed and time left follow from bytes and time; the share does not go back", () => {
  let now = 0;
  const progress = new EcuProgress(() => now);
  assert.equal(progress.at("transfer_data", 0, 1_000).speed, null);
  now = 2_000;
  const half = progress.at("transfer_data", 500, 1_000);
  assert.deepEqual([half.bytes, half.speed, half.timeLeft], [500, 250, 2]);
  const later = progress.at("extended_session", 0, 0);
  assert.deepEqual([later.step, later.bytes, later.progress], ["extended_session", null, half.progress]);
});

function target(ecuId: string, depends_on: string[]): Target {
  return {
    ecu: { ecuId, ecuType: "T", zonalGatewayId: "ZG", logicalAddress: 1, flashPlan: {} },
    entry: {
      ecu_id: ecuId,
      ecu_type: "T",
      hw_version: "1",
      version: "1",
      depends_on,
      image: { image_id: "", sha256: "", size: 1, segments: [{ address: 0, length: 1 }] },
      blob: { encoding: "zstd", offset: 0, length: 1, sha256: "", table_sha256: "" },
    },
  };
}

Deno.test("ECUs are activated after those that they depend on", () => {
  const groups = activationGroups([
    target("A", ["B", "C"]),
    target("B", ["C"]),
    target("C", ["NOT_IN_THE_PACKAGE"]),
    target("D", []),
  ]);
  assert.deepEqual(Object.fromEntries(groups), { C: 0, D: 0, B: 1, A: 2 });
  assert.throws(
    () => activationGroups([target("A", ["B"]), target("B", ["A"]), target("C", [])]),
    (error) => error instanceof PackageMismatchError && /in a circle: A, B/.test(error.message),
  );
});

Deno.test("a backup covers whole sectors, joined where they touch", () => {
  const memory = [{ address: 0, size: 4_096, sectorSize: 1_024 }, {
    address: 4_096,
    size: 512,
    sectorSize: 256,
  }];
  const segments = [{ address: 100, length: 10 }, { address: 1_500, length: 10 }, {
    address: 4_000,
    length: 100,
  }];
  assert.deepEqual(rangesToSave({ segments }, { memory }), [
    { address: 0, length: 2_048 },
    { address: 3_072, length: 1_280 },
  ]);
  assert.deepEqual(rangesToSave({ segments }, { memory }, [{ address: 2_000, length: 100 }]), [
    { address: 0, length: 4_352 },
  ]);
  assert.deepEqual(rangesToSave({ segments }, {}), segments);
  assert.deepEqual(rangesToSave({ segments }, { erase: "range" }), [{ address: 100, length: 4_000 }]);
  assert.deepEqual(rangesToSave({ segments }, { erase: "all", memory }), [{ address: 0, length: 4_608 }]);
});
