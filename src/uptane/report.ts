// ECU version reports and the vehicle version manifest (Uptane Standard 2.1, sections 5.4.2.1 and 5.3.2.1): what each ECU says of
// itself, signed by its own key, gathered and signed by the Primary; and the Director's checks of it.

import { createHash } from "node:crypto";
import { z } from "zod";
import * as id from "../contract/identifiers.ts";
import { nonce as nonceSchema } from "../contract/uptane.ts";
import { isArray, type JsonObject, type JsonValue } from "./canonical_json.ts";
import { type CheckCode, Checker } from "./checks.ts";
import {
  type Envelope,
  envelopeBytes,
  EnvelopeError,
  openEnvelope,
  readEnvelope,
  signReport,
} from "./envelope.ts";
import type { Signer } from "./keys.ts";
import { specVersion, targetName, targetSchema, utcText, utcTime } from "./models.ts";
import { type Authority, countSignatures } from "./threshold.ts";

/** Most ECUs of a vehicle. */
const mostEcus = 1000;
/** Most attacks that one report tells of. */
const mostAttacks = 32;
/** Longest manifest that is read, bytes: 1,000 reports with both signatures. */
export const maxManifest = 16_777_216;
/** Most reports of one ECU that name the same time: its clock must go on, or its memory here would have no end. */
const mostReportsAtOneTime = 64;

/** The image that an ECU runs: the non-custom part of its metadata. */
const installedImage = z.object({
  filename: targetName,
  length: targetSchema.shape.length,
  hashes: targetSchema.shape.hashes,
});

const reportSchema = z.object({
  _type: z.literal("ecu-version-report"),
  spec_version: z.string().max(16),
  ecu_id: id.ecuId,
  installed: installedImage,
  /** Codes of the checks that failed since the last report. */
  attacks_detected: z.array(
    z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, "must be the code of a check"),
  ).max(mostAttacks),
  /** Latest time that the ECU could verify. */
  time: utcTime,
  nonce: nonceSchema,
});

const manifestSchema = z.object({
  _type: z.literal("vehicle-version-manifest"),
  spec_version: z.string().max(16),
  vehicle_id: id.vin,
  primary_ecu_id: id.ecuId,
  reports: z.array(z.unknown()).max(mostEcus),
});

/** What an ECU says of itself. */
export interface EcuReport {
  readonly ecuId: string;
  readonly installed: z.infer<typeof installedImage>;
  readonly attacksDetected: readonly string[];
  readonly time: Date;
  readonly nonce: string;
}

/** A signed report as it stands in a manifest. */
export interface SignedReport extends JsonObject {}

/** The ECU's side: signs a report. @param signers The ECU's key, or both of its keys. */
export async function makeReport(
  { ecuId, installed, attacksDetected, time, nonce }: EcuReport,
  signers: readonly Signer[],
): Promise<SignedReport> {
  const { signed, signatures } = await signReport({
    _type: "ecu-version-report",
    spec_version: specVersion,
    ecu_id: ecuId,
    installed: imageJson(installed),
    attacks_detected: attacksDetected.slice(0, mostAttacks),
    time: utcText(time),
    nonce,
  }, signers);
  return { signed, signatures: signatures.map((it) => ({ ...it })) };
}

/**
 * What a report says that stands in no manifest yet. Whether it is true and who signed it is not looked at.
 *
 * @throws {EnvelopeError} for one of another form.
 */
export function readReport(document: SignedReport): EcuReport {
  return toEcuReport(openEnvelope(reportSchema, document, new Uint8Array()).signed);
}

function toEcuReport(
  { ecu_id, installed, attacks_detected, time, nonce }: z.infer<typeof reportSchema>,
): EcuReport {
  return { ecuId: ecu_id, installed, attacksDetected: attacks_detected, time: new Date(time), nonce };
}

function imageJson({ filename, length, hashes: { sha256, sha512 } }: EcuReport["installed"]): JsonObject {
  return { filename, length, hashes: sha512 === undefined ? { sha256 } : { sha256, sha512 } };
}

