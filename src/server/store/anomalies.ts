// What telemetry showed to be out of the ordinary, and the running figures per vehicle and metric that tell.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { selectRows, Where } from "./page.ts";
import type { PageRequest } from "./page.ts";

/** `attack`: what a vehicle or a report of it was refused for; the others are about telemetry. */
export type AnomalyRule = "limit" | "rate" | "deviation" | "attack";

export interface AnomalyInput {
  vin: string;
  metric: string;
  rule: AnomalyRule;
  value: number;
  /** What the rule allows: a limit, a rate, a mean with its deviation. */
  expected: unknown;
  /** Of the measurement. */
  timestamp: Date;
  message: string;
}

export interface Anomaly extends AnomalyInput {
  anomalyId: string;
  received: Date;
}

/** Running figures of one vehicle's metric (Welford: m2 is the sum of squared differences from the mean). */
export interface MetricState {
  vin: string;
  metric: string;
  count: number;
  mean: number;
  m2: number;
  lastValue: number;
  lastTimestamp: Date;
}

const COLUMNS = "anomaly_id, vin, metric, rule, value, expected, timestamp, received, message";

export class Anomalies {
  constructor(private readonly context: Context) {}

  /** Stores events in one statement. */
  async add(events: readonly AnomalyInput[]): Promise<void> {
    if (events.length === 0) return;
    await this.context.sql.query(
      `insert into anomalies (anomaly_id, vin, metric, rule, value, expected, timestamp, message, received)
       select t.*, $2 from jsonb_to_recordset($1::jsonb) as t(anomaly_id uuid, vin text, metric text, rule text,
         value double precision, expected jsonb, timestamp timestamptz, message text)`,
      [json(events.map((event) => ({ ...event, anomaly_id: this.context.newId() }))), this.context.now()],
    );
  }

  /** Newest first. */
  async list(vin: string, page: PageRequest = {}): Promise<Anomaly[]> {
    const where = new Where().and("vin = ?", vin);
    return await selectRows(this.context.sql, {
      columns: COLUMNS,
      from: "anomalies",
      where,
      order: "seq desc",
    }, page);
  }

  /** Keeps the running figures, so that they outlive the server; each (vin, metric) once. */
  async saveStates(states: readonly MetricState[]): Promise<void> {
    if (states.length === 0) return;
    await this.context.sql.query(
      `insert into metric_states (vin, metric, count, mean, m2, last_value, last_timestamp)
       select t.* from jsonb_to_recordset($1::jsonb) as t(vin text, metric text, count bigint, mean double precision,
         m2 double precision, last_value double precision, last_timestamp timestamptz)
       -- always in one order, so that two servers that save at once do not wait for each other
       order by vin, metric
       on conflict (vin, metric) do update set count = excluded.count, mean = excluded.mean, m2 = excluded.m2,
         last_value = excluded.last_value, last_timestamp = excluded.last_timestamp`,
      [json(states.map((state) => ({
        vin: state.vin,
        metric: state.metric,
        count: state.count,
        mean: state.mean,
        m2: state.m2,
        last_value: state.lastValue,
        last_timestamp: state.lastTimestamp,
      })))],
    );
  }

  /** The running figures of one vehicle. */
  async states(vin: string): Promise<MetricState[]> {
    return await this.context.sql.query<MetricState>(
      `select vin, metric, count, mean, m2, last_value, last_timestamp from metric_states where vin = $1 order by metric`,
      [vin],
    );
  }
}
