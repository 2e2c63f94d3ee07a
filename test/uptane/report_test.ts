// Version reports and manifests: what the Director believes, and what it refuses.

import assert from "node:assert/strict";
import type { LocalSigner } from "../../src/uptane/keys.ts";
import {
  checkManifest,
  type EcuReport,
  type InventoryEcu,
  makeManifest,
  makeReport,
  type ManifestOptions,
  type SignedReport,
} from "../../src/uptane/report.ts";
import { makeNonce } from "../../src/uptane/time.ts";
import { inDays, now, refused, signers, vin } from "./fake_repositories.ts";

const [primaryKey, secondaryKey, foreignKey] = await signers(3);
const inventory: InventoryEcu[] = [
  inventoryEcu("VMG_001", primaryKey, true),
  inventoryEcu("ECU_001", secondaryKey, false),
];

function inventoryEcu(ecuId: string, key: LocalSigner, primary: boolean): InventoryEcu {
  return {
    ecuId,
    primary,
    authority: { keys: { [key.keyid]: key.key }, role: { keyids: [key.keyid], threshold: 1 } },
  };
}

function report(ecuId: string, more: Partial<EcuReport> = {}): EcuReport {
  return {
    ecuId,
    installed: { filename: "body/1.bin", length: 9, hashes: { sha256: "ab".repeat(32) } },
    attacksDetected: [],
    time: now,
    nonce: makeNonce(),
    ...more,
  };
}

async function reports(): Promise<SignedReport[]> {
  return [
    await makeReport(report("VMG_001"), [primaryKey]),
    await makeReport(report("ECU_001", { attacksDetected: ["timestamp_rollback"] }), [secondaryKey]),
  ];
}

async function manifest(
  signed: readonly SignedReport[],
  more: { vehicleId?: string; primaryEcuId?: string; key?: LocalSigner } = {},
): Promise<Uint8Array> {
  const { vehicleId = vin, primaryEcuId = "VMG_001", key = primaryKey } = more;
  return await makeManifest({ vehicleId, primaryEcuId, reports: signed }, [key]);
}

function check(bytes: Uint8Array, more: Partial<ManifestOptions> = {}) {
  return checkManifest({ bytes, vehicleId: vin, inventory, memory: new Map(), now, ...more });
}

Deno.test("a manifest says what each ECU runs and which attacks it saw", async () => {
  const { reports: found, missing, memory } = await check(await manifest(await reports()));
  assert.deepEqual(missing, []);
  assert.deepEqual(
    found.map(({ ecuId, installed, attacksDetected, time }) => ({ ecuId, installed, attacksDetected, time })),
    [
      { ecuId: "VMG_001", installed: report("").installed, attacksDetected: [], time: now },
      {
        ecuId: "ECU_001",
        installed: report("").installed,
        attacksDetected: ["timestamp_rollback"],
        time: now,
      },
    ],
  );
  assert.deepEqual([...memory.keys()], ["VMG_001", "ECU_001"]);
});

Deno.test("signatures of a report say their method and the hash of what they sign, and must tell the truth", async () => {
  const [first, second] = await reports();
  assert.ok(Array.isArray(second.signatures));
  const [signature] = second.signatures;
  assert.equal(signature.method, "ecdsa-sha2-nistp256");
  assert.equal(signature.hash_function, "sha256");
  assert.match(signature.hash, /^[0-9a-f]{64}$/);
  for (const lie of [{ method: "ml-dsa-65/1" }, { hash: "0".repeat(64) }]) {
    const lying = { ...second, signatures: [{ ...signature, ...lie }] };
    await refused(check(await manifest([first, lying])), "report_signed", "arbitrary software");
  }
});

Deno.test("another vehicle's, another Primary's and a foreign manifest are refused", async () => {
  const good = await reports();
  await refused(
    check(await manifest(good, { vehicleId: "KMHZB00BENCH00002" })),
    "manifest_vehicle",
    "wrong vehicle",
  );
  await refused(check(await manifest(good, { primaryEcuId: "ECU_001" })), "manifest_known_ecus", "wrong ECU");
  await refused(check(await manifest(good, { key: foreignKey })), "manifest_signed", "arbitrary software");
  await refused(check(new TextEncoder().encode("{}")), "manifest_form", "malformed data");
  await refused(check(await manifest([{ signed: {}, signatures: [] }])), "report_form", "malformed data");
});

Deno.test("a Primary cannot speak for a Secondary, whose report another key signed", async () => {
  const [first] = await reports();
  const forged = await makeReport(report("ECU_001"), [primaryKey]);
  await refused(check(await manifest([first, forged])), "report_signed", "arbitrary software");
  // A Secondary's own report of another ECU is none either.
  const other = await makeReport(report("ECU_002"), [secondaryKey]);
  await refused(check(await manifest([first, other])), "manifest_known_ecus", "wrong ECU");
});

Deno.test("a report that is missing or stands twice is refused, unless ECUs may be away", async () => {
  const [first, second] = await reports();
  await refused(check(await manifest([first])), "manifest_complete", "wrong ECU");
  const { missing } = await check(await manifest([first]), { allowMissing: true });
  assert.deepEqual(missing, ["ECU_001"]);
  await refused(check(await manifest([first, second, second])), "manifest_known_ecus", "wrong ECU");
});

Deno.test("a replayed manifest, an old report in a new manifest, and an earlier time are refused", async () => {
  const old = await reports();
  const bytes = await manifest(old);
  const { memory } = await check(bytes);
  await refused(check(bytes, { memory }), "report_nonce", "replay");
  const [first] = await reports();
  await refused(check(await manifest([first, old[1]]), { memory }), "report_nonce", "replay");
  const later = await check(await manifest(await reports()), { memory });
  const advanced = new Map(later.memory).set("ECU_001", { time: inDays(1), nonces: [] });
  await refused(check(await manifest(await reports()), { memory: advanced }), "report_time", "replay");
});

Deno.test("a time that is still to come is refused, and what is remembered stays small", async () => {
  const [first] = await reports();
  const future = await makeReport(report("ECU_001", { time: inDays(1) }), [secondaryKey]);
  await refused(check(await manifest([first, future])), "report_future", "replay");
  let memory: ManifestOptions["memory"] = new Map();
  for (let at = 0; at < 64; at++) ({ memory } = await check(await manifest(await reports()), { memory }));
  await refused(check(await manifest(await reports()), { memory }), "report_nonce", "replay");
  const next = new Date(now.getTime() + 1000);
  const both = [
    await makeReport(report("VMG_001", { time: next }), [primaryKey]),
    await makeReport(report("ECU_001", { time: next }), [secondaryKey]),
  ];
  const { memory: fresh } = await check(await manifest(both), { memory });
  assert.equal(fresh.get("ECU_001")?.nonces.length, 1);
});

Deno.test("an ECU with two keys must sign with both", async () => {
  const both = [...await signers(1, "ml-dsa-65"), ...await signers(1)];
  const ecu: InventoryEcu = {
    ecuId: "ECU_001",
    primary: false,
    authority: {
      keys: Object.fromEntries(both.map(({ keyid, key }) => [keyid, key])),
      role: { keyids: both.map(({ keyid }) => keyid), threshold: 2 },
    },
  };
  const [first] = await reports();
  const more = { inventory: [inventory[0], ecu] };
  await check(await manifest([first, await makeReport(report("ECU_001"), both)]), more);
  await refused(
    check(await manifest([first, await makeReport(report("ECU_001"), [both[1]])]), more),
    "report_signed",
    "arbitrary software",
  );
});
