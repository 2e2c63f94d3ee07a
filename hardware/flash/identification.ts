// What an ECU says about itself: part, versions, serial number, VIN.
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { NegativeResponseError } from "../uds/errors.ts";
import { Nrc } from "../uds/nrc.ts";
import { Did } from "../uds/services.ts";

/** Identification as the ECU reported it. What it does not have, or does not tell now, is undefined. */
export interface EcuIdentification {
  /** F187. */
  partNumber: string | undefined;
  /** F189. */
  swVersion: string | undefined;
  /** F18A. */
  supplier: string | undefined;
  /** F18C. */
  serialNumber: string | undefined;
  /** F190. */
  vin: string | undefined;
  /** F191. */
  hardwareNumber: string | undefined;
  /** F193. */
  hwVersion: string | undefined;
  /** F195. */
  supplierSwVersion: string | undefined;
  /** F197. */
  systemName: string | undefined;
}

const fields = [
  ["partNumber", Did.sparePartNumber],
  ["swVersion", Did.ecuSoftwareVersion],
  ["supplier", Did.systemSupplier],
  ["serialNumber", Did.ecuSerialNumber],
  ["vin", Did.vin],
  ["hardwareNumber", Did.ecuHardwareNumber],
  ["hwVersion", Did.supplierHardwareVersion],
  ["supplierSwVersion", Did.supplierSoftwareVersion],
  ["systemName", Did.systemName],
] as const;

// What an ECU answers for an identifier that it lacks (11.2.4) or cannot give now, such as a version without software.
const absent: ReadonlySet<number> = new Set([
  Nrc.serviceNotSupported,
  Nrc.conditionsNotCorrect,
  Nrc.requestOutOfRange,
  Nrc.securityAccessDenied,
  Nrc.serviceNotSupportedInActiveSession,
]);

/**
 * Reads the identification.
 * @throws {NegativeResponseError} for a refusal that says more than "not here"
 * @throws {UdsTimeoutError} {@link UdsTransportError} when the ECU cannot be reached: nothing is made up for it
 */
export async function readIdentification(
  client: UdsClient,
  options?: RequestOptions,
): Promise<EcuIdentification> {
  const identification: EcuIdentification = {
    partNumber: undefined,
    swVersion: undefined,
    supplier: undefined,
    serialNumber: undefined,
    vin: undefined,
    hardwareNumber: undefined,
    hwVersion: undefined,
    supplierSwVersion: undefined,
    systemName: undefined,
  };
  for (const [field, did] of fields) {
    try {
      identification[field] = decodeText(await client.readDataByIdentifier(did, options));
    } catch (error) {
      if (!(error instanceof NegativeResponseError) || !absent.has(error.nrc)) throw error;
    }
  }
  return identification;
}

/**
 * Text of an identifier: printable ASCII with the padding of fixed-width fields (00, 20, FF) cut off its end.
 * @returns undefined when nothing is left or something in it is not printable
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  let end = bytes.length;
  while (end > 0 && (bytes[end - 1] === 0x00 || bytes[end - 1] === 0x20 || bytes[end - 1] === 0xff)) end--;
  if (end === 0) return undefined;
  let text = "";
  for (let at = 0; at < end; at++) {
    if (bytes[at] < 0x20 || bytes[at] > 0x7e) return undefined;
    text += String.fromCharCode(bytes[at]);
  }
  return text;
}
