// Telemetry: many rows in one statement, each message once, and reading them back by vehicle and time.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { InvalidArgumentError } from "./errors.ts";
import { selectRows, Where } from "./page.ts";
import type { PageRequest } from "./page.ts";

/** The most rows in one statement. */
export const MAX_BATCH = 50_000;

export interface TelemetryInput {
  vin: string;
  /** Identifies the message among this vehicle's; a second one with the same is not stored. @default null, never a repetition */
  messageId?: string | null;
  /** When it was measured, by the vehicle's clock. */
  timestamp: Date;
  /** Every number by its name, battery_soc, speed and temp among them. */
  metrics: Readonly<Record<string, number>>;
}

export interface Telemetry {
  vin: string;
  messageId: string | null;
  timestamp: Date;
  received: Date;
  batterySoc: number | null;
  speed: number | null;
  temp: number | null;
  metrics: Record<string, number>;
}

export interface TelemetryFilter extends PageRequest {
  vin: string;
  /** Measured at or after. */
  since?: Date;
  /** Measured before. */
  until?: Date;
}

export interface StoredBatch {
  stored: number;
  /** Indexes into the batch of what was not stored because its message_id is known. */
  duplicates: number[];
}

const COLUMNS = "vin, message_id, timestamp, received, battery_soc, speed, temp, metrics";

export class TelemetryStore {
  constructor(private readonly context: Context) {}

  /**
   * Stores a batch in one statement: all of it or, when that fails, none. When it resolves the rows are committed (outside
   * of a transaction). At most 50000 rows.
   */
  async add(batch: readonly TelemetryInput[]): Promise<StoredBatch> {
    if (batch.length > MAX_BATCH) {
      throw new InvalidArgumentError("batch", `at most ${MAX_BATCH} rows`, batch.length);
    }
    // A repetition within the batch is told here, so that what the database gives back can be counted by message_id.
    const duplicates: number[] = [];
    const seen = new Map<string, number>();
    const rows: string[] = [];
    for (const [index, row] of batch.entries()) {
      if (row.messageId !== undefined && row.messageId !== null) {
        const key = `${row.vin} ${row.messageId}`;
        if (seen.has(key)) {
          duplicates.push(index);
          continue;
        }
        seen.set(key, index);
      }
      rows.push(toRecord(row));
    }
    if (rows.length === 0) return { stored: 0, duplicates };
    const params = [`[${rows.join(",")}]`, this.context.now()];
    if (seen.size === 0) {
      await this.context.sql.query(INSERT, params);
      return { stored: rows.length, duplicates };
    }
    const stored = await this.context.sql.query<{ vin: string; messageId: string }>(
      `with stored as (
         ${INSERT} on conflict (vin, message_id) where message_id is not null do nothing returning vin, message_id
       ) select vin, message_id from stored where message_id is not null`,
      params,
    );
    for (const { vin, messageId } of stored) seen.delete(`${vin} ${messageId}`);
    duplicates.push(...seen.values());
    return { stored: batch.length - duplicates.length, duplicates: duplicates.sort((a, b) => a - b) };
  }

  /** What was measured last. */
  async latest(vin: string): Promise<Telemetry | null> {
    const [row] = await this.list({ vin, limit: 1 });
    return row ?? null;
  }

  /** By time of measurement, newest first. */
  async list(filter: TelemetryFilter): Promise<Telemetry[]> {
    const where = new Where().and("vin = ?", filter.vin).and("timestamp >= ?", filter.since)
      .and("timestamp < ?", filter.until);
    return await selectRows(
      this.context.sql,
      { columns: COLUMNS, from: "telemetry", where, order: "timestamp desc, seq desc" },
      filter,
    );
  }
}

const INSERT =
  `insert into telemetry (vin, message_id, timestamp, received, battery_soc, speed, temp, metrics)
  select vin, message_id, timestamp, $2, (metrics ->> 'battery_soc')::double precision,
    (metrics ->> 'speed')::double precision, (metrics ->> 'temp')::double precision, metrics
  from json_to_recordset($1::json) as t(vin text, message_id text, timestamp timestamptz, metrics jsonb)`;

function toRecord(row: TelemetryInput): string {
  return json({
    vin: row.vin,
    message_id: row.messageId ?? null,
    timestamp: row.timestamp,
    metrics: row.metrics,
  });
}
