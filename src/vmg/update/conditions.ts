// What must hold in the vehicle before its ECUs are changed: measured values within limits, such as speed 0.

import type { Logger } from "../../log.ts";
import { ConditionError } from "../errors.ts";
import type { UpdateCondition } from "../options.ts";
import type { TelemetrySource } from "../telemetry.ts";
import { delay } from "../../wait.ts";

/** Options of {@link waitForConditions}. Times in milliseconds. */
export interface ConditionOptions {
  conditions: readonly UpdateCondition[];
  /** undefined: nothing is measured, so that a condition cannot hold. */
  source: TelemetrySource | undefined;
  /** Longest wait. */
  timeout: number;
  /** Time between two looks. */
  interval: number;
  signal: AbortSignal;
  log: Logger;
}

/**
 * Waits until all conditions hold at once.
 * @throws {ConditionError} naming the first that did not hold in time
 * @throws the signal's reason
 */
export async function waitForConditions(options: ConditionOptions): Promise<void> {
  const { conditions, source, timeout, interval, signal, log } = options;
  if (conditions.length === 0) return;
  const until = Date.now() + timeout;
  for (let told = "";;) {
    signal.throwIfAborted();
    const values = await source?.read() ?? {};
    const failed = conditions.map((it) => differs(it, values[it.signal])).find((it) => it !== undefined);
    if (failed === undefined) return;
    if (Date.now() >= until) throw new ConditionError(`${failed}; waited ${Math.round(timeout / 1000)} s`);
    if (failed !== told) log.info(`Waits before ECUs are changed: ${failed}`);
    told = failed;
    await delay(Math.min(interval, Math.max(1, until - Date.now())), signal);
  }
}

function differs({ signal, min, max }: UpdateCondition, value: number | undefined): string | undefined {
  const expected = [
    ...min === undefined ? [] : [`at least ${min}`],
    ...max === undefined ? [] : [`at most ${max}`],
  ].join(" and ");
  if (value === undefined) return `${signal}: expected ${expected}, it is not measured now`;
  if (min !== undefined && !(value >= min) || max !== undefined && !(value <= max)) {
    return `${signal}: expected ${expected}, it is ${value}`;
  }
  return undefined;
}
