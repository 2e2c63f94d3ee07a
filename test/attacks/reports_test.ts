// Reports of what a vehicle runs, by whoever has some of its keys, or has recorded one: the server believes what the ECUs' keys
// bear out, and directs updates by that alone.

import assert from "node:assert/strict";
import { ProblemError } from "../../src/contract/client.ts";
import { routes } from "../../src/contract/routes.ts";
import { type SignedDocument, signedDocument } from "../../src/contract/uptane.ts";
import { type Vci, vci } from "../../src/contract/vehicles.ts";
import type { CheckCode } from "../../src/uptane/checks.ts";
import { imageTargetName } from "../../src/uptane/image_target.ts";
import { generateSigner, type LocalSigner } from "../../src/uptane/keys.ts";
import { type EcuReport, makeManifest, makeReport } from "../../src/uptane/report.ts";
import { makeNonce } from "../../src/uptane/time.ts";
import { eventually } from "../server/running_server.ts";
import { Lab } from "./support/lab.ts";
import { AttackedVehicle, hwVersion } from "./support/vehicle.ts";

/** The newest report that the server has, as a thief of the vehicle's TLS key can send it; the gateway ends, and sends none after it. */
async function lastReport(vehicle: AttackedVehicle): Promise<Vci> {
  await vehicle.end();
  const timestamp = (await vehicle.shown())?.vci?.timestamp;
  const report = vehicle.middle.reports.find((it) => it.timestamp === timestamp);
  return vci.parse(report);
}

/** The same report with a version of an ECU that it does not run. */
function lying(report: Vci, ecuId: string, version: string): Vci {
  return {
    ...report,
    ecus: report.ecus.map((ecu) => ecu.ecu_id === ecuId ? { ...ecu, sw_version: version } : ecu),
  };
}

interface Signers {
  primary: LocalSigner;
  ECU_001: LocalSigner;
  ECU_002: LocalSigner;
}

/** A manifest of reports that say what the attacker wants. */
async function manifestOf(
  vehicle: AttackedVehicle,
  report: Vci,
  { primary, ...ecus }: Signers,
  installed: Partial<Record<string, EcuReport["installed"]>> = {},
  attacks: readonly string[] = [],
): Promise<SignedDocument> {
  const { vin, vmgId } = vehicle;
  const time = new Date();
  const common = { time, attacksDetected: [] };
  const unknown = { length: 1, hashes: { sha256: "00".repeat(32) } };
  const reports = [
    await makeReport({
      ...common,
      ecuId: vmgId,
      installed: { filename: "zonebench/gateway/0.1.0", ...unknown },
      nonce: makeNonce(),
    }, [primary]),
  ];
  for (const [ecuId, signer] of Object.entries(ecus)) {
    const ecu = report.ecus.find((it) => it.ecu_id === ecuId);
    const version = ecu?.sw_version ?? "";
    const filename = imageTargetName({ ecuType: vehicle.types[ecuId], hwVersion, version });
    reports.push(
      await makeReport({
        ...common,
        ecuId,
        installed: installed[ecuId] ?? { filename, ...unknown },
        attacksDetected: ecuId === "ECU_001" ? attacks : [],
        nonce: makeNonce(),
      }, [signer]),
    );
  }
  const bytes = await makeManifest({ vehicleId: vin, primaryEcuId: vmgId, reports }, [primary]);
  return signedDocument.parse(JSON.parse(new TextDecoder().decode(bytes)));
}

/** The server refuses a report with this code, shows the attack, and goes on believing what it believed. */
async function assertRefused(vehicle: AttackedVehicle, report: Vci, code: CheckCode): Promise<void> {
  const { vin, rest } = vehicle;
  const before = await vehicle.shown();
  await assert.rejects(rest.call(routes.submitVci, { path: { vin }, body: report }), (error) => {
    assert.ok(error instanceof ProblemError, String(error));
    assert.deepEqual([error.status, error.code], [422, code], error.message);
    return true;
  });
  const shown = await vehicle.shown();
  assert.deepEqual(shown?.vci, before?.vci);
  assert.equal(shown?.verified, true);
  assert.equal((await vehicle.attacks())[0].code, code);
}

