// What is told about an update under way: each report is a whole picture, so that a newer one may take the place of one
// that waits. A change of state is told at once, progress alone at an interval.

import type { Approver, ReportedWait } from "../../contract/campaign.ts";
import { topicOf } from "../../contract/mqtt.ts";
import type { EcuReport, UpdateReport, UpdateStatus } from "../../contract/ota.ts";
import type { Outbox } from "../link/outbox.ts";
import type { EcuUpdateStatus } from "./journal.ts";

/** Longest text of an error that the contract takes. */
const maxError = 2_000;

/** Least time until a report that could not be queued is tried again, milliseconds. */
const retryTime = 1_000;

/** Shares of the whole, per cent: where downloading, verifying and installing begin and end. */
const share = { download: 0, verify: 30, install: 35, end: 100 } as const;

/** One ECU as it is reported. */
export interface EcuState {
  ecuId: string;
  status: EcuUpdateStatus;
  /** Per cent. */
  progress: number;
  step: string | null;
  error: string | null;
  /** Bytes that its step is through with; null where it has none to tell of. */
  bytes: number | null;
  /** Bytes per second. */
  speed: number | null;
  /** Seconds. */
  timeLeft: number | null;
  /** Bytes of its image, for its share of the whole; 1 before that is known. */
  weight: number;
}

/** Options of {@link UpdateReporter}. */
export interface UpdateReporterOptions {
  vmgId: string;
  updateId: string;
  status: UpdateStatus;
  ecus: readonly EcuState[];
  outbox: Outbox;
  /** Least time between two reports of progress alone, milliseconds. */
  interval: number;
  /** Time between two reports while the vehicle waits, milliseconds: nothing changes then, and it is there all the same. */
  waitInterval: number;
  /** Who approved the update. */
  approvedBy?: Approver | null;
  /** Told when a report could not be queued; the next one comes after a while. */
  onFault?: (error: unknown) => void;
}

/** The picture of one update and its reports. */
export class UpdateReporter {
  readonly #options: UpdateReporterOptions;
  readonly #ecus: Map<string, EcuState>;
  #status: UpdateStatus;
  #stageDone = 0;
  #sent = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waitTimer: ReturnType<typeof setInterval> | undefined;
  #waiting: ReportedWait | undefined;
  #approvedBy: Approver | null;
  #over = false;

  constructor(options: UpdateReporterOptions) {
    this.#options = options;
    this.#status = options.status;
    this.#approvedBy = options.approvedBy ?? null;
    this.#ecus = new Map(options.ecus.map((ecu) => [ecu.ecuId, { ...ecu }]));
  }

  get ecus(): readonly Readonly<EcuState>[] {
    return [...this.#ecus.values()];
  }

  /** What the vehicle waits for. */
  get waiting(): ReportedWait | undefined {
    return this.#waiting;
  }

  /** The update enters a stage. @throws when that cannot be queued */
  enter(status: UpdateStatus): void {
    this.#status = status;
    this.#stageDone = 0;
    this.#send();
  }

  /** How much of downloading or verifying is done, 0 … 1. */
  stage(done: number): void {
    this.#stageDone = Math.min(1, Math.max(0, done));
    this.#sendLater();
  }

  /** Something about an ECU changes. */
  ecu(ecuId: string, change: Partial<Omit<EcuState, "ecuId">>): void {
    const ecu = this.#ecus.get(ecuId);
    if (ecu === undefined) return;
    const { status } = ecu;
    Object.assign(ecu, change);
    if (ecu.status === status) this.#sendLater();
    else this.#trySend();
  }

  /** The vehicle waits for something, or no longer. */
  wait(waiting: ReportedWait | undefined): void {
    this.#waiting = waiting;
    clearInterval(this.#waitTimer);
    this.#waitTimer = waiting && setInterval(() => this.#trySend(), this.#options.waitInterval);
    this.#trySend();
  }

  /** Somebody approved the update. */
  approved(by: Approver): void {
    this.#approvedBy = by;
    this.#trySend();
  }

  /**
   * Queues the last report. To be called within the transaction that ends the update.
   * @param retryable whether another attempt may mend what failed
   */
  finish(status: UpdateStatus, error: string | null, retryable = true): void {
    this.#status = status;
    this.#waiting = undefined;
    this.close();
    this.#queue("final", error, status === "failed" ? retryable : undefined);
  }

  /** Sends nothing more. */
  close(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    clearInterval(this.#waitTimer);
  }

  /** Per cent of the whole. */
  get progress(): number {
    if (this.#status === "completed") return 100;
    let begin: number = share.install;
    let end: number = share.end;
    let done = this.#stageDone;
    if (this.#status === "accepted" || this.#status === "downloading") {
      [begin, end] = [share.download, share.verify];
    } else if (this.#status === "verifying") [begin, end] = [share.verify, share.install];
    else {
      const ecus = [...this.#ecus.values()];
      const all = ecus.reduce((sum, { weight }) => sum + weight, 0);
      done = ecus.reduce((sum, { weight, progress }) => sum + weight * progress / 100, 0) / (all || 1);
      // An update that ended before it came to installing did nothing of it.
      if (done === 0 && this.#status !== "installing") return 0;
    }
    return rounded(begin + (end - begin) * done);
  }

  #sendLater(): void {
    if (this.#over || this.#timer !== undefined) return;
    const wait = this.#sent + this.#options.interval - Date.now();
    if (wait <= 0) this.#trySend();
    else this.#timer = setTimeout(() => this.#trySend(), wait);
  }

  /** What is told of the work must not end it: a disk that takes no report now may take the next one. */
  #trySend(): void {
    try {
      this.#send();
    } catch (error) {
      const { interval, onFault } = this.#options;
      onFault?.(error);
      this.#timer = setTimeout(() => this.#trySend(), Math.max(interval, retryTime));
    }
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#over) return;
    this.#sent = Date.now();
    this.#queue("progress", null);
  }

  #queue(kind: "progress" | "final", error: string | null, retryable?: boolean): void {
    const { vmgId, updateId, outbox } = this.#options;
    const report: Omit<UpdateReport, "message_id" | "status"> & { status: UpdateStatus } = {
      update_id: updateId,
      status: this.#status,
      progress: this.progress,
      ecus: [...this.#ecus.values()].map(toReport),
      ...(error === null ? {} : { error: clipped(error) }),
      ...(this.#waiting === undefined ? {} : { waiting: this.#waiting }),
      ...(this.#approvedBy === null ? {} : { approved_by: this.#approvedBy }),
      ...(retryable === undefined ? {} : { retryable }),
      timestamp: new Date().toISOString(),
    };
    outbox.add({ topic: topicOf(vmgId, "ota/status"), payload: report, kind, slot: `update ${updateId}` });
  }
}

function toReport(
  { ecuId, status, progress, step, error, bytes, speed, timeLeft }: EcuState,
): EcuReport {
  return {
    ecu_id: ecuId,
    status,
    progress: rounded(progress),
    ...(step === null ? {} : { step }),
    ...(bytes === null ? {} : { bytes }),
    ...(speed === null ? {} : { speed: Math.round(speed) }),
    ...(timeLeft === null ? {} : { time_left: rounded(timeLeft) }),
    ...(error === null ? {} : { error: clipped(error) }),
  };
}

function rounded(progress: number): number {
  return Math.round(progress * 10) / 10;
}

function clipped(text: string): string {
  return text.length <= maxError ? text : `${text.slice(0, maxError - 1)}…`;
}
