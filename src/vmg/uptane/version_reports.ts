// The vehicle version manifest (Uptane Standard 2.1, section 5.4.2.1): each ECU's own report of what it runs, signed by its key; the
// gateway's report, and its word for ECUs that sign none; all of it signed by the gateway.

import { createHash } from "node:crypto";
import type { EcuIdentification } from "../../../hardware/flash/identification.ts";
import { type EcuVersionReport, readVersionReport } from "../../../hardware/flash/version_report.ts";
import type { UdsClient } from "../../../hardware/uds/client.ts";
import type { SignedDocument } from "../../contract/uptane.ts";
import { signedDocument } from "../../contract/uptane.ts";
import type { Logger } from "../../log.ts";
import { canonicalJson, isArray, type JsonObject, type JsonValue } from "../../uptane/canonical_json.ts";
import { StoreError, UptaneError } from "../../uptane/errors.ts";
import { imageByName, imageTargetName } from "../../uptane/image_target.ts";
import { readJson } from "../../uptane/json_reader.ts";
import type { Signer } from "../../uptane/keys.ts";
import { makeManifest, makeReport, readReport, type SignedReport } from "../../uptane/report.ts";
import { makeNonce } from "../../uptane/time.ts";
import { explain, explainFor, VmgError } from "../errors.ts";
import type { VehicleDescription, VehicleEcu } from "../vehicle.ts";
import { hardwareOf } from "../vci.ts";
import type { Attack, AttackLog } from "./attack_log.ts";
import type { AttestedClock } from "./attested_clock.ts";
import type { UpdateMetadata } from "./update_metadata.ts";

/** What an ECU, or the gateway itself, runs. */
export interface InstalledSoftware {
  /** Name as in the Image repository. */
  readonly filename: string;
  /** Bytes. */
  readonly length: number;
  readonly sha256: string;
}

/** Options of {@link VersionReports}. */
export interface VersionReportsOptions {
  vehicle: VehicleDescription;
  /** The gateway's key. */
  signer: Signer;
  /** What the gateway itself runs. */
  software: InstalledSoftware;
  metadata: Pick<UpdateMetadata, "attest">;
  clock: AttestedClock;
  attacks: AttackLog;
  /** What the gateway installed last on an ECU; undefined: nothing. */
  installed: (ecuId: string) => InstalledSoftware | undefined;
  log: Logger;
}

/** How schemes are called in signatures of reports. */
const methods = { "ecdsa-p256": "ecdsa-sha2-nistp256", "ml-dsa-65": "ml-dsa-65/1" } as const;

/** How far an ECU's time may be ahead of what is attested, milliseconds: the server allows as much. */
const mostAhead = 300_000;

/** An ECU's answer is not the report that it was asked for. */
class ReportMismatchError extends VmgError {
  override readonly name = "ReportMismatchError";
}

/** A finished manifest. */
export interface SignedManifest {
  readonly manifest: SignedDocument;
  /** To be given to {@link VersionReports.delivered}. */
  readonly attacks: readonly Attack[];
}

/** Version reports of one vehicle. */
export class VersionReports {
  readonly #options: VersionReportsOptions;

  constructor(options: VersionReportsOptions) {
    this.#options = options;
  }

  /** Begins a manifest. @throws the signal's reason; nothing else */
  async begin(signal: AbortSignal): Promise<ManifestRound> {
    const time = await this.#time(signal);
    const attested = this.#options.clock.now !== undefined;
    return new ManifestRound(this.#options, time, attested ? time.getTime() + mostAhead : Infinity);
  }

  /** The server has the manifest. */
  delivered({ attacks }: SignedManifest): void {
    this.#options.attacks.told(attacks);
  }

  /** Latest time that could be verified. A vehicle that never had one says so by the earliest that there is. */
  async #time(signal: AbortSignal): Promise<Date> {
    const { clock, metadata, log } = this.#options;
    const { now } = clock;
    if (now !== undefined) return now;
    try {
      return await metadata.attest(signal);
    } catch (error) {
      signal.throwIfAborted();
      // A refusal is noted by then; where there is no network, the report itself does not get through either.
      if (!(error instanceof UptaneError || error instanceof StoreError)) log.debug(explain(error));
      else if (error instanceof StoreError) log.error(explain(error));
      return clock.latest ?? new Date(0);
    }
  }
}

/** One manifest that is being put together. */
export class ManifestRound {
  readonly #options: VersionReportsOptions;
  readonly #time: Date;
  readonly #latest: number;
  readonly #reports = new Map<string, SignedReport>();

  /** @param latest No ECU can have verified a later time, milliseconds since 1970. */
  constructor(options: VersionReportsOptions, time: Date, latest: number) {
    this.#options = options;
    this.#time = time;
    this.#latest = latest;
  }

