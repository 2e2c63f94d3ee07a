// One line of a bench's report.

/** What was measured, and what it is compared with. */
export interface BenchRow {
  /** What was measured, in words. */
  what: string;
  /** The figure with its unit. */
  value: string;
  /** The reference measured in the same run, with its unit. */
  beside?: string;
}
