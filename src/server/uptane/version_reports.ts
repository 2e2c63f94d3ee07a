// Takes a vehicle's configuration information: what its ECUs' keys bear out is believed, the rest is kept and marked, and what
// they contradict is refused (Uptane Standard 2.1, section 5.3.2.1).

import { isDeepStrictEqual } from "node:util";
import type { Vci, VciEcu } from "../../contract/vehicles.ts";
import type { Logger } from "../../log.ts";
import { type CheckCode, checks, refusal } from "../../uptane/checks.ts";
import { UptaneError } from "../../uptane/errors.ts";
import { imageByName, imageTargetName } from "../../uptane/image_target.ts";
import { type CheckedManifest, checkManifest, type EcuReport } from "../../uptane/report.ts";
import type { Events } from "../events.ts";
import type { Metrics } from "../metrics.ts";
import {
  type AnomalyInput,
  type EcuKeyRow,
  type ImageTarget,
  type Repositories,
  type Store,
  targetKey,
} from "../store/mod.ts";
import { signedByGateway, toInventory, toMemory } from "./inventory.ts";

export interface VersionReportsOptions {
  store: Store;
  events: Events;
  metrics: Metrics;
  log: Logger;
  /** Whether a report without signatures that can be checked is refused, too. @default "when_known" */
  policy?: "when_known" | "required";
  /** @default the system's clock */
  now?: () => Date;
}

/** A report without what the server requires of all vehicles. */
export class ManifestRequired extends Error {
  override readonly name = "ManifestRequired";
}

/** Whether the ECUs' keys bear a report out, and if not, why. */
export type Verdict = { readonly verified: true } | { readonly verified: false; readonly reason: string };

/** How often a manifest is checked anew when another one of the same vehicle was taken meanwhile. */
const mostRounds = 5;

export class VersionReports {
  readonly #options: VersionReportsOptions;
  readonly #now: () => Date;

