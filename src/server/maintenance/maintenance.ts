// The server's timers: each round runs its tasks one after another; what fails is logged, and the round goes on.

import { join } from "node:path";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import type { DiagnosticsService } from "../diagnostics/service.ts";
import { type DataFiles, removeFile } from "../files.ts";
import type { Metrics } from "../metrics.ts";
import type { MaintenanceOptions, RetentionOptions } from "../options.ts";
import type { Outbox } from "../outbox.ts";
import type { CampaignService } from "../ota/campaigns.ts";
import type { UpdateService } from "../ota/updates.ts";
import type { Registry } from "../registry.ts";
import type { ServerState } from "../state.ts";
import type { FileKind, Store } from "../store/mod.ts";
import type { ImageRepository } from "../uptane/image_repository.ts";

export interface MaintenanceServiceOptions extends MaintenanceOptions {
  retention: RetentionOptions;
  /** How long a message waits in a broker session, in milliseconds. */
  maxQueuedAge: number;
  store: Store;
  files: DataFiles;
  registry: Registry;
  updates: UpdateService;
  campaigns: CampaignService;
  diagnostics: DiagnosticsService;
  outbox: Outbox;
  repository: Pick<ImageRepository, "maintain">;
  state: ServerState;
  metrics: Metrics;
  log: Logger;
}

const day = 86_400_000;
/** Files younger than this may belong to an upload or a build that has not entered its row yet. */
const fileAge = 86_400_000;
/** Between two rounds of the slow tasks, in milliseconds. */
const slowInterval = 3_600_000;
/** Longest time for one task. */
const taskLimit = 60_000;
/** A package that has been building for this long lost its builder. */
const abandonedBuild = 3_600_000;
/** Names looked at together. */
const chunk = 500;

interface Task {
  readonly name: string;
  readonly interval: number;
  /** It may take long: the round does not wait for it, and leaves it out while it runs. */
  readonly beside: boolean;
  run(signal: AbortSignal): Promise<void>;
  due: number;
}

export class Maintenance {
  readonly #options: MaintenanceServiceOptions;
  readonly #interval: number;
  readonly #offlineAfter: number;
  readonly #tasks: Task[];
  readonly #stop = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #round: Promise<void> = Promise.resolve();
  /** Tasks that run beside the rounds. */
  readonly #beside = new Map<Task, Promise<void>>();

