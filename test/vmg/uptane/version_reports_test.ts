// The vehicle version manifest as the server gets it, held against the server's own check of it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type EcuVersionReport, encodeReportAnswer } from "../../../hardware/flash/version_report.ts";
import { algorithmOf, keyidOf } from "../../../src/uptane/keys.ts";
import type { KeyModel } from "../../../src/uptane/models.ts";
import { type CheckedManifest, checkManifest, type InventoryEcu } from "../../../src/uptane/report.ts";
import { manifests, reportedBench, run } from "../support/metadata_bench.ts";
import { TestBench, type TestBenchOptions, vin, vmgId } from "../support/vehicle.ts";

const forms: Record<"ecdsa-p256" | "ml-dsa-65", Omit<KeyModel, "keyval">> = {
  "ecdsa-p256": { keytype: "ecdsa", scheme: "ecdsa-sha2-nistp256" },
  "ml-dsa-65": { keytype: "ml-dsa", scheme: "ml-dsa-65/1" },
};

function inventoryEcu(
  ecuId: string,
  pem: string,
  algorithm: keyof typeof forms,
  primary = false,
): InventoryEcu {
  const key: KeyModel = { ...forms[algorithm], keyval: { public: pem } };
  assert.equal(algorithmOf(key), algorithm);
  const keyid = keyidOf(key);
  return { ecuId, primary, authority: { keys: { [keyid]: key }, role: { keyids: [keyid], threshold: 1 } } };
}

/** The public keys as they lie where the vehicle and its ECUs were made. */
async function inventoryOf(bench: TestBench): Promise<InventoryEcu[]> {
  const primary = await Deno.readTextFile(`${bench.directory}/${vin}/report.pub`);
  const ecus = await Promise.all(bench.bench.ecus.map(async (ecu) => {
    const pem = await ecu.reportPublicKey();
    return pem === undefined
      ? inventoryEcu(ecu.ecuId, primary, "ecdsa-p256")
      : inventoryEcu(ecu.ecuId, pem, ecu.options.versionReport?.algorithm ?? "ecdsa-p256");
  }));
  return [inventoryEcu(vmgId, primary, "ecdsa-p256", true), ...ecus];
}

async function check(bench: TestBench, allowMissing = false): Promise<CheckedManifest> {
  return await checkManifest({
    bytes: new TextEncoder().encode(JSON.stringify(manifests(bench).at(-1))),
    vehicleId: vin,
    inventory: await inventoryOf(bench),
    memory: new Map(),
    now: new Date(),
    allowMissing,
  });
}