  constructor(options: VersionReportsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => new Date());
  }

  /**
   * Checks a report and stores it, unless the ECUs' keys contradict it. Nonces and times of the reports within it are remembered in
   * the same transaction.
   *
   * @param vci Of this vehicle: the caller has held it against the certificate.
   * @throws {UptaneError} of the first check that fails: nothing is stored then.
   * @throws {ManifestRequired}
   */
  async take(vci: Vci): Promise<Verdict> {
    const { store, metrics } = this.#options;
    for (let round = 0; round < mostRounds; round++) {
      const inventory = await store.ecuKeys.of(vci.vin);
      const checked = await this.#checked(vci, inventory);
      const verdict = verdictOf(vci, inventory, checked);
      if (!verdict.verified && this.#options.policy === "required") {
        metrics.versionReports.inc({ result: "refused" });
        throw new ManifestRequired(
          `version_manifest: expected signed reports of all ECUs, ${verdict.reason}`,
        );
      }
      const stored = await store.transaction(async (tx) => {
        if (!isUnchanged(inventory, await tx.ecuKeys.of(vci.vin, true))) return false;
        await addReport(tx, vci, verdict);
        if (checked !== undefined) {
          const memory = [...checked.memory].map(([ecuId, { time, nonces }]) => ({ ecuId, time, nonces }));
          await tx.ecuKeys.remember(vci.vin, memory);
        }
        return true;
      });
      if (!stored) continue;
      metrics.versionReports.inc({ result: verdict.verified ? "verified" : "unverified" });
      this.#options.events.emit({ type: "vehicle", vin: vci.vin, verified: verdict.verified });
      await this.#tellAttacks(vci.vin, checked?.reports ?? []);
      return verdict;
    }
    throw new Error(`manifest of ${vci.vin}: other ones were taken in each of ${mostRounds} rounds`);
  }

  /** The manifest, checked; undefined when there is none, or nothing to check it by. */
  async #checked(vci: Vci, inventory: readonly EcuKeyRow[]): Promise<CheckedManifest | undefined> {
    if (vci.version_manifest === undefined || inventory.length === 0) return undefined;
    try {
      const checked = await checkManifest({
        bytes: new TextEncoder().encode(JSON.stringify(vci.version_manifest)),
        vehicleId: vci.vin,
        inventory: toInventory(inventory),
        memory: toMemory(inventory),
        now: this.#now(),
        // ECUs that do not answer cannot report: that they do not is seen below.
        allowMissing: true,
      });
      checkMissing(vci, checked);
      checkVersions(vci, checked.reports);
      await this.#checkImages(vci, checked.reports, new Set(signedByGateway(inventory)));
      return checked;
    } catch (error) {
      if (error instanceof UptaneError) await this.#tellRefused(vci.vin, error);
      throw error;
    }
  }

  /**
   * What runs as a version that the catalogue has must be that image. Of software that it did not install, a gateway that speaks
   * for an ECU knows the name alone; and an ECU that undoes a compression, or decrypts, holds other bytes than it was given.
   *
   * @param spokenFor ECUs for which the gateway signs
   */
  async #checkImages(
    vci: Vci,
    reports: readonly EcuReport[],
    spokenFor: ReadonlySet<string>,
  ): Promise<void> {
    const ecus = new Map(vci.ecus.map((ecu) => [ecu.ecu_id, ecu]));
    const kinds = new Map<string, ImageTarget>();
    for (const { ecu_type: ecuType, hw_version: hwVersion } of vci.ecus) {
      if (hwVersion !== undefined) kinds.set(targetKey({ ecuType, hwVersion }), { ecuType, hwVersion });
    }
    const images = await this.#options.store.images.ofTargets([...kinds.values()]);
    const known = new Map(images.map((image) => [imageTargetName(image), image]));
    for (const { ecuId, installed } of reports) {
      const image = ecus.has(ecuId) ? known.get(installed.filename) : undefined;
      if (image === undefined) continue;
      if (image.payloadSize === installed.length && image.payloadSha256 === installed.hashes.sha256) continue;
      if (spokenFor.has(ecuId) && isDeepStrictEqual(imageByName(installed.filename), measureOf(installed))) {
        continue;
      }
      if ((image.download?.dataFormat ?? 0) !== 0) continue;
      throw refusal(
        "manifest_images",
        `report of ${ecuId}`,
        `${installed.filename}: expected ${image.payloadSize} bytes of SHA-256 ${image.payloadSha256}, ` +
          `it reports ${installed.length} bytes of ${installed.hashes.sha256}`,
      );
    }
  }

  async #tellRefused(vin: string, error: UptaneError): Promise<void> {
    const { metrics, log } = this.#options;
    metrics.versionReports.inc({ result: "refused" });
    log.warn(`Report of ${vin} refused: ${error.message}`, { check: error.code, clause: error.clause });
    await this.#attacks([{
      vin,
      code: error.code,
      message: `report refused, ${error.attack}: ${error.message}`,
    }]);
  }

  /** What the ECUs saw and refused. */
  async #tellAttacks(vin: string, reports: readonly EcuReport[]): Promise<void> {
    const seen = reports.flatMap(({ ecuId, attacksDetected }) =>
      attacksDetected.map((code) => {
        const attack = isCheck(code) ? ` (${refusal(code, ecuId, code).attack})` : "";
        return { vin, code, message: `${ecuId} refused what it was given: ${code}${attack}` };
      })
    );
    for (const { message, code } of seen) this.#options.log.warn(`${vin}: ${message}`, { check: code });
    await this.#attacks(seen);
  }

  async #attacks(found: readonly { vin: string; code: string; message: string }[]): Promise<void> {
    const { store, events, metrics } = this.#options;
    const timestamp = this.#now();
    const rows = found.map(({ vin, code, message }): AnomalyInput => ({
      vin,
      metric: code,
      rule: "attack",
      value: 1,
      expected: 0,
      timestamp,
      message,
    }));
    await store.anomalies.add(rows);
    for (const { vin, metric, rule, value, message } of rows) {
      metrics.attacks.inc({ check: isCheck(metric) ? metric : "other" });
      events.emit({ type: "anomaly", vin, timestamp: timestamp.toISOString(), metric, rule, value, message });
    }
  }
}

function isCheck(code: string): code is CheckCode {
  return Object.hasOwn(checks, code);
}

function measureOf({ length, hashes }: EcuReport["installed"]): ReturnType<typeof imageByName> {
  return { length, hashes };
}

/**
 * Who does not answer, or has no software whose version it could tell, cannot sign; everybody else does, or the gateway says why
 * there is no report. With such a word the rest is kept, and no more: anybody who drops a report can give it, so nothing is verified.
 */
