// Does the updates of the journal, one at a time and oldest first: download, verify, install, report. Whatever interrupts
// it, an update that was taken goes on at the next start and has a reported end.

import type { EcuIdentification } from "../../../hardware/flash/identification.ts";
import type { RestClient } from "../../contract/client.ts";
import { type UpdateStatus, updateStatus } from "../../contract/ota.ts";
import { pathOf, routes } from "../../contract/routes.ts";
import { openPackage, type UpdatePackage } from "../../codec/open_package.ts";
import { PackageError } from "../../codec/errors.ts";
import type { CodecPool } from "../../codec/pool.ts";
import type { Logger } from "../../log.ts";
import type { VerifyKey } from "../../pqc/signature.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { CancelRequested, DownloadError, explain, StopRequested } from "../errors.ts";
import type { Outbox } from "../link/outbox.ts";
import type { UpdateSettings } from "../options.ts";
import { mapBounded } from "../parallel.ts";
import type { VehicleDescription } from "../vehicle.ts";
import { orAborted } from "../wait.ts";
import { downloadPackage, removePackage } from "./download.ts";
import { installPackage } from "./install.ts";
import type { JournalUpdate, NewUpdate, UpdateJournal } from "./journal.ts";
import { UpdateReporter } from "./report.ts";
import { lookAtStopped } from "./stopped.ts";
import { checkHardware, findTargets, type Target } from "./targets.ts";

/** Options of {@link UpdateRunner}. */
export interface UpdateRunnerOptions {
  vehicle: VehicleDescription;
  bus: VehicleBus;
  journal: UpdateJournal;
  outbox: Outbox;
  rest: RestClient;
  /** e.g. `https://localhost:8443`: packages come from there and nowhere else. */
  origin: string;
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  pool: CodecPool;
  /** Folder for packages and images. */
  directory: string;
  settings: Required<UpdateSettings>;
  /** ECUs of one zonal gateway that are read at once. */
  parallelReads: number;
  /** An update has ended. */
  onEnded: (update: JournalUpdate, status: UpdateStatus) => void;
  log: Logger;
}

const stages = updateStatus.options;

/** What the verification found. */
interface Verified {
  bundle: UpdatePackage;
  targets: Target[];
  found: Map<string, EcuIdentification>;
}

/** The updates of one vehicle. */
export class UpdateRunner {
  readonly #options: UpdateRunnerOptions;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #wake: () => void = () => {};
  #current: { updateId: string; cancel: AbortController; installing: boolean } | undefined;

  constructor(options: UpdateRunnerOptions) {
    this.#options = options;
    this.#log = options.log.child("OTA");
  }

