// Finds what is out of order in stored telemetry, by rules and by the running mean of each vehicle's metric.

import type { Logger } from "../../log.ts";
import type { Events } from "../events.ts";
import type { Metrics } from "../metrics.ts";
import type { AnomalyInput, MetricState } from "../store/anomalies.ts";
import type { Store } from "../store/mod.ts";
import type { TelemetryInput } from "../store/telemetry.ts";
import type { AnomalyRule } from "./rules.ts";
import { checkRules, examine } from "./rules.ts";

export interface AnomalyDetectorOptions {
  rules: readonly AnomalyRule[];
  store: Store;
  events: Events;
  metrics: Metrics;
  log: Logger;
  /** @default Date.now */
  now?: () => number;
}

/** After this long without telemetry a vehicle's figures are read again: another server may have gone on with them. */
const stale = 10_000;
/** Vehicles whose figures are kept in memory. */
const maxVehicles = 10_000;

interface Known {
  states: Map<string, MetricState>;
  used: number;
}

export class AnomalyDetector {
  readonly #options: AnomalyDetectorOptions;
  readonly #byMetric = new Map<string, AnomalyRule[]>();
  readonly #now: () => number;
  /** In order of use, the longest unused first. */
  readonly #vehicles = new Map<string, Known>();

  /** @throws {RangeError} when a rule contradicts itself */
  constructor(options: AnomalyDetectorOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    checkRules(options.rules);
    for (const rule of options.rules) {
      const rules = this.#byMetric.get(rule.metric) ?? [];
      rules.push(rule);
      this.#byMetric.set(rule.metric, rules);
    }
  }

  /** Looks at rows that were stored, in their order; what is found is stored, logged and told. */
  async examine(rows: readonly TelemetryInput[]): Promise<void> {
    if (this.#byMetric.size === 0) return;
    const found: AnomalyInput[] = [];
    const changed = new Map<string, MetricState>();
    for (const row of rows) {
      for (const [metric, value] of Object.entries(row.metrics)) {
        const rules = this.#byMetric.get(metric);
        if (!rules) continue;
        const { states } = await this.#known(row.vin);
        const at = { vin: row.vin, metric, value, timestamp: row.timestamp };
        const { anomalies, state } = examine(rules, at, states.get(metric));
        found.push(...anomalies);
        states.set(metric, state);
        changed.set(`${row.vin} ${metric}`, state);
      }
    }
    await this.#options.store.anomalies.add(found);
    await this.#options.store.anomalies.saveStates([...changed.values()]);
    for (const anomaly of found) this.#tell(anomaly);
  }

  #tell(anomaly: AnomalyInput): void {
    const { vin, metric, rule, value, message, timestamp } = anomaly;
    this.#options.metrics.anomalies.inc({ rule });
    this.#options.log.warn(`Anomaly in telemetry of ${vin}: ${message}`);
    this.#options.events.emit({
      type: "anomaly",
      vin,
      metric,
      rule,
      value,
      message,
      timestamp: timestamp.toISOString(),
    });
  }

  async #known(vin: string): Promise<Known> {
    const now = this.#now();
    let known = this.#vehicles.get(vin);
    if (!known || now - known.used > stale) {
      const states = await this.#options.store.anomalies.states(vin);
      known = { states: new Map(states.map((state) => [state.metric, state])), used: now };
    }
    known.used = now;
    this.#vehicles.delete(vin);
    this.#vehicles.set(vin, known);
    if (this.#vehicles.size > maxVehicles) {
      for (const longestUnused of this.#vehicles.keys()) {
        this.#vehicles.delete(longestUnused);
        break;
      }
    }
    return known;
  }
}
