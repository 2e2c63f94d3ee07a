// What must hold in the vehicle before its ECUs are changed: measured values within limits, such as speed 0.

import type { ReportedWait } from "../../contract/campaign.ts";
import type { Logger } from "../../log.ts";
import { ConditionError, explain } from "../errors.ts";
import type { UpdateCondition } from "../options.ts";
import { readNow, type TelemetrySource } from "../telemetry.ts";
import { delay } from "../../wait.ts";

/** What a parked vehicle is where nothing else is set: it stands, and is switched off as far as it says so. */
export const parkedByDefault: readonly UpdateCondition[] = [
  { signal: "speed", min: 0, max: 0 },
  { signal: "ignition", min: 0, max: 0, ifMeasured: true },
  { signal: "gear", min: 0, max: 0, ifMeasured: true },
];

/** Conditions that are waited for together. */
export interface ConditionGroup {
  readonly for: "parked" | "conditions";
  readonly conditions: readonly UpdateCondition[];
  /** Longest wait, milliseconds, counted while all groups before it hold. */
  readonly timeout: number;
}

/** Options of {@link waitForConditions}. */
export interface ConditionOptions {
  /** All of them must hold at once. */
  groups: readonly ConditionGroup[];
  /** undefined: nothing is measured, so that a condition cannot hold. */
  source: TelemetrySource | undefined;
  /** Time between two looks, milliseconds. */
  interval: number;
  /** Told of each new reason to wait, and with undefined when it is waited no longer. */
  onWait: (wait: ReportedWait | undefined) => void;
  signal: AbortSignal;
  log: Logger;
}

/**
 * Waits until all conditions hold at once.
 * @throws {ConditionError} naming the first that did not hold in time
 * @throws the signal's reason
 */
export async function waitForConditions(options: ConditionOptions): Promise<void> {
  const { groups, source, interval, onWait, signal, log } = options;
  if (groups.every(({ conditions }) => conditions.length === 0)) return;
  const since = groups.map(() => performance.now());
  let told = "";
  try {
    for (;;) {
      signal.throwIfAborted();
      const values = await measured(source, signal, log);
      const failing = groups.findIndex(({ conditions }) => firstFailure(conditions, values) !== undefined);
      if (failing < 0) return;
      const { for: what, conditions, timeout } = groups[failing];
      const detail = firstFailure(conditions, values) ?? "";
      const now = performance.now();
      since.fill(now, failing + 1);
      const left = since[failing] + timeout - now;
      if (left <= 0) throw new ConditionError(`${detail}; waited ${Math.round(timeout / 1000)} s`);
      if (detail !== told) {
        log.info(`Waits before ECUs are changed: ${detail}`);
        onWait({ for: what, detail });
      }
      told = detail;
      await delay(Math.min(interval, Math.max(1, left)), signal);
    }
  } finally {
    if (told !== "") onWait(undefined);
  }
}

/** What is measured now; nothing where that fails: no condition holds then, and the next look may find more. */
async function measured(
  source: TelemetrySource | undefined,
  signal: AbortSignal,
  log: Logger,
): Promise<Readonly<Record<string, number>>> {
  if (source === undefined) return {};
  try {
    return await readNow(source, signal);
  } catch (error) {
    signal.throwIfAborted();
    log.warn(`Nothing is measured: ${explain(error)}`);
    return {};
  }
}

function firstFailure(
  conditions: readonly UpdateCondition[],
  values: Readonly<Record<string, number>>,
): string | undefined {
  for (const condition of conditions) {
    const failure = differs(condition, values[condition.signal]);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

function differs(
  { signal, min, max, ifMeasured }: UpdateCondition,
  value: number | undefined,
): string | undefined {
  if (value === undefined && ifMeasured) return undefined;
  const expected = min !== undefined && min === max ? `${min}` : [
    ...min === undefined ? [] : [`at least ${min}`],
    ...max === undefined ? [] : [`at most ${max}`],
  ].join(" and ");
  if (value === undefined) return `${signal}: expected ${expected}, it is not measured now`;
  if (min !== undefined && !(value >= min) || max !== undefined && !(value <= max)) {
    return `${signal}: expected ${expected}, it is ${value}`;
  }
  return undefined;
}
