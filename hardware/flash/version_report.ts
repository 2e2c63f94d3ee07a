// The routine by which an ECU signs what it runs: an ECU version report of the Uptane Standard 2.1 (section 5.4.2.1.2). All
// numbers are big-endian.
//
//   option record   format 01 · length of the nonce, 1 byte · nonce, 16 to 64 bytes · time, seconds since 1970 in UTC, 8 bytes
//   status record   status · format 01 · algorithm, 1 byte · key identifier, 32 bytes · length of the report, 2 bytes · report ·
//                   signature, to the end
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { UdsProtocolError } from "../uds/errors.ts";

/**
 * Usual number of the routine, in the range of ISO 14229-1:2020 Annex F.1 that is left to vehicle manufacturers
 * (0x0200 … 0xDFFF).
 */
export const versionReportRoutine = 0x0220;

/** The one format that there is. */
const format = 0x01;

/** Bytes of a nonce. */
const nonceLength = { min: 16, max: 64 } as const;

/** Bytes of a key's identifier, a SHA-256. */
const keyidLength = 32;

/** How an ECU signs, by the number that stands in its answer. */
export const reportAlgorithms = {
  /** ECDSA on P-256 with SHA-256 over the report; the signature is DER (RFC 3279, section 2.2.3). */
  "ecdsa-p256": 0x01,
  /** ML-DSA-65 over `tuf`, the byte 01 and the SHA-512 of the report (TUF's TAP 21). */
  "ml-dsa-65": 0x02,
} as const;

/** Name of an algorithm. */
export type ReportAlgorithm = keyof typeof reportAlgorithms;

/** What an ECU is asked. */
export interface ReportQuestion {
  /** 16 to 64 bytes that were never used before. */
  readonly nonce: Uint8Array;
  /** Latest time that whoever asks could verify, to the second. */
  readonly time: Date;
}

/** What an ECU answers. Nothing of it is verified here: whoever has the ECU's public key does that. */
export interface EcuVersionReport {
  /** The bytes that are signed: the report in canonical JSON. */
  readonly report: Uint8Array;
  readonly algorithm: ReportAlgorithm;
  /** SHA-256 of the public key as signed metadata has it, 64 hexadecimal digits. */
  readonly keyid: string;
  readonly signature: Uint8Array;
}

/** The option record. @throws {RangeError} for a nonce or a time that it cannot carry */
export function encodeReportQuestion({ nonce, time }: ReportQuestion): Uint8Array {
  const { min, max } = nonceLength;
  if (nonce.length < min || nonce.length > max) {
    throw new RangeError(`nonce: expected ${min} to ${max} bytes, got ${nonce.length}`);
  }
  const seconds = Math.floor(time.getTime() / 1000);
  if (!(seconds >= 0)) throw new RangeError(`time: expected a date from 1970 on, got ${time.getTime()}`);
  const record = new Uint8Array(2 + nonce.length + 8);
  record.set([format, nonce.length]);
  record.set(nonce, 2);
  new DataView(record.buffer).setBigUint64(2 + nonce.length, BigInt(seconds));
  return record;
}

/** Reads an option record. @returns undefined for anything else */
export function decodeReportQuestion(record: Uint8Array): ReportQuestion | undefined {
  const [first, length] = record;
  const { min, max } = nonceLength;
  if (first !== format || length < min || length > max || record.length !== 2 + length + 8) return undefined;
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  const time = new Date(Number(view.getBigUint64(2 + length)) * 1000);
  return Number.isNaN(time.getTime()) ? undefined : { nonce: record.slice(2, 2 + length), time };
}

/** What stands behind the status byte. @throws {RangeError} for a report that is too long */
export function encodeReportAnswer({ report, algorithm, keyid, signature }: EcuVersionReport): Uint8Array {
  if (report.length < 1 || report.length > 0xffff) {
    throw new RangeError(`report: expected 1 to 65535 bytes, got ${report.length}`);
  }
  const head = 2 + keyidLength + 2;
  const record = new Uint8Array(head + report.length + signature.length);
  record.set([format, reportAlgorithms[algorithm]]);
  record.set(Uint8Array.fromHex(keyid), 2);
  new DataView(record.buffer).setUint16(2 + keyidLength, report.length);
  record.set(report, head);
  record.set(signature, head + report.length);
  return record;
}

/** Options of {@link readVersionReport}. */
export interface ReadReportOptions extends ReportQuestion, RequestOptions {
  /** Number of the routine. @default 0x0220 */
  readonly routine?: number;
  /** Status byte that means success. @default 0x00 */
  readonly routineOk?: number;
}

/**
 * Asks an ECU for its version report, in whatever session it is.
 *
 * @throws {UdsProtocolError} for an answer of another shape; the client's errors, NegativeResponseError among them.
 */
export async function readVersionReport(
  client: UdsClient,
  { nonce, time, routine = versionReportRoutine, routineOk = 0x00, ...options }: ReadReportOptions,
): Promise<EcuVersionReport> {
  const record = await client.startRoutine(routine, encodeReportQuestion({ nonce, time }), options);
  const wrong = (expected: string, came: string) =>
    new UdsProtocolError(`${client.ecu}: version report: expected ${expected}, got ${came}`);
  const head = 1 + 2 + keyidLength + 2;
  if (record.length <= head) throw wrong(`more than ${head} bytes`, `${record.length}`);
  const [status, version, number] = record;
  if (status !== routineOk) throw wrong(`the status ${routineOk}`, `${status}`);
  if (version !== format) throw wrong(`the format ${format}`, `${version}`);
  const algorithm = number === reportAlgorithms["ecdsa-p256"]
    ? "ecdsa-p256"
    : number === reportAlgorithms["ml-dsa-65"]
    ? "ml-dsa-65"
    : undefined;
  if (algorithm === undefined) throw wrong("the algorithm 1 or 2", `${number}`);
  const length = record[head - 2] << 8 | record[head - 1];
  if (length < 1 || head + length >= record.length) {
    throw wrong("a report with a signature behind it", `a report of ${length} in ${record.length} bytes`);
  }
  return {
    algorithm,
    keyid: record.slice(3, 3 + keyidLength).toHex(),
    report: record.slice(head, head + length),
    signature: record.slice(head + length),
  };
}
