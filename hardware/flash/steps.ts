// The steps of a flash, in their order, each done unless the plan leaves it out. What follows from a failure of one is for
// whoever runs them: see sequence.ts.
import { Buffer } from "node:buffer";
import { sleep } from "../clock.ts";
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { NegativeResponseError, UdsProtocolError } from "../uds/errors.ts";
import { encodeMemoryRange } from "../uds/memory_range.ts";
import { CommunicationControl, DtcSetting, hex, Session } from "../uds/services.ts";
import { UdsTimeoutError, UdsTransportError } from "../uds/transport.ts";
import { compressSegment } from "./compression.ts";
import { buildFingerprint } from "./fingerprint.ts";
import { decodeText } from "./identification.ts";
import type { FirmwareImage, ImageReader, Segment } from "./image.ts";
import { imageCheck, segmentChecks } from "./memory_check.ts";
import type { FlashStep, ResolvedFlashPlan } from "./plan.ts";
import { checkDid } from "./preconditions.ts";
import type { ResumePoint } from "./resume.ts";
import { transfer } from "./transfer.ts";

const nothing = new Uint8Array();

/** What the steps need to know beside the plan. */
export interface FlashStepOptions {
  /** Version that the ECU must report afterwards. */
  version: string;
  /** Written to the fingerprint identifier, unless the plan lays it out. */
  fingerprint: Uint8Array;
  /** Release counter of the new software, told to ECUs that count. @default none is told */
  releaseCounter?: number;
  onProgress?: (step: FlashStep, bytesDone: number, bytesTotal: number) => void;
  /** Looked at between two requests. */
  signal?: AbortSignal;
  log?: (message: string) => void;
}

/** One flash under way: where it is and what it has done. */
export class FlashSteps {
  /** The ECU's client; another one once a connection was lost. */
  client: UdsClient;
  /** The step that is under way. */
  step: FlashStep = "extended_session";
  /** Payload bytes that the ECU has taken. */
  done = 0;
  /** TransferData requests. */
  blocks = 0;
  /** Version that the ECU reported. */
  version = "";
  /** Segment whose download was asked for, and the bytes of it that were handed to the bus. */
  reached: { segment: number; sent: number } | undefined;
  readonly #image: FirmwareImage;
  readonly #plan: ResolvedFlashPlan;
  readonly #options: FlashStepOptions;

  constructor(client: UdsClient, image: FirmwareImage, plan: ResolvedFlashPlan, options: FlashStepOptions) {
    this.client = client;
    this.#image = image;
    this.#plan = plan;
    this.#options = options;
  }

  /** dataFormatIdentifier of the downloads. */
  get dataFormat(): number {
    return this.#image.hints?.dataFormat ?? this.#plan.dataFormat;
  }

  /** Up to the point where the ECU may be written. */
  async prepare(): Promise<void> {
    const plan = this.#plan;
    const client = this.client;
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
    await this.#unlock();
  }

  /** The way to a routine that changes what runs, in the session that leaves the application running. */
  async prepareControl(): Promise<void> {
    await this.#do("extended_session", (request) => this.#inExtendedSession(request));
    await this.#unlock();
  }