function checkMissing(vci: Vci, { missing }: CheckedManifest): void {
  const silent = new Set(
    vci.ecus.filter((ecu) => !mustSign(ecu) || (ecu.error ?? "") !== "").map(({ ecu_id }) => ecu_id),
  );
  // The Primary need not stand in the VCI, but it is there: it has sent it.
  const lacking = missing.filter((ecuId) => !silent.has(ecuId));
  if (lacking.length === 0) return;
  throw refusal(
    "manifest_complete",
    `manifest of ${vci.vin}`,
    `expected a report of each ECU in the inventory that answers, or why there is none, got neither of ${
      lacking.slice(0, 10).join(", ")
    }`,
  );
}

function mustSign({ status, sw_version }: VciEcu): boolean {
  return status === "ok" && sw_version !== undefined;
}

/** The versions in the report are those of the images that the ECUs say they run. */
function checkVersions(vci: Vci, reports: readonly EcuReport[]): void {
  const ecus = new Map(vci.ecus.map((ecu) => [ecu.ecu_id, ecu]));
  for (const { ecuId, installed } of reports) {
    const ecu = ecus.get(ecuId);
    if (ecu?.sw_version === undefined) continue;
    const { ecu_type: ecuType, hw_version: hwVersion = "", sw_version: version } = ecu;
    const expected = imageTargetName({ ecuType, hwVersion, version });
    const [type, hardware, file] = expected.split("/");
    const [sameType, sameHardware, sameFile, ...more] = installed.filename.split("/");
    const agrees = more.length === 0 && sameType === type && sameFile === file &&
      (ecu.hw_version === undefined || sameHardware === hardware);
    if (agrees) continue;
    throw refusal(
      "manifest_agrees",
      `report of ${ecuId}`,
      `expected ${
        ecu.hw_version === undefined ? `${type}/…/${file}` : expected
      }, it reports ${installed.filename}`,
    );
  }
}

/** @param checked undefined: there was nothing to check, or nothing to check it by */
function verdictOf(vci: Vci, inventory: readonly EcuKeyRow[], checked: CheckedManifest | undefined): Verdict {
  const no = (reason: string): Verdict => ({ verified: false, reason });
  if (inventory.length === 0) return no("the inventory has no keys of the vehicle's ECUs");
  if (checked === undefined) return no("it came without version_manifest");
  const reported = new Set(checked.reports.map(({ ecuId }) => ecuId));
  const unsigned = vci.ecus.filter((ecu) => mustSign(ecu) && !reported.has(ecu.ecu_id));
  if (unsigned.length === 0) return { verified: true };
  const known = new Set(inventory.map(({ ecuId }) => ecuId));
  const silent = unsigned.filter(({ ecu_id }) => known.has(ecu_id));
  const keyless = unsigned.filter(({ ecu_id }) => !known.has(ecu_id));
  const reasons = [
    ...silent.slice(0, 10).map(({ ecu_id, error = "" }) => `there is no report of ${ecu_id}, "${error}"`),
    ...keyless.length === 0
      ? []
      : [`the inventory has no keys of ${keyless.slice(0, 10).map(({ ecu_id }) => ecu_id).join(", ")}`],
  ];
  return no(reasons.join("; "));
}

/** Whether nothing was entered or heard since the inventory was read. */
function isUnchanged(before: readonly EcuKeyRow[], now: readonly EcuKeyRow[]): boolean {
  return JSON.stringify(before) === JSON.stringify(now);
}

async function addReport(tx: Repositories, vci: Vci, verdict: Verdict): Promise<void> {
  const { version_manifest: _, ...report } = vci;
  await tx.vci.add({
    vin: vci.vin,
    deviceId: vci.device_id,
    trigger: vci.trigger,
    timestamp: new Date(vci.timestamp),
    ecus: vci.ecus.map((ecu) => ({
      ecuId: ecu.ecu_id,
      ecuType: ecu.ecu_type,
      zonalGatewayId: ecu.zonal_gateway_id,
      swVersion: ecu.sw_version,
      hwVersion: ecu.hw_version,
      serialNumber: ecu.serial_number,
      partNumber: ecu.part_number,
      supplier: ecu.supplier,
      reachable: ecu.status === "ok",
      // Of an ECU that answered, `error` says why its version is not signed.
      unreachableReason: ecu.status === "unreachable" ? ecu.error : null,
    })),
    report,
    verified: verdict.verified,
    unverifiedReason: verdict.verified ? null : verdict.reason,
  });
}
