// The time as the server attested it. The machine's own clock plays no part: it may be years off. The latest attested time is
// on disk, and what is told afterwards is never before it.

import { z } from "zod";
import { StateError } from "../errors.ts";
import { stateRemedy } from "../state/inspection.ts";
import type { StateDatabase } from "../state/database.ts";

/** Most milliseconds that a date can be from 1970 (ECMA-262, 21.4.1.1). */
const longestTime = 8_640_000_000_000_000;

const timeRow = z.object({ attested: z.int(), keys: z.string().nullable() });

/** The clock of one vehicle. */
export class AttestedClock {
  readonly #read;
  readonly #write;
  readonly #elapsed: () => number;
  /** What was attested since the start, and when that was by {@link #elapsed}. */
  #mark: { time: number; at: number } | undefined;

  /** @param elapsed Time that passes, ms: it goes on evenly, whatever is done to the machine's clock. */
  constructor({ sqlite }: StateDatabase, elapsed: () => number = () => performance.now()) {
    this.#elapsed = elapsed;
    this.#read = sqlite.prepare("SELECT attested, keys FROM uptane_time");
    this.#write = sqlite.prepare(
      "INSERT INTO uptane_time (id, attested, keys) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET " +
        "attested = CASE WHEN keys IS NULL OR keys = excluded.keys THEN max(attested, excluded.attested) " +
        "ELSE excluded.attested END, keys = excluded.keys",
    );
  }

  /** Latest attested time; undefined before the first one. */
  get latest(): Date | undefined {
    const found = this.#last();
    return found && new Date(found.attested);
  }

  /**
   * The time that none which these keys attest may be before. When the Director's root has named others, that begins anew: whoever
   * stole the old ones may have told a time years ahead.
   * @param keys see `timeKeys` in src/uptane/time.ts
   */
  latestBy(keys: string): Date | undefined {
    const found = this.#last();
    return found === undefined || (found.keys ?? keys) !== keys ? undefined : new Date(found.attested);
  }

  #last(): z.infer<typeof timeRow> | undefined {
    const found = this.#read.get();
    if (found === undefined) return undefined;
    const row = timeRow.parse(found);
    if (Math.abs(row.attested) <= longestTime) return row;
    throw new StateError(
      `expected an attested time within ${longestTime} ms of 1970, got ${row.attested}; ${stateRemedy}`,
    );
  }

  /** The time now, counted on from what was attested since the start; undefined before that. */
  get now(): Date | undefined {
    return this.#mark && new Date(this.#mark.time + this.#elapsed() - this.#mark.at);
  }

  /** Takes a time that was attested just now. @param keys who attested it */
  set(time: Date, keys: string): void {
    this.#write.run(time.getTime(), keys);
    this.#mark = { time: time.getTime(), at: this.#elapsed() };
  }
}
