// What can go wrong in a diagnostic exchange, besides the path itself (see transport.ts).
import { nrcName } from "./nrc.ts";
import { hex, serviceName } from "./services.ts";

/** Base of the errors that a UDS client reports about what an ECU answered. */
export class UdsError extends Error {
  override readonly name: string = "UdsError";
}

/** The ECU refused a request. */
export class NegativeResponseError extends UdsError {
  override readonly name = "NegativeResponseError";
  /** The code's name in ISO 14229-1, e.g. `conditionsNotCorrect`. */
  readonly nrcName: string;

  /**
   * @param ecu whom the request went to, for the message
   * @param sid service identifier of the refused request
   * @param nrc negative response code
   * @param step what the client was doing, when a caller named it
   * @param response the whole negative response
   */
  constructor(
    readonly ecu: string,
    readonly sid: number,
    readonly nrc: number,
    readonly response: Uint8Array,
    readonly step?: string,
  ) {
    const name = nrcName(nrc);
    super(
      `${ecu}: ${step === undefined ? "" : `${step}: `}${serviceName(sid)} refused with NRC ${
        hex(nrc, 2)
      } ${name}`,
    );
    this.nrcName = name;
  }
}

/** An answer that is positive by its first byte and wrong by what follows. */
export class UdsProtocolError extends UdsError {
  override readonly name = "UdsProtocolError";
}

/** A message whose bytes do not follow its service's definition. */
export class UdsFormatError extends UdsError {
  override readonly name = "UdsFormatError";
}
