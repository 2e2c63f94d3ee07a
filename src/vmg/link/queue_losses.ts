// Says what the queue of outgoing messages gave up: the first one at once, the rest together.

import type { Logger } from "../../log.ts";
import { type LossReason, type MessageKind, messageKinds } from "./outbox.ts";

const reasons: Record<LossReason, string> = {
  room: "There is no room in the queue",
  age: "What waits is too old",
  refused: "The server will never take it",
};

/** Counts losses and tells them to the log. */
export class QueueLosses {
  readonly #log: Logger;
  readonly #counts = new Map<LossReason, Map<MessageKind, number>>();
  /** Reasons that were told since the queue last had nothing to give up. */
  readonly #told = new Set<LossReason>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** A message was given up. */
  note(kind: MessageKind, reason: LossReason): void {
    let counts = this.#counts.get(reason);
    if (counts === undefined) this.#counts.set(reason, counts = new Map());
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    if (this.#told.has(reason)) return;
    this.#told.add(reason);
    // What goes together is told together.
    queueMicrotask(() => this.#tell(reason));
  }

  /** Tells what was given up since the last time; to be called at intervals. */
  tell(): void {
    for (const reason of this.#told) {
      if (this.#counts.has(reason)) this.#tell(reason);
      else this.#told.delete(reason);
    }
  }

  #tell(reason: LossReason): void {
    const counts = this.#counts.get(reason);
    if (counts === undefined) return;
    this.#counts.delete(reason);
    const parts = messageKinds.flatMap((kind) => counts.has(kind) ? [`${kind}: ${counts.get(kind)}`] : []);
    this.#log.warn(`${reasons[reason]}: messages given up (${parts.join(", ")})`);
  }
}
