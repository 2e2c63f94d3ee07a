// A flash from its first request to the version read back: its attempts, what they go on with, and what is cleaned up when
// they failed. The steps stand in steps.ts.
import { sleep } from "../clock.ts";
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { NegativeResponseError } from "../uds/errors.ts";
import { ResetType, Session } from "../uds/services.ts";
import { UdsTransportError } from "../uds/transport.ts";
import { FlashCancelledError, FlashError } from "./errors.ts";
import type { FirmwareImage, ImageReader } from "./image.ts";
import {
  type FlashPlan,
  type FlashStep,
  flashSteps,
  type ResolvedFlashPlan,
  resolveFlashPlan,
} from "./plan.ts";
import { askResumePoint, type ResumePoint } from "./resume.ts";
import { FlashSteps } from "./steps.ts";

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

/** One flash under way: its attempts, and what is left to do when they failed. */
class Flash {
  readonly #steps: FlashSteps;
  readonly #image: FirmwareImage;
  readonly #plan: ResolvedFlashPlan;
  readonly #options: FlashOptions;
  /** Whether the ECU has accepted the new software: what is left is its reset. */
  #accepted = false;

  constructor(client: UdsClient, image: FirmwareImage, plan: ResolvedFlashPlan, options: FlashOptions) {
    this.#steps = new FlashSteps(client, image, plan, options);
    this.#image = image;
    this.#plan = plan;
    this.#options = options;
  }

  async run(): Promise<FlashResult> {
    const { clock } = this.#steps.client.exchange;
    const began = clock.now();
    const { attempts } = this.#plan;
    const given = this.#steps.client;
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
      if (this.#steps.client !== given) this.#steps.client.close();
    }
    const duration = clock.now() - began;
    return { version: this.#steps.version, bytes: this.#steps.done, blocks: this.#steps.blocks, duration };
  }

  async #attempt(reader: ImageReader): Promise<void> {
    if (!this.#accepted) {
      await this.#steps.prepare();
      const from = await this.#resumePoint();
      if (from === undefined) {
        this.#steps.reached = undefined;
        this.#steps.done = 0;
        await this.#steps.begin();
      }
      await this.#steps.program(reader, from ?? { segment: 0, done: 0 });
      this.#accepted = true;
    }
    await this.#steps.takeOver();
  }

  /** Tries until there is a path again. @throws {FlashError} `lost` with what the last try met */
  async #reconnect(connect: NonNullable<FlashOptions["reconnect"]>, lost: FlashError): Promise<void> {
    const { signal } = this.#options;
    const { clock } = this.#steps.client.exchange;
    const until = clock.now() + this.#plan.reconnectTimeout;
    this.#steps.client.close();
    const { reconnectDelay } = this.#plan;
    for (
      let wait = reconnectDelay;;
      wait = Math.min(2 * wait, Math.max(reconnectDelay, longestReconnectDelay))
    ) {
      // A connection that is broken is refused for a moment longer than it takes to ask: gateways boot.
      await sleep(clock, wait, signal);
      try {
        this.#steps.client = await connect();
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
    const reached = this.#steps.reached;
    // Addresses say nothing of how far a compressed payload came.
    if (resume === false || reached === undefined || this.#steps.dataFormat !== 0) return undefined;
    this.#steps.step = "request_download";
    const { segments } = this.#image;
    const point = await askResumePoint(
      this.#steps.client,
      resume,
      segments,
      reached,
      this.#plan,
      routineOk,
      { step: "request_download" },
    );
    const { ecu } = this.#steps.client;
    if (typeof point === "string") {
      this.#options.log?.(`${ecu}: the download cannot go on where it was, it starts over: ${point}`);
      return undefined;
    }
    this.#options.log?.(`${ecu}: the download goes on in segment ${point.segment} at byte ${point.done}`);
    return point;
  }

  #failure(error: unknown): FlashError {
    const { signal } = this.#options;
    const ecu = this.#steps.client.ecu;
    if (signal?.aborted && error === signal.reason) {
      const reason = error instanceof Error ? error.message : String(error);
      return new FlashCancelledError(ecu, this.#steps.step, `stopped: ${reason}`, { cause: error });
    }
    return new FlashError(ecu, this.#steps.step, error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  }

  /**
   * Leaves the ECU in order as far as it lets itself be reached: the reset ends programming and undoes 28 and 85.
   * An ECU that refuses the reset is sent to its default session. Nothing here is reported as success.
   */
  async #cleanUp(): Promise<void> {
    const client = this.#steps.client;
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
