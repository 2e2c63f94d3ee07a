// Every check, once: its clause in the Uptane Standard 2.1 ("5.4.4.4 (3)" is step 3 of that section), the attack that it stops
// by the class of its error, and what it asks for. TUF is the TUF specification 1.0, TAP 21 its signing scheme for ML-DSA.

import {
  ArbitrarySoftwareError,
  type Attack,
  DelegationError,
  DropRequestError,
  EndlessDataError,
  FreezeError,
  ImageError,
  MalformedError,
  MixAndMatchError,
  MixedBundlesError,
  PartialBundleError,
  type Refusal,
  ReplayError,
  RepositoriesDisagreeError,
  RollbackError,
  SlowRetrievalError,
  ThresholdError,
  type UptaneError,
  WrongEcuError,
  WrongHardwareError,
  WrongVehicleError,
} from "./errors.ts";

type ErrorClass = new (refusal: Refusal, message: string, options?: ErrorOptions) => UptaneError;

interface Check {
  readonly clause: string;
  readonly error: ErrorClass;
  readonly asks: string;
}

/** The checks, by code. */
export const checks = {
  metadata_form: { clause: "5.2", error: MalformedError, asks: "is metadata of its role" },
  metadata_present: { clause: "5.4.2.3", error: DropRequestError, asks: "is given out" },
  metadata_length: { clause: "5.4.4", error: EndlessDataError, asks: "ends within its limit" },
  metadata_speed: { clause: "5.4", error: SlowRetrievalError, asks: "arrives in time" },

  root_signed_by_previous: {
    clause: "5.4.4.3 (2.3)",
    error: ThresholdError,
    asks: "is signed by a threshold of the previous root's keys",
  },
  root_signed_by_itself: {
    clause: "5.4.4.3 (2.3)",
    error: ThresholdError,
    asks: "is signed by a threshold of its own keys",
  },
  root_version: { clause: "5.4.4.3 (2.4)", error: RollbackError, asks: "is the version after the previous" },
  root_chain: { clause: "5.4.4.3 (2.2)", error: EndlessDataError, asks: "ends" },
  root_expiry: { clause: "5.4.4.3 (3)", error: FreezeError, asks: "has not expired" },

  timestamp_signed: { clause: "5.4.4.4 (2)", error: ThresholdError, asks: "is signed by a threshold" },
  timestamp_rollback: { clause: "5.4.4.4 (3)", error: RollbackError, asks: "is not older than the previous" },
  timestamp_snapshot_rollback: {
    clause: "TUF 5.4.3.2",
    error: RollbackError,
    asks: "names no older snapshot than the previous",
  },
  timestamp_expiry: { clause: "5.4.4.4 (4)", error: FreezeError, asks: "has not expired" },

  snapshot_hashes: {
    clause: "5.4.4.5 (2)",
    error: MixAndMatchError,
    asks: "has the hashes in the timestamp",
  },
  snapshot_version: {
    clause: "5.4.4.5 (2)",
    error: MixAndMatchError,
    asks: "has the version in the timestamp",
  },
  snapshot_signed: { clause: "5.4.4.5 (3)", error: ThresholdError, asks: "is signed by a threshold" },
  snapshot_rollback: { clause: "5.4.4.5 (4)", error: RollbackError, asks: "is not older than the previous" },
  snapshot_targets_rollback: {
    clause: "5.4.4.5 (5)",
    error: RollbackError,
    asks: "names no older targets than the previous",
  },
  snapshot_targets_listed: {
    clause: "5.4.4.5 (6)",
    error: RollbackError,
    asks: "names all targets that the previous named",
  },
  snapshot_expiry: { clause: "5.4.4.5 (7)", error: FreezeError, asks: "has not expired" },

  targets_in_snapshot: { clause: "5.4.4.6 (2)", error: MixAndMatchError, asks: "stands in the snapshot" },
  targets_version: {
    clause: "5.4.4.6 (2)",
    error: MixAndMatchError,
    asks: "has the version in the snapshot",
  },
  targets_hashes: {
    clause: "TUF 5.6.2",
    error: MixAndMatchError,
    asks: "has the hashes in the snapshot, if any are there",
  },
  targets_signed: { clause: "5.4.4.6 (3)", error: ThresholdError, asks: "is signed by a threshold" },
  targets_rollback: { clause: "5.4.4.6 (4)", error: RollbackError, asks: "is not older than the previous" },
  targets_expiry: { clause: "5.4.4.6 (5)", error: FreezeError, asks: "has not expired" },
  director_no_delegations: {
    clause: "5.4.4.6 (6)",
    error: DelegationError,
    asks: "delegates nothing, being the Director's",
  },
  director_ecu_once: { clause: "5.4.4.6 (7)", error: MixedBundlesError, asks: "names each ECU once" },
  director_ecu_known: {
    clause: "5.4.4.6 (8)",
    error: WrongEcuError,
    asks: "names only ECUs of the vehicle",
  },
  director_vehicle: { clause: "5.2.3.1", error: WrongVehicleError, asks: "is for this vehicle" },
  director_hardware: {
    clause: "5.4.3.4 (3)",
    error: WrongHardwareError,
    asks: "means each ECU's hardware",
  },

  delegation_resolved: {
    clause: "5.4.4.7 (5)",
    error: DelegationError,
    asks: "is signed by a role that may sign it",
  },
  delegation_bounded: { clause: "5.4.4.7 (4.3)", error: EndlessDataError, asks: "is found within the limit" },
  match_non_custom: {
    clause: "5.4.4.2 (10.2.1)",
    error: RepositoriesDisagreeError,
    asks: "has one length and the same hashes in both repositories",
  },
  match_custom: {
    clause: "5.4.4.2 (10.2.2)",
    error: RepositoriesDisagreeError,
    asks: "has the same must_match part in both repositories",
  },
  match_release_counter: {
    clause: "5.4.4.2 (10.2.3)",
    error: RollbackError,
    asks: "has no lower release counter than before",
  },
  match_hardware: {
    clause: "5.4.3.4 (3)",
    error: WrongHardwareError,
    asks: "is for the ECU's hardware",
  },
  match_ecu_type: { clause: "5.4.3.4 (4)", error: WrongHardwareError, asks: "is for the ECU's type" },

  image_length: { clause: "5.4.3.4", error: EndlessDataError, asks: "is not longer than signed" },
  image_short: { clause: "5.4.3.4", error: ImageError, asks: "is not shorter than signed" },
  image_hash: { clause: "5.4.3.4 (7)", error: ImageError, asks: "has every hash that was signed" },
  image_speed: { clause: "5.4", error: SlowRetrievalError, asks: "arrives fast enough" },

  package_present: { clause: "5.4.3.4", error: DropRequestError, asks: "is given out" },
  package_speed: { clause: "5.4", error: SlowRetrievalError, asks: "arrives fast enough" },
  package_size: { clause: "5.4.3.4", error: EndlessDataError, asks: "ends within its limit" },
  package_form: { clause: "docs/package.md", error: MalformedError, asks: "is a package" },
  package_signed: { clause: "docs/package.md", error: ThresholdError, asks: "is signed by the package key" },
  package_vehicle: { clause: "docs/package.md", error: WrongVehicleError, asks: "is for this vehicle" },
  package_content: {
    clause: "docs/package.md",
    error: ImageError,
    asks: "has the blocks and images that its manifest names",
  },
  package_ecus: {
    clause: "5.4.4.2 (10)",
    error: PartialBundleError,
    asks: "is for the ECUs that the command names, where they stand",
  },
  package_directed: {
    clause: "5.4.4.2 (10)",
    error: ImageError,
    asks: "is for an ECU to which both repositories direct an image",
  },
  package_complete: {
    clause: "5.4.4.2 (10)",
    error: PartialBundleError,
    asks: "has every image that both repositories direct",
  },
  package_hash: { clause: "5.4.3.4 (7)", error: ImageError, asks: "has the hash that was signed" },
  package_length: { clause: "5.4.3.4", error: ImageError, asks: "has the length that was signed" },
  package_hardware: {
    clause: "5.4.3.4 (3)",
    error: WrongHardwareError,
    asks: "is for the hardware that was signed",
  },
  package_ecu_type: {
    clause: "5.4.3.4 (4)",
    error: WrongHardwareError,
    asks: "is for the type of ECU that was signed",
  },
  package_version: {
    clause: "5.2.3.1.1",
    error: MixAndMatchError,
    asks: "is of the version that was signed",
  },
  package_release: {
    clause: "5.4.3.4 (5)",
    error: RollbackError,
    asks: "has the release counter that was signed",
  },
  package_layout: {
    clause: "5.2.3.1.1",
    error: ImageError,
    asks: "goes to the addresses that were signed",
  },

  ecu_release: {
    clause: "5.4.3.4 (5)",
    error: RollbackError,
    asks: "is no older release than the ECU has committed",
  },

  time_form: { clause: "5.4.2.2", error: MalformedError, asks: "is an attested time" },
  time_key: { clause: "5.4.2.2", error: ArbitrarySoftwareError, asks: "has a key in the Director's root" },
  time_signed: { clause: "5.4.2.2", error: ThresholdError, asks: "is signed by a threshold" },
  time_nonce: { clause: "5.4.2.2", error: ReplayError, asks: "answers this vehicle's nonce" },
  time_rollback: { clause: "5.4.2.2", error: FreezeError, asks: "is not before the previous time" },

  report_form: { clause: "5.4.2.1.2", error: MalformedError, asks: "is a version report" },
  manifest_form: { clause: "5.4.2.1.1", error: MalformedError, asks: "is a vehicle version manifest" },
  manifest_vehicle: { clause: "5.3.2.1 (1)", error: WrongVehicleError, asks: "is of this vehicle" },
  manifest_complete: {
    clause: "5.3.2.1 (3)",
    error: WrongEcuError,
    asks: "has a report of each ECU in the inventory",
  },
  manifest_known_ecus: {
    clause: "5.3.2.1 (3)",
    error: WrongEcuError,
    asks: "has reports of the inventory's ECUs alone, each once",
  },
  manifest_signed: {
    clause: "5.3.2.1 (3)",
    error: ThresholdError,
    asks: "is signed by the Primary's key",
  },
  manifest_agrees: {
    clause: "5.3.2.1",
    error: MixAndMatchError,
    asks: "says the versions that its ECUs report",
  },
  manifest_images: {
    clause: "5.3.2.1",
    error: ImageError,
    asks: "names images as they were released",
  },
  report_signed: { clause: "5.3.2.1 (3)", error: ThresholdError, asks: "is signed by the ECU's key" },
  report_time: { clause: "5.3.2.1 (3)", error: ReplayError, asks: "is of no earlier time than the last one" },
  report_future: { clause: "5.3.2.1 (3)", error: ReplayError, asks: "is of no time that is still to come" },
  report_nonce: { clause: "5.3.2.1 (4)", error: ReplayError, asks: "has a nonce that was not used before" },
} as const satisfies Record<string, Check>;

