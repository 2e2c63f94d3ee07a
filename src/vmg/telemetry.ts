// What the vehicle measures, read at an interval and handed on.

import { orAborted } from "../wait.ts";
import { VmgError } from "./errors.ts";

/** Where measured values come from: a real vehicle's signals, or a simulated bench's, told as such. */
export interface TelemetrySource {
  /** Where the values come from, for the log, e.g. `simulated vehicle`. */
  readonly name: string;
  /** The values now; numbers by name such as battery_soc, speed, temp. A value that is not there now is left out. */
  read(): Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>;
}

/** Longest wait for values, milliseconds: older ones are of no use to anybody. */
const longestRead = 10_000;

/**
 * What a source measures now.
 * @param limit milliseconds
 * @throws {VmgError} when it says nothing within the limit; what it fails with; the signal's reason
 */
export async function readNow(
  source: TelemetrySource,
  signal: AbortSignal,
  limit = longestRead,
): Promise<Readonly<Record<string, number>>> {
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(new VmgError(`${source.name}: expected values within ${limit} ms, got none`)),
    limit,
  );
  try {
    return await orAborted(Promise.resolve(source.read()), AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}
