// Word of a database that takes its time to open.

import type { Logger } from "../log.ts";

/** Between two words about a database that is not open yet, ms. */
const openingWord = 3_000;

/**
 * Waits for a database to open, and says every three seconds that it is not open yet: a first start makes the embedded
 * one, a PostgreSQL that is not there is waited for, and a newer version brings its tables forward.
 */
export async function whileTold<T>(log: Logger, opening: Promise<T>): Promise<T> {
  const began = performance.now();
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - began) / 1000);
    log.info(
      `Opening database: ${seconds} s so far; the first start makes it, a newer version brings it forward`,
    );
  }, openingWord);
  try {
    return await opening;
  } finally {
    clearInterval(timer);
  }
}
