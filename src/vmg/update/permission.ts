// What lets an update change ECUs: somebody's approval, a parked vehicle, conditions. Waiting for an approval may take days and
// outlives the gateway: what was approved is on disk.

import type { Approver, ReportedWait } from "../../contract/campaign.ts";
import type { Logger } from "../../log.ts";
import { ApprovalError } from "../errors.ts";
import type { UpdateCondition, UpdateSettings } from "../options.ts";
import type { TelemetrySource } from "../telemetry.ts";
import { orAborted } from "../../wait.ts";
import { type ApprovalOutcome, approveUpdate, type UpdateRecords } from "./approvals.ts";
import { waitForConditions } from "./conditions.ts";
import type { UpdateTimer } from "./deadline.ts";

/** Options of {@link Permissions}. */
export interface PermissionOptions extends UpdateRecords {
  /** Measured values. undefined: there are none */
  source: TelemetrySource | undefined;
  settings: Pick<
    Required<UpdateSettings>,
    "conditions" | "conditionTimeout" | "conditionInterval" | "parked" | "parkedTimeout" | "approvalTimeout"
  >;
  /** Tells the time that the wait for an approval is noted by. */
  timer: Pick<UpdateTimer, "now">;
  /** An update was approved. */
  onApproved: (updateId: string, by: Approver) => void;
  log: Logger;
}

/** An update that waits. */
export interface WaitingUpdate {
  readonly updateId: string;
  /** What its package asks for. */
  readonly conditions: readonly UpdateCondition[];
  readonly onWait: (wait: ReportedWait | undefined) => void;
  readonly signal: AbortSignal;
}

/** Longest time that one timer of the system can wait, milliseconds. */
const longestTimer = 2 ** 31 - 1;

/** The permissions of one vehicle's updates. */
export class Permissions {
  readonly #options: PermissionOptions;
  readonly #log: Logger;
  readonly #waiting = new Map<string, () => void>();

  constructor(options: PermissionOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  /** Approves an update, as {@link approveUpdate} does, and goes on with it. To be called within a transaction. */
  approve(updateId: string, by: Approver): ApprovalOutcome {
    const outcome = approveUpdate(this.#options, updateId, by);
    this.#log.info(`Approval of update ${updateId} by the ${by}: ${outcome.replaceAll("_", " ")}`);
    if (outcome === "approved") {
      // After the transaction around this.
      setTimeout(() => {
        this.#options.onApproved(updateId, by);
        this.#waiting.get(updateId)?.();
      }, 0);
    }
    return outcome;
  }

  /**
   * Waits until an update may begin.
   * @throws {ApprovalError} when nobody approves in time; {@link ConditionError}; the signal's reason
   */
  async wait(update: WaitingUpdate): Promise<void> {
    const { mode, approvedBy } = this.#options.terms.get(update.updateId);
    if (mode === "approve" && approvedBy === null) await this.#waitForApproval(update);
    await this.waitForConditions(update);
  }

  /** Waits until all conditions hold, and the vehicle is parked where the update's mode asks for that. */
  async waitForConditions({ updateId, conditions, onWait, signal }: WaitingUpdate): Promise<void> {
    const { settings, source, terms } = this.#options;
    const { parked, parkedTimeout, conditionTimeout, conditionInterval } = settings;
    const { mode } = terms.get(updateId);
    await waitForConditions({
      groups: [
        ...mode === "forced" ? [] : [{ for: "parked" as const, conditions: parked, timeout: parkedTimeout }],
        { for: "conditions", conditions: [...settings.conditions, ...conditions], timeout: conditionTimeout },
      ],
      source,
      interval: conditionInterval,
      onWait,
      signal,
      log: this.#log,
    });
  }

  /** Milliseconds that are left for an approval: a gateway that was restarted meanwhile does not begin anew. */
  #approvalLeft(updateId: string): number {
    const { terms, timer, settings: { approvalTimeout } } = this.#options;
    const { now } = timer;
    const { approvalUntil } = terms.get(updateId);
    if (approvalUntil === null) terms.setApprovalUntil(updateId, now + approvalTimeout);
    // A clock that was set back gives nobody more time than there ever was.
    return Math.min((approvalUntil ?? Infinity) - now, approvalTimeout);
  }

  async #waitForApproval({ updateId, onWait, signal }: WaitingUpdate): Promise<void> {
    const { approvalTimeout } = this.#options.settings;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const end = performance.now() + this.#approvalLeft(updateId);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = () => {
      const left = end - performance.now();
      if (left > 0) timer = setTimeout(look, Math.min(left, longestTimer));
      else reject(new ApprovalError(`nobody approved it within ${Math.round(approvalTimeout / 1000)} s`));
    };
    this.#waiting.set(updateId, resolve);
    onWait({ for: "approval", detail: "somebody has to approve it" });
    this.#log.info(`Update ${updateId} waits for approval: zonebench vehicle approve ${updateId}`);
    look();
    try {
      await orAborted(promise, signal);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(updateId);
      onWait(undefined);
    }
  }
}
