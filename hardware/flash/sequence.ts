// The order of a flash: named steps from the extended session to the version read back.
import type { UdsClient } from "../uds/client.ts";
import type { FirmwareImage } from "./image.ts";
import { type FlashPlan, type FlashStep, resolveFlashPlan } from "./plan.ts";

export { FlashCancelledError, FlashError } from "./errors.ts";

/** What to flash and how. */
export interface FlashOptions {
  /** How this type of ECU is flashed. */
  plan: FlashPlan;
  /** Version that the ECU must report afterwards, ASCII. */
  version: string;
  /** Written to the fingerprint identifier before anything is erased. */
  fingerprint: Uint8Array;
  /** Called as a step begins and as bytes are taken by the ECU. */
  onProgress?: (step: FlashStep, bytesDone: number, bytesTotal: number) => void;
  /** Stops the flash between two requests; it rejects with {@link FlashCancelledError}. */
  signal?: AbortSignal;
  /** Told of each step and of what cleaning up met. @default nothing is said */
  log?: (message: string) => void;
}

/** A flash that the ECU confirmed by its new version. */
export interface FlashResult {
  /** Version that the ECU reported, equal to the one asked for. */
  readonly version: string;
  /** Payload bytes transferred. */
  readonly bytes: number;
  /** TransferData requests. */
  readonly blocks: number;
  /** Milliseconds from the first request to the last answer. */
  readonly duration: number;
}

/**
 * Flashes an image and returns when the ECU runs it.
 * @throws {FlashError} naming step, ECU and code; the ECU was sent back to its default session if it could be reached
 * @throws {FlashCancelledError} when the signal stopped it
 * @throws {RangeError} when the plan cannot be, before anything is sent
 */
export function flashEcu(
  client: UdsClient,
  image: FirmwareImage,
  options: FlashOptions,
): Promise<FlashResult> {
  resolveFlashPlan(options.plan);
  return Promise.reject(new Error(`${client.ecu}: flashing ${image.size} bytes is not built yet`));
}
