// Tells a running server of keys of ECUs that other programs make in its data folder after its start: bench and gateways may run
// beside it, and start later.

import { isDeepStrictEqual } from "node:util";
import type { InventoryEntry } from "../contract/uptane.ts";
import { describeError, type Logger } from "../log.ts";
import { delay } from "../wait.ts";

export interface KeyWatchOptions {
  /** What the server was told at its start. */
  known: readonly InventoryEntry[];
  /** What lies there now. */
  read(): Promise<readonly InventoryEntry[]>;
  /** Tells the server. */
  add(entries: readonly InventoryEntry[]): Promise<void>;
  log: Logger;
  /** Between two looks, in milliseconds. @default 5000 */
  interval?: number;
}

/** Looks until it is disposed of. What fails is logged, once for the same reason, and tried again. */
export function watchKeys({ known, read, add, log, interval = 5_000 }: KeyWatchOptions): AsyncDisposable {
  if (!(interval > 0)) throw new RangeError(`interval must be above 0 ms, got ${interval}`);
  const stop = new AbortController();
  const watching = watch();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watching;
    },
  };

  async function watch(): Promise<void> {
    let told = known;
    let failure: string | undefined;
    // Ends with the signal alone.
    while (await delay(interval, stop.signal).then(() => true, () => false)) {
      try {
        const found = await read();
        if (!isDeepStrictEqual(found, told)) await add(found);
        told = found;
        failure = undefined;
      } catch (error) {
        const reason = describeError(error);
        if (reason !== failure) log.warn(`Keys of the bench's ECUs are not entered yet: ${reason}`);
        failure = reason;
      }
    }
  }
}
