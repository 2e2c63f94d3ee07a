// A state file that takes no writes for a while: a disk that is full, or that fails. The gateway stays, and goes on when it may.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { serveFile } from "../support/counterpart.ts";
import { TestBench, vin, vmgId } from "../support/vehicle.ts";

/** Another writer: while it has the file, each write of the gateway fails at once. */
class Outage implements Disposable {
  readonly #sqlite: DatabaseSync;

  constructor(bench: TestBench) {
    this.#sqlite = new DatabaseSync(`${bench.directory}/${vin}/vmg.db`);
  }

  begin(): void {
    this.#sqlite.exec("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE");
  }

  end(): void {
    this.#sqlite.exec("ROLLBACK");
  }

  [Symbol.dispose](): void {
    this.#sqlite.close();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("while its state takes no writes the gateway stays, over MQTT and over HTTPS, and goes on after it", async () => {
  const source = { name: "a counting test source", count: 0, read: () => ({ count: source.count++ }) };
  for (const mqtt of [true, false]) {
    await using bench = await TestBench.start({
      counterpart: { mqtt },
      vmg: {
        telemetry: source,
        link: { telemetryInterval: 10, fallbackAfter: 20, pollInterval: 30, batchInterval: 10, holdTime: 50 },
      },
    });
    const batches = () => bench.server.calls.filter(({ path }) => path.endsWith("/messages")).length;
    const came = () => mqtt ? bench.server.messages("telemetry").length : batches();
    const vmg = await bench.vmg();
    await bench.server.until("messages come", () => came() > 3);
    using outage = new Outage(bench);
    outage.begin();
    await pause(300);
    outage.end();
    const before = came();
    const measured = source.count;
    await bench.server.until("messages come again", () => came() > before + 3 && source.count > measured + 5);
    await bench.server.until("all of them", () => vmg.link.queued < 5);
  }
});

Deno.test("an update goes on after its journal took no writes, again and again, and completes", async () => {
  await using bench = await TestBench.start({ timing: "none" });
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001", "ECU_002", "ECU_003"], { size: 100_000 });
  const { handler } = serveFile({ bytes: made.bytes, etag: () => made.etag });
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, handler);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  using outage = new Outage(bench);
  for (let times = 0; times < 10; times++) {
    outage.begin();
    await pause(60);
    outage.end();
    await pause(90);
  }
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  for (const ecuId of made.ecuIds) assert.equal(bench.bench.ecu(ecuId).version, "1.2.3");
});
