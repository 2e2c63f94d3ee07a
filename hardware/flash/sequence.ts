// A flash: its attempts, what they go on with, and what is cleaned up when they failed. In one go, from the first request
// to the version read back, or in phases that a caller runs apart, each of which may be repeated:
//
//   stage      the image is in the ECU and checked; where the ECU has two banks, what runs is as it was
//   verify     what was staged is still in the ECU
//   activate   the ECU accepts it, restarts, and runs it, on trial where the plan says so
//   confirm    it stays over a restart, and can still be gone back from
//   commit     it cannot be gone back from; the release counter is raised
//   roll back  the old software runs. Where the ECU does not keep that, it is flashed from what was saved
//
// The steps stand in steps.ts.
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
  /** Release counter of the image, 0 … 0xFFFFFFFF, for ECUs that count. @default none is told */
  releaseCounter?: number;
  /** Saves what is to be overwritten: called when memory can be read and nothing was erased yet. @default nothing is saved */
  beforeErase?: (client: UdsClient) => Promise<void>;
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
  return await new Flash(client, image, checked(options, image), options, "all").run();
}

/**
 * Puts an image into an ECU without having it run. A plan that `canStage()` says no to has nothing done but
 * {@link FlashOptions.beforeErase}.
 * @throws as {@link flashEcu}
 */
export async function stageEcu(
  client: UdsClient,
  image: FirmwareImage,
  options: FlashOptions,
): Promise<FlashResult> {
  const plan = checked(options, image);
  return await new Flash(client, image, plan, options, canStage(plan) ? "stage" : "save").run();
}

/** Has the ECU check again what was staged. @throws {FlashError} {@link FlashCancelledError} */
export async function verifyStaged(
  client: UdsClient,
  image: FirmwareImage,
  options: FlashOptions,
): Promise<void> {
  const plan = checked(options, image);
  if (canStage(plan)) await new Flash(client, image, plan, options, "verify").run();
}

/**
 * Has the ECU run what was staged, and reads its version back. An ECU that runs it already is left as it is.
 * @param image needed where the plan cannot stage: it is flashed now
 * @throws {FlashError} {@link FlashCancelledError}
 * @throws {RangeError} without an image that is needed
 */
export async function activateEcu(
  client: UdsClient,
  image: FirmwareImage | undefined,
  options: FlashOptions,
): Promise<void> {
  const plan = checked(options, image);
  if (canStage(plan)) await new Flash(client, noImage, plan, options, "activate").run();
  else if (image !== undefined) await new Flash(client, image, plan, options, "flash_unless_running").run();
  else throw new RangeError("image: expected one for an ECU that takes over as it checks, got none");
}

/** Ends the trial of what runs. @throws {FlashError} {@link FlashCancelledError} */
export async function confirmEcu(client: UdsClient, options: FlashOptions): Promise<void> {
  await new Flash(client, noImage, checked(options), options, "confirm").run();
}

/** Gives the old software up. @throws {FlashError} {@link FlashCancelledError} */
export async function commitEcu(client: UdsClient, options: FlashOptions): Promise<void> {
  await new Flash(client, noImage, checked(options), options, "commit").run();
}

/**
 * Has an ECU that keeps its old software run that, and reads its version, `options.version`, back.
 * @throws {FlashError} {@link FlashCancelledError}
 * @throws {RangeError} for a plan without `trial`
 */
export async function rollBackEcu(client: UdsClient, options: FlashOptions): Promise<void> {
  const plan = checked(options);
  if (!plan.trial) {
    throw new RangeError("flash plan trial: expected true for an ECU to go back by itself, got false");
  }
  await new Flash(client, noImage, plan, options, "roll_back").run();
}

/** Whether an image can be in the ECU without running: its check and its acceptance are requests of their own. */
export function canStage({ skipped }: Pick<ResolvedFlashPlan, "skipped">): boolean {
  return !skipped.has("check_memory") && !(skipped.has("check_dependencies") && skipped.has("ecu_reset"));
}

