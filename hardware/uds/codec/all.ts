// All services' codecs by their identifier, for whoever meets bytes before knowing what they are.
import { UdsFormatError } from "../errors.ts";
import { Nrc, nrcName } from "../nrc.ts";
import { hex, negativeResponse, positiveOffset, serviceName } from "../services.ts";
import { authentication } from "./authentication.ts";
import type { ServiceCodec } from "./codec.ts";
import * as data from "./data.ts";
import * as dtc from "./dtc.ts";
import { responseOnEvent } from "./events.ts";
import * as io from "./io.ts";
import * as management from "./management.ts";
import { securedDataTransmission } from "./secured.ts";
import * as transfer from "./transfer.ts";

/** Codecs of all 27 services of ISO 14229-1:2020, and of AccessTimingParameter of 2013. */
export const serviceCodecs: ReadonlyMap<number, ServiceCodec<unknown, unknown>> = new Map(
  [
    management.diagnosticSessionControl,
    management.ecuReset,
    dtc.clearDiagnosticInformation,
    dtc.readDtcInformation,
    data.readDataByIdentifier,
    data.readMemoryByAddress,
    data.readScalingDataByIdentifier,
    management.securityAccess,
    management.communicationControl,
    authentication,
    data.readDataByPeriodicIdentifier,
    data.dynamicallyDefineDataIdentifier,
    data.writeDataByIdentifier,
    io.inputOutputControlByIdentifier,
    io.routineControl,
    transfer.requestDownload,
    transfer.requestUpload,
    transfer.transferData,
    transfer.requestTransferExit,
    transfer.requestFileTransfer,
    data.writeMemoryByAddress,
    management.testerPresent,
    management.accessTimingParameter,
    securedDataTransmission,
    management.controlDtcSetting,
    responseOnEvent,
    management.linkControl,
  ].map((codec): [number, ServiceCodec<unknown, unknown>] => [codec.sid, codec]),
);

/** A message taken apart. */
export type DecodedMessage =
  | { readonly kind: "request"; readonly sid: number; readonly service: string; readonly value: unknown }
  | { readonly kind: "response"; readonly sid: number; readonly service: string; readonly value: unknown }
  | {
    readonly kind: "refusal";
    readonly sid: number;
    readonly service: string;
    readonly nrc: number;
    readonly nrcName: string;
    /** 0x78: the final answer is still to come. */
    readonly pending: boolean;
  };

/**
 * Takes a request or a response apart by its first byte.
 * @throws {UdsFormatError} when it is of no service, or not as its service says
 */
export function decodeUdsMessage(bytes: Uint8Array): DecodedMessage {
  if (bytes.length === 0) throw new UdsFormatError("UDS message: expected at least 1 byte, got 0");
  const [first] = bytes;
  if (first === negativeResponse) {
    // 8.4: 7F, service, code.
    if (bytes.length !== 3) {
      throw new UdsFormatError(`negative response: expected 3 bytes, got ${bytes.length}`);
    }
    const [, sid, nrc] = bytes;
    const pending = nrc === Nrc.requestCorrectlyReceivedResponsePending;
    return { kind: "refusal", sid, service: serviceName(sid), nrc, nrcName: nrcName(nrc), pending };
  }
  const asked = serviceCodecs.get(first);
  if (asked !== undefined) {
    return { kind: "request", sid: first, service: serviceName(first), value: asked.request.decode(bytes) };
  }
  const sid = first - positiveOffset;
  const answered = serviceCodecs.get(sid);
  if (answered === undefined) {
    throw new UdsFormatError(`UDS message: expected a service of ISO 14229-1, got ${hex(first, 2)}`);
  }
  return { kind: "response", sid, service: serviceName(sid), value: answered.response.decode(bytes) };
}
