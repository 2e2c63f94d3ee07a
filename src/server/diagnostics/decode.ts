// An ECU's answer in words, by the tables of ISO 14229-1. What is not known is left out: nothing is guessed.

import { decodeUdsMessage } from "../../../hardware/uds/codec/all.ts";
import { decodeDtcList, dtcStatusNames, formatDtc } from "../../../hardware/uds/dtc.ts";
import { UdsFormatError } from "../../../hardware/uds/errors.ts";
import { nrcName } from "../../../hardware/uds/nrc.ts";
import {
  Did,
  DtcReport,
  hex,
  negativeResponse,
  positiveOffset,
  Routine,
  serviceName,
  Session,
  Sid,
} from "../../../hardware/uds/services.ts";
import { type Decoded, decodedFields, identified, nameIn } from "./decoded_fields.ts";

export type { Decoded } from "./decoded_fields.ts";

/** Negative response code: `0x31` with its name. */
export function decodeNrc(code: number): { nrc: string; name: string } {
  return { nrc: hex(code, 2), name: nrcName(code) };
}

/**
 * Decodes a whole answer, service id included.
 * @param service service that was asked for
 * @param response bytes of the answer
 * @returns null for an answer that says nothing known, or that is not this service's
 */
export function decodeAnswer(service: number, response: Uint8Array): Decoded {
  if (response.length === 0) return null;
  if (response[0] === negativeResponse) {
    // 8.4: 7F, service, code.
    if (response.length !== 3) return null;
    return { service: serviceName(response[1]), ...decodeNrc(response[2]) };
  }
  if (response[0] !== service + positiveOffset) return null;
  const data = response.subarray(1);
  switch (service) {
    case Sid.diagnosticSessionControl:
      return session(data);
    case Sid.ecuReset:
      return data.length >= 1 ? { reset_type: data[0] } : null;
    case Sid.readDataByIdentifier:
      return dataByIdentifier(data);
    case Sid.readDtcInformation:
      return dtcInformation(response);
    case Sid.routineControl:
      return routine(data);
    case Sid.securityAccess:
      if (data.length < 1) return null;
      // 10.4: odd sub-functions ask for a seed, even ones send the key. A seed is of use for one key only and not kept.
      return data[0] % 2 === 1
        ? { level: data[0], seed_bytes: data.length - 1 }
        : { level: data[0] - 1, unlocked: true };
    case Sid.writeDataByIdentifier:
      return data.length === 2 ? identifier(data) : null;
    case Sid.clearDiagnosticInformation:
      return { cleared: true };
    default:
      return byCodec(service, response);
  }
}

/** Any other answer, as its service's codec has it. */
function byCodec(service: number, response: Uint8Array): Decoded {
  try {
    const message = decodeUdsMessage(response);
    return message.kind === "response" ? decodedFields(service, message.value) : null;
  } catch (error) {
    // Not as the standard says: what the ECU means by it, nobody here knows.
    if (error instanceof UdsFormatError) return null;
    throw error;
  }
}

/** 10.2: the session and its timing, P2* in units of 10 ms. */
function session(data: Uint8Array): Decoded {
  if (data.length !== 5) return null;
  return {
    session: nameIn(Session, data[0]) ?? hex(data[0], 2),
    p2_ms: data[1] << 8 | data[2],
    p2_star_ms: (data[3] << 8 | data[4]) * 10,
  };
}

function identifier(data: Uint8Array): { [key: string]: Decoded } {
  return identified("did", Did, data[0] << 8 | data[1]);
}

/** 11.2, for one identifier: with several, only the ECU's own description tells where one ends. */
function dataByIdentifier(data: Uint8Array): Decoded {
  if (data.length < 3) return null;
  const value = data.subarray(2);
  const text = printable(value);
  return { ...identifier(data), ...(text === undefined ? {} : { text }), hex: value.toHex().toUpperCase() };
}

/** 12.3 */
function dtcInformation(response: Uint8Array): Decoded {
  const data = response.subarray(1);
  if (data.length < 2) return null;
  const [report, mask] = data;
  if (report === DtcReport.numberByStatusMask && data.length === 5) {
    return { status_availability_mask: hex(mask, 2), format: data[2], count: data[3] << 8 | data[4] };
  }
  if (report !== DtcReport.byStatusMask && report !== DtcReport.supported) {
    return byCodec(Sid.readDtcInformation, response);
  }
  const list = decodeDtcList(data.subarray(2));
  if (list === undefined) return null;
  return {
    status_availability_mask: hex(mask, 2),
    dtcs: list.map(({ code, status }) => ({
      code: formatDtc(code),
      status: hex(status, 2),
      status_names: dtcStatusNames(status),
    })),
  };
}

/** 14.2 */
function routine(data: Uint8Array): Decoded {
  if (data.length < 3) return null;
  const status = data.subarray(3);
  return {
    ...identified("routine", Routine, data[1] << 8 | data[2]),
    ...(status.length === 0 ? {} : { status: status.toHex().toUpperCase() }),
  };
}

/** The bytes as text when all of them are printable ASCII, trailing filling (00, FF, blanks) aside. */
function printable(bytes: Uint8Array): string | undefined {
  let end = bytes.length;
  while (end > 0 && [0x00, 0x20, 0xff].includes(bytes[end - 1])) end--;
  const value = bytes.subarray(0, end);
  if (value.length === 0 || !value.every((byte) => byte >= 0x20 && byte < 0x7f)) return undefined;
  return new TextDecoder().decode(value);
}
