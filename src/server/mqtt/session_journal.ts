// Writes the changes of broker sessions to the database: those that come while a write is under way go together with the
// next one, so that a message costs no transaction of its own.

import type {
  IncomingEntry,
  MqttSessions,
  QueueEntry,
  RetainedEntry,
  SubscriptionEntry,
} from "../store/mod.ts";

/** The changes of one write, each subject by its key; null: it is gone. */
class Batch {
  readonly ended = new Set<string>();
  readonly subscriptions = new Map<
    string,
    SubscriptionEntry | Pick<SubscriptionEntry, "clientId" | "filter">
  >();
  readonly queue = new Map<string, { clientId: string; entry: QueueEntry | null }>();
  readonly incoming = new Map<string, IncomingEntry | Pick<IncomingEntry, "clientId" | "packetId">>();
  readonly retained = new Map<string, RetainedEntry | null>();

  /** What came before the end of a session goes with it. */
  end(clientId: string): void {
    this.ended.add(clientId);
    for (const [key, { clientId: owner }] of this.subscriptions) {
      if (owner === clientId) this.subscriptions.delete(key);
    }
    for (const [key, { clientId: owner }] of this.queue) if (owner === clientId) this.queue.delete(key);
    for (const [key, { clientId: owner }] of this.incoming) if (owner === clientId) this.incoming.delete(key);
  }
}

export class SessionJournal {
  readonly #store: Pick<MqttSessions, "apply">;
  #next = new Batch();
  #waiting: PromiseWithResolvers<void> | undefined;
  #running: Promise<void> | undefined;

  constructor(store: Pick<MqttSessions, "apply">) {
    this.#store = store;
  }

  /** Everything of a client is gone. Resolves, as all of these do, when it is on disk. */
  ended(clientId: string): Promise<void> {
    this.#next.end(clientId);
    return this.#write();
  }

  subscribed(entry: SubscriptionEntry): Promise<void> {
    this.#next.subscriptions.set(keyOf(entry.clientId, entry.filter), entry);
    return this.#write();
  }

  unsubscribed(clientId: string, filter: string): Promise<void> {
    this.#next.subscriptions.set(keyOf(clientId, filter), { clientId, filter });
    return this.#write();
  }

  queued(entry: QueueEntry): Promise<void> {
    this.#next.queue.set(entry.entryId, { clientId: entry.clientId, entry });
    return this.#write();
  }

  unqueued(clientId: string, entryId: string): Promise<void> {
    this.#next.queue.set(entryId, { clientId, entry: null });
    return this.#write();
  }

  received(entry: IncomingEntry): Promise<void> {
    this.#next.incoming.set(keyOf(entry.clientId, entry.packetId), entry);
    return this.#write();
  }

  released(clientId: string, packetId: number): Promise<void> {
    this.#next.incoming.set(keyOf(clientId, packetId), { clientId, packetId });
    return this.#write();
  }

  retained(topic: string, entry: RetainedEntry | null): Promise<void> {
    this.#next.retained.set(topic, entry);
    return this.#write();
  }

  /** Resolves when everything that was changed so far is on disk, or could not be written. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  #write(): Promise<void> {
    this.#waiting ??= Promise.withResolvers<void>();
    const { promise } = this.#waiting;
    // A change that nobody waits for must not end the process when it fails; the next ones are told.
    promise.catch(() => {});
    this.#running ??= this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    // Changes of the same turn of the event loop go together.
    await Promise.resolve();
    while (this.#waiting !== undefined) {
      const batch = this.#next;
      const waiting = this.#waiting;
      this.#next = new Batch();
      this.#waiting = undefined;
      try {
        await this.#store.apply(changesOf(batch));
        waiting.resolve();
      } catch (error) {
        waiting.reject(error);
      }
    }
    // In the same turn as the last look: whoever was waiting may change something more before anybody hears of this end.
    this.#running = undefined;
  }
}

function changesOf(batch: Batch): Parameters<MqttSessions["apply"]>[0] {
  const subscriptions = [...batch.subscriptions.values()];
  const queue = [...batch.queue];
  const incoming = [...batch.incoming.values()];
  const retained = [...batch.retained];
  return {
    ended: [...batch.ended],
    subscriptions: subscriptions.filter((entry) => "subscription" in entry),
    unsubscriptions: subscriptions.filter((entry) => !("subscription" in entry)),
    queue: queue.flatMap(([, { entry }]) => entry === null ? [] : [entry]),
    unqueued: queue.flatMap(([entryId, { entry }]) => entry === null ? [entryId] : []),
    incoming: incoming.filter((entry) => "packet" in entry),
    outgone: incoming.filter((entry) => !("packet" in entry)),
    retained: retained.flatMap(([, entry]) => entry === null ? [] : [entry]),
    unretained: retained.flatMap(([topic, entry]) => entry === null ? [topic] : []),
  };
}

/** Client ids and filters hold no control characters (section 1.5.3), so that this is unique. */
function keyOf(clientId: string, part: string | number): string {
  return `${clientId}\n${part}`;
}
