// The settings of updates: what stands where nothing is set, and what cannot be.

import type { UpdateSettings } from "../options.ts";
import { parkedByDefault } from "./conditions.ts";

/**
 * All settings of updates.
 * @param vmgId the gateway's id, which ECUs keep as the fingerprint of who flashed where nothing else is set
 * @throws {RangeError} for a setting that cannot be
 */
export function updateSettings(settings: UpdateSettings, vmgId: string): Required<UpdateSettings> {
  const {
    maxPackageSize = 8 * 1024 ** 3,
    minFreeDisk = 64 * 1024 ** 2,
    downloadPatience = 3_600_000,
    minDownloadRate = 256,
    retryDelay = 1_000,
    maxRetryDelay = 60_000,
    reportInterval = 1_000,
    parallelFlash = 1,
    confirmTimeout = 60_000,
    rollBackPatience = 600_000,
    conditions = [],
    conditionTimeout = 3_600_000,
    conditionInterval = 1_000,
    keepImages = 1024 ** 3,
    parked = parkedByDefault,
    parkedTimeout = 86_400_000,
    approvalTimeout = 604_800_000,
    waitReportInterval = 60_000,
    fingerprint = new TextEncoder().encode(vmgId).subarray(0, 16),
  } = settings;
  const numbers = {
    maxPackageSize,
    minFreeDisk,
    downloadPatience,
    minDownloadRate,
    retryDelay,
    maxRetryDelay,
    reportInterval,
    parallelFlash,
    confirmTimeout,
    rollBackPatience,
    conditionTimeout,
    conditionInterval,
    keepImages,
    parkedTimeout,
    approvalTimeout,
    waitReportInterval,
  };
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new RangeError(`update.${name}: expected a whole number of at least 0, got ${value}`);
    }
  }
  if (parallelFlash < 1) {
    throw new RangeError(`update.parallelFlash: expected 1 or more, got ${parallelFlash}`);
  }
  if (waitReportInterval < 1) {
    throw new RangeError(`update.waitReportInterval: expected 1 or more, got ${waitReportInterval}`);
  }
  for (const [name, list] of Object.entries({ conditions, parked })) {
    for (const { signal, min, max } of list) {
      if (signal === "" || min === undefined && max === undefined) {
        throw new RangeError(
          `update.${name}: expected a signal with min or max, got ${JSON.stringify({ signal, min, max })}`,
        );
      }
    }
  }
  return { ...numbers, conditions, parked, fingerprint };
}