/** What a flash does. */
type Work =
  | "all"
  | "flash_unless_running"
  | "save"
  | "stage"
  | "verify"
  | "activate"
  | "confirm"
  | "commit"
  | "roll_back";

const noImage: FirmwareImage = {
  segments: [],
  size: 0,
  sha256: new Uint8Array(32),
  open: () =>
    Promise.resolve({ read: () => Promise.resolve(), [Symbol.asyncDispose]: () => Promise.resolve() }),
};

function checked(options: FlashOptions, image?: FirmwareImage): ResolvedFlashPlan {
  const plan = resolveFlashPlan(options.plan);
  const { version, fingerprint, releaseCounter = 0 } = options;
  if (!/^[\x21-\x7e]+$/.test(version)) {
    throw new RangeError(`version: expected printable ASCII without spaces, got ${JSON.stringify(version)}`);
  }
  if (!Number.isInteger(releaseCounter) || releaseCounter < 0 || releaseCounter > 0xffff_ffff) {
    throw new RangeError(`releaseCounter: expected 0 … 0xFFFFFFFF, got ${releaseCounter}`);
  }
  if (image === undefined) return plan;
  if (fingerprint.length === 0 && plan.fingerprint === undefined && !plan.skipped.has("write_fingerprint")) {
    throw new RangeError("fingerprint: expected at least 1 byte, got 0");
  }
  if (image.segments.length === 0) throw new RangeError("image: expected at least one segment, got none");
  return plan;
}

/** One flash under way: its attempts, and what is left to do when they failed. */
class Flash {
  readonly #steps: FlashSteps;
  readonly #image: FirmwareImage;
  readonly #plan: ResolvedFlashPlan;
  readonly #options: FlashOptions;
  readonly #work: Work;
  /** Whether it was found that there is something to be done. */
  #begun = false;
  /** Whether what runs was saved. */
  #saved = false;
  /** Whether the ECU has accepted the new software: what is left is its reset. */
  #accepted = false;

  constructor(
    client: UdsClient,
    image: FirmwareImage,
    plan: ResolvedFlashPlan,
    options: FlashOptions,
    work: Work,
  ) {
    this.#work = work;
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
    const steps = this.#steps;
    switch (this.#work) {
      case "flash_unless_running":
        if (!this.#begun && await steps.runsVersion()) break;
        // falls through
      case "all":
        this.#begun = true;
        if (this.#accepted) await steps.takeOver(true);
        else {
          await this.#write(reader);
          await steps.accept();
          this.#accepted = true;
          await steps.takeOver();
        }
        await steps.confirm();
        await steps.commit();
        break;
      case "save":
        await steps.prepare();
        await this.#save();
        break;
      case "stage":
        await this.#write(reader);
        break;
      case "verify":
        await steps.prepare();
        await steps.checkMemory(reader);
        break;
      case "activate":
        if (this.#accepted) await steps.takeOver(true);
        else if (!(await steps.runsVersion())) {
          await steps.prepare();
          await steps.accept();
          this.#accepted = true;
          await steps.takeOver();
        }
        break;
      case "confirm":
        await steps.confirm();
        break;
      case "commit":
        await steps.commit();
        break;
      case "roll_back":
        await steps.rollBack();
    }
    await steps.leave();
  }

  /** Up to an image that is in the ECU and was checked there. */
  async #write(reader: ImageReader): Promise<void> {
    const steps = this.#steps;
    await steps.prepare();
    await this.#save();
    const from = await this.#resumePoint();
    if (from === undefined) {
      steps.reached = undefined;
      steps.done = 0;
      await steps.begin();
    }
    await steps.program(reader, from ?? { segment: 0, done: 0 });
  }

  async #save(): Promise<void> {
    const { beforeErase } = this.#options;
    if (beforeErase === undefined || this.#saved) return;
    this.#steps.step = "read_memory";
    await beforeErase(this.#steps.client);
    this.#saved = true;
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
