// One update from wherever the journal says to its end: verify what is directed, fetch, wait until it may begin, install.

import type { EcuIdentification } from "../../../hardware/flash/identification.ts";
import type { RestClient } from "../../contract/client.ts";
import { type UpdateStatus, updateStatus } from "../../contract/ota.ts";
import type { CodecPool } from "../../codec/pool.ts";
import type { Logger } from "../../log.ts";
import type { VerifyKey } from "../../pqc/signature.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { ApprovalError, CancelRequested, explain, isStateFault } from "../errors.ts";
import type { UpdateSettings } from "../options.ts";
import { mapBounded } from "../parallel.ts";
import type { VehicleDescription } from "../vehicle.ts";
import type { UpdateTimer } from "./deadline.ts";
import type { UpdateDirections } from "./directions.ts";
import { EcuProgress } from "./ecu_progress.ts";
import { failureOf, mayBeMended } from "./failures.ts";
import { type FetchedPackage, fetchPackage } from "./fetch.ts";
import type { ImageStore } from "./image_store.ts";
import type { JournalUpdate, UpdateJournal } from "./journal.ts";
import { preparedImage } from "./package_images.ts";
import type { Permissions, WaitingUpdate } from "./permission.ts";
import type { UpdateReporter } from "./report.ts";
import { checkHardware } from "./targets.ts";
import type { TermsJournal, UpdateTerms } from "./terms.ts";
import { InstallTransaction, needsNoPackage, type TransactionEnd } from "./transaction.ts";

/** What the updates of a vehicle work with. */
export interface UpdateRunOptions {
  vehicle: VehicleDescription;
  bus: VehicleBus;
  journal: UpdateJournal;
  rest: RestClient;
  /** e.g. `https://localhost:8443`: packages come from there and nowhere else. */
  origin: string;
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  pool: CodecPool;
  /** Folder for packages. */
  directory: string;
  images: ImageStore;
  /** Folder for what ECUs ran that do not keep it. */
  backups: string;
  settings: Required<UpdateSettings>;
  /** ECUs of one zonal gateway that are read at once. */
  parallelReads: number;
  /** What signed metadata directs. */
  directions: UpdateDirections;
  /** What updates were started with. */
  terms: TermsJournal;
  /** Tells when an update's time has run out. */
  timer: UpdateTimer;
  log: Logger;
}

/** What is this update's own. */
export interface UpdateRunParts {
  permissions: Permissions;
  reporter: UpdateReporter;
  /** The gateway stops: the next start goes on. */
  stop: AbortSignal;
  /** The time is found to have run out: the update is to be cancelled, if it still can be. */
  onTimeOut: () => void;
}

const stages = updateStatus.options;

/** What the verification found. */
interface Verified extends FetchedPackage {
  found: Map<string, EcuIdentification>;
}

/** An update under way. */
export class UpdateRun {
  readonly updateId: string;
  readonly terms: UpdateTerms;
  readonly reporter: UpdateReporter;
  readonly #update: JournalUpdate;
  readonly #options: UpdateRunOptions;
  readonly #parts: UpdateRunParts;
  readonly #log: Logger;
  readonly #cancel = new AbortController();
  /** Ends what may be left where it is. */
  readonly #signal: AbortSignal;
  #installing = false;
  /** What an error that comes next belongs to. */
  #stage = "download";

  constructor(update: JournalUpdate, options: UpdateRunOptions, parts: UpdateRunParts) {
    this.updateId = update.updateId;
    this.terms = options.terms.get(update.updateId);
    this.reporter = parts.reporter;
    this.#update = update;
    this.#options = options;
    this.#parts = parts;
    this.#log = options.log;
    this.#signal = AbortSignal.any([parts.stop, this.#cancel.signal]);
  }

  /** Whether ECUs are being changed. */
  get installing(): boolean {
    return this.#installing;
  }

  get isCancelled(): boolean {
    return this.#cancel.signal.aborted;
  }

  /** Ends it, as far as it can still be ended. */
  cancel(reason: string): void {
    this.#cancel.abort(new CancelRequested(reason));
  }

