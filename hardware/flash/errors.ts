// Why a flash ended without the new software in place.
import { NegativeResponseError } from "../uds/errors.ts";
import type { FlashStep } from "./plan.ts";

/** A flash that failed or was stopped. The message names ECU, step and code. */
export class FlashError extends Error {
  override readonly name: string = "FlashError";
  /** Negative response code, when the ECU refused. */
  readonly nrc: number | undefined;
  /** Service that was refused. */
  readonly sid: number | undefined;

  /**
   * @param ecu which ECU
   * @param step where it stopped
   * @param reason what happened, when `options.cause` does not say it already
   */
  constructor(
    readonly ecu: string,
    readonly step: FlashStep,
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(`${ecu}: flash failed at ${step}: ${reason}`, options);
    const cause = options?.cause;
    this.nrc = cause instanceof NegativeResponseError ? cause.nrc : undefined;
    this.sid = cause instanceof NegativeResponseError ? cause.sid : undefined;
  }

  /** A failure that stays the one to tell, though a further attempt was made. */
  static furtherAttempt(failure: FlashError, further: FlashError): FlashError {
    const reason = `${failure.reason}; a further attempt failed at ${further.step}: ${further.reason}`;
    return new FlashError(failure.ecu, failure.step, reason, { cause: failure.cause });
  }
}

/** The caller's signal stopped the flash, between two requests. */
export class FlashCancelledError extends FlashError {
  override readonly name = "FlashCancelledError";
}