  /**
   * Takes in what an ECU runs: its own report, or the gateway's of it. An ECU that refuses, or answers nonsense, has none: the
   * server decides what that means.
   *
   * @returns why it has none; undefined: it has one
   * @throws the signal's reason; nothing else
   */
  async add(
    ecu: VehicleEcu,
    identification: EcuIdentification,
    client: UdsClient,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const { log } = this.#options;
    try {
      const report = ecu.versionReport === undefined
        ? await this.#speakFor(ecu, identification)
        : await this.#ask(ecu, client, signal);
      if (report !== undefined) this.#reports.set(ecu.ecuId, report);
      // An ECU without software has no version that something could bear out.
      else if (identification.swVersion !== undefined) {
        return "no version report: it tells no hardware version, and signs nothing";
      }
      return undefined;
    } catch (error) {
      signal?.throwIfAborted();
      const reason = explainFor(ecu.ecuId, error);
      log.warn(`${ecu.ecuId} gives no version report: ${reason}`);
      return `no version report: ${reason}`;
    }
  }

  /** The manifest with all reports that came. */
  async finish(): Promise<SignedManifest> {
    const { vehicle: { vin, vmgId, ecus }, signer, software, attacks } = this.#options;
    const untold = attacks.untold;
    const own = await this.#sign(vmgId, software, untold.map(({ code }) => code));
    const reports = [own];
    for (const { ecuId } of ecus) {
      const report = this.#reports.get(ecuId);
      if (report !== undefined) reports.push(report);
    }
    const bytes = await makeManifest({ vehicleId: vin, primaryEcuId: vmgId, reports }, [signer]);
    return { manifest: signedDocument.parse(JSON.parse(new TextDecoder().decode(bytes))), attacks: untold };
  }

  async #ask(ecu: VehicleEcu, client: UdsClient, signal: AbortSignal | undefined): Promise<SignedReport> {
    const nonce = makeNonce();
    const answer = await readVersionReport(client, {
      ...ecu.versionReport,
      routineOk: ecu.flashPlan.routineOk,
      nonce: Uint8Array.fromHex(nonce),
      time: this.#time,
      signal,
      step: "read version report",
    });
    return signedReport(answer, ecu.ecuId, nonce, this.#latest);
  }

  /**
   * The gateway's word for an ECU that signs nothing: the version that it tells, with the image that the gateway installed under
   * that name. Of software that somebody else installed, its name is all that is known: length and hash are the name's.
   */
  #speakFor(
    { ecuId, ecuType }: VehicleEcu,
    identification: EcuIdentification,
  ): Promise<SignedReport> | undefined {
    const { swVersion: version } = identification;
    const hwVersion = hardwareOf(identification);
    if (version === undefined || hwVersion === undefined) return undefined;
    const filename = imageTargetName({ ecuType, hwVersion, version });
    const installed = this.#options.installed(ecuId);
    const { length, hashes } = imageByName(filename);
    return this.#sign(
      ecuId,
      installed?.filename === filename ? installed : { filename, length, sha256: hashes.sha256 },
      [],
    );
  }

  #sign(
    ecuId: string,
    { filename, length, sha256 }: InstalledSoftware,
    attacksDetected: readonly string[],
  ): Promise<SignedReport> {
    return makeReport({
      ecuId,
      installed: { filename, length, hashes: { sha256 } },
      attacksDetected,
      time: this.#time,
      nonce: makeNonce(),
    }, [this.#options.signer]);
  }
}

/**
 * An ECU's answer as it stands in a manifest. The server checks all of it; here it is only seen that one ECU's nonsense does not
 * spoil the report of the whole vehicle.
 *
 * @throws {ReportMismatchError | JsonReadError | EnvelopeError}
 */
function signedReport(
  { report, algorithm, keyid, signature }: EcuVersionReport,
  ecuId: string,
  nonce: string,
  latest: number,
): SignedReport {
  const signed = readJson(report);
  if (!isObject(signed)) {
    throw new ReportMismatchError("expected a JSON object as its report, got another value");
  }
  if (new TextDecoder().decode(canonicalJson(signed)) !== new TextDecoder().decode(report)) {
    throw new ReportMismatchError("expected its report in canonical JSON, got another form");
  }
  for (const [name, expected] of [["ecu_id", ecuId], ["nonce", nonce]]) {
    if (signed[name] !== expected) {
      throw new ReportMismatchError(
        `report, ${name}: expected ${expected}, got ${JSON.stringify(signed[name])}`,
      );
    }
  }
  const document = {
    signed,
    signatures: [{
      keyid,
      sig: signature.toHex(),
      method: methods[algorithm],
      hash_function: "sha256",
      hash: createHash("sha256").update(report).digest("hex"),
    }],
  };
  const { time } = readReport(document);
  if (time.getTime() > latest) {
    throw new ReportMismatchError(
      `report, time: expected no later than ${new Date(latest).toISOString()}, got ${time.toISOString()}`,
    );
  }
  return document;
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === "object" && value !== null && !isArray(value);
}