  /** Goes on to the update's end. @throws when the gateway stops, or its disk fails */
  async perform(): Promise<TransactionEnd> {
    const { permissions, reporter, stop } = this.#parts;
    const { updateId, phase } = this.#update;
    let verified: Verified | undefined;
    if (!needsNoPackage(phase)) {
      try {
        verified = await this.#fetchVerified();
        // The time may have been attested on the way.
        this.#checkTime();
        this.#stage = "wait";
        if (phase === null) await permissions.wait(this.#waiting(verified, this.#signal));
        this.#checkTime();
      } catch (error) {
        stop.throwIfAborted();
        // What could not be written down says nothing of the update: it is gone on with.
        if (isStateFault(error)) throw error;
        this.#log.debug(`Update ${updateId}`, { error });
        if (phase !== null) {
          // Some ECUs are not any more what they were.
          this.#installing = true;
          return await this.#transaction(undefined).rollBack(error);
        }
        if (this.isCancelled) return { status: "cancelled", error: explain(this.#cancel.signal.reason) };
        if (error instanceof ApprovalError) return { status: "cancelled", error: explain(error) };
        this.#noteFailure(error);
        return { status: "failed", error: failureOf(this.#stage, error) };
      }
      for (const { ecu, entry } of verified.targets) reporter.ecu(ecu.ecuId, { weight: entry.image.size });
    }
    this.#installing = true;
    this.#enter("installing");
    return await this.#transaction(verified).run();
  }

  /** Has the images of all targets on the disk, verified, and knows what each target is now. */
  async #fetchVerified(): Promise<Verified> {
    const { bus, parallelReads, directions } = this.#options;
    this.#stage = "metadata";
    const directed = await directions.of(this.#update, this.#signal);
    const fetched = await this.#fetch((manifest) => directions.match(manifest, directed));
    const zones = [...Map.groupBy(fetched.targets, ({ ecu }) => ecu.zonalGatewayId).values()];
    const purpose = `update ${this.updateId}`;
    const found = await Promise.all(zones.map((zone) =>
      mapBounded(
        zone,
        parallelReads,
        async (target) =>
          [target.ecu.ecuId, await checkHardware(target, bus, purpose, this.#signal)] as const,
      )
    ));
    return { ...fetched, found: new Map(found.flat()) };
  }

  async #fetch(check: (manifest: FetchedPackage["manifest"]) => void): Promise<FetchedPackage> {
    try {
      return await fetchPackage(this.#update, {
        ...this.#options,
        check,
        onStage: (stage) => this.#stage = stage,
        onEnter: (status) => this.#enter(status),
        onProgress: (share) => this.reporter.stage(share),
        signal: this.#signal,
      });
    } catch (error) {
      this.#signal.throwIfAborted();
      throw this.#options.directions.refused(error);
    }
  }

  /** An update that is gone on with is not told to be further back than it was. */
  #enter(status: UpdateStatus): void {
    if (stages.indexOf(status) <= stages.indexOf(this.#update.status)) return;
    this.#options.journal.setStatus(this.updateId, status);
    this.reporter.enter(status);
    this.#log.info(`Update ${this.updateId}: ${status}`);
  }

  #transaction(verified: Verified | undefined): InstallTransaction {
    const { journal, bus, images, backups, settings, directions } = this.#options;
    const { updateId, reporter } = this;
    const progress = new Map<string, EcuProgress>();
    return new InstallTransaction({
      updateId,
      journal,
      bus,
      installation: verified && {
        image: (entry) => preparedImage(entry, images),
        targets: verified.targets,
        found: verified.found,
      },
      backups,
      fingerprint: settings.fingerprint,
      settings,
      conditions: async (signal) => {
        await this.#parts.permissions.waitForConditions(this.#waiting(verified, signal));
        this.#checkTime();
      },
      onFailure: (error) => this.#noteFailure(directions.refused(error)),
      onEcu: ({ ecuId, ...note }) =>
        reporter.ecu(ecuId, {
          ...note,
          ...(note.status === "completed" ? { progress: 100 } : {}),
          ...(note.status === "installing" ? {} : { bytes: null, speed: null, timeLeft: null }),
        }),
      onStep: (ecuId, step, done, total) => {
        const own = progress.get(ecuId) ?? new EcuProgress();
        progress.set(ecuId, own);
        reporter.ecu(ecuId, own.at(step, done, total));
      },
      cancel: this.#cancel.signal,
      stop: this.#parts.stop,
      log: this.#log,
    });
  }

  #waiting(verified: Verified | undefined, signal: AbortSignal): WaitingUpdate {
    const { updateId, reporter } = this;
    const conditions = verified?.manifest.conditions ?? [];
    return { updateId, conditions, onWait: (wait) => reporter.wait(wait), signal };
  }

  /** @throws the cancel's reason */
  #checkTime(): void {
    if (this.#options.timer.left(this.updateId, this.terms) <= 0) this.#parts.onTimeOut();
    this.#cancel.signal.throwIfAborted();
  }

  #noteFailure(error: unknown): void {
    this.#options.terms.setRetryable(this.updateId, mayBeMended(error));
  }
}
