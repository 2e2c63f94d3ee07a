// What a check of `zonebench doctor` is, and how checks are run: side by side, each within its time, none able to end the others.

import type { Config } from "../../config/schema.ts";
import { describeError } from "../../log.ts";
import type { CommonOptions, DataFolders } from "../common.ts";

/** `skipped`: there is nothing to look at yet, or not from here. */
export type Verdict = "ok" | "warning" | "broken" | "skipped";

/** One thing that was looked at. */
export interface Finding {
  verdict: Verdict;
  /** What was looked at, e.g. `https 127.0.0.1:8443`. */
  subject: string;
  /** What was found. */
  found: string;
  /** What to do about it. */
  advice?: string | undefined;
}

/** What a running server says of itself on its local listener. */
export interface Health {
  status: string;
  database: string;
}

/** What checks look at. */
export interface Context {
  options: CommonOptions;
  config: Config;
  folders: DataFolders;
  /** Undefined: no server of this configuration runs. */
  health: Health | undefined;
  now: Date;
}

export interface Check {
  /** e.g. `ports` */
  name: string;
  /** Longest time, ms. @default 10000 */
  limit?: number;
  run(context: Context, signal: AbortSignal): Promise<Finding[]>;
}

export interface Checked extends Finding {
  check: string;
}

const defaultLimit = 10_000;

/** Runs all checks and gives what they found, in their order. */
export async function runChecks(
  checks: readonly Check[],
  context: Context,
  signal: AbortSignal,
): Promise<Checked[]> {
  const found = await Promise.all(checks.map((check) => runOne(check, context, signal)));
  return found.flat();
}

async function runOne(
  { name, limit = defaultLimit, run }: Check,
  context: Context,
  signal: AbortSignal,
): Promise<Checked[]> {
  const own = AbortSignal.any([signal, AbortSignal.timeout(limit)]);
  const { promise: late, resolve } = Promise.withResolvers<Finding[]>();
  const expired = () =>
    resolve([{
      verdict: "warning",
      subject: name,
      found: `could not be told within ${limit / 1000} s`,
      advice: "try again when the machine has less to do",
    }]);
  own.addEventListener("abort", expired, { once: true });
  const findings = await Promise.race([
    // A check that fails says no more than that: it is not known whether what it looks at is well.
    run(context, own).catch((error): Finding[] => [
      { verdict: "warning", subject: name, found: `could not be told: ${describeError(error)}` },
    ]),
    late,
  ]);
  own.removeEventListener("abort", expired);
  signal.throwIfAborted();
  return findings.map((finding) => ({ check: name, ...finding }));
}
