// How one type of ECU wants to be flashed: which steps, routines, identifiers, security and limits.
import { type CompressionMethod, compressionMethods } from "./compression.ts";
import { checkFingerprint, type FingerprintPart } from "./fingerprint.ts";
import { type CheckMethod, checkMethods } from "./memory_check.ts";
import { checkPreconditions, type Precondition } from "./preconditions.ts";
import type { ResumeQuestion } from "./resume.ts";
import type { AuthenticationIdentity } from "../uds/authentication.ts";
import { createSeedKey, type SeedKey, type SeedKeyOptions } from "../uds/seed_key.ts";
import {
  CommunicationControl,
  CommunicationType,
  Did,
  hex,
  ResetType,
  Routine,
  Session,
} from "../uds/services.ts";

/** The steps of a flash, in their order. Names stand in errors, progress and configuration. */
export const flashSteps = [
  "extended_session",
  "check_preconditions",
  "dtc_setting_off",
  "communication_off",
  "programming_session",
  "authentication",
  "security_access",
  "read_memory",
  "write_fingerprint",
  "erase_memory",
  "request_download",
  "transfer_data",
  "transfer_exit",
  "call_software",
  "check_memory",
  "activate",
  "check_dependencies",
  "ecu_reset",
  "wait_for_restart",
  "communication_on",
  "dtc_setting_on",
  "verify_version",
  "confirm",
  "commit",
  "roll_back",
] as const;

/** Name of one step. */
export type FlashStep = typeof flashSteps[number];

/** The steps that an ECU type may do without. The others are what makes a flash, or what makes it trustworthy. */
export const optionalFlashSteps = [
  "extended_session",
  "check_preconditions",
  "dtc_setting_off",
  "communication_off",
  "security_access",
  "write_fingerprint",
  "erase_memory",
  "call_software",
  "check_memory",
  "check_dependencies",
  "ecu_reset",
  "wait_for_restart",
  "communication_on",
  "dtc_setting_on",
] as const satisfies readonly FlashStep[];

/** Name of a step that can be left out. */
export type OptionalFlashStep = typeof optionalFlashSteps[number];

