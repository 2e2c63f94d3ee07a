// Which of the vehicle's messages the server has for good, where the broker is not the server: such a broker's PUBACK says that
// the broker has a message, and what it has in memory alone is gone when it crashes. The server says what it stored on
// `vehicle/{id}/stored`; a message waits on the vehicle until then, and is sent again when that takes too long.
//
// Whether it is so, the server says when the vehicle registers; that it says it at all shows it too. It is kept on disk, for a
// vehicle that starts where the server cannot be asked.

import { storedMessages } from "../../contract/mqtt.ts";
import type { Logger } from "../../log.ts";
import type { StateDatabase } from "../state/database.ts";
import type { Outbox } from "./outbox.ts";

/** Who acknowledges what the vehicle publishes. */
export type AcknowledgedBy = "broker" | "server";

/** Options of {@link Confirmations}. */
export interface ConfirmationsOptions {
  state: StateDatabase;
  outbox: Outbox;
  /**
   * How long a message waits for the server's word before it is sent again, milliseconds. It doubles, up to
   * {@link longestWait}, until the server says something.
   */
  timeout: number;
  log: Logger;
}

/** The server's word on one message. */
export interface Confirmation {
  /** Resolves when the server has the message. Rejects when that was not heard in time, or the connection is over. */
  readonly heard: Promise<void>;
  /** Nobody waits for it any longer. */
  end(): void;
}

/** Longest wait for the server's word, milliseconds. */
export const longestWait = 300_000;

interface Wait {
  resolve: () => void;
  reject: (cause: Error) => void;
}

/** The server's words. */
export class Confirmations {
  readonly #options: ConfirmationsOptions;
  readonly #log: Logger;
  readonly #save;
  readonly #waits = new Map<string, Wait>();
  #by: AcknowledgedBy;
  #timeout: number;
  /** When the time-out was doubled last. */
  #doubled = 0;

  constructor(options: ConfirmationsOptions) {
    const { timeout, state } = options;
    if (!(timeout > 0 && timeout <= longestWait)) {
      throw new RangeError(
        `confirmation: expected more than 0 and at most ${longestWait} ms, got ${timeout}`,
      );
    }
    this.#options = options;
    this.#log = options.log;
    this.#timeout = timeout;
    this.#save = state.sqlite.prepare(
      "INSERT INTO acknowledgement (id, by_server) VALUES (1, ?) " +
        "ON CONFLICT (id) DO UPDATE SET by_server = excluded.by_server",
    );
    const found = state.sqlite.prepare("SELECT by_server FROM acknowledgement WHERE id = 1").get();
    this.#by = found?.by_server === 1 ? "server" : "broker";
  }

  /** Who acknowledges. */
  get by(): AcknowledgedBy {
    return this.#by;
  }

  /** The server says who acknowledges, or shows it. */
  told(by: AcknowledgedBy): void {
    if (by === this.#by) return;
    this.#save.run(by === "server" ? 1 : 0);
    this.#by = by;
    this.#log.info(
      by === "server"
        ? "The broker is not the server: messages wait until the server says that it has them"
        : "The broker's acknowledgement is the server's",
    );
  }

  /** Waits for the server's word on a message that is about to be published. */
  expect(messageId: string): Confirmation {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Whoever asked awaits it after having published, which may fail first.
    promise.catch(() => {});
    const began = Date.now();
    const limit = this.#timeout;
    const timer = setTimeout(() => {
      this.#late(began, limit);
      reject(new Error(`the server did not confirm message ${messageId} within ${limit} ms`));
    }, limit);
    const wait = { resolve, reject };
    this.#waits.set(messageId, wait);
    return {
      heard: promise,
      end: () => {
        clearTimeout(timer);
        if (this.#waits.get(messageId) === wait) this.#waits.delete(messageId);
      },
    };
  }

  /** A message on `stored`. Also what was sent on an earlier connection, or waits to be sent again, is done with. */
  take(payload: Uint8Array): void {
    const stored = parsed(payload);
    if (stored === undefined) {
      this.#log.warn("Message on stored does not fit the contract: ignored");
      return;
    }
    this.told("server");
    this.#timeout = this.#options.timeout;
    this.#options.outbox.confirm(stored);
    for (const messageId of stored) this.#waits.get(messageId)?.resolve();
  }

  /** The connection is over: what it carried is sent again on the next one. */
  lost(): void {
    const cause = new Error("the connection was lost");
    for (const { reject } of this.#waits.values()) reject(cause);
    this.#waits.clear();
  }

  /** Doubles the time-out, once for all that waited at the same time. */
  #late(began: number, limit: number): void {
    if (began < this.#doubled) return;
    this.#doubled = Date.now();
    this.#timeout = Math.min(limit * 2, longestWait);
    this.#log.warn(
      `The broker took messages that the server did not confirm within ${limit} ms: they are sent again, ` +
        `${this.#options.outbox.count} wait`,
    );
  }
}

function parsed(payload: Uint8Array): readonly string[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(payload));
  } catch {
    // Told by whoever asked.
    return undefined;
  }
  const result = storedMessages.safeParse(value);
  return result.success ? result.data.message_ids : undefined;
}