function installed({ reports }: CheckedManifest): Record<string, unknown> {
  return Object.fromEntries(reports.map((report) => [report.ecuId, report.installed]));
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

Deno.test("each ECU signs what its flash holds, with its own kind of key, and the gateway signs it all", async () => {
  await using bench = await reportedBench({}, {
    ecus: { ECU_002: { versionReport: { algorithm: "ml-dsa-65" } } },
  });
  const factory = (ecuId: string) => ({
    length: 4_096,
    hashes: { sha256: hash(bench.bench.ecu(ecuId).readMemory(0, 4_096)) },
  });
  assert.deepEqual(installed(await check(bench)), {
    [vmgId]: { filename: "zonebench/gateway/0.1.0", length: 1, hashes: { sha256: "00".repeat(32) } },
    ECU_001: { filename: "BODY_CONTROLLER/HW-2.0/1.0.0.bin", ...factory("ECU_001") },
    ECU_002: { filename: "DOOR/HW-2.0/1.0.0.bin", ...factory("ECU_002") },
    ECU_003: { filename: "BRAKE/HW-2.0/1.0.0.bin", ...factory("ECU_003") },
  });
  assert.equal(
    new Set(bench.bench.ecus.map(({ ecuId }) => factory(ecuId).hashes.sha256)).size,
    3,
    "no two are alike",
  );
  const made = await bench.package(["ECU_001"]);
  assert.equal((await run(bench, made)).status, "completed");
  await bench.server.until("the report after the update", () => manifests(bench).length === 2);
  const { ECU_001, ECU_003 } = installed(await check(bench));
  const image = made.images.get("ECU_001");
  assert.ok(image !== undefined);
  assert.deepEqual(ECU_001, {
    filename: "BODY_CONTROLLER/HW-2.0/1.2.3.bin",
    length: image.length,
    hashes: { sha256: hash(image) },
  });
  assert.deepEqual(ECU_003, { filename: "BRAKE/HW-2.0/1.0.0.bin", ...factory("ECU_003") });
});

Deno.test("nonces are never used again, and the time goes on", async () => {
  await using bench = await reportedBench();
  const first = await check(bench);
  await bench.server.send(`vehicle/${vmgId}/control`, { message_id: "again", command: "REPORT_VCI" });
  await bench.server.until("the second report", () => manifests(bench).length === 2);
  const second = await check(bench);
  const nonces = [...first.reports, ...second.reports].map(({ nonce }) => nonce);
  assert.equal(new Set(nonces).size, 8);
  for (const [at, { time }] of second.reports.entries()) assert.ok(time >= first.reports[at].time);
});

/** An ECU that signs nothing. */
const silent: TestBenchOptions = { ecus: { ECU_002: { versionReport: undefined } } };

Deno.test("for an ECU that signs nothing the gateway speaks: the version that it tells, and the image that it got", async () => {
  await using bench = await reportedBench({}, silent);
  const name = "DOOR/HW-2.0/1.0.0.bin";
  assert.deepEqual(installed(await check(bench)).ECU_002, {
    filename: name,
    length: name.length,
    hashes: { sha256: hash(new TextEncoder().encode(name)) },
  });
  const made = await bench.package(["ECU_002"]);
  assert.equal((await run(bench, made)).status, "completed");
  await bench.server.until("the report after the update", () => manifests(bench).length === 2);
  const image = made.images.get("ECU_002");
  assert.ok(image !== undefined);
  assert.deepEqual(installed(await check(bench)).ECU_002, {
    filename: "DOOR/HW-2.0/1.2.3.bin",
    length: image.length,
    hashes: { sha256: hash(image) },
  });
});

Deno.test("an ECU that refuses, or has no power, is missing from the manifest, and the report goes all the same", async () => {
  await using bench = await TestBench.start();
  bench.bench.ecu("ECU_001").inject({ kind: "negative_response", service: 0x31, occurrence: 1, nrc: 0x22 });
  bench.bench.ecu("ECU_003").powerOff();
  await bench.vmg();
  await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
  assert.deepEqual((await check(bench, true)).missing, ["ECU_001", "ECU_003"]);
  const [{ body }] = bench.server.calls.filter(({ path }) => path.endsWith("/vci"));
  assert.deepEqual(
    (body as { ecus: { status: string }[] }).ecus.map(({ status }) => status),
    ["ok", "ok", "unreachable"],
  );
  assert.ok(
    bench.lines.some((line) =>
      /WARN.*ECU_001 gives no version report: .*NRC 0x22 conditionsNotCorrect/.test(line)
    ),
  );
});

Deno.test("a vehicle whose time was never attested says so, and reports all the same", async () => {
  await using bench = await TestBench.start();
  bench.repositories.instead.set("time", () => ({ status: 503, bytes: new Uint8Array() }));
  await bench.vmg();
  await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
  const { reports } = await check(bench);
  assert.deepEqual(reports.map(({ time }) => time.getTime()), [0, 0, 0, 0]);
});

/** Answers of a bad ECU: what it says in place of its good report. */
const nonsense: [string, (good: string) => string, RegExp][] = [
  [
    "speaks for another",
    (good) => good.replace("ECU_001", "ECU_003"),
    /report, ecu_id: expected ECU_001, got "ECU_003"/,
  ],
  [
    "repeats an old report",
    (good) => good.replace(/"nonce":"../, '"nonce":"zz'),
    /report, nonce: expected [0-9a-f]{64}/,
  ],
  ["has blanks in its report", (good) => good.replace(":", ": "), /canonical JSON/],
  ["reports no object", () => '"report"', /expected a JSON object/],
  ["reports no JSON", () => "{", /expected/],
  [
    "reports an image without a name",
    (good) => good.replace('"filename"', '"filenamf"'),
    /signed\.installed\.filename/,
  ],
  [
    "lives in another year",
    (good) => good.replace(/"time":"2/, '"time":"9'),
    /report, time: expected no later than 2.*, got 9/,
  ],
];
for (const [what, change, message] of nonsense) {
  Deno.test(`an ECU that ${what} does not spoil the report of the vehicle`, async () => {
    await using bench = await TestBench.start();
    const ecu = bench.bench.ecu("ECU_001");
    const handle = ecu.handle.bind(ecu);
    ecu.handle = (request, context, respond) =>
      handle(
        request,
        context,
        (response) => respond(response[0] === 0x71 ? changed(response, change) : response),
      );
    await bench.vmg();
    await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
    assert.deepEqual((await check(bench, true)).missing, ["ECU_001"]);
    assert.match(String(bench.lines.find((line) => line.includes("gives no version report"))), message);
    const [{ body }] = bench.server.calls.filter(({ path }) => path.endsWith("/vci"));
    const [bad, ...others] =
      (body as { ecus: { status: string; sw_version?: string; error?: string }[] }).ecus;
    assert.deepEqual([bad.status, bad.sw_version], ["ok", "1.0.0"]);
    assert.match(bad.error ?? "", /^no version report: /);
    assert.deepEqual(others.map(({ error }) => error), [undefined, undefined]);
  });
}

/** The answer with another report in it. */
function changed(response: Uint8Array, change: (good: string) => string): Uint8Array {
  const [head, status] = [response.slice(0, 4), response.slice(4, 5)];
  const length = response[39] << 8 | response[40];
  const report: EcuVersionReport = {
    algorithm: "ecdsa-p256",
    keyid: response.slice(7, 39).toHex(),
    report: new TextEncoder().encode(change(new TextDecoder().decode(response.slice(41, 41 + length)))),
    signature: response.slice(41 + length),
  };
  return Uint8Array.from([...head, ...status, ...encodeReportAnswer(report)]);
}
