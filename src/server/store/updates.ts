// Updates of vehicles: one active a vehicle, guarded transitions, each ECU's progress.
import type { Context } from "./context.ts";
import { atomically, json } from "./database.ts";
import type { Sql } from "./database.ts";
import { ConflictError, InvalidArgumentError, NotFoundError } from "./errors.ts";
import { isUuid, requireCount, selectPage, Where } from "./page.ts";
import type { Page } from "./page.ts";
import {
  ecuColumns,
  isFinal,
  type ReportOutcome,
  stages,
  type Update,
  updateColumns,
  type UpdateEcu,
  type UpdateFilter,
  type UpdateInput,
  type UpdateReport,
  type UpdateWithEcus,
} from "./update_rows.ts";

/** Whether a vehicle may be silent for long: it was never heard, or may be parked and switched off. */
const PATIENT = `(status = 'pending' or waiting_for in ('approval', 'parked'))`;

/** The rank of an ECU's status, for SQL. */
const ecuRank = (column: string) =>
  `case ${column} when 'pending' then 0 when 'installing' then 1 else 2 end`;

export class Updates {
  constructor(private readonly context: Context) {}

  /**
   * Enters an update as "pending".
   * @throws ConflictError when the vehicle has one that has not ended (`existing` is its update_id)
   * @throws NotFoundError when the vehicle is unknown
   */
  async create(input: UpdateInput): Promise<UpdateWithEcus> {
    const updateId = this.context.newId();
    const now = this.context.now();
    return await atomically(this.context.sql, async (tx) => {
      const [update] = await tx.query<Update>(
        `insert into updates (update_id, vin, initiator, package_id, requested_ecus, status, created, mode, attempt,
           attempts, retry_of, deadline, approved_by, approved_at)
         select $1, vin, $3, $4, $5, 'pending', $6::timestamptz, $7, $8, $9, $10, $11, $12, case when $12::text is not null then $6::timestamptz end
         from vehicles where vin = $2
         on conflict (vin) where ended is null do nothing returning ${updateColumns}`,
        [
          updateId,
          input.vin,
          input.initiator,
          input.packageId ?? null,
          input.requestedEcus ? json(input.requestedEcus) : null,
          now,
          input.mode ?? "forced",
          input.attempt ?? 1,
          input.attempts ?? 1,
          input.retryOf ?? null,
          input.deadline ?? null,
          input.approvedBy ?? null,
        ],
      );
      if (update === undefined) {
        const active = await this.#active(tx, input.vin);
        if (active === null) throw new NotFoundError("vehicle", input.vin);
        throw new ConflictError(
          `vehicle ${input.vin} has an update under way (${active.status})`,
          active.updateId,
        );
      }
      const ecus = await tx.query<UpdateEcu>(
        `insert into update_ecus (update_id, ecu_id, zonal_gateway_id, image_id, from_version, to_version, status, updated)
         select $1, t.*, 'pending', $3 from jsonb_to_recordset($2::jsonb) as t(ecu_id text, zonal_gateway_id text,
           image_id uuid, from_version text, to_version text)
         returning ${ecuColumns}`,
        [
          updateId,
          json(input.ecus.map((ecu) => ({
            ecu_id: ecu.ecuId,
            zonal_gateway_id: ecu.zonalGatewayId,
            image_id: ecu.imageId,
            from_version: ecu.fromVersion,
            to_version: ecu.toVersion,
          }))),
          now,
        ],
      );
      return { ...update, ecus: ecus.sort((a, b) => a.ecuId < b.ecuId ? -1 : 1) };
    });
  }

  async find(updateId: string): Promise<UpdateWithEcus | null> {
    if (!isUuid(updateId)) return null;
    const [update] = await this.context.sql.query<Update>(
      `select ${updateColumns} from updates where update_id = $1`,
      [
        updateId,
      ],
    );
    if (update === undefined) return null;
    const ecus = await this.ecus([updateId]);
    return { ...update, ecus: ecus.get(update.updateId) ?? [] };
  }

  /** The vehicle's update that has not ended. */
  async active(vin: string): Promise<Update | null> {
    return await this.#active(this.context.sql, vin);
  }