  /** Whether ECUs are being changed. */
  get installing(): boolean {
    return this.#current?.installing ?? false;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends what is under way where the next start goes on. */
  async stop(): Promise<void> {
    this.#stopping.abort(new StopRequested("the gateway stops"));
    await this.#running;
  }

  /** Takes an update on; one that is known already is not begun again. To be called within a transaction. */
  accept(update: NewUpdate): void {
    const { journal } = this.#options;
    if (!journal.add(update)) {
      this.#log.info(`Update ${update.updateId} is known already`);
      return;
    }
    this.#log.info(`Update ${update.updateId} accepted: ${update.targetEcus.join(", ")}`);
    const accepted = journal.get(update.updateId);
    if (accepted !== undefined) this.#reporter(accepted).enter("accepted");
    // The work begins after the transaction around this.
    setTimeout(() => this.#wake(), 0);
  }

  /** Cancels an update. To be called within a transaction. */
  cancel(updateId: string): void {
    const { journal, outbox, vehicle, settings } = this.#options;
    const known = journal.get(updateId);
    if (known === undefined) {
      const error = "cancelled before it was begun";
      journal.addCancelled(updateId, error);
      const { vmgId } = vehicle;
      new UpdateReporter({
        vmgId,
        updateId,
        status: "cancelled",
        ecus: [],
        outbox,
        interval: settings.reportInterval,
      }).finish("cancelled", error);
      this.#log.info(`Update ${updateId} is cancelled; its start was never heard of`);
    } else if (journal.requestCancel(updateId)) {
      this.#log.info(`Update ${updateId} is to be cancelled`);
      setTimeout(() => {
        if (this.#current?.updateId === updateId) {
          this.#current.cancel.abort(new CancelRequested("cancelled on request"));
        }
      }, 0);
    } else {
      this.#log.info(`Update ${updateId} cannot be cancelled: it is ${known.status}`);
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      const update = this.#options.journal.next();
      if (update === undefined) await orAborted(woken, signal).catch(() => {}); // The loop's condition sees the end.
      else await this.#update(update);
    }
  }

  #reporter(update: JournalUpdate): UpdateReporter {
    const { vehicle, outbox, settings, journal } = this.#options;
    return new UpdateReporter({
      vmgId: vehicle.vmgId,
      updateId: update.updateId,
      status: update.status,
      ecus: journal.ecus(update.updateId).map((ecu) => ({
        ...ecu,
        progress: ecu.status === "completed" ? 100 : 0,
        weight: 1,
      })),
      outbox,
      interval: settings.reportInterval,
    });
  }

  async #update(update: JournalUpdate): Promise<void> {
    const { updateId } = update;
    const current = { updateId, cancel: new AbortController(), installing: false };
    this.#current = current;
    const stop = this.#stopping.signal;
    const signal = AbortSignal.any([stop, current.cancel.signal]);
    const reporter = this.#reporter(update);
    // The request may have come between the journal's answer and this.
    if (this.#options.journal.get(updateId)?.cancelRequested) {
      current.cancel.abort(new CancelRequested("cancelled on request"));
    }
    if (update.status !== "accepted") this.#log.info(`Update ${updateId} goes on: it was ${update.status}`);
    let stage = "download";
    try {
      let fetched = await this.#download(update, reporter, signal);
      stage = "verify";
      let verified: Verified;
      try {
        verified = await this.#verify(update, fetched.path, reporter, signal);
      } catch (error) {
        // What an earlier run wrote may be torn where the power went: the length is there, the bytes are not.
        if (!(error instanceof PackageError) || !fetched.earlier) throw error;
        this.#log.warn(
          `Package ${update.packageId}, part of which an earlier run fetched, is refused: ${
            explain(error)
          }. ` +
            "It is fetched once more, from its first byte",
        );
        await this.#removePackage(update);
        stage = "download";
        fetched = await this.#download(update, reporter, signal);
        stage = "verify";
        verified = await this.#verify(update, fetched.path, reporter, signal);
      }
      stage = "install";
      current.installing = true;
      await this.#install(update, verified, reporter, signal);
      this.#finish(update, reporter, signal);
    } catch (error) {
      if (stop.aborted) {
        this.#log.info(`Update ${updateId} rests until the next start`);
        return;
      }
      await this.#lookAtBegun(reporter);
      if (current.cancel.signal.aborted) this.#end(update, reporter, "cancelled", "cancelled on request");
      else {
        this.#end(update, reporter, "failed", `${stage}: ${explain(error)}`);
        this.#log.debug(`Update ${updateId}`, { error });
      }
    } finally {
      reporter.close();
      this.#current = undefined;
    }
    await this.#cleanUp(update);
    const ended = this.#options.journal.get(updateId);
    if (ended !== undefined) this.#options.onEnded(ended, ended.status);
  }

  /** ECUs that an earlier run began to flash and this one did not come to: what is in them is told with the end. */
  async #lookAtBegun(reporter: UpdateReporter): Promise<void> {
    for (const { ecuId, status } of reporter.ecus) {
      if (status !== "installing") continue;
      reporter.ecu(ecuId, {
        error: (await lookAtStopped(this.#options.bus, ecuId, "interrupted")).text,
      });
    }
  }

  /** An update that is gone on with is not told to be further back than it was. */
  #enter(update: JournalUpdate, reporter: UpdateReporter, status: UpdateStatus): void {
    if (stages.indexOf(status) <= stages.indexOf(update.status)) return;
    this.#options.journal.setStatus(update.updateId, status);
    reporter.enter(status);
    this.#log.info(`Update ${update.updateId}: ${status}`);
  }

  /** @returns the file, and whether bytes of an earlier run are in it */
  async #download(
    update: JournalUpdate,
    reporter: UpdateReporter,
    signal: AbortSignal,
  ): Promise<{ path: string; earlier: boolean }> {
    const { journal, rest, directory, settings, origin } = this.#options;
    const { packageId, downloadUrl, etag, size } = update;
    signal.throwIfAborted();
    if (packageId === null || downloadUrl === null) {
      throw new DownloadError(`update ${update.updateId}: the journal names no package`);
    }
    checkUrl(downloadUrl, origin, packageId);
    this.#enter(update, reporter, "downloading");
    let earlier = true;
    const path = await downloadPackage({
      rest,
      packageId,
      directory,
      ...(size === null ? {} : { known: { etag, size } }),
      maxSize: settings.maxPackageSize,
      minFree: settings.minFreeDisk,
      patience: settings.downloadPatience,
      retryDelay: settings.retryDelay,
      maxRetryDelay: settings.maxRetryDelay,
      onBegin: (tag, total) => {
        earlier = false;
        journal.setDownload(update.updateId, tag, total);
      },
      onProgress: (done, total) => reporter.stage(total > 0 ? done / total : 0),
      signal,
      log: this.#log,
    });
    return { path, earlier };
  }

  async #verify(
    update: JournalUpdate,
    path: string,
    reporter: UpdateReporter,
    signal: AbortSignal,
  ): Promise<Verified> {
    const { vehicle, verifyKeys, pool, settings, bus, parallelReads } = this.#options;
    this.#enter(update, reporter, "verifying");
    const bundle = await openPackage(path, {
      verifyKeys,
      expectVehicle: vehicle.vin,
      pool,
      limits: { maxFile: settings.maxPackageSize },
    });
    const targets = findTargets(bundle.manifest, update, vehicle);
    await bundle.verifyBlobs({
      signal,
      onProgress: ({ done, total }) => reporter.stage(total > 0 ? done / total : 1),
    });
    this.#log.info(
      `Package ${bundle.manifest.package_id} verified: signed by ${bundle.manifest.key_id.slice(0, 16)}…, ` +
        `${targets.length} images`,
    );
    const zones = [...Map.groupBy(targets, ({ ecu }) => ecu.zonalGatewayId).values()];
    const found = await Promise.all(zones.map((zone) =>
      mapBounded(zone, parallelReads, async (target) =>
        [
          target.ecu.ecuId,
          await checkHardware(target, bus, `update ${update.updateId}`, signal),
        ] as const)
    ));
    return { bundle, targets, found: new Map(found.flat()) };
  }

  async #install(
    update: JournalUpdate,
    { bundle, targets, found }: Verified,
    reporter: UpdateReporter,
    signal: AbortSignal,
  ): Promise<void> {
    const { journal, bus, directory, settings } = this.#options;
    const { updateId } = update;
    for (const { ecu, entry } of targets) reporter.ecu(ecu.ecuId, { weight: entry.image.size });
    this.#enter(update, reporter, "installing");
    await installPackage({
      update,
      bundle,
      targets,
      found,
      journal: new Map(journal.ecus(updateId).map((ecu) => [ecu.ecuId, ecu])),
      bus,
      directory,
      fingerprint: settings.fingerprint,
      onEcu: (ecu) => {
        // After the stop the state belongs to the next start.
        if (this.#stopping.signal.aborted) return;
        journal.setEcu(updateId, ecu);
        const { status, step, error } = ecu;
        reporter.ecu(ecu.ecuId, {
          status,
          step,
          error,
          ...(status === "completed" ? { progress: 100 } : {}),
        });
      },
      onProgress: (ecuId, change) => reporter.ecu(ecuId, change),
      signal,
      log: this.#log,
    });
  }

  /** Every ECU has an end: this is the update's. */
  #finish(update: JournalUpdate, reporter: UpdateReporter, signal: AbortSignal): void {
    const failed = reporter.ecus.filter(({ status }) => status === "failed");
    const stopped = reporter.ecus.filter(({ status }) => status === "cancelled");
    if (failed.length > 0) {
      this.#end(update, reporter, "failed", failed.map(({ error }) => error).join("; "));
    } else if (stopped.length > 0 && signal.aborted) {
      const errors = stopped.flatMap(({ ecuId, error }) => error === null ? [] : [`${ecuId} ${error}`]);
      this.#end(update, reporter, "cancelled", ["cancelled on request", ...errors].join("; "));
    } else {
      // A cancel that came when all was done changes nothing.
      this.#end(update, reporter, "completed", null);
    }
  }

  /** Writes the end down together with the report of it. ECUs that were not begun never will be. */
  #end(update: JournalUpdate, reporter: UpdateReporter, status: UpdateStatus, error: string | null): void {
    const { journal } = this.#options;
    const { updateId } = update;
    journal.transaction(() => {
      for (const { ecuId, status: at, step, error: note } of reporter.ecus) {
        if (at !== "pending" && at !== "installing") continue;
        journal.setEcu(updateId, { ecuId, status: "cancelled", step, error: note });
        reporter.ecu(ecuId, { status: "cancelled" });
      }
      journal.finish(updateId, status, error);
      reporter.finish(status, error);
    });
    if (status === "completed") this.#log.info(`Update ${updateId} completed`);
    else this.#log.warn(`Update ${updateId} ${status}: ${error}`);
  }

  async #removePackage({ packageId }: JournalUpdate): Promise<void> {
    if (packageId !== null) await removePackage(this.#options.directory, packageId);
  }

  async #cleanUp(update: JournalUpdate): Promise<void> {
    try {
      await this.#removePackage(update);
    } catch (error) {
      // The update has its end; what stays on the disk is said and does no harm.
      this.#log.warn(`Package ${update.packageId} stays in ${this.#options.directory}`, { error });
    }
  }
}

/** A command must not make the vehicle fetch from anywhere but its server. */
function checkUrl(url: string, origin: string, packageId: string): void {
  const expected = new URL(pathOf(routes.downloadPackage, { id: packageId }), origin).href;
  const parsed = URL.canParse(url, origin) ? new URL(url, origin).href : undefined;
  if (parsed !== expected) throw new DownloadError(`download_url: expected ${expected}, got ${url}`);
}