Deno.test("reports of a vehicle", async (test) => {
  await using lab = await Lab.start("127.0.98.2");
  await using vehicle = await AttackedVehicle.start(lab);
  const { vin, rest } = vehicle;
  const first = await lastReport(vehicle);
  await vehicle.begin();
  const released = await vehicle.release(1);
  await vehicle.updated(released);
  await vehicle.release(2);
  const honest = await lastReport(vehicle);
  const stranger = await generateSigner("ecdsa-p256");
  const stolen: Signers = {
    primary: await vehicle.primary(),
    ECU_001: await vehicle.ecuKey("ECU_001"),
    ECU_002: await vehicle.ecuKey("ECU_002"),
  };

  await test.step("a recorded report is refused, the newest by its nonces and an older one by its times", async () => {
    await assertRefused(vehicle, honest, "report_nonce");
    await assertRefused(vehicle, first, "report_time");
  });

  await test.step("the vehicle's TLS key alone speaks for no ECU, and for no other vehicle", async () => {
    const lie = lying(honest, "ECU_001", "1.2.0");
    // What ECUs signed does not fit another story.
    await assertRefused(vehicle, {
      ...lie,
      version_manifest: await manifestOf(vehicle, lie, {
        primary: stranger,
        ECU_001: stranger,
        ECU_002: stranger,
      }),
    }, "manifest_signed");
    await using other = await AttackedVehicle.start(lab);
    await assert.rejects(
      rest.call(routes.submitVci, { path: { vin: other.vin }, body: { ...lie, vin: other.vin } }),
      { code: "vin_mismatch", status: 403 },
    );
    await assert.rejects(
      rest.call(routes.startUpdate, { body: { vin: other.vin } }),
      { status: 403 },
    );
    await assert.rejects(
      rest.open(routes.getDirectorFile, {
        path: { vin: other.vin, director_file: "timestamp.json" },
      }),
      { code: "vin_mismatch", status: 403 },
    );
  });

  await test.step("an ECU's key does not speak for the vehicle, nor the Primary's for an ECU", async () => {
    const lie = lying(honest, "ECU_001", "1.2.0");
    const signed = (signers: Partial<Signers>) =>
      manifestOf(vehicle, lie, { primary: stranger, ECU_001: stranger, ECU_002: stranger, ...signers });
    const { primary, ECU_001 } = stolen;
    await assertRefused(vehicle, { ...lie, version_manifest: await signed({ ECU_001 }) }, "manifest_signed");
    await assertRefused(vehicle, { ...lie, version_manifest: await signed({ primary }) }, "report_signed");
    // Who speaks for one ECU does not speak for its neighbour.
    await assertRefused(
      vehicle,
      { ...lie, version_manifest: await signed({ primary, ECU_001 }) },
      "report_signed",
    );
  });

  await test.step("who has all keys of a vehicle reports no released image as other bytes, nor two versions", async () => {
    const lie = lying(honest, "ECU_001", "1.2.0");
    await assertRefused(
      vehicle,
      { ...lie, version_manifest: await manifestOf(vehicle, lie, stolen) },
      "manifest_images",
    );
    const true_ = await manifestOf(vehicle, honest, stolen);
    await assertRefused(vehicle, { ...lie, version_manifest: true_ }, "manifest_agrees");
  });

  await test.step("a report without signatures is shown as such, and directs nothing", async () => {
    const { version_manifest: _, ...lie } = lying(honest, "ECU_001", "1.2.0");
    await rest.call(routes.submitVci, { path: { vin }, body: lie });
    const shown = await vehicle.shown();
    assert.equal(shown?.verified, false);
    assert.match(String(shown?.unverified_reason), /version_manifest/);
    // It claims to run the newest; the update goes by what ECU_001 signed.
    const update = await vehicle.start(["ECU_001"]);
    await vehicle.begin();
    assert.equal((await vehicle.ended(update)).status, "completed");
    await vehicle.verified({ ECU_001: "1.2.0" });
  });

  await test.step("an ECU that gives no report is shown with the reason, and nothing of it is believed", async () => {
    const believed = (await lastReport(vehicle)).timestamp;
    const fault = { kind: "negative_response", service: 0x31, occurrence: 1, nrc: 0x31 } as const;
    vehicle.bench.ecu("ECU_002").inject(fault);
    await vehicle.begin();
    const shown = await eventually("an unverified report", async () => {
      const now = await vehicle.shown();
      return now?.verified === false && now;
    });
    assert.match(
      String(shown.unverified_reason),
      /^there is no report of ECU_002, "no version report: .*requestOutOfRange/,
    );
    assert.equal(new Date(shown.last_verified ?? 0).getTime(), new Date(believed).getTime());
    assert.deepEqual(shown.vci?.ecus.map(({ sw_version, status }) => [sw_version, status]), [
      ["1.2.0", "ok"],
      ["1.1.0", "ok"],
    ]);
    await vehicle.end();
    await vehicle.begin();
    await vehicle.verified({ ECU_001: "1.2.0" });
  });

  await test.step("an ECU's stolen key reports a wrong version or a false alarm of that ECU, as the table says", async () => {
    const now = await lastReport(vehicle);
    const lie = lying(now, "ECU_001", "7.0.0");
    const alarmed = await manifestOf(vehicle, lie, stolen, {
      ECU_002: {
        filename: imageTargetName(released.ECU_002),
        length: released.ECU_002.size,
        hashes: { sha256: released.ECU_002.sha256 },
      },
    }, ["image_hash"]);
    await rest.call(routes.submitVci, { path: { vin }, body: { ...lie, version_manifest: alarmed } });
    const shown = await vehicle.shown();
    assert.equal(shown?.verified, true);
    assert.equal(shown?.vci?.ecus.find((ecu) => ecu.ecu_id === "ECU_001")?.sw_version, "7.0.0");
    assert.deepEqual((await vehicle.attacks())[0], {
      code: "image_hash",
      message: "ECU_001 refused what it was given: image_hash (arbitrary software)",
    });
    assert.equal(vehicle.bench.ecu("ECU_001").version, "1.2.0");
  });
});
