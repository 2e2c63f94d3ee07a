// Anomaly rules: which values of a metric are out of order, and why.

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
