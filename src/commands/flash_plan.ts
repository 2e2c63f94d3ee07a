// From an ECU type of bench.yaml to how its ECUs are flashed and how their keys are computed.

import type { FingerprintPart } from "../../hardware/flash/fingerprint.ts";
import type { FlashPlan } from "../../hardware/flash/plan.ts";
import type { Precondition } from "../../hardware/flash/preconditions.ts";
import type { SeedKeyOptions } from "../../hardware/uds/seed_key.ts";
import type { BenchEcuType } from "../config/schema.ts";
import { testerIdentity } from "./ecu_authentication.ts";

type FlashSettings = NonNullable<BenchEcuType["flash"]>;

/**
 * How ECUs of a type are flashed.
 * @param pki folder of the bench's certificates, for ECUs that ask for one; the ECU's own side needs none
 */
export function flashPlanOf(type: BenchEcuType, pki?: string): FlashPlan {
  const { flash = {} } = type;
  const { resume } = flash;
  return {
    ...pki === undefined ? {} : { authentication: testerIdentity(type, pki) },
    securityLevel: type.security.level,
    seedKey: seedKeyOf(type),
    steps: flash.steps,
    extendedSession: flash.extended_session,
    programmingSession: flash.programming_session,
    preconditions: flash.preconditions?.map(preconditionOf),
    communicationFirst: flash.communication_first,
    communicationControl: flash.communication_control,
    communicationType: flash.communication_type,
    fingerprintDid: flash.fingerprint_did,
    fingerprint: flash.fingerprint?.map(fingerprintPartOf),
    erase: flash.erase,
    eraseRoutine: flash.erase_routine,
    eraseOption: bytesOf(flash.erase_option),
    addressBytes: flash.address_bytes,
    sizeBytes: flash.size_bytes,
    dataFormat: flash.data_format,
    compression: flash.compression,
    maxBlockLength: flash.max_block_length,
    blockRepeats: flash.block_repeats,
    callRoutine: flash.call_routine,
    checkMemoryRoutine: flash.check_routine,
    checkMethod: flash.check_method,
    checkScope: flash.check_scope,
    checkDependenciesRoutine: flash.dependencies_routine,
    checkDependenciesOption: flash.dependencies_option === "version"
      ? "version"
      : bytesOf(flash.dependencies_option),
    routineOk: flash.routine_ok,
    trial: flash.trial,
    releaseCounting: flash.release_counting,
    backup: flash.backup,
    activateRoutine: flash.activate_routine,
    confirmRoutine: flash.confirm_routine,
    rollBackRoutine: flash.roll_back_routine,
    commitRoutine: flash.commit_routine,
    releaseCounterDid: flash.release_counter_did,
    softwareRangesDid: flash.software_ranges_did,
    memory: type.memory.map(({ start, size, sector_size }) => ({
      address: start,
      size,
      sectorSize: sector_size,
    })),
    resetType: flash.reset_type,
    restartTimeout: flash.restart_timeout_ms,
    versionDid: flash.version_did,
    attempts: flash.attempts,
    reconnectTimeout: flash.reconnect_timeout_ms,
    resume: resume?.did !== undefined
      ? { did: resume.did }
      : resume?.routine !== undefined
      ? { routine: resume.routine }
      : false,
  };
}

/** How the key follows from the seed. The schema has seen to it that what an algorithm needs stands beside it. */
export function seedKeyOf({ security }: BenchEcuType): SeedKeyOptions {
  const { algorithm, module, secret = "", multiplier = 0, addend = 0, timeout_ms } = security;
  if (module !== undefined) {
    return {
      algorithm: "module",
      path: module,
      ...timeout_ms === undefined ? {} : { timeout: timeout_ms },
    };
  }
  switch (algorithm) {
    case "linear":
      return { algorithm, multiplier, addend };
    case "xor":
      return { algorithm, constant: secret };
    default:
      return { algorithm: "hmac-sha256", key: secret };
  }
}

function preconditionOf(
  { routine, option, did, ...comparison }: NonNullable<FlashSettings["preconditions"]>[number],
): Precondition {
  if (did !== undefined) return { ...comparison, did, equals: bytesOf(comparison.equals) };
  // The schema wants one of the two.
  return { routine: routine ?? 0, option: bytesOf(option) };
}

function fingerprintPartOf(
  { hex = "", date, text, length, fill }: NonNullable<FlashSettings["fingerprint"]>[number],
): FingerprintPart {
  if (date !== undefined) return { date };
  return text !== undefined ? { text, length, fill } : { bytes: Uint8Array.fromHex(hex) };
}

function bytesOf(hex: string | undefined): Uint8Array | undefined {
  return hex === undefined ? undefined : Uint8Array.fromHex(hex);
}
