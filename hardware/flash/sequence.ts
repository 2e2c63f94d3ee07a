// The order of a flash: named steps from the extended session to the version read back.
import { Buffer } from "node:buffer";
import { sleep } from "../clock.ts";
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { NegativeResponseError, UdsProtocolError } from "../uds/errors.ts";
import { encodeMemoryRange } from "../uds/memory_range.ts";
import {
  CommunicationControl,
  CommunicationType,
  DtcSetting,
  hex,
  ResetType,
  Session,
} from "../uds/services.ts";
import { UdsTimeoutError, UdsTransportError } from "../uds/transport.ts";
import { FlashCancelledError, FlashError } from "./errors.ts";
import { decodeText } from "./identification.ts";
import type { FirmwareImage, ImageReader, Segment } from "./image.ts";
import { type FlashPlan, type FlashStep, type ResolvedFlashPlan, resolveFlashPlan } from "./plan.ts";
import { transfer } from "./transfer.ts";

export { FlashCancelledError, FlashError } from "./errors.ts";

/** What to flash and how. */
export interface FlashOptions {
  /** How this type of ECU is flashed. */
  plan: FlashPlan;
  /** Version that the ECU must report afterwards, printable ASCII without spaces. */
  version: string;
  /** Written to the fingerprint identifier before anything is erased. At least 1 byte. */
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
 *
 * @throws {FlashError} naming step, ECU and code; the ECU was sent back to its default session if it could be reached
 * @throws {FlashCancelledError} when the signal stopped it
 * @throws {RangeError} when plan, version or fingerprint cannot be, before anything is sent
 */
export async function flashEcu(
  client: UdsClient,
  image: FirmwareImage,
  options: FlashOptions,
): Promise<FlashResult> {
  const plan = resolveFlashPlan(options.plan);
  if (!/^[\x21-\x7e]+$/.test(options.version)) {
    throw new RangeError(
      `version: expected printable ASCII without spaces, got ${JSON.stringify(options.version)}`,
    );
  }
  if (options.fingerprint.length === 0 && !plan.skipped.has("write_fingerprint")) {
    throw new RangeError("fingerprint: expected at least 1 byte, got 0");
  }
  if (image.segments.length === 0) throw new RangeError("image: expected at least one segment, got none");
  return await new Flash(client, image, plan, options).run();
}

/** One flash under way: where it is and what it has done. */
class Flash {
  readonly #client: UdsClient;
  readonly #image: FirmwareImage;
  readonly #plan: ResolvedFlashPlan;
  readonly #options: FlashOptions;
  #step: FlashStep = "extended_session";
  #done = 0;
  #blocks = 0;
  #version = "";

  constructor(client: UdsClient, image: FirmwareImage, plan: ResolvedFlashPlan, options: FlashOptions) {
    this.#client = client;
    this.#image = image;
    this.#plan = plan;
    this.#options = options;
  }

