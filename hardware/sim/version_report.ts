// What a simulated ECU says of itself under its signature: the software that is in its flash, and the codes of checks that failed.
// The report is canonical JSON, put together here by hand as an ECU's own software would: members in order, no blanks.
import { createHash } from "node:crypto";
import { decodeReportQuestion, encodeReportAnswer } from "../flash/version_report.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal } from "../uds/server_service.ts";
import type { BootLoader } from "./boot_loader.ts";
import type { SimulatedEcuOptions } from "./options.ts";
import type { ReportKey } from "./report_key.ts";

/** Version of the specification that metadata and reports name. */
const specVersion = "1.0.31";

/** Longest part of an image's name, in characters. */
const longestPart = 80;

/** What a report is made of. */
export interface ReportParts {
  readonly ecu: Pick<SimulatedEcuOptions, "ecuId" | "ecuType" | "hwVersion">;
  readonly boot: BootLoader;
  readonly key: () => Promise<ReportKey>;
  /** Codes of checks that failed since power-on. */
  readonly attacks: () => readonly string[];
}

/**
 * Answers the routine.
 *
 * @param option its option record
 * @throws {Refusal} 13 for another record, 22 without an application
 */
export async function answerReport(
  { ecu, boot, key, attacks }: ReportParts,
  option: Uint8Array,
): Promise<Uint8Array> {
  const question = decodeReportQuestion(option);
  if (question === undefined) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
  const installed = await boot.installed();
  if (installed === undefined) throw new Refusal(Nrc.conditionsNotCorrect);
  const { version, length, sha256 } = installed;
  const filename = [ecu.ecuType, ecu.hwVersion, version].map(namePart).join("/");
  const members = [
    `"_type":"ecu-version-report"`,
    `"attacks_detected":[${attacks().map((code) => `"${code}"`).join(",")}]`,
    `"ecu_id":"${ecu.ecuId}"`,
    `"installed":{"filename":"${filename}.bin","hashes":{"sha256":"${sha256}"},"length":${length}}`,
    `"nonce":"${question.nonce.toHex()}"`,
    `"spec_version":"${specVersion}"`,
    `"time":"${question.time.toISOString().slice(0, 19)}Z"`,
  ];
  const report = new TextEncoder().encode(`{${members.join(",")}}`);
  const { algorithm, keyid, sign } = await key();
  return encodeReportAnswer({ report, algorithm, keyid, signature: await sign(report) });
}

/** A part of an image's name: what stands in none is `~` and two digits for each byte of UTF-8; see docs/hardware.md. */
function namePart(text: string): string {
  const escaped = text.replaceAll(
    /[^A-Za-z0-9_.+-]/gu,
    (character) =>
      [...new TextEncoder().encode(character)].map((byte) => `~${byte.toString(16).padStart(2, "0")}`).join(
        "",
      ),
  );
  if (escaped.length > longestPart) return `_~~${createHash("sha256").update(text).digest("hex")}`;
  return /^[A-Za-z0-9_]/.test(escaped) ? escaped : `_~~${escaped}`;
}