/** The Primary's side: gathers reports and signs them. */
export async function makeManifest(
  { vehicleId, primaryEcuId, reports }: {
    readonly vehicleId: string;
    readonly primaryEcuId: string;
    readonly reports: readonly SignedReport[];
  },
  signers: readonly Signer[],
): Promise<Uint8Array<ArrayBuffer>> {
  return envelopeBytes(
    await signReport({
      _type: "vehicle-version-manifest",
      spec_version: specVersion,
      vehicle_id: vehicleId,
      primary_ecu_id: primaryEcuId,
      reports: [...reports],
    }, signers),
  );
}

/** An ECU in the Director's inventory (section 5.3.2.2). */
export interface InventoryEcu {
  readonly ecuId: string;
  /** Its keys, and how many of them must sign. */
  readonly authority: Authority;
  /** Whether it is the Primary. */
  readonly primary: boolean;
}

/** What the Director remembers of an ECU's last report. */
export interface ReportMemory {
  readonly time: Date;
  /** Nonces of all reports that named this time. Those of earlier ones need not be known: their time is refused. */
  readonly nonces: readonly string[];
}

/** Options of {@linkcode checkManifest}. */
export interface ManifestOptions {
  readonly bytes: Uint8Array;
  /** VIN that the sender's certificate names. */
  readonly vehicleId: string;
  readonly inventory: readonly InventoryEcu[];
  /** By ECU; empty before the first report. */
  readonly memory: ReadonlyMap<string, ReportMemory>;
  readonly now: Date;
  /** How far an ECU's time may be ahead of this side's, ms. @default 300000 */
  readonly ahead?: number;
  /** Takes a manifest without a report of each ECU, as when one does not answer: the standard recommends not to. @default false */
  readonly allowMissing?: boolean;
  /** Hears of the checks. @default nobody */
  readonly checker?: Checker;
}

/** A manifest that was checked. */
export interface CheckedManifest {
  readonly reports: readonly EcuReport[];
  /** ECUs of the inventory of which there is no report. */
  readonly missing: readonly string[];
  /** To be remembered, in one transaction with what the reports said: until then they could be sent again. */
  readonly memory: ReadonlyMap<string, ReportMemory>;
}

/**
 * The Director's side: section 5.3.2.1, steps 1, 3 and 4. Nothing of a manifest is believed unless all of it is good.
 *
 * @throws {UptaneError} of the first check that fails.
 */
export async function checkManifest(options: ManifestOptions): Promise<CheckedManifest> {
  const { bytes, vehicleId, inventory, memory, now, ahead = 300_000, allowMissing = false } = options;
  const { checker = new Checker() } = options;
  const subject = `manifest of ${vehicleId}`;
  checker.require(
    "metadata_length",
    subject,
    bytes.length <= maxManifest,
    () => `expected at most ${maxManifest} bytes, got ${bytes.length}`,
  );
  const manifest = opened("manifest_form", subject, checker, () => readEnvelope(manifestSchema, bytes));
  const { signed } = manifest;
  checker.require(
    "manifest_vehicle",
    subject,
    signed.vehicle_id === vehicleId,
    () => `expected a manifest of ${vehicleId}, got one of ${signed.vehicle_id}`,
  );
  const primary = inventory.find((ecu) => ecu.primary && ecu.ecuId === signed.primary_ecu_id);
  if (primary === undefined) {
    throw checker.failed(
      "manifest_known_ecus",
      subject,
      `expected a Primary of the inventory, got ${signed.primary_ecu_id}`,
    );
  }
  await requireSigned("manifest_signed", subject, manifest, primary.authority, checker);
  const reports = reportsOf(manifest.raw).map((document, at) =>
    opened(
      "report_form",
      `${subject}, report ${at}`,
      checker,
      () => openEnvelope(reportSchema, document, bytes),
    )
  );
  const known = new Map(inventory.map((ecu) => [ecu.ecuId, ecu]));
  const ids = new Set<string>();
  const odd = reports.find(({ signed: { ecu_id } }) =>
    !known.has(ecu_id) || ids.size === ids.add(ecu_id).size
  );
  checker.require(
    "manifest_known_ecus",
    subject,
    odd === undefined,
    () =>
      `expected one report of each ECU in the inventory, got an unknown or second one of ${odd?.signed.ecu_id}`,
  );
  const missing = inventory.map(({ ecuId }) => ecuId).filter((ecuId) => !ids.has(ecuId));
  checker.require(
    "manifest_complete",
    subject,
    allowMissing || missing.length === 0,
    () => `expected a report of each ECU in the inventory, got none of ${missing.slice(0, 10).join(", ")}`,
  );
  const remembered = new Map<string, ReportMemory>();
  for (const report of reports) {
    const ecu = known.get(report.signed.ecu_id);
    if (ecu === undefined) continue; // Refused above.
    const name = `report of ${ecu.ecuId}`;
    await requireSigned("report_signed", name, report, ecu.authority, checker);
    remembered.set(
      ecu.ecuId,
      requireNew(name, report.signed, memory.get(ecu.ecuId), now.getTime() + ahead, checker),
    );
  }
  return {
    reports: reports.map(({ signed }) => toEcuReport(signed)),
    missing,
    memory: new Map([...memory, ...remembered]),
  };
}

