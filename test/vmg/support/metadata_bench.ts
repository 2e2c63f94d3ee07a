// Updates over repositories that misbehave: how they are begun, and what must hold when one of them is refused.

import assert from "node:assert/strict";
import type { VmgOptions } from "../../../src/vmg/options.ts";
import { serveFile } from "./counterpart.ts";
import { TestBench, type TestBenchOptions, type TestPackage, vmgId } from "./vehicle.ts";

/** A bench whose gateway runs and has sent its first report. */
export async function reportedBench(
  differs: Partial<VmgOptions> = {},
  options: TestBenchOptions = {},
): Promise<TestBench> {
  const bench = await TestBench.start(options);
  await bench.vmg(differs);
  await bench.server.connected();
  await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
  return bench;
}

/** Begins an update. @returns its id */
export async function begin(bench: TestBench, made: TestPackage): Promise<string> {
  const file = serveFile({ bytes: made.bytes, etag: () => made.etag });
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, file.handler);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  return command.update_id;
}

/** Runs an update. @returns its last report */
export async function run(bench: TestBench, made: TestPackage): Promise<Record<string, unknown>> {
  return await bench.server.ended(await begin(bench, made));
}

/** A version manifest as it came with a VCI. */
export interface SentManifest {
  signed: {
    reports: {
      signed: { ecu_id: string; attacks_detected: string[]; installed: Record<string, unknown> };
    }[];
  };
}

/** The manifests that came, in order. */
export function manifests(bench: TestBench): SentManifest[] {
  return bench.server.calls.filter(({ path }) => path.endsWith("/vci")).map(({ body }) =>
    (body as { version_manifest: SentManifest }).version_manifest
  );
}

/** Codes that the gateway's own reports told of, in order. */
export function reportedAttacks(bench: TestBench): string[][] {
  return manifests(bench).map(({ signed }) =>
    signed.reports.find((report) => report.signed.ecu_id === vmgId)?.signed.attacks_detected ?? []
  );
}

/**
 * The update fails with this code, says in the log which attack it was, and touches no ECU; the next report tells of it.
 */
export async function assertRefused(
  bench: TestBench,
  made: TestPackage,
  code: string,
  attack: string,
): Promise<void> {
  const before = bench.bench.ecus.map(({ flashOperations }) => flashOperations);
  const versions = bench.bench.ecus.map(({ version }) => version);
  const reports = manifests(bench).length;
  const end = await run(bench, made);
  assert.equal(end.status, "failed");
  assert.match(String(end.error), new RegExp(`^metadata: ${code}: `));
  assert.deepEqual(bench.bench.ecus.map(({ flashOperations }) => flashOperations), before);
  assert.deepEqual(bench.bench.ecus.map(({ version }) => version), versions);
  assert.deepEqual(bench.bench.ecus.map(({ session }) => session), bench.bench.ecus.map(() => 1));
  const told = bench.lines.find((line) => line.includes("Refused as ") && line.includes(` ${code}: `));
  assert.match(String(told), new RegExp(`WARN.* Refused as ${attack} \\((?:Uptane|TUF) `));
  await bench.server.until(
    `a report with ${code}`,
    () => reportedAttacks(bench).slice(reports).some((codes) => codes.includes(code)),
  );
  assert.deepEqual(reportedAttacks(bench).at(-1), [code]);
}
