// Registration and reports, against a server of the test's own: what it takes, and what it refuses.

import assert from "node:assert/strict";
import { MockAgent } from "undici";
import { RestClient } from "../../../src/contract/client.ts";
import { createLogger } from "../../../src/log.ts";
import { VehicleReporter } from "../../../src/vmg/link/vehicle_report.ts";

const vin = "KMHZB00BENCH00001";

/** A reporter whose server refuses its first report with this status, and what it logs. */
async function withReporter(
  { status, refusedDelay }: { status: number; refusedDelay: number },
  test: (
    parts: { reporter: VehicleReporter; refused: Promise<void>; taken: Promise<void>; log: string[] },
  ) => Promise<void>,
): Promise<void> {
  await using agent = new MockAgentOfTest();
  const headers = { headers: { "content-type": "application/json" } };
  agent.answers("/api/v1/vehicles/register").reply(200, {
    status: "registered",
    vehicle_id: vin,
    message: "",
  }, headers).persist();
  agent.answers(`/api/v1/vehicles/${vin}/vci`).reply(status, {
    type: "urn:zonebench:problem:manifest_signed",
    title: "Unprocessable Content",
    status,
    detail: "the keys are others",
  }, { headers: { "content-type": "application/problem+json" } });
  agent.answers(`/api/v1/vehicles/${vin}/vci`).reply(200, {
    status: "stored",
    outdated_ecus: [],
    update_available: false,
  }, headers);
  const log: string[] = [];
  const refused = Promise.withResolvers<void>();
  const taken = Promise.withResolvers<void>();
  const reporter = new VehicleReporter({
    vehicle: { vin, vmgId: "VMG-001", model: "Car", year: 2026, gateways: [], adapters: [], ecus: [] },
    rest: new RestClient({ origin: "http://127.0.36.11:1", dispatcher: agent }),
    read: (trigger) =>
      Promise.resolve({
        vci: { device_id: "VMG-001", vin, timestamp: "2026-01-02T03:04:05.000Z", trigger, ecus: [] },
        delivered: () => taken.resolve(),
      }),
    changing: () => false,
    onRegistered: () => {},
    onAnswer: () => {},
    retryDelay: 1,
    maxRetryDelay: 1,
    refusedDelay,
    log: createLogger({
      write: (line) => {
        log.push(line);
        if (line.includes("WARNING")) refused.resolve();
      },
    }),
  });
  reporter.start();
  try {
    await test({ reporter, refused: refused.promise, taken: taken.promise, log });
  } finally {
    await reporter.stop();
  }
}

class MockAgentOfTest extends MockAgent {
  constructor() {
    super();
    this.disableNetConnect();
  }

  answers(path: string) {
    return this.get("http://127.0.36.11:1").intercept({ method: "POST", path });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

Deno.test("a report that the server refuses is made again: what was wrong may have been put right there", async () => {
  await withReporter({ status: 422, refusedDelay: 5 }, async ({ taken, log }) => {
    await taken;
    assert.match(
      log.join("\n"),
      /Vehicle report refused: .*the keys are others\. Reporting again in 0\.005 s, or with the next cause/,
    );
  });
});

Deno.test("the next cause for a report does not wait for the time after a refusal", async () => {
  await withReporter({ status: 422, refusedDelay: 3_600_000 }, async ({ reporter, refused, taken, log }) => {
    await refused;
    reporter.request("command");
    await taken;
    assert.match(log.join("\n"), /VCI sent \(command\)/);
  });
});

Deno.test("a reporter that waits after a refusal stops at once", async () => {
  await withReporter({ status: 422, refusedDelay: 3_600_000 }, async ({ reporter, refused }) => {
    await refused;
    await reporter.stop();
  });
});

Deno.test("a server that fails is asked again without such a wait", async () => {
  await withReporter({ status: 503, refusedDelay: 3_600_000 }, async ({ taken, log }) => {
    await taken;
    assert.match(log.join("\n"), /Vehicle report failed: .*Retrying in \d+ms/);
  });
});
