// Takes a start back, step by step in reverse order: a server that stops, or one that did not come up.

import { describeError } from "../log.ts";
import type { ServerOptions } from "./options.ts";

/** How one step of the start is undone. */
export interface Undo {
  /** For the log. */
  readonly what: string;
  /** @param limit milliseconds that it has */
  run(limit: number): Promise<void>;
}

/** Undoes the start in reverse order; together it takes no longer than the limit, however long a part would. */
export async function windUp(
  undo: Undo[],
  { log, stopTimeout = 5000 }: Pick<ServerOptions, "log" | "stopTimeout">,
): Promise<void> {
  const deadline = Date.now() + stopTimeout;
  for (const { what, run } of undo.splice(0).reverse()) {
    // The store, which stands last, always gets time to close.
    log.debug(`Stopping ${what}`);
    const limit = Math.max(100, (deadline - Date.now()) * 0.6);
    const { promise: late, resolve } = Promise.withResolvers<"late">();
    const timer = setTimeout(() => resolve("late"), Math.max(limit, 200));
    try {
      const result = await Promise.race([run(limit), late]);
      if (result === "late") log.warn(`Stopping ${what} took too long and was cut off`);
    } catch (error) {
      log.error(`Stopping ${what} failed: ${describeError(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }
}