/** Names of the checks. */
export type CheckCode = keyof typeof checks;

/** A clause with the document that it stands in. */
export function citation(clause: string): string {
  return /^\d/.test(clause) ? `Uptane ${clause}` : clause;
}

/** One check that was made. */
export interface CheckResult {
  readonly code: CheckCode;
  readonly clause: string;
  /** What it was made on, e.g. `image snapshot 4`. */
  readonly subject: string;
  /** What it asks of the subject. */
  readonly asks: string;
  readonly passed: boolean;
  /** Why it failed. */
  readonly message?: string;
  /** What it would have been, had it not failed. */
  readonly attack?: Attack;
}

/** Makes the error of a check. */
export function refusal(
  code: CheckCode,
  subject: string,
  message: string,
  options?: ErrorOptions,
): UptaneError {
  const { clause, error } = checks[code];
  return new error({ code, clause }, `${subject}: ${message}`, options);
}

/** Makes checks and tells whoever watches of each. */
export class Checker {
  readonly #observe: (result: CheckResult) => void;

  /** @param observe Hears of each check, passed or failed. @default nobody */
  constructor(observe: (result: CheckResult) => void = () => {}) {
    this.#observe = observe;
  }

  /** Notes that a check passed. */
  passed(code: CheckCode, subject: string): void {
    const { clause, asks } = checks[code];
    this.#observe({ code, clause, subject, asks, passed: true });
  }

  /** Notes that a check failed, and makes its error. */
  failed(code: CheckCode, subject: string, message: string, options?: ErrorOptions): UptaneError {
    const error = refusal(code, subject, message, options);
    const { clause, asks } = checks[code];
    this.#observe({
      code,
      clause,
      subject,
      asks,
      passed: false,
      message,
      attack: error.attack,
    });
    return error;
  }

  /**
   * Makes one check.
   *
   * @param message What was expected and what came.
   * @throws {UptaneError} of the check's class, if `holds` is false.
   */
  require(code: CheckCode, subject: string, holds: boolean, message: () => string): void {
    if (!holds) throw this.failed(code, subject, message());
    this.passed(code, subject);
  }
}
