// Which messages of the server were taken: each is acted on once, however often it comes.

import { z } from "zod";
import type { StateDatabase } from "./database.ts";

/** Messages that are remembered at most; the oldest finished ones are forgotten first. */
const remembered = 20_000;

/** How many are forgotten at a time, so that not every message pays for it. */
const slack = 500;

const openRow = z.object({ message_id: z.string(), channel: z.string(), payload: z.string() });

/** A message that was taken and is not finished. */
export interface OpenCommand {
  readonly messageId: string;
  readonly channel: string;
  /** As it came: it is parsed again by whoever goes on with it. */
  readonly payload: string;
}

/** Remembers messages by their id. */
export class CommandLog {
  readonly #state: StateDatabase;
  readonly #insert;
  readonly #done;
  readonly #open;
  readonly #forget;
  #sinceForgotten = slack;

  constructor(state: StateDatabase) {
    this.#state = state;
    const { sqlite } = state;
    this.#insert = sqlite.prepare(
      "INSERT INTO commands (message_id, channel, reference, payload, received) VALUES (?, ?, ?, ?, ?) " +
        "ON CONFLICT DO NOTHING",
    );
    this.#done = sqlite.prepare("UPDATE commands SET done = 1 WHERE message_id = ?");
    this.#open = sqlite.prepare(
      "SELECT message_id, channel, payload FROM commands WHERE channel = ? AND done = 0 ORDER BY rowid",
    );
    this.#forget = sqlite.prepare(
      "DELETE FROM commands WHERE done = 1 AND rowid <= " +
        "(SELECT rowid FROM commands ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
    );
  }

  /**
   * Notes a message. It is on disk when the transaction around this ends.
   * @param reference a second name under which a repetition is known
   * @returns false when it was noted before
   */
  note(messageId: string, channel: string, payload: string, reference?: string): boolean {
    if (++this.#sinceForgotten >= slack) {
      this.#sinceForgotten = 0;
      this.#forget.run(remembered);
    }
    return this.#insert.run(messageId, channel, reference ?? null, payload, Date.now()).changes === 1;
  }

  /** Marks a message as finished. */
  finish(messageId: string): void {
    this.#done.run(messageId);
  }

  /** What was taken over a channel and is not finished, oldest first. */
  unfinished(channel: string): OpenCommand[] {
    return this.#open.all(channel).map((row) => {
      const { message_id, channel, payload } = openRow.parse(row);
      return { messageId: message_id, channel, payload };
    });
  }

  /** Runs `work` as one transaction with what it notes. */
  transaction<T>(work: () => T): T {
    return this.#state.transaction(work);
  }
}