  async run(): Promise<FlashResult> {
    const { clock } = this.#client.exchange;
    const began = clock.now();
    try {
      await using reader = await this.#image.open();
      await this.#prepare();
      await this.#program(reader);
      await this.#takeOver();
    } catch (error) {
      const failure = this.#failure(error);
      this.#options.log?.(failure.message);
      await this.#cleanUp();
      throw failure;
    }
    const duration = clock.now() - began;
    return { version: this.#version, bytes: this.#done, blocks: this.#blocks, duration };
  }

  /** Up to the point where the ECU may be written. */
  async #prepare(): Promise<void> {
    const plan = this.#plan;
    const client = this.#client;
    await this.#do(
      "extended_session",
      (request) => client.diagnosticSessionControl(plan.extendedSession, request),
    );
    await this.#do(
      "check_preconditions",
      (request) => this.#routine(plan.preconditionsRoutine, new Uint8Array(), request),
    );
    await this.#do("dtc_setting_off", (request) => client.controlDtcSetting(DtcSetting.off, request));
    await this.#do(
      "communication_off",
      (request) =>
        client.communicationControl(CommunicationControl.disableRxAndTx, CommunicationType.normal, request),
    );
    await this.#do(
      "programming_session",
      (request) => client.diagnosticSessionControl(plan.programmingSession, request),
    );
    await this.#do("security_access", async (request) => {
      // resolveFlashPlan() has seen to it that a plan with this step has an algorithm.
      if (plan.seedKey !== undefined) await client.unlock(plan.securityLevel, plan.seedKey, request);
    });
    await this.#do(
      "write_fingerprint",
      (request) => client.writeDataByIdentifier(plan.fingerprintDid, this.#options.fingerprint, request),
    );
  }

  /** Everything is erased before anything is written: two segments may share a sector. */
  async #program(reader: ImageReader): Promise<void> {
    const plan = this.#plan;
    for (const segment of this.#image.segments) {
      await this.#do("erase_memory", (request) => {
        const range = { address: segment.address, size: segment.length };
        return this.#routine(plan.eraseRoutine, encodeMemoryRange(range, plan), request);
      });
    }
    for (const segment of this.#image.segments) await this.#download(segment, reader);
    await this.#do(
      "check_memory",
      (request) => this.#routine(plan.checkMemoryRoutine, this.#image.sha256, request),
    );
    await this.#do(
      "check_dependencies",
      (request) =>
        this.#routine(plan.checkDependenciesRoutine, Buffer.from(this.#options.version, "latin1"), request),
    );
  }

  async #download(segment: Segment, reader: ImageReader): Promise<void> {
    const plan = this.#plan;
    const client = this.#client;
    const offset = this.#done;
    let maxBlockLength = 0;
    await this.#do("request_download", async (request) => {
      const range = { address: segment.address, size: segment.length };
      const accepted = await client.requestDownload(range, {
        ...request,
        dataFormat: plan.dataFormat,
        format: plan,
      });
      maxBlockLength = Math.min(
        accepted.maxBlockLength,
        plan.maxBlockLength,
        client.exchange.maxRequestLength,
      );
    });
    await this.#do("transfer_data", async () => {
      const { onProgress, signal } = this.#options;
      this.#blocks += await transfer(client, reader, {
        offset,
        length: segment.length,
        maxBlockLength,
        blockRepeats: plan.blockRepeats,
        step: "transfer_data",
        signal,
        onBlock: (bytes) => {
          this.#done = offset + bytes;
          onProgress?.("transfer_data", this.#done, this.#image.size);
        },
      });
    });
    await this.#do("transfer_exit", (request) => client.requestTransferExit(undefined, request));
  }

  /** From the reset to the version that the ECU reports: only that makes a flash done. */
  async #takeOver(): Promise<void> {
    const plan = this.#plan;
    const client = this.#client;
    await this.#do("ecu_reset", (request) => client.ecuReset(plan.resetType, request));
    await this.#do("wait_for_restart", () => this.#waitForRestart());
    // The reset led to the default session, and 28 and 85 belong to the others (10.5, 10.8).
    await this.#do("communication_on", async (request) => {
      await this.#inExtendedSession(request);
      await client.communicationControl(
        CommunicationControl.enableRxAndTx,
        CommunicationType.normal,
        request,
      );
    });
    await this.#do("dtc_setting_on", async (request) => {
      await this.#inExtendedSession(request);
      await client.controlDtcSetting(DtcSetting.on, request);
    });
    await this.#do("verify_version", async (request) => {
      if (client.session !== Session.default) await client.diagnosticSessionControl(Session.default, request);
      const bytes = await client.readDataByIdentifier(plan.versionDid, request);
      this.#version = decodeText(bytes) ?? "";
      if (this.#version !== this.#options.version) {
        throw new UdsProtocolError(
          `expected version ${this.#options.version} in ${hex(plan.versionDid, 4)}, got ${
            this.#version === "" ? "no text" : this.#version
          }`,
        );
      }
    });
  }

  async #inExtendedSession(request: RequestOptions): Promise<void> {
    if (this.#client.session === Session.default) {
      await this.#client.diagnosticSessionControl(this.#plan.extendedSession, request);
    }
  }

  /** Asks until the ECU answers. An ECU that boots is silent, or its gateway cannot deliver. */
  async #waitForRestart(): Promise<void> {
    const { clock } = this.#client.exchange;
    const { restartTimeout, restartPoll } = this.#plan;
    const { signal } = this.#options;
    const until = clock.now() + restartTimeout;
    for (;;) {
      const asked = clock.now();
      try {
        // An answer that comes later than this poll is as good for the next one.
        await this.#client.testerPresent({ signal, step: "wait_for_restart", timeout: restartPoll });
        return;
      } catch (error) {
        // A refusal is an answer too; what it means for the flash, the next steps find out.
        if (error instanceof NegativeResponseError) return;
        const gone = error instanceof UdsTimeoutError || error instanceof UdsTransportError;
        if (!gone || clock.now() >= until) throw error;
      }
      await sleep(clock, Math.max(0, asked + restartPoll - clock.now()), signal);
    }
  }

  /** A routine whose status record must say that it went well. */
  async #routine(routine: number, option: Uint8Array, request: RequestOptions): Promise<void> {
    const status = await this.#client.startRoutine(routine, option, request);
    if (status.length > 0 && status[0] !== this.#plan.routineOk) {
      throw new UdsProtocolError(
        `routine ${hex(routine, 4)} ended with status ${hex(status[0], 2)}, expected ${
          hex(this.#plan.routineOk, 2)
        }`,
      );
    }
  }

  /** Runs a step unless the plan leaves it out. */
  async #do(step: FlashStep, run: (request: RequestOptions) => Promise<unknown>): Promise<void> {
    if (this.#plan.skipped.has(step)) return;
    this.#step = step;
    const { signal, log, onProgress } = this.#options;
    signal?.throwIfAborted();
    log?.(`${this.#client.ecu}: ${step}`);
    onProgress?.(step, this.#done, this.#image.size);
    // No signal goes into a single request: it is stopped between two, so that the ECU's answer finds its reader.
    await run({ step });
  }

  #failure(error: unknown): FlashError {
    const { signal } = this.#options;
    const ecu = this.#client.ecu;
    if (signal?.aborted && error === signal.reason) {
      const reason = error instanceof Error ? error.message : String(error);
      return new FlashCancelledError(ecu, this.#step, `stopped: ${reason}`, { cause: error });
    }
    return new FlashError(ecu, this.#step, error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  }

  /**
   * Leaves the ECU in order as far as it lets itself be reached: the reset ends programming and undoes 28 and 85.
   * An ECU that refuses the reset is sent to its default session. Nothing here is reported as success.
   */
  async #cleanUp(): Promise<void> {
    const client = this.#client;
    const signal = AbortSignal.timeout(this.#plan.cleanUpTimeout);
    if (client.session === Session.default) return;
    const request: RequestOptions = { signal, step: "clean_up" };
    try {
      await client.ecuReset(ResetType.hard, request);
      return;
    } catch (error) {
      this.#options.log?.(`${client.ecu}: cleaning up: ${error instanceof Error ? error.message : error}`);
      if (!(error instanceof NegativeResponseError)) return;
    }
    try {
      await client.diagnosticSessionControl(Session.default, request);
    } catch (error) {
      this.#options.log?.(`${client.ecu}: cleaning up: ${error instanceof Error ? error.message : error}`);
    }
  }
}
