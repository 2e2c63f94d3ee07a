// The order of a flash: named steps from the extended session to the version read back.
import { Buffer } from "node:buffer";
import { sleep } from "../clock.ts";
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { NegativeResponseError, UdsProtocolError } from "../uds/errors.ts";
import { encodeMemoryRange } from "../uds/memory_range.ts";
import { CommunicationControl, DtcSetting, hex, ResetType, Session } from "../uds/services.ts";
import { UdsTimeoutError, UdsTransportError } from "../uds/transport.ts";
import { FlashCancelledError, FlashError } from "./errors.ts";
import { decodeText } from "./identification.ts";
import { compressSegment } from "./compression.ts";
import { buildFingerprint } from "./fingerprint.ts";
import type { FirmwareImage, ImageReader, Segment } from "./image.ts";
import { imageCheck, segmentChecks } from "./memory_check.ts";
import {
  type FlashPlan,
  type FlashStep,
  flashSteps,
  type ResolvedFlashPlan,
  resolveFlashPlan,
} from "./plan.ts";
import { checkDid } from "./preconditions.ts";
import { askResumePoint, type ResumePoint } from "./resume.ts";
import { transfer } from "./transfer.ts";

/** Longest wait between two tries to connect again, ms. */
const longestReconnectDelay = 2_000;

const stepsBeforeMemory: ReadonlySet<FlashStep> = new Set(
  flashSteps.slice(0, flashSteps.indexOf("erase_memory")),
);

export { FlashCancelledError, FlashError } from "./errors.ts";

/** What to flash and how. */
export interface FlashOptions {
  /** How this type of ECU is flashed. */
  plan: FlashPlan;
  /** Version that the ECU must report afterwards, printable ASCII without spaces. */
  version: string;
  /** Written to the fingerprint identifier before anything is erased, unless the plan lays it out. At least 1 byte. */
  fingerprint: Uint8Array;
  /**
   * Gives a new client of the ECU after the connection was lost; it may reject and is then called again for a while.
   * The client is closed here, the connection below it by whoever opened it. @default a lost connection ends the flash
   */
  reconnect?: () => Promise<UdsClient>;
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
  if (
    options.fingerprint.length === 0 && plan.fingerprint === undefined &&
    !plan.skipped.has("write_fingerprint")
  ) {
    throw new RangeError("fingerprint: expected at least 1 byte, got 0");
  }
  if (image.segments.length === 0) throw new RangeError("image: expected at least one segment, got none");
  return await new Flash(client, image, plan, options).run();
}

/** One flash under way: where it is and what it has done. */
class Flash {
  #client: UdsClient;
  readonly #image: FirmwareImage;
  readonly #plan: ResolvedFlashPlan;
  readonly #options: FlashOptions;
  #step: FlashStep = "extended_session";
  #done = 0;
  #blocks = 0;
  #version = "";
  /** Segment whose download was asked for, and the bytes of it that were handed to the bus. */
  #reached: { segment: number; sent: number } | undefined;
  /** Whether the ECU has accepted the new software: what is left is its reset. */
  #accepted = false;

  constructor(client: UdsClient, image: FirmwareImage, plan: ResolvedFlashPlan, options: FlashOptions) {
    this.#client = client;
    this.#image = image;
    this.#plan = plan;
    this.#options = options;
  }

