// Why metadata, a time or a report is refused: a class for each attack that the refusal stops, a code for each check.

/** What an attacker would have gained (Uptane Standard 2.1, section 4.3, and what else is checked here). */
export type Attack =
  | "arbitrary software"
  | "drop request"
  | "endless data"
  | "freeze"
  | "malformed data"
  | "mix-and-match"
  | "mixed bundles"
  | "partial bundle"
  | "replay"
  | "rollback"
  | "slow retrieval"
  | "wrong ECU"
  | "wrong hardware"
  | "wrong vehicle";

/** Where a refusal comes from. */
export interface Refusal {
  /** The check that failed, e.g. `timestamp_rollback`: stable, for programs. */
  readonly code: string;
  /** Clause of the Uptane Standard 2.1, or of what else asks for the check. */
  readonly clause: string;
}

/** Root of the tree. */
export abstract class UptaneError extends Error {
  abstract readonly attack: Attack;
  readonly code: string;
  readonly clause: string;

  constructor(refusal: Refusal, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = refusal.code;
    this.clause = refusal.clause;
  }
}

/** Data that is not what its kind must be. */
export class MalformedError extends UptaneError {
  override readonly name: string = "MalformedError";
  override readonly attack = "malformed data";
}

/** Not signed by enough of the keys that are trusted for it, or not the image that was signed. */
export class ArbitrarySoftwareError extends UptaneError {
  override readonly name: string = "ArbitrarySoftwareError";
  override readonly attack = "arbitrary software";
}

/** Fewer good signatures than the role's threshold. */
export class ThresholdError extends ArbitrarySoftwareError {
  override readonly name = "ThresholdError";
}

/** No role that may sign an image has signed it, or a role's metadata cannot be trusted. */
export class DelegationError extends ArbitrarySoftwareError {
  override readonly name = "DelegationError";
}

/** Director and Image repository do not say the same of an image. */
export class RepositoriesDisagreeError extends ArbitrarySoftwareError {
  override readonly name = "RepositoriesDisagreeError";
}

/** An image's bytes are not those that were signed. */
export class ImageError extends ArbitrarySoftwareError {
  override readonly name = "ImageError";
}

/** Older than what was already trusted. */
export class RollbackError extends UptaneError {
  override readonly name = "RollbackError";
  override readonly attack = "rollback";
}

/** Past its expiry. */
export class FreezeError extends UptaneError {
  override readonly name = "FreezeError";
  override readonly attack = "freeze";
}

/** Good metadata that does not belong together. */
export class MixAndMatchError extends UptaneError {
  override readonly name = "MixAndMatchError";
  override readonly attack = "mix-and-match";
}

/** More bytes, or more files, than can be right. */
export class EndlessDataError extends UptaneError {
  override readonly name = "EndlessDataError";
  override readonly attack = "endless data";
}

/** Slower than can be right. */
export class SlowRetrievalError extends UptaneError {
  override readonly name = "SlowRetrievalError";
  override readonly attack = "slow retrieval";
}

/** What must be there is not given out. */
export class DropRequestError extends UptaneError {
  override readonly name = "DropRequestError";
  override readonly attack = "drop request";
}

/** For another vehicle. */
export class WrongVehicleError extends UptaneError {
  override readonly name = "WrongVehicleError";
  override readonly attack = "wrong vehicle";
}

/** For an ECU that the vehicle has not, or for one ECU twice. */
export class WrongEcuError extends UptaneError {
  override readonly name: string = "WrongEcuError";
  override readonly attack: Attack = "wrong ECU";
}

/** Two images for one ECU in one bundle. */
export class MixedBundlesError extends WrongEcuError {
  override readonly name = "MixedBundlesError";
  override readonly attack = "mixed bundles";
}

/** Fewer images than belong together. */
export class PartialBundleError extends UptaneError {
  override readonly name = "PartialBundleError";
  override readonly attack = "partial bundle";
}

/** For hardware that the ECU is not. */
export class WrongHardwareError extends UptaneError {
  override readonly name = "WrongHardwareError";
  override readonly attack = "wrong hardware";
}

/** Seen before: a time or a report that is not an answer to now. */
export class ReplayError extends UptaneError {
  override readonly name = "ReplayError";
  override readonly attack = "replay";
}

/** What the store holds is no trusted metadata, or there is none: the fault is on this side, no attack is seen. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: "not_provisioned" | "store_damaged";

  constructor(code: "not_provisioned" | "store_damaged", message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
