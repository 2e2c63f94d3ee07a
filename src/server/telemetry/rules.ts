// Anomaly rules: which values of a metric are out of order, and why.

import type { AnomalyInput, MetricState } from "../store/anomalies.ts";

/** One rule for one metric; each limit that is given is checked by itself. */
export interface AnomalyRule {
  /** Name of the metric, e.g. `battery_soc`. */
  readonly metric: string;
  /** Least value in order. */
  readonly min?: number;
  /** Greatest value in order. */
  readonly max?: number;
  /** Greatest change a second between two messages. */
  readonly maxRate?: number;
  /** Greatest distance from this vehicle's running mean, in standard deviations. */
  readonly maxDeviation?: number;
  /** Values that the running mean must have seen before a deviation counts. @default 30 */
  readonly minSamples?: number;
}

/** One measured value. */
export interface Measurement {
  readonly vin: string;
  readonly metric: string;
  readonly value: number;
  readonly timestamp: Date;
}

/** Values that a mean must have seen where the rule says nothing. */
const defaultMinSamples = 30;

/** @throws {RangeError} for a rule that contradicts itself, naming it */
export function checkRules(rules: readonly AnomalyRule[]): void {
  for (const { metric, min, max, maxRate, maxDeviation, minSamples } of rules) {
    const wrong = (what: string) => new RangeError(`anomaly rule for ${metric}: ${what}`);
    if (min !== undefined && max !== undefined && min > max) throw wrong(`min ${min} is above max ${max}`);
    if (maxRate !== undefined && !(maxRate > 0)) throw wrong(`maxRate must be above 0, got ${maxRate}`);
    if (maxDeviation !== undefined && !(maxDeviation > 0)) {
      throw wrong(`maxDeviation must be above 0, got ${maxDeviation}`);
    }
    if (minSamples !== undefined && !(minSamples >= 2)) {
      throw wrong(`minSamples must be at least 2, got ${minSamples}`);
    }
  }
}

/**
 * Holds a value against the rules of its metric, then takes it into the running figures (Welford's method). A value that
 * is out of order counts towards the mean as well: what stays changed becomes normal.
 */
export function examine(
  rules: readonly AnomalyRule[],
  at: Measurement,
  before: MetricState | undefined,
): { anomalies: AnomalyInput[]; state: MetricState } {
  const { vin, metric, value, timestamp } = at;
  const anomalies: AnomalyInput[] = [];
  const report = (rule: AnomalyInput["rule"], expected: unknown, message: string) =>
    anomalies.push({
      vin,
      metric,
      rule,
      value,
      expected,
      timestamp,
      message: `${metric} is ${value}, ${message}`,
    });
  for (const { min, max, maxRate, maxDeviation, minSamples = defaultMinSamples } of rules) {
    if (min !== undefined && value < min) report("limit", { min }, `below ${min}`);
    if (max !== undefined && value > max) report("limit", { max }, `above ${max}`);
    if (!before) continue;
    const seconds = (timestamp.getTime() - before.lastTimestamp.getTime()) / 1000;
    // What is older than the last value (it waited in a queue) or of the same moment has no rate.
    if (maxRate !== undefined && seconds > 0) {
      const rate = Math.abs(value - before.lastValue) / seconds;
      if (rate > maxRate) {
        report(
          "rate",
          { max_rate: maxRate, rate },
          `${round(rate)} a second away from ${before.lastValue}, above ${maxRate}`,
        );
      }
    }
    if (maxDeviation !== undefined && before.count >= minSamples) {
      const deviation = Math.sqrt(before.m2 / (before.count - 1));
      // A metric that never moved has no measure for how far is far.
      if (deviation > 0 && Math.abs(value - before.mean) > maxDeviation * deviation) {
        const times = Math.abs(value - before.mean) / deviation;
        report(
          "deviation",
          { mean: before.mean, deviation, max_deviation: maxDeviation },
          `${round(times)} standard deviations from the mean ${round(before.mean)}, above ${maxDeviation}`,
        );
      }
    }
  }
  const count = (before?.count ?? 0) + 1;
  const distance = value - (before?.mean ?? 0);
  const mean = (before?.mean ?? 0) + distance / count;
  const newest = !before || timestamp.getTime() > before.lastTimestamp.getTime();
  return {
    anomalies,
    state: {
      vin,
      metric,
      count,
      mean,
      m2: (before?.m2 ?? 0) + distance * (value - mean),
      lastValue: newest ? value : before.lastValue,
      lastTimestamp: newest ? timestamp : before.lastTimestamp,
    },
  };
}

function round(value: number): string {
  return String(Number(value.toPrecision(6)));
}