  /** Newest first, without their ECUs (see `ecus`). */
  async list(filter: UpdateFilter = {}): Promise<Page<Update>> {
    const where = new Where().and("vin = ?", filter.vin).and("status = ?", filter.status)
      .and("(ended is null) = ?", filter.active);
    return await selectPage(
      this.context.sql,
      { columns: updateColumns, from: "updates", where, order: "seq desc" },
      filter,
    );
  }

  /** The ECUs of these updates, by ecu_id. */
  async ecus(updateIds: readonly string[]): Promise<Map<string, UpdateEcu[]>> {
    const rows = await this.context.sql.query<UpdateEcu & { updateId: string }>(
      `select update_id, ${ecuColumns} from update_ecus
       where update_id in (select jsonb_array_elements_text($1::jsonb)::uuid) order by ecu_id`,
      [json(updateIds)],
    );
    const ecus = new Map<string, UpdateEcu[]>(updateIds.map((id) => [id, []]));
    for (const { updateId, ...ecu } of rows) ecus.get(updateId)?.push(ecu);
    return ecus;
  }

  /** Names the package of an update that has not ended. @throws NotFoundError */
  async setPackage(updateId: string, packageId: string): Promise<Update> {
    const [update] = await this.context.sql.query<Update>(
      `update updates set package_id = $2 where update_id = $1 and ended is null returning ${updateColumns}`,
      [updateId, packageId],
    );
    if (update === undefined) throw new NotFoundError("active update", updateId);
    return update;
  }

