// Figures about the whole store, counted by maintenance and read from one row.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import type { DiagnosticStatus } from "./diagnostics.ts";
import type { UpdateStatus } from "./update_rows.ts";

export interface Counts {
  vehicles: { online: number; offline: number };
  /** Only statuses that occur. */
  updates: Partial<Record<UpdateStatus, number>>;
  /** Only statuses that occur. */
  diagnostics: Partial<Record<DiagnosticStatus, number>>;
  images: number;
  packages: number;
  commandsPending: number;
  anomalies: number;
  /** Above a million rows this is PostgreSQL's own estimate. */
  telemetry: number;
  vciReports: number;
  rejectedMessages: number;
}

export interface Statistics {
  refreshed: Date;
  counts: Counts;
}

/** Counting more rows than this takes seconds; the planner's estimate does then. */
const EXACT_UP_TO = 1_000_000;

const byStatus = (table: string) =>
  `(select coalesce(jsonb_object_agg(status, n), '{}') from (select status, count(*) as n from ${table} group by status) s)`;
const rowsOf = (table: string) =>
  `(select case when reltuples > ${EXACT_UP_TO} then reltuples::bigint else (select count(*) from ${table}) end
    from pg_class where oid = '${table}'::regclass)`;

export class StatisticsStore {
  constructor(private readonly context: Context) {}

  /** Counts, and keeps the result for `read`. */
  async refresh(): Promise<Statistics> {
    const now = this.context.now();
    const [counts] = await this.context.sql.query<
      Omit<Counts, "vehicles"> & { vehicles: Partial<Counts["vehicles"]> }
    >(
      `select ${byStatus("vehicles")} as vehicles, ${byStatus("updates")} as updates,
         ${byStatus("diagnostics")} as diagnostics,
         (select count(*) from images) as images,
         (select count(*) from packages where status = 'ready') as packages,
         (select count(*) from commands where acked_at is null and withdrawn_at is null and expires > $1)
           as commands_pending,
         ${rowsOf("anomalies")} as anomalies, ${rowsOf("telemetry")} as telemetry,
         ${rowsOf("vci_reports")} as vci_reports,
         (select count(*) from rejected_messages) as rejected_messages`,
      [now],
    );
    const { online = 0, offline = 0 } = counts.vehicles;
    const statistics: Statistics = { refreshed: now, counts: { ...counts, vehicles: { online, offline } } };
    await this.context.sql.query(
      `insert into statistics (refreshed, counts) values ($1, $2)
       on conflict (one) do update set refreshed = excluded.refreshed, counts = excluded.counts`,
      [now, json(statistics.counts)],
    );
    return statistics;
  }

  /** The last result; null before the first `refresh`. */
  async read(): Promise<Statistics | null> {
    const [statistics] = await this.context.sql.query<Statistics>("select refreshed, counts from statistics");
    return statistics ?? null;
  }
}