  async #unlock(): Promise<void> {
    const plan = this.#plan;
    const client = this.client;
    const { authentication } = plan;
    if (authentication !== undefined) {
      await this.#do("authentication", async (request) => {
        await client.authentication.withCertificate(await authentication(), request);
      });
    }
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
      (request) => this.client.communicationControl(communicationControl, communicationType, request),
    );
  }

  /** Fingerprint and erase. Everything is erased before anything is written: two segments may share a sector. */
  async begin(): Promise<void> {
    const plan = this.#plan;
    await this.#do("write_fingerprint", (request) => {
      const { fingerprint } = this.#options;
      const record = plan.fingerprint === undefined
        ? fingerprint
        : buildFingerprint(plan.fingerprint, new Date());
      return this.client.writeDataByIdentifier(plan.fingerprintDid, record, request);
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

  /** From the first download, or where one was cut off, to the memory that was checked. */
  async program(reader: ImageReader, from: ResumePoint): Promise<void> {
    const plan = this.#plan;
    const { segments, hints } = this.#image;
    let offset = 0;
    for (const [index, { address, length }] of segments.entries()) {
      const done = index < from.segment ? length : index === from.segment ? from.done : 0;
      if (done < length) {
        this.reached = { segment: index, sent: done };
        await this.#download({ address: address + done, length: length - done }, offset + done, reader);
      }
      offset += length;
    }
    this.done = this.#image.size;
    const call = hints?.call;
    if (call !== undefined) {
      await this.#do("call_software", (request) => {
        // The address alone, in the width of the plan (the format byte belongs to services 23, 34, 35 and 3D).
        const option = encodeMemoryRange({ address: call, size: 0 }, plan).subarray(1, 1 + plan.addressBytes);
        return this.#routine(plan.callRoutine, option, request);
      });
    }
    await this.checkMemory(reader);
  }

  /** Holds what the ECU took against the image. */
  async checkMemory(reader: ImageReader): Promise<void> {
    const plan = this.#plan;
    await this.#do("check_memory", async (request) => {
      if (plan.checkScope === "image") {
        const option = await imageCheck(this.#image, reader, plan.checkMethod);
        return await this.#routine(plan.checkMemoryRoutine, option, request);
      }
      for await (const option of segmentChecks(this.#image, reader, plan.checkMethod, plan)) {
        await this.#routine(plan.checkMemoryRoutine, option, request);
      }
    });
  }

  /** Has the ECU accept what it took: its next reset starts it. */
  async accept(): Promise<void> {
    const plan = this.#plan;
    await this.#do("activate", (request) => {
      const { releaseCounter } = this.#options;
      const option = new Uint8Array(plan.releaseCounting && releaseCounter !== undefined ? 4 : 0);
      if (option.length > 0) new DataView(option.buffer).setUint32(0, releaseCounter ?? 0);
      return this.#routine(plan.activateRoutine, option, request);
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
    const client = this.client;
    const reached = this.reached;
    const before = reached?.sent ?? 0;
    this.done = offset;
    let maxBlockLength = 0;
    await this.#do("request_download", async (request) => {
      const range = { address: segment.address, size: segment.length };
      const accepted = await client.requestDownload(range, {
        ...request,
        dataFormat: this.dataFormat,
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
      this.blocks += await transfer(client, compressed?.reader ?? reader, {
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
          this.done = offset +
            (compressed === undefined ? bytes : Math.floor(segment.length * bytes / length));
          onProgress?.("transfer_data", this.done, this.#image.size);
        },
      });
    });
    await this.#do("transfer_exit", (request) => client.requestTransferExit(undefined, request));
  }

  /**
   * From the reset to the version that the ECU reports: only that makes a flash done.
   * @param again whether a reset was asked for before and its outcome is not known
   */
  async takeOver(again = false): Promise<void> {
    const plan = this.#plan;
    const client = this.client;
    // A second reset would be the end of a trial that has just begun.
    const mayRun = again && plan.trial;
    if (mayRun) await this.#do("wait_for_restart", () => this.#waitForRestart());
    if (!mayRun || !(await this.runsVersion())) {
      await this.#do("ecu_reset", (request) => client.ecuReset(plan.resetType, request));
      await this.#do("wait_for_restart", () => this.#waitForRestart());
    }
    // The restart led to the default session, and 28 and 85 belong to the others (10.5, 10.8).
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
    await this.verifyVersion(true);
  }

  /** Whether the ECU runs the version already. One that does not tell its version does not. */
  async runsVersion(): Promise<boolean> {
    this.step = "verify_version";
    try {
      const bytes = await this.client.readDataByIdentifier(this.#plan.versionDid, { step: this.step });
      return decodeText(bytes) === this.#options.version;
    } catch (error) {
      if (error instanceof NegativeResponseError) return false;
      throw error;
    }
  }

  /**
   * Reads the version back.
   * @param leave whether in the default session. Otherwise in whichever the ECU is
   * @throws {UdsProtocolError} when it is another
   */
  async verifyVersion(leave = false): Promise<void> {
    const plan = this.#plan;
    const client = this.client;
    await this.#do("verify_version", async (request) => {
      if (leave && client.session !== Session.default) {
        await client.diagnosticSessionControl(Session.default, request);
      }
      const bytes = await client.readDataByIdentifier(plan.versionDid, request);
      this.version = decodeText(bytes) ?? "";
      if (this.version !== this.#options.version) {
        throw new UdsProtocolError(
          `expected version ${this.#options.version} in ${hex(plan.versionDid, 4)}, got ${
            this.version === "" ? "no text" : this.version
          }`,
        );
      }
    });
  }

  /** Ends the trial of what runs. The version is read before and after: what came between would have gone back. */
  async confirm(): Promise<void> {
    const { confirmRoutine, skipped } = this.#plan;
    if (skipped.has("confirm")) return;
    await this.prepareControl();
    await this.verifyVersion();
    await this.#do("confirm", (request) => this.#routine(confirmRoutine, nothing, request));
    await this.verifyVersion();
  }

  /** Gives the old software up, and reads back that the ECU counts up to the new one's release. */
  async commit(): Promise<void> {
    const { commitRoutine, skipped, releaseCounting, releaseCounterDid } = this.#plan;
    if (skipped.has("commit")) return;
    await this.prepareControl();
    await this.verifyVersion();
    await this.#do("commit", async (request) => {
      await this.#routine(commitRoutine, nothing, request);
      const { releaseCounter } = this.#options;
      if (!releaseCounting || releaseCounter === undefined) return;
      const record = await this.client.readDataByIdentifier(releaseCounterDid, request);
      const counter = record.length === 4
        ? new DataView(record.buffer, record.byteOffset).getUint32(0)
        : undefined;
      if (counter === undefined || counter < releaseCounter) {
        throw new UdsProtocolError(
          `expected a release counter of at least ${releaseCounter} in ${hex(releaseCounterDid, 4)}, got ${
            counter ?? `a record of ${record.length} bytes`
          }`,
        );
      }
    });
  }

  /** Has the old software run again, from the routine to its version. */
  async rollBack(): Promise<void> {
    const { rollBackRoutine } = this.#plan;
    await this.prepareControl();
    await this.#do("roll_back", (request) => this.#routine(rollBackRoutine, nothing, request));
    await this.takeOver();
  }

  /** Back to the default session, which ends 28 and 85 as well. */
  async leave(): Promise<void> {
    if (this.client.session === Session.default) return;
    await this.client.diagnosticSessionControl(Session.default, { step: this.step });
  }

  async #inExtendedSession(request: RequestOptions): Promise<void> {
    // An ECU that restarts by itself, or by a reset of its maker's, left the session without the client being told.
    if (this.client.session !== this.#plan.extendedSession) {
      await this.client.diagnosticSessionControl(this.#plan.extendedSession, request);
    }
  }

  /** Asks until the ECU answers. An ECU that boots is silent, or its gateway cannot deliver. */
  async #waitForRestart(): Promise<void> {
    const { clock } = this.client.exchange;
    const { restartTimeout, restartPoll } = this.#plan;
    const { signal } = this.#options;
    const until = clock.now() + restartTimeout;
    for (;;) {
      const asked = clock.now();
      try {
        // An answer that comes later than this poll is as good for the next one.
        await this.client.testerPresent({ signal, step: "wait_for_restart", timeout: restartPoll });
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
    const status = await this.client.startRoutine(routine, option, request);
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
    this.step = step;
    const { signal, log, onProgress } = this.#options;
    signal?.throwIfAborted();
    log?.(`${this.client.ecu}: ${step}`);
    onProgress?.(step, this.done, this.#image.size);
    // No signal goes into a single request: it is stopped between two, so that the ECU's answer finds its reader.
    await run({ step });
  }
}
