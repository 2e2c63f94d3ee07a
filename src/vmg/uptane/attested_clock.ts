// The time as the server attested it. The machine's own clock plays no part: it may be years off. The latest attested time is
// on disk, and what is told afterwards is never before it.

import { z } from "zod";
import type { StateDatabase } from "../state/database.ts";

const timeRow = z.object({ attested: z.int() });

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
    this.#read = sqlite.prepare("SELECT attested FROM uptane_time");
    this.#write = sqlite.prepare(
      "INSERT INTO uptane_time (id, attested) VALUES (1, ?) " +
        "ON CONFLICT (id) DO UPDATE SET attested = max(attested, excluded.attested)",
    );
  }

  /** Latest time that was ever attested; undefined before the first one. */
  get latest(): Date | undefined {
    const found = this.#read.get();
    return found === undefined ? undefined : new Date(timeRow.parse(found).attested);
  }

  /** The time now, counted on from what was attested since the start; undefined before that. */
  get now(): Date | undefined {
    return this.#mark && new Date(this.#mark.time + this.#elapsed() - this.#mark.at);
  }

  /** Takes a time that was attested just now. */
  set(time: Date): void {
    this.#write.run(time.getTime());
    this.#mark = { time: time.getTime(), at: this.#elapsed() };
  }
}