/** How an ECU type is flashed. An empty object is the usual order with the usual numbers. */
export interface FlashPlan {
  /** Steps that are left out: `{ check_preconditions: false }`. @default every step is done */
  steps?: Partial<Record<OptionalFlashStep, boolean>>;
  /** Session for preparation. @default 0x03 */
  extendedSession?: number;
  /** Session for programming. @default 0x02 */
  programmingSession?: number;
  /**
   * Who authenticates by certificate (29 01 and 03) in the programming session; asked for once for each attempt. The step
   * `security_access` is then left out unless `steps` says that it is done. @default nobody
   */
  authentication?: () => Promise<AuthenticationIdentity>;
  /** Security level, odd, that unlocks programming. @default 0x01 */
  securityLevel?: number;
  /** Computes the key. Needed unless the step `security_access` is left out. @default none */
  seedKey?: SeedKey | SeedKeyOptions;
  /** Longest TransferData request, service byte and counter included; the ECU's own limit holds besides. @default 65535 */
  maxBlockLength?: number;
  /** Bytes of an address in 34 and FF00. 1 … 5. @default 4 */
  addressBytes?: number;
  /** Bytes of a size in 34 and FF00. 1 … 5. @default 4 */
  sizeBytes?: number;
  /**
   * dataFormatIdentifier of RequestDownload: compression in the high nibble, encryption in the low.
   * @default 0x00, neither; with `compression` 0x10
   */
  dataFormat?: number;
  /** How the payload is compressed on its way, unless the file was compressed before. @default "none" */
  compression?: CompressionMethod;
  /** What must hold before the ECU is programmed, in this order. @default the routine 0x0203 must end well */
  preconditions?: readonly Precondition[];
  /** Whether communication is switched off (28) before DTC setting (85). @default false */
  communicationFirst?: boolean;
  /** Control type that switches communication off. @default 0x03, neither receive nor transmit */
  communicationControl?: number;
  /** Which communication is switched off and on again. @default 0x01, normal messages */
  communicationType?: number;
  /** Routine that erases an address range. @default 0xFF00 */
  eraseRoutine?: number;
  /**
   * What is erased, unless the image says it: `segments`, one request a segment; `range`, one from the first address to the
   * last; `all`, one whose option record is {@link FlashPlan.eraseOption}.
   * @default "segments"
   */
  erase?: EraseScope;
  /** Option record of the routine with `erase: "all"`. @default empty */
  eraseOption?: Uint8Array;
  /** Routine that starts software that was downloaded, where the image has an address to call. @default 0x0301 */
  callRoutine?: number;
  /** Routine that checks what was written. @default 0x0202 */
  checkMemoryRoutine?: number;
  /** What its option record holds: the image's SHA-256, CRC-32 or CRC-16, or nothing. @default "sha256" */
  checkMethod?: CheckMethod;
  /** Whether it is asked once, or for each segment with its address and size before the value. @default "image" */
  checkScope?: "image" | "segments";
  /** Routine that takes the new software over. @default 0xFF01 */
  checkDependenciesRoutine?: number;
  /** Its option record. @default "version", the version in ASCII */
  checkDependenciesOption?: "version" | Uint8Array;
  /** First byte of a routine's status record that means success; an answer without one counts as success. @default 0x00 */
  routineOk?: number;
  /** Identifier that the fingerprint is written to. @default 0xF15A */
  fingerprintDid?: number;
  /** Layout of the fingerprint. @default what whoever flashes gives */
  fingerprint?: readonly FingerprintPart[];
  /** Identifier that the version is read back from. @default 0xF189 */
  versionDid?: number;
  /**
   * Whether the ECU runs new software on trial, goes back to the old one at a reset that no confirmation came before, and
   * can be told to go back: routines `activateRoutine`, `confirmRoutine`, `rollBackRoutine`, `commitRoutine`.
   * @default false: what it runs must be saved before it is overwritten
   */
  trial?: boolean;
  /**
   * Whether the ECU counts releases: it is told the release counter of new software by `activateRoutine`, refuses one below
   * its own, and raises its own with `commitRoutine`. @default as `trial`
   */
  releaseCounting?: boolean;
  /**
   * Routine that announces what was downloaded as software on trial, before it is accepted. Its option record is the
   * release counter, four bytes, or empty. @default 0x0210
   */
  activateRoutine?: number;
  /** Routine that ends the trial: the new software stays over a reset. @default 0x0211 */
  confirmRoutine?: number;
  /** Routine that has the old software run from the next reset on, while it was not committed. @default 0x0212 */
  rollBackRoutine?: number;
  /** Routine that gives the old software up and raises the release counter. @default 0x0213 */
  commitRoutine?: number;
  /** Identifier of the release counter, four bytes. @default 0xF1AA */
  releaseCounterDid?: number;
  /**
   * Identifier of the ranges that the running software consists of, address and length in four bytes each: they are saved as
   * well. An ECU that does not have it refuses, and what is erased is saved alone. @default 0xF1AB
   */
  softwareRangesDid?: number;
  /** Flash of the ECU, so that it is known what erasing an image empties besides it. @default the erased ranges alone */
  memory?: readonly FlashArea[];
  /**
   * Whether what an ECU without `trial` runs is read back and kept before it is overwritten. Without it nothing can be gone
   * back to. @default true
   */
  backup?: boolean;
  /** Reset type. @default 0x01, hard */
  resetType?: number;
  /** How often a block that got no answer is sent again with the same counter. @default 1 */
  blockRepeats?: number;
  /** Longest time for the ECU to answer again after its reset, ms. @default 60000 */
  restartTimeout?: number;
  /** Time between two questions whether the ECU is back, ms. @default 100 */
  restartPoll?: number;
  /** How often a flash is begun altogether when the connection is lost and can be had again. @default 2 */
  attempts?: number;
  /** Longest time to get a lost connection back, ms. @default 10000 */
  reconnectTimeout?: number;
  /** Wait before the first try to connect again, ms; it doubles up to 2 s. @default 100 */
  reconnectDelay?: number;
  /** How the ECU says where a download that was cut off can go on. @default false: it is erased and started over */
  resume?: ResumeQuestion | false;
  /** Longest time that cleaning up after a failure may take, ms. @default 5000 */
  cleanUpTimeout?: number;
}

/** A region of an ECU's flash. */
export interface FlashArea {
  /** First address. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** Bytes that are erased at once. */
  readonly sectorSize: number;
}

/**
 * Routines by which new software runs on trial, in the range of ISO 14229-1:2020 Annex F.1 that is left to vehicle
 * manufacturers (0x0200 … 0xDFFF).
 */
