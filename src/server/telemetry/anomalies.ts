// Finds what is out of order in stored telemetry, by rules and by the running mean of each vehicle's metric.

import { describeError, type Logger } from "../../log.ts";
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

/** Running figures are written together, at most this long after they changed: with each batch it would cost half of it. */
const saveDelay = 1_000;
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
  /** Changed and not written yet, by vehicle and metric. */
  #unsaved = new Map<string, MetricState>();
  #saveTimer: ReturnType<typeof setTimeout> | undefined;
  #saving: Promise<void> = Promise.resolve();

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

  /**
   * Looks at rows that were stored, in their order; what is found is stored, logged and told. The running figures follow
   * within a second: a server that is killed loses that much of a mean.
   */
  async examine(rows: readonly TelemetryInput[]): Promise<void> {
    if (this.#byMetric.size === 0) return;
    const found: AnomalyInput[] = [];
    for (const row of rows) {
      for (const [metric, value] of Object.entries(row.metrics)) {
        const rules = this.#byMetric.get(metric);
        if (!rules) continue;
        const { states } = await this.#known(row.vin);
        const at = { vin: row.vin, metric, value, timestamp: row.timestamp };
        const { anomalies, state } = examine(rules, at, states.get(metric));
        found.push(...anomalies);
        states.set(metric, state);
        this.#unsaved.set(`${row.vin} ${metric}`, state);
      }
    }
    if (this.#unsaved.size > 0) this.#saveTimer ??= setTimeout(() => void this.#save(), saveDelay);
    await this.#options.store.anomalies.add(found);
    for (const anomaly of found) this.#tell(anomaly);
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    await this.#save();
  }

  #save(): Promise<void> {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    this.#saving = this.#saving.then(async () => {
      const unsaved = this.#unsaved;
      if (unsaved.size === 0) return;
      this.#unsaved = new Map();
      try {
        await this.#options.store.anomalies.saveStates([...unsaved.values()]);
      } catch (error) {
        // They are in memory, and written with the next ones that change.
        this.#options.log.error(`Running figures of telemetry could not be written: ${describeError(error)}`);
        this.#unsaved = new Map([...unsaved, ...this.#unsaved]);
      }
    });
    return this.#saving;
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