/** The reports with all their members, which the schema has seen to be a list. */
function reportsOf({ reports }: JsonObject): readonly JsonValue[] {
  return isArray(reports) ? reports : [];
}

/** Steps 3 and 4 for one report: its time goes on, and its nonce was not used. */
function requireNew(
  subject: string,
  { time: text, nonce }: z.infer<typeof reportSchema>,
  last: ReportMemory | undefined,
  latest: number,
  checker: Checker,
): ReportMemory {
  const time = new Date(text);
  checker.require(
    "report_time",
    subject,
    last === undefined || time >= last.time,
    () => `expected ${last === undefined ? "" : utcText(last.time)} or later, got ${text}`,
  );
  checker.require(
    "report_future",
    subject,
    time.getTime() <= latest,
    () => `expected no later than ${utcText(latest)}, got ${text}`,
  );
  const nonces = last !== undefined && time.getTime() === last.time.getTime() ? last.nonces : [];
  checker.require(
    "report_nonce",
    subject,
    !nonces.includes(nonce) && nonces.length < mostReportsAtOneTime,
    () =>
      nonces.includes(nonce)
        ? `expected a new nonce, got ${nonce} again`
        : `expected at most ${mostReportsAtOneTime} reports of one time, got more`,
  );
  return { time, nonces: [...nonces, nonce] };
}

function opened<T>(code: CheckCode, subject: string, checker: Checker, open: () => Envelope<T>): Envelope<T> {
  try {
    const envelope = open();
    checker.passed(code, subject);
    return envelope;
  } catch (cause) {
    if (!(cause instanceof EnvelopeError)) throw cause;
    throw checker.failed(code, subject, cause.message, { cause });
  }
}

/** A signature that says another algorithm or another hash than it has is none. */
async function requireSigned(
  code: CheckCode,
  subject: string,
  { payload, signatures }: Pick<Envelope<unknown>, "payload" | "signatures">,
  authority: Authority,
  checker: Checker,
): Promise<void> {
  const hash = createHash("sha256").update(payload).digest("hex");
  const honest = signatures.filter((it) =>
    it.hash_function === "sha256" && it.hash === hash &&
    Object.hasOwn(authority.keys, it.keyid) && it.method === authority.keys[it.keyid].scheme
  );
  const count = await countSignatures({ payload, signatures: honest }, authority);
  checker.require(
    code,
    subject,
    count >= authority.role.threshold,
    () => `expected good signatures of ${authority.role.threshold} of the ECU's keys, got ${count}`,
  );
}
