// What can go wrong on a DoIP connection. Every class is a UdsTransportError, so that the UDS client above can
// tell a failed path from a failed diagnosis without knowing DoIP; the standard's codes travel as fields.

import { UdsTransportError } from "../uds/transport.ts";
import { diagnosticNackMeanings, headerNackMeanings, hex, routingActivationMeanings } from "./constants.ts";

/** Anything that DoIP refuses, loses or cannot read. */
export class DoipError extends UdsTransportError {
  override readonly name: string = "DoipError";
}

/** The TCP connection could not be opened, was closed, or failed. */
export class DoipConnectionError extends DoipError {
  override readonly name = "DoipConnectionError";
}

/** Bytes that are no valid message of the payload type that they claim to be. */
export class DoipMessageError extends DoipError {
  override readonly name = "DoipMessageError";
  /** Payload type of the header. */
  readonly payloadType: number;
  constructor(payloadType: number, message: string) {
    super(message);
    this.payloadType = payloadType;
  }
}

/** The entity refused a message by its header (payload type 0x0000). */
export class HeaderNackError extends DoipError {
  override readonly name = "HeaderNackError";
  /** ISO 13400-2 generic header NACK code. */
  readonly code: number;
  constructor(where: string, code: number) {
    super(`${where}: header refused, code ${hex(code, 2)} (${headerNackMeanings.get(code) ?? "reserved"})`);
    this.code = code;
  }
}

/** The entity did not activate routing (payload type 0x0006 with a code other than 0x10 and 0x11). */
export class RoutingActivationError extends DoipError {
  override readonly name = "RoutingActivationError";
  /** ISO 13400-2 routing activation response code. */
  readonly code: number;
  /** The code in words. */
  readonly meaning: string;
  constructor(where: string, code: number) {
    const meaning = routingActivationMeanings.get(code) ?? "reserved";
    super(`${where}: routing activation denied, code ${hex(code, 2)} (${meaning})`);
    this.code = code;
    this.meaning = meaning;
  }
}

/** The entity did not take a diagnostic message (payload type 0x8003). */
export class DiagnosticNackError extends DoipError {
  override readonly name = "DiagnosticNackError";
  /** ISO 13400-2 diagnostic message negative acknowledge code. */
  readonly code: number;
  constructor(where: string, code: number) {
    super(
      `${where}: diagnostic message refused, code ${hex(code, 2)} (${
        diagnosticNackMeanings.get(code) ?? "reserved"
      })`,
    );
    this.code = code;
  }
}