  async run(): Promise<FlashResult> {
    const { clock } = this.#client.exchange;
    const began = clock.now();
    const { attempts } = this.#plan;
    const given = this.#client;
    let first: FlashError | undefined;
    try {
      await using reader = await this.#image.open();
      for (let attempt = 1;; attempt++) {
        try {
          await this.#attempt(reader);
          break;
        } catch (error) {
          const failure = this.#failure(error);
          // A further attempt that did not even get to the memory says less than the one before it.
          const before = first !== undefined && stepsBeforeMemory.has(failure.step) ? first : undefined;
          const last = before === undefined ? failure : FlashError.furtherAttempt(before, failure);
          const { reconnect } = this.#options;
          if (!(error instanceof UdsTransportError) || attempt === attempts || reconnect === undefined) {
            throw last;
          }
          this.#options.log?.(`${failure.message}; attempt ${attempt} of ${attempts}, connecting again`);
          first = last;
          await this.#reconnect(reconnect, last);
        }
      }
    } catch (error) {
      const failure = error instanceof FlashError ? error : this.#failure(error);
      this.#options.log?.(failure.message);
      await this.#cleanUp();
      throw failure;
    } finally {
      if (this.#client !== given) this.#client.close();
    }
    const duration = clock.now() - began;
    return { version: this.#version, bytes: this.#done, blocks: this.#blocks, duration };
  }

  async #attempt(reader: ImageReader): Promise<void> {
    if (!this.#accepted) {
      await this.#prepare();
      const from = await this.#resumePoint();
      if (from === undefined) {
        this.#reached = undefined;
        this.#done = 0;
        await this.#begin();
      }
      await this.#program(reader, from ?? { segment: 0, done: 0 });
      this.#accepted = true;
    }
    await this.#takeOver();
  }

  /** Tries until there is a path again. @throws {FlashError} `lost` with what the last try met */
  async #reconnect(connect: NonNullable<FlashOptions["reconnect"]>, lost: FlashError): Promise<void> {
    const { signal } = this.#options;
    const { clock } = this.#client.exchange;
    const until = clock.now() + this.#plan.reconnectTimeout;
    this.#client.close();
    const { reconnectDelay } = this.#plan;
    for (
      let wait = reconnectDelay;;
      wait = Math.min(2 * wait, Math.max(reconnectDelay, longestReconnectDelay))
    ) {
      // A connection that is broken is refused for a moment longer than it takes to ask: gateways boot.
      await sleep(clock, wait, signal);
      try {
        this.#client = await connect();
        return;
      } catch (error) {
        signal?.throwIfAborted();
        if (clock.now() + wait < until) continue;
        const why = error instanceof Error ? error.message : String(error);
        throw new FlashError(lost.ecu, lost.step, `${lost.reason}; connecting again: ${why}`, {
          cause: error,
        });
      }
    }
  }

  /** Where a flash that was cut off goes on; undefined: it starts over. */
  async #resumePoint(): Promise<ResumePoint | undefined> {
    const { resume, routineOk } = this.#plan;
    const reached = this.#reached;
    // Addresses say nothing of how far a compressed payload came.
    if (resume === false || reached === undefined || this.#dataFormat !== 0) return undefined;
    this.#step = "request_download";
    const { segments } = this.#image;
    const point = await askResumePoint(
      this.#client,
      resume,
      segments,
      reached,
      this.#plan,
      routineOk,
      { step: "request_download" },
    );
    const { ecu } = this.#client;
    if (typeof point === "string") {
      this.#options.log?.(`${ecu}: the download cannot go on where it was, it starts over: ${point}`);
      return undefined;
    }
    this.#options.log?.(`${ecu}: the download goes on in segment ${point.segment} at byte ${point.done}`);
    return point;
  }