  /**
   * Takes a vehicle's report. The stage only moves forward, within a stage the progress only grows, and what has ended stays
   * as it ended. An ECU that the update does not name is not entered.
   * @throws InvalidArgumentError when a progress is not from 0 to 100
   */
  async report(report: UpdateReport): Promise<ReportOutcome> {
    checkProgress("progress", report.progress);
    for (const ecu of report.ecus ?? []) checkProgress(`progress of ${ecu.ecuId}`, ecu.progress);
    if (!isUuid(report.updateId)) return { outcome: "unknown" };
    const now = this.context.now();
    return await atomically(this.context.sql, async (tx): Promise<ReportOutcome> => {
      const [before] = await tx.query<Update>(
        `select ${updateColumns} from updates where update_id = $1 and vin = $2 for update`,
        [report.updateId, report.vin],
      );
      if (before === undefined) return { outcome: "unknown" };
      if (before.ended !== null) return { outcome: "ended", update: before, before: before.status };
      await this.#reportEcus(tx, report, now);
      const behind = stages[report.status].rank < stages[before.status].rank;
      const update = behind
        ? await this.#set(tx, report.updateId, "last_report = $2", [now])
        : await this.#set(
          tx,
          report.updateId,
          `last_report = $2, status = $3::text, error = coalesce($5, error),
           ended = case when $6::boolean then $2::timestamptz end,
           waiting_for = case when $6::boolean then null else $7::text end,
           waiting_detail = case when $6::boolean then null else $8::text end,
           approved_by = coalesce(approved_by, $9::text),
           approved_at = case when coalesce(approved_by, $9::text) is not null then coalesce(approved_at, $2::timestamptz) end,
           progress = case when status = $3::text then greatest(progress, $4) else $4 end`,
          [
            now,
            report.status,
            report.progress,
            report.error ?? null,
            isFinal(report.status),
            report.waiting?.for ?? null,
            report.waiting?.detail ?? null,
            report.approvedBy ?? null,
          ],
        );
      return { outcome: behind ? "behind" : "applied", update, before: before.status };
    });
  }

  /** Ends an update from the server's side. False when it had ended before or is unknown. */
  async end(updateId: string, status: "failed" | "cancelled", error: string): Promise<boolean> {
    if (!isUuid(updateId)) return false;
    const rows = await this.context.sql.query(
      `update updates set status = $2, error = $3, ended = $4, waiting_for = null, waiting_detail = null
       where update_id = $1 and ended is null returning seq`,
      [updateId, status, error, this.context.now()],
    );
    return rows.length > 0;
  }

  /**
   * Notes that the update shall be cancelled. The vehicle ends it with its report; `ended` says that it was over already.
   * @throws NotFoundError
   */
  async requestCancel(updateId: string): Promise<{ outcome: "requested" | "ended"; update: Update }> {
    if (!isUuid(updateId)) throw new NotFoundError("update", updateId);
    const [requested] = await this.context.sql.query<Update>(
      `update updates set cancel_requested = coalesce(cancel_requested, $2)
       where update_id = $1 and ended is null returning ${updateColumns}`,
      [updateId, this.context.now()],
    );
    if (requested) return { outcome: "requested", update: requested };
    const [update] = await this.context.sql.query<Update>(
      `select ${updateColumns} from updates where update_id = $1`,
      [
        updateId,
      ],
    );
    if (update === undefined) throw new NotFoundError("update", updateId);
    return { outcome: "ended", update };
  }

  /**
   * Fails those that no vehicle reported on for `silentFor` ms (at most 1000 a call), and gives them. Those whose start no
   * vehicle took, and those that wait for an approval or until the vehicle is parked, have `pendingFor` ms: a vehicle that
   * nobody drives is switched off.
   */
  async failSilent(silentFor: number, pendingFor: number = silentFor): Promise<Update[]> {
    const now = this.context.now();
    const cutoff = (ms: number) => new Date(now.getTime() - ms);
    const silent = requireCount("silentFor", silentFor);
    const pending = requireCount("pendingFor", pendingFor);
    return await this.context.sql.query<Update>(
      `update updates set status = 'failed', ended = $2, waiting_for = null, waiting_detail = null,
         error = 'no report for ' || case when ${PATIENT} then $5 else $4 end || ' s, last stage ' || status
           || coalesce(', waiting: ' || waiting_for, '')
       where update_id in (
         select update_id from updates where ended is null
           and coalesce(last_report, created) < case when ${PATIENT} then $3::timestamptz else $1::timestamptz end
         order by seq limit 1000 for update skip locked
       ) returning ${updateColumns}`,
      [cutoff(silent), now, cutoff(pending), String(silent / 1000), String(pending / 1000)],
    );
  }

  async #active(sql: Sql, vin: string): Promise<Update | null> {
    const [update] = await sql.query<Update>(
      `select ${updateColumns} from updates where vin = $1 and ended is null`,
      [vin],
    );
    return update ?? null;
  }

  async #set(
    tx: Sql,
    updateId: string,
    assignments: string,
    params: (string | number | boolean | Date | null)[],
  ): Promise<Update> {
    const [update] = await tx.query<Update>(
      `update updates set ${assignments} where update_id = $1 returning ${updateColumns}`,
      [updateId, ...params],
    );
    return update;
  }

  async #reportEcus(tx: Sql, report: UpdateReport, now: Date): Promise<void> {
    if (report.ecus === undefined || report.ecus.length === 0) return;
    await tx.query(
      `update update_ecus e set status = t.status, step = coalesce(t.step, e.step), error = coalesce(t.error, e.error),
         bytes = t.bytes, speed = t.speed, time_left = t.time_left, updated = $3,
         progress = case when e.status = t.status then greatest(e.progress, t.progress) else t.progress end
       from (
         select distinct on (ecu_id) * from jsonb_to_recordset($2::jsonb) as r(ecu_id text, status text,
           progress double precision, step text, bytes bigint, speed double precision, time_left double precision,
           error text)
         order by ecu_id, ${ecuRank("r.status")} desc, progress desc
       ) t
       where e.update_id = $1 and e.ecu_id = t.ecu_id
         and e.status not in ('completed', 'failed', 'cancelled', 'rolled_back') and ${
        ecuRank("t.status")
      } >= ${ecuRank("e.status")}`,
      [
        report.updateId,
        json(report.ecus.map((ecu) => ({
          ecu_id: ecu.ecuId,
          status: ecu.status,
          progress: ecu.progress,
          step: ecu.step,
          bytes: ecu.bytes,
          speed: ecu.speed,
          time_left: ecu.timeLeft,
          error: ecu.error,
        }))),
        now,
      ],
    );
  }
}

function checkProgress(argument: string, progress: number): void {
  if (!(progress >= 0 && progress <= 100)) throw new InvalidArgumentError(argument, "0 to 100", progress);
}
