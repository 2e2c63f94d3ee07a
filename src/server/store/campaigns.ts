// Updates that are approved, tried again, or run out of time.
import type { Context } from "./context.ts";
import { isUuid, requireCount } from "./page.ts";
import { type Update, updateColumns } from "./update_rows.ts";

/** Most updates that one call gives. */
const MOST = 1000;

export class Campaigns {
  constructor(private readonly context: Context) {}

  /**
   * Notes that an operator approved an update that has not ended and is not to be cancelled. Doing it again changes nothing.
   * @returns whether it was not approved before; null where it has ended, is to be cancelled or is unknown
   */
  async approve(updateId: string): Promise<boolean | null> {
    if (!isUuid(updateId)) return null;
    const [row] = await this.context.sql.query<{ fresh: boolean }>(
      `update updates u set approved_at = coalesce(u.approved_at, $2), approved_by = coalesce(u.approved_by, 'operator')
       from (select seq, approved_at is null as fresh from updates
         where update_id = $1 and ended is null and cancel_requested is null for update) before
       where u.seq = before.seq returning before.fresh`,
      [updateId, this.context.now()],
    );
    return row?.fresh ?? null;
  }

  /**
   * Has a failed update tried again `wait` ms from now, where it has attempts left and its time does not run out before.
   * @returns it, with the time of the next attempt; null where there is none
   */
  async schedule(updateId: string, wait: number): Promise<Update | null> {
    if (!isUuid(updateId)) return null;
    const at = new Date(this.context.now().getTime() + requireCount("wait", wait));
    const [update] = await this.context.sql.query<Update>(
      `update updates set retry_at = $2 where update_id = $1 and status = 'failed' and attempt < attempts
         and cancel_requested is null and retried_by is null and (deadline is null or deadline > $2)
       returning ${updateColumns}`,
      [updateId, at],
    );
    return update ?? null;
  }

  /** Failed updates whose next attempt is due, the longest due first. */
  async due(): Promise<Update[]> {
    return await this.context.sql.query<Update>(
      `select ${updateColumns} from updates where retry_at <= $1 order by retry_at limit ${MOST}`,
      [this.context.now()],
    );
  }

  /** Notes the attempt that follows. @returns false when there is one already, or none is to be any more */
  async retried(updateId: string, retriedBy: string): Promise<boolean> {
    const rows = await this.context.sql.query(
      `update updates set retried_by = $2, retry_at = null where update_id = $1 and retry_at is not null returning seq`,
      [updateId, retriedBy],
    );
    return rows.length > 0;
  }

  /** Has no further attempt made. @param why added to the update's error. @returns false when none was to be made */
  async callOff(updateId: string, why: string): Promise<boolean> {
    if (!isUuid(updateId)) return false;
    const rows = await this.context.sql.query(
      `update updates set retry_at = null, error = coalesce(error || '; ', '') || $2
       where update_id = $1 and retry_at is not null returning seq`,
      [updateId, `not tried again: ${why}`],
    );
    return rows.length > 0;
  }

  /** Updates whose time has run out and that nobody asked to stop yet. */
  async pastDeadline(): Promise<Update[]> {
    return await this.context.sql.query<Update>(
      `select ${updateColumns} from updates
       where deadline <= $1 and ended is null and cancel_requested is null order by deadline limit ${MOST}`,
      [this.context.now()],
    );
  }

  /** Fails updates whose time ran out `grace` ms ago, and whose vehicle has been silent for as long, and gives them. */
  async failOverdue(grace: number): Promise<Update[]> {
    const now = this.context.now();
    const cutoff = new Date(now.getTime() - requireCount("grace", grace));
    return await this.context.sql.query<Update>(
      `update updates set status = 'failed', ended = $2, waiting_for = null, waiting_detail = null,
         error = 'its time ran out, and the vehicle did not say how it ended; last stage ' || status
       where update_id in (
         select update_id from updates
         where deadline <= $1 and ended is null and coalesce(last_report, created) <= $1
         order by deadline limit ${MOST} for update skip locked
       ) returning ${updateColumns}`,
      [cutoff, now],
    );
  }
}
