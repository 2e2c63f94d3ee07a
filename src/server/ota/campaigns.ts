// What lets an update begin, how long it may take and how often it is tried: approvals, further attempts, time that runs out.

import { CodecBusyError } from "../../codec/errors.ts";
import { control as controlSchema } from "../../contract/mqtt.ts";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import { controlMessage, type Outbox } from "../outbox.ts";
import { StoreError } from "../store/errors.ts";
import type { Store, Update } from "../store/mod.ts";
import { NothingToUpdate } from "./targets.ts";
import type { UpdateService } from "./updates.ts";

export interface CampaignsOptions {
  store: Store;
  updates: Pick<UpdateService, "retry" | "cancel" | "latestAttempt" | "reports">;
  outbox: Outbox;
  log: Logger;
  /** How long a command waits for its vehicle, in milliseconds. @default 86400000 */
  commandTimeout?: number;
  /** How long a vehicle may be silent once an update's time has run out, in milliseconds. @default 300000 */
  deadlineGrace?: number;
  /** @default the system's clock */
  now?: () => Date;
}

/** The update cannot be approved. */
export class NotApprovable extends Error {
  override readonly name = "NotApprovable";
  constructor(message: string, readonly code: "update_ended" | "cancel_requested" | "no_approval_needed") {
    super(message);
  }
}

export class CampaignService {
  readonly #options: CampaignsOptions;
  readonly #store: Store;
  readonly #log: Logger;
  readonly #commandTimeout: number;
  readonly #grace: number;
  /** Updates whose next attempt waits for a report that was asked for. */
  readonly #asked = new Set<string>();

  constructor(options: CampaignsOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#log = options.log;
    this.#commandTimeout = options.commandTimeout ?? 86_400_000;
    this.#grace = options.deadlineGrace ?? 300_000;
    if (!(this.#grace >= 0)) throw new RangeError(`deadlineGrace must be at least 0 ms, got ${this.#grace}`);
  }

  /**
   * Approves an update, of one that was tried again the last attempt. Approving it again changes nothing and sends nothing.
   * @param operator who does, for the log
   * @throws {NotFoundError} {@link NotApprovable}
   */
  async approve(updateId: string, operator: string): Promise<{ update: Update; message: string }> {
    const { updates, outbox } = this.#options;
    const found = await updates.latestAttempt(updateId);
    if (found.mode !== "approve") {
      throw new NotApprovable(
        `update ${found.updateId} needs no approval: its mode is ${found.mode}`,
        "no_approval_needed",
      );
    }
    const vehicle = await this.#store.vehicles.get(found.vin);
    const fresh = await this.#store.transaction(async (tx) => {
      const fresh = await tx.campaigns.approve(found.updateId);
      if (fresh !== true) return fresh;
      const command = controlSchema.parse({
        message_id: outbox.newId(),
        command: "APPROVE_OTA_UPDATE",
        update_id: found.updateId,
      });
      const lifetime = this.#commandTimeout;
      await outbox.enter(controlMessage(vehicle, command, { lifetime, updateId: found.updateId }), tx);
      return fresh;
    });
    const update = await updates.latestAttempt(found.updateId);
    if (fresh === null) throw refusal(update);
    const { approvedBy, approvedAt } = update;
    if (!fresh) {
      const message =
        `it was approved before, by the ${approvedBy} at ${approvedAt?.toISOString()}: nothing to do`;
      return { update, message };
    }
    this.#log.info(`Update ${update.updateId} of ${vehicle.vmgId} approved by ${operator}`);
    updates.reports.tell(update);
    outbox.flush(vehicle.vin);
    return { update, message: "approved; the vehicle is told, and goes on once it is parked" };
  }

  /**
   * Begins the attempts that are due.
   * @param signal the server stops: what has not begun by then begins after its next start
   * @returns how many
   */
  async sweepRetries(signal: AbortSignal): Promise<number> {
    let begun = 0;
    for (const failed of await this.#store.campaigns.due()) {
      signal.throwIfAborted();
      try {
        if (await this.#options.updates.retry(failed) !== undefined) begun++;
        this.#asked.delete(failed.updateId);
      } catch (error) {
        // The database is away, or the server stops: the next round, or the next start, tries it once more.
        if (error instanceof StoreError || signal.aborted) throw error;
        // As it does where too much is being built.
        if (error instanceof CodecBusyError) throw error;
        // So it does where the vehicle has yet to say what it runs.
        if (error instanceof NothingToUpdate && error.code === "no_report" && this.#mayReportYet(failed)) {
          await this.#askForReport(failed);
          continue;
        }
        const why = describeError(error).slice(0, 500);
        this.#asked.delete(failed.updateId);
        if (!await this.#store.campaigns.callOff(failed.updateId, why)) continue;
        this.#log.warn(`Update ${failed.updateId} of ${failed.vin} is not tried again: ${why}`);
        this.#options.updates.reports.tell({ ...failed, retryAt: null });
      }
    }
    return begun;
  }

  /** Asks the vehicle what it runs, once for each update that waits for that. */
  async #askForReport({ updateId, vin }: Update): Promise<void> {
    if (this.#asked.has(updateId)) return;
    const vehicle = await this.#options.updates.reports.askForReport(vin);
    this.#asked.add(updateId);
    this.#log.info(`Update ${updateId}: its next attempt waits for a report of ${vehicle?.vmgId ?? vin}`);
  }

  #mayReportYet({ retryAt, deadline }: Update): boolean {
    const now = (this.#options.now?.() ?? new Date()).getTime();
    return retryAt !== null && now < retryAt.getTime() + this.#commandTimeout &&
      (deadline === null || now < deadline.getTime());
  }

  /** Stops updates whose time has run out, and gives up those whose vehicle says nothing then. @returns how many */
  async sweepDeadlines(): Promise<number> {
    const { updates } = this.#options;
    const late = await this.#store.campaigns.pastDeadline();
    for (const { updateId, deadline } of late) {
      await updates.cancel(updateId, `its time ran out at ${deadline?.toISOString()}`);
    }
    const overdue = await this.#store.campaigns.failOverdue(this.#grace);
    for (const update of overdue) await updates.reports.endedHere(update);
    return late.length + overdue.length;
  }
}

function refusal({ updateId, status, ended }: Update): NotApprovable {
  return ended === null
    ? new NotApprovable(`update ${updateId} is to be cancelled`, "cancel_requested")
    : new NotApprovable(`update ${updateId} has ended: ${status}`, "update_ended");
}