  constructor(options: MaintenanceServiceOptions) {
    this.#options = options;
    this.#interval = options.interval ?? 10_000;
    this.#offlineAfter = options.offlineAfter ?? 90_000;
    if (!(this.#interval > 0)) {
      throw new RangeError(`maintenance: interval must be above 0 ms, got ${this.#interval}`);
    }
    if (!(this.#offlineAfter > 0)) {
      throw new RangeError(`maintenance: offlineAfter must be above 0 ms, got ${this.#offlineAfter}`);
    }
    const { store, registry, updates, campaigns, diagnostics, outbox, repository } = options;
    const often = (name: string, run: Task["run"], beside = false): Task => ({
      name,
      interval: 0,
      beside,
      run,
      due: 0,
    });
    const seldom = (name: string, run: Task["run"]): Task => ({
      ...often(name, run),
      interval: slowInterval,
    });
    this.#tasks = [
      often("offline vehicles", async () => void await registry.sweepSilent(this.#offlineAfter)),
      often("silent updates", async () => void await updates.reports.sweepSilent()),
      often("updates out of time", async () => void await campaigns.sweepDeadlines()),
      // Packages are built for them.
      often("further attempts", async (signal) => void await campaigns.sweepRetries(signal), true),
      often("unanswered diagnostics", async () => void await diagnostics.sweepTimedOut()),
      often("undelivered messages", () => outbox.flushUndelivered()),
      often("signed metadata", () => repository.maintain()),
      often("statistics", () => this.#statistics()),
      seldom("old rows", (signal) => this.#oldRows(signal)),
      seldom("abandoned builds", async () => void await store.packages.failAbandoned(abandonedBuild)),
      seldom("temporary files", (signal) => this.#temporaryFiles(signal)),
      seldom("unused files", (signal) => this.#unusedFiles(signal)),
      seldom("database space", () => store.tidy()),
    ];
  }

  /** Begins; the first round runs after one interval. */
  start(): void {
    this.#schedule();
  }

  /** Ends after the task that runs, which is told to end. What runs beside may go on: see {@link settle}. */
  async stop(): Promise<void> {
    this.#stop.abort(new DOMException("the server is stopping", "AbortError"));
    clearTimeout(this.#timer);
    await this.#round;
  }

  /** Waits for what runs beside, once it is stopped. */
  async settle(): Promise<void> {
    await Promise.all(this.#beside.values());
  }

  /** Runs every task that is due, one after another. */
  async runRound(now: number = Date.now()): Promise<void> {
    for (const task of this.#tasks) {
      if (this.#stop.signal.aborted) return;
      if (now < task.due || this.#beside.has(task)) continue;
      task.due = now + task.interval;
      const run = this.#run(task);
      if (task.beside) this.#beside.set(task, run.finally(() => this.#beside.delete(task)));
      else await run;
    }
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#round = this.runRound().finally(() => {
        if (!this.#stop.signal.aborted) this.#schedule();
      });
    }, this.#interval);
  }

  async #run(task: Task): Promise<void> {
    const { metrics, log, state } = this.#options;
    const stop = this.#stop.signal;
    const signal = task.beside ? stop : AbortSignal.any([stop, AbortSignal.timeout(taskLimit)]);
    try {
      await state.during("MAINTENANCE", () => task.run(signal));
      metrics.maintenanceRuns.inc({ task: task.name, result: "done" });
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      metrics.maintenanceRuns.inc({ task: task.name, result: "failed" });
      log.error(`Maintenance of ${task.name} failed: ${describeError(error)}`);
    }
  }

  async #statistics(): Promise<void> {
    const { store, metrics } = this.#options;
    const { counts } = await store.statistics.refresh();
    metrics.vehicles.set({ status: "online" }, counts.vehicles.online);
    metrics.vehicles.set({ status: "offline" }, counts.vehicles.offline);
    const active = Object.entries(counts.updates)
      .filter(([status]) => !["completed", "failed", "cancelled"].includes(status))
      .reduce((sum, [, count]) => sum + count, 0);
    metrics.activeUpdates.set(active);
  }

  async #oldRows(signal: AbortSignal): Promise<void> {
    const { retention, store, log } = this.#options;
    const deleted = await store.retention.apply({
      telemetry: retention.telemetry ?? 30 * day,
      anomalies: retention.anomalies ?? 90 * day,
      diagnostics: retention.diagnostics ?? 90 * day,
      updates: retention.updates ?? 365 * day,
      vci: retention.vci ?? 90 * day,
      addresses: retention.addresses ?? 90 * day,
      packages: retention.packages ?? 7 * day,
      commands: retention.diagnostics ?? 90 * day,
      // As long as telemetry itself is known by its message_id.
      inbound: retention.telemetry ?? 30 * day,
      rejected: retention.diagnostics ?? 90 * day,
      mqttQueue: this.#options.maxQueuedAge,
      mqttIncoming: this.#options.maxQueuedAge,
    }, { signal });
    const found = Object.entries(deleted).filter(([, count]) => count > 0);
    if (found.length > 0) log.info("Old rows deleted", Object.fromEntries(found));
  }

  async #temporaryFiles(signal: AbortSignal): Promise<void> {
    const { files, log } = this.#options;
    let removed = 0;
    for (const directory of [files.temporary, files.images, files.packages, files.deltas]) {
      for await (const { name, isFile } of Deno.readDir(directory)) {
        signal.throwIfAborted();
        if (!isFile || !/\.tmp(?:\.sorted)?$/.test(name)) continue;
        if (await isOld(join(directory, name)) && await removeFile(join(directory, name))) removed++;
      }
    }
    if (removed > 0) log.info(`Removed ${removed} left-over temporary file(s)`);
  }

  async #unusedFiles(signal: AbortSignal): Promise<void> {
    const { files } = this.#options;
    await this.#unused(files.images, "payloads", ".bin", signal);
    await this.#unused(files.images, "blobs", ".zst", signal);
    await this.#unused(files.packages, "packages", ".pkg", signal);
    await this.#oldDeltas(signal);
  }

  /** Deltas that no package has been built with for as long as packages are kept: they can be made again. */
  async #oldDeltas(signal: AbortSignal): Promise<void> {
    const { files, retention, log } = this.#options;
    const limit = Math.max(retention.packages ?? 7 * day, fileAge);
    let removed = 0;
    for await (const { name, isFile } of Deno.readDir(files.deltas)) {
      signal.throwIfAborted();
      if (!isFile || !/^[0-9a-f]{64}_[0-9a-f]{64}\.zst$/.test(name)) continue;
      const path = join(files.deltas, name);
      if (await isOld(path, limit) && await removeFile(path)) removed++;
    }
    if (removed > 0) log.info(`Removed ${removed} delta(s) that were not used any more`);
  }

  async #unused(directory: string, kind: FileKind, suffix: string, signal: AbortSignal): Promise<void> {
    const { store, log } = this.#options;
    let names: string[] = [];
    let removed = 0;
    const sweep = async () => {
      for (const sha256 of await store.retention.unreferenced(kind, names)) {
        if (await removeFile(join(directory, sha256 + suffix))) removed++;
      }
      names = [];
    };
    for await (const { name, isFile } of Deno.readDir(directory)) {
      signal.throwIfAborted();
      if (!isFile || !/^[0-9a-f]{64}\.[a-z]+$/.test(name) || !name.endsWith(suffix)) continue;
      if (!await isOld(join(directory, name))) continue;
      names.push(name.slice(0, 64));
      if (names.length === chunk) await sweep();
    }
    if (names.length > 0) await sweep();
    if (removed > 0) log.info(`Removed ${removed} file(s) of ${kind} that nothing refers to`);
  }
}

async function isOld(path: string, limit = fileAge): Promise<boolean> {
  try {
    const { mtime } = await Deno.stat(path);
    return mtime !== null && Date.now() - mtime.getTime() > limit;
  } catch (error) {
    // Somebody else removed it.
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