export const TrialRoutine = { activate: 0x0210, confirm: 0x0211, rollBack: 0x0212, commit: 0x0213 } as const;

/** Release counter, in the range of Annex C.1 for manufacturers' identification (0xF1A0 … 0xF1EF). */
export const releaseCounterDid = 0xf1aa;

/** Ranges of the running software, in the same range. */
export const softwareRangesDid = 0xf1ab;

/** Usual identifier of the routine that starts a secondary boot loader (manufacturer-specific range of Annex F.1). */
const callSoftwareRoutine = 0x0301;

/** What is erased. */
export const eraseScopes = ["segments", "range", "all"] as const;

/** Name of an erase scope. */
export type EraseScope = typeof eraseScopes[number];

/** A plan with every field filled in and checked. */
export type ResolvedFlashPlan =
  & Required<Omit<FlashPlan, "steps" | "seedKey" | "fingerprint" | "authentication">>
  & {
    skipped: ReadonlySet<FlashStep>;
    authentication: (() => Promise<AuthenticationIdentity>) | undefined;
    seedKey: SeedKey | undefined;
    fingerprint: readonly FingerprintPart[] | undefined;
  };

/** Fills in the defaults. @throws {RangeError} quoting the field and value that cannot be */
export function resolveFlashPlan(plan: FlashPlan = {}): ResolvedFlashPlan {
  const skipped = new Set<FlashStep>();
  for (const [name, used] of Object.entries(plan.steps ?? {})) {
    const step = optionalFlashSteps.find((known) => known === name);
    if (step === undefined) {
      throw new RangeError(`flash plan steps: expected one of ${optionalFlashSteps.join(", ")}, got ${name}`);
    }
    if (used === false) skipped.add(step);
  }
  const { seedKey, authentication } = plan;
  if (authentication !== undefined && plan.steps?.security_access === undefined) {
    skipped.add("security_access");
  }
  if (seedKey === undefined && !skipped.has("security_access")) {
    throw new RangeError(
      "flash plan seedKey: expected an algorithm, or steps.security_access false; got neither",
    );
  }
  const { trial = false, releaseCounting = trial } = plan;
  if (!trial) skipped.add("confirm").add("roll_back");
  if (!releaseCounting && !trial) skipped.add("activate").add("commit");
  const memory = plan.memory ?? [];
  for (const { address, size, sectorSize } of memory) {
    within(address, 0, 0xffff_ffff, "memory address");
    within(size, 1, 2 ** 32 - address, "memory size");
    within(sectorSize, 1, size, "memory sectorSize");
  }
  const preconditions = plan.preconditions ?? [{ routine: Routine.checkProgrammingPreconditions }];
  checkPreconditions(preconditions);
  if (plan.fingerprint !== undefined) checkFingerprint(plan.fingerprint);
  const resume = plan.resume ?? false;
  if (resume !== false) {
    within("did" in resume ? resume.did : resume.routine, 0, 0xffff, "resume");
  }
  const compression = oneOf(compressionMethods, plan.compression ?? "none", "compression");
  const dataFormat = within(plan.dataFormat ?? (compression === "none" ? 0 : 0x10), 0, 0xff, "dataFormat");
  if (compression !== "none" && dataFormat >> 4 === 0) {
    throw new RangeError(
      `flash plan dataFormat: expected a compression method in its high nibble with ${compression}, got ${
        hex(dataFormat, 2)
      }`,
    );
  }
  return {
    skipped,
    authentication,
    preconditions,
    fingerprint: plan.fingerprint,
    resume,
    trial,
    releaseCounting,
    activateRoutine: within(plan.activateRoutine ?? TrialRoutine.activate, 0, 0xffff, "activateRoutine"),
    confirmRoutine: within(plan.confirmRoutine ?? TrialRoutine.confirm, 0, 0xffff, "confirmRoutine"),
    rollBackRoutine: within(plan.rollBackRoutine ?? TrialRoutine.rollBack, 0, 0xffff, "rollBackRoutine"),
    commitRoutine: within(plan.commitRoutine ?? TrialRoutine.commit, 0, 0xffff, "commitRoutine"),
    releaseCounterDid: within(plan.releaseCounterDid ?? releaseCounterDid, 0, 0xffff, "releaseCounterDid"),
    softwareRangesDid: within(plan.softwareRangesDid ?? softwareRangesDid, 0, 0xffff, "softwareRangesDid"),
    memory,
    backup: plan.backup ?? true,
    communicationFirst: plan.communicationFirst ?? false,
    communicationControl: within(
      plan.communicationControl ?? CommunicationControl.disableRxAndTx,
      1,
      0x7f,
      "communicationControl",
    ),
    communicationType: within(
      plan.communicationType ?? CommunicationType.normal,
      1,
      0xff,
      "communicationType",
    ),
    erase: oneOf(eraseScopes, plan.erase ?? "segments", "erase"),
    eraseOption: plan.eraseOption ?? new Uint8Array(),
    callRoutine: within(plan.callRoutine ?? callSoftwareRoutine, 0, 0xffff, "callRoutine"),
    checkMethod: oneOf(checkMethods, plan.checkMethod ?? "sha256", "checkMethod"),
    checkScope: oneOf(["image", "segments"], plan.checkScope ?? "image", "checkScope"),
    checkDependenciesOption: plan.checkDependenciesOption ?? "version",
    attempts: within(plan.attempts ?? 2, 1, 10, "attempts"),
    reconnectDelay: within(plan.reconnectDelay ?? 100, 1, 60_000, "reconnectDelay"),
    reconnectTimeout: within(plan.reconnectTimeout ?? 10_000, 1, 3_600_000, "reconnectTimeout"),
    seedKey: typeof seedKey === "function" || seedKey === undefined ? seedKey : createSeedKey(seedKey),
    extendedSession: within(plan.extendedSession ?? Session.extended, 1, 0x7f, "extendedSession"),
    programmingSession: within(plan.programmingSession ?? Session.programming, 1, 0x7f, "programmingSession"),
    securityLevel: odd(within(plan.securityLevel ?? 1, 1, 0x7d, "securityLevel")),
    // A request as long as a 16-bit length can say is the most that any path here carries in one piece.
    maxBlockLength: within(plan.maxBlockLength ?? 0xffff, 3, 0xffffff, "maxBlockLength"),
    addressBytes: within(plan.addressBytes ?? 4, 1, 5, "addressBytes"),
    sizeBytes: within(plan.sizeBytes ?? 4, 1, 5, "sizeBytes"),
    compression,
    dataFormat,
    eraseRoutine: within(plan.eraseRoutine ?? Routine.eraseMemory, 0, 0xffff, "eraseRoutine"),
    checkMemoryRoutine: within(
      plan.checkMemoryRoutine ?? Routine.checkMemory,
      0,
      0xffff,
      "checkMemoryRoutine",
    ),
    checkDependenciesRoutine: within(
      plan.checkDependenciesRoutine ?? Routine.checkProgrammingDependencies,
      0,
      0xffff,
      "checkDependenciesRoutine",
    ),
    routineOk: within(plan.routineOk ?? 0, 0, 0xff, "routineOk"),
    fingerprintDid: within(plan.fingerprintDid ?? Did.writeFingerprint, 0, 0xffff, "fingerprintDid"),
    versionDid: within(plan.versionDid ?? Did.ecuSoftwareVersion, 0, 0xffff, "versionDid"),
    resetType: within(plan.resetType ?? ResetType.hard, 1, 0x7f, "resetType"),
    blockRepeats: within(plan.blockRepeats ?? 1, 0, 10, "blockRepeats"),
    restartTimeout: within(plan.restartTimeout ?? 60_000, 1, 3_600_000, "restartTimeout"),
    restartPoll: within(plan.restartPoll ?? 100, 1, 60_000, "restartPoll"),
    cleanUpTimeout: within(plan.cleanUpTimeout ?? 5_000, 1, 60_000, "cleanUpTimeout"),
  };
}

function within(value: number, min: number, max: number, what: string): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`flash plan ${what}: expected ${hex(min, 2)} … ${hex(max, 2)}, got ${value}`);
  }
  return value;
}

function oneOf<T extends string>(values: readonly T[], value: T, what: string): T {
  if (!values.includes(value)) {
    throw new RangeError(`flash plan ${what}: expected one of ${values.join(", ")}, got ${value}`);
  }
  return value;
}

function odd(level: number): number {
  if (level % 2 === 0) throw new RangeError(`flash plan securityLevel: expected an odd number, got ${level}`);
  return level;
}
