// What can go wrong in ISO-TP. Every class is a UdsTransportError, so that the UDS client above can tell a failed
// path from a failed diagnosis without knowing ISO-TP; the standard's N_Result travels as a field.

import { UdsTransportError } from "../uds/transport.ts";

/** N_Result of ISO 15765-2:2016, 8.3.7, other than N_OK. */
export type NResult =
  | "N_TIMEOUT_A"
  | "N_TIMEOUT_Bs"
  | "N_TIMEOUT_Cr"
  | "N_WRONG_SN"
  | "N_INVALID_FS"
  | "N_UNEXP_PDU"
  | "N_WFT_OVRN"
  | "N_BUFFER_OVFLW"
  | "N_ERROR";

/** A message was not sent or not received. */
export class IsoTpError extends UdsTransportError {
  override readonly name: string = "IsoTpError";
  /** How ISO 15765-2 names the failure. */
  readonly result: NResult;

  /** @param where name of the link */
  constructor(where: string, result: NResult, message: string, options?: ErrorOptions) {
    super(`${where}: ${message} (${result})`);
    this.result = result;
    if (options?.cause !== undefined) this.cause = options.cause;
  }
}

/** The bus did not take a frame in time (N_TIMEOUT_A), or the peer fell silent (N_TIMEOUT_Bs, N_TIMEOUT_Cr). */
export class IsoTpTimeoutError extends IsoTpError {
  override readonly name = "IsoTpTimeoutError";
  constructor(
    where: string,
    result: "N_TIMEOUT_A" | "N_TIMEOUT_Bs" | "N_TIMEOUT_Cr",
    message: string,
    options?: ErrorOptions,
  ) {
    super(where, result, message, options);
  }
}

/** The CAN bus below is gone or failed (N_ERROR). */
export class IsoTpBusError extends IsoTpError {
  override readonly name = "IsoTpBusError";
  constructor(where: string, message: string, options?: ErrorOptions) {
    super(where, "N_ERROR", message, options);
  }
}