  get #dataFormat(): number {
    return this.#image.hints?.dataFormat ?? this.#plan.dataFormat;
  }

  /** Up to the point where the ECU may be written. */
  async #prepare(): Promise<void> {
    const plan = this.#plan;
    const client = this.#client;
    await this.#do(
      "extended_session",
      (request) => client.diagnosticSessionControl(plan.extendedSession, request),
    );
    await this.#do("check_preconditions", async (request) => {
      for (const it of plan.preconditions) {
        if ("routine" in it) await this.#routine(it.routine, it.option ?? new Uint8Array(), request);
        else await checkDid(client, it, request);
      }
    });
    if (plan.communicationFirst) await this.#communicationOff();
    await this.#do("dtc_setting_off", (request) => client.controlDtcSetting(DtcSetting.off, request));
    if (!plan.communicationFirst) await this.#communicationOff();
    await this.#do(
      "programming_session",
      (request) => client.diagnosticSessionControl(plan.programmingSession, request),
    );
    await this.#do("security_access", async (request) => {
      const { seedKey } = plan;
      // resolveFlashPlan() has seen to it that a plan with this step has an algorithm.
      if (seedKey === undefined) return;
      await client.unlock(plan.securityLevel, (seed, level) => seedKey(seed, level, client.ecu), request);
    });
  }

  async #communicationOff(): Promise<void> {
    const { communicationControl, communicationType } = this.#plan;
    await this.#do(
      "communication_off",
      (request) => this.#client.communicationControl(communicationControl, communicationType, request),
    );
  }

  /** Everything is erased before anything is written: two segments may share a sector. */
  async #begin(): Promise<void> {
    const plan = this.#plan;
    await this.#do("write_fingerprint", (request) => {
      const { fingerprint } = this.#options;
      const record = plan.fingerprint === undefined
        ? fingerprint
        : buildFingerprint(plan.fingerprint, new Date());
      return this.#client.writeDataByIdentifier(plan.fingerprintDid, record, request);
    });
    for (const option of this.#eraseOptions()) {
      await this.#do("erase_memory", (request) => this.#routine(plan.eraseRoutine, option, request));
    }
  }

  #eraseOptions(): Uint8Array[] {
    const plan = this.#plan;
    const { segments, hints } = this.#image;
    const encode = (ranges: readonly Segment[]) =>
      ranges.map(({ address, length }) => encodeMemoryRange({ address, size: length }, plan));
    if (hints?.erase !== undefined) return encode(hints.erase);
    switch (plan.erase) {
      case "segments":
        return encode(segments);
      case "range": {
        const [{ address }] = segments;
        const end = Math.max(...segments.map((it) => it.address + it.length));
        return encode([{ address, length: end - address }]);
      }
      case "all":
        return [plan.eraseOption];
    }
  }

  async #program(reader: ImageReader, from: ResumePoint): Promise<void> {
    const plan = this.#plan;
    const { segments, hints } = this.#image;
    let offset = 0;
    for (const [index, { address, length }] of segments.entries()) {
      const done = index < from.segment ? length : index === from.segment ? from.done : 0;
      if (done < length) {
        this.#reached = { segment: index, sent: done };
        await this.#download({ address: address + done, length: length - done }, offset + done, reader);
      }
      offset += length;
    }
    this.#done = this.#image.size;
    const call = hints?.call;
    if (call !== undefined) {
      await this.#do("call_software", (request) => {
        // The address alone, in the width of the plan (the format byte belongs to services 23, 34, 35 and 3D).
        const option = encodeMemoryRange({ address: call, size: 0 }, plan).subarray(1, 1 + plan.addressBytes);
        return this.#routine(plan.callRoutine, option, request);
      });
    }
    await this.#do("check_memory", async (request) => {
      if (plan.checkScope === "image") {
        const option = await imageCheck(this.#image, reader, plan.checkMethod);
        return await this.#routine(plan.checkMemoryRoutine, option, request);
      }
      for await (const option of segmentChecks(this.#image, reader, plan.checkMethod, plan)) {
        await this.#routine(plan.checkMemoryRoutine, option, request);
      }
    });
    await this.#do("check_dependencies", (request) => {
      const option = plan.checkDependenciesOption === "version"
        ? Buffer.from(this.#options.version, "latin1")
        : plan.checkDependenciesOption;
      return this.#routine(plan.checkDependenciesRoutine, option, request);
    });
  }

  /** @param offset where the segment's bytes begin in the payload */
  async #download(segment: Segment, offset: number, reader: ImageReader): Promise<void> {
    const plan = this.#plan;
    const client = this.#client;
    const reached = this.#reached;
    const before = reached?.sent ?? 0;
    this.#done = offset;
    let maxBlockLength = 0;
    await this.#do("request_download", async (request) => {
      const range = { address: segment.address, size: segment.length };
      const accepted = await client.requestDownload(range, {
        ...request,
        dataFormat: this.#dataFormat,
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
      // What was compressed before is not compressed again.
      const method = this.#image.hints?.dataFormat === undefined ? plan.compression : "none";
      await using compressed = method === "none"
        ? undefined
        : await compressSegment(reader, segment, offset, method);
      const length = compressed?.length ?? segment.length;
      this.#blocks += await transfer(client, compressed?.reader ?? reader, {
        offset: compressed === undefined ? offset : 0,
        length,
        maxBlockLength,
        blockRepeats: plan.blockRepeats,
        step: "transfer_data",
        signal,
        onSend: (bytes) => {
          if (reached !== undefined) reached.sent = before + bytes;
        },
        onBlock: (bytes) => {
          this.#done = offset +
            (compressed === undefined ? bytes : Math.floor(segment.length * bytes / length));
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
        plan.communicationType,
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
