// What waits to be published: on disk, bounded, in order, each message until the broker has acknowledged it.
//
// When there is no more room, what matters least goes first, and of that the oldest: telemetry, then progress of updates,
// then answers to diagnoses; how an update ended goes last. A message that matters less than all that waits is refused. What
// has waited for too long goes too, except how an update ended: that is taken in also when all the room is under way.

import { z } from "zod";
import type { StateDatabase } from "../state/database.ts";

/** Kinds of messages, from what goes first when there is no room to what goes last. */
export const messageKinds = ["telemetry", "progress", "answer", "final"] as const;

export type MessageKind = typeof messageKinds[number];

/** Why a message is given up: for lack of room, for its age, or because the server will never take it. */
export type LossReason = "room" | "age" | "refused";

/** What is to be published. */
export interface OutgoingMessage {
  topic: string;
  /** JSON object; `message_id` is put in. */
  payload: Readonly<Record<string, unknown>>;
  kind: MessageKind;
  /** Takes the place of a message of the same slot that is not under way: only the newest state counts. */
  slot?: string;
}

/** A message that waits. */
export interface QueuedMessage {
  readonly seq: number;
  readonly messageId: string;
  readonly topic: string;
  /** JSON text, `message_id` in it. */
  readonly payload: string;
  /** Whether it was handed to a connection before: MQTT asks for the DUP flag then (3.3.1.1). */
  readonly repeated: boolean;
}

/** Options of {@link Outbox}. */
export interface OutboxOptions {
  /** Messages that wait at most. @default 10000 */
  maxCount?: number;
  /** Bytes of payload that wait at most. @default 33554432 */
  maxBytes?: number;
  /** How long a message waits at most, milliseconds; how an update ended waits for ever. @default 604800000 (7 days) */
  maxAge?: number;
  /** Told of each message that is given up. */
  onGivenUp?: (kind: MessageKind, reason: LossReason) => void;
  /** Told when what the server has could not be deleted; it is tried again. */
  onFault?: (error: unknown) => void;
}

const row = z.object({ seq: z.int(), message_id: z.string(), topic: z.string(), payload: z.string() });
const totals = z.object({ count: z.int(), bytes: z.int() });
const size = z.object({ seq: z.int(), bytes: z.int() });
const place = z.object({ seq: z.int() });
const victims = z.object({ seq: z.int(), rank: z.int() });

/** How long acknowledged messages are collected before they are deleted together, milliseconds. */
const forgetDelay = 20;

/** How long it is waited after they could not be, milliseconds. */
const forgetAgain = 1_000;

/** The queue of outgoing messages. */
export class Outbox {
  readonly #state: StateDatabase;
  readonly #maxCount: number;
  readonly #maxBytes: number;
  readonly #statements;
  /** Handed to the connection, not yet acknowledged. */
  readonly #inFlight = new Set<number>();
  /** Handed to some connection of this run. */
  readonly #handed = new Set<number>();
  /** Acknowledged, not yet deleted. */
  readonly #acknowledged = new Set<number>();
  #forgetTimer: ReturnType<typeof setTimeout> | undefined;
  #count = 0;
  #bytes = 0;
  #dropped = 0;
  readonly #added = new Set<() => void>();
  readonly #maxAge: number;
  readonly #onGivenUp: OutboxOptions["onGivenUp"];
  readonly #onFault: OutboxOptions["onFault"];

  constructor(state: StateDatabase, options: OutboxOptions = {}) {
    const { maxCount = 10_000, maxBytes = 32 * 1024 * 1024, maxAge = 604_800_000 } = options;
    for (const [name, value] of Object.entries({ maxCount, maxBytes, maxAge })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new RangeError(`${name}: expected a whole number of at least 1, got ${value}`);
      }
    }
    this.#state = state;
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
    this.#maxAge = maxAge;
    this.#onGivenUp = options.onGivenUp;
    this.#onFault = options.onFault;
    const { sqlite } = state;
    this.#statements = {
      insert: sqlite.prepare(
        "INSERT INTO outbox (message_id, topic, payload, rank, slot, created) VALUES (?, ?, ?, ?, ?, ?)",
      ),
      next: sqlite.prepare(
        "SELECT seq, message_id, topic, payload FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
      ),
      old: sqlite.prepare(
        "SELECT seq, rank FROM outbox WHERE rank < ? AND created < ? ORDER BY seq LIMIT 1000",
      ),
      least: sqlite.prepare(
        "SELECT seq, rank FROM outbox WHERE rank <= ? ORDER BY rank, seq LIMIT ?",
      ),
      rank: sqlite.prepare("SELECT seq, rank FROM outbox WHERE seq = ?"),
      byId: sqlite.prepare("SELECT seq FROM outbox WHERE message_id = ?"),
      inSlot: sqlite.prepare(
        "SELECT seq, length(CAST(payload AS BLOB)) AS bytes FROM outbox WHERE slot = ? ORDER BY seq",
      ),
      delete: sqlite.prepare(
        "DELETE FROM outbox WHERE seq = ? RETURNING seq, length(CAST(payload AS BLOB)) AS bytes",
      ),
      totals: sqlite.prepare(
        "SELECT count(*) AS count, coalesce(sum(length(CAST(payload AS BLOB))), 0) AS bytes FROM outbox",
      ),
    };
    // A disk may have damaged them: what is of no kind, or cannot be read, is of no use.
    sqlite.prepare("DELETE FROM outbox WHERE rank NOT BETWEEN 0 AND ? OR seq < 1 OR NOT json_valid(payload)")
      .run(messageKinds.length - 1);
    this.#total();
    state.onRolledBack(() => {
      try {
        this.#total();
      } catch (error) {
        // As wrong as they are until the next one that fails; the bounds are no more exact than the disk is well.
        this.#onFault?.(error);
      }
    });
  }

  /** Messages that wait, those under way among them. */
  get count(): number {
    return this.#count - this.#acknowledged.size;
  }

  /** Messages given up so far. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Calls `run` when there is something new to publish. @returns what ends that */
  onAdded(run: () => void): () => void {
    this.#added.add(run);
    return () => void this.#added.delete(run);
  }

  /**
   * Queues a message; it is on disk when this returns, or when the transaction around it ends.
   * @returns its id; undefined when there is no room for it
   */
  add(message: OutgoingMessage): string | undefined {
    const messageId = crypto.randomUUID();
    const payload = JSON.stringify({ ...message.payload, message_id: messageId });
    const bytes = new TextEncoder().encode(payload).length;
    const rank = messageKinds.indexOf(message.kind);
    const added = this.#state.transaction(() => {
      if (message.slot !== undefined) {
        for (const found of this.#statements.inSlot.all(message.slot)) {
          const { seq } = size.parse(found);
          if (!this.#inFlight.has(seq) && !this.#acknowledged.has(seq)) this.#delete(seq);
        }
      }
      if (!this.#makeRoom(bytes, rank)) return false;
      this.#statements.insert.run(
        messageId,
        message.topic,
        payload,
        rank,
        message.slot ?? null,
        Date.now(),
      );
      this.#count++;
      this.#bytes += bytes;
      return true;
    });
    if (!added) {
      this.#giveUp(rank, "room");
      return undefined;
    }
    for (const run of this.#added) run();
    return messageId;
  }

  /**
   * The next messages in order that are not under way, at most `limit`; they count as under way from now on.
   * @param passedOver tells which are left where they are. @default none
   */
  take(limit: number, passedOver: (messageId: string) => boolean = () => false): QueuedMessage[] {
    const taken: QueuedMessage[] = [];
    for (let after = 0; taken.length < limit;) {
      const wanted = limit + this.#inFlight.size + this.#acknowledged.size;
      const found = this.#statements.next.all(after, wanted).map((value) => row.parse(value));
      for (const { seq, message_id, topic, payload } of found) {
        after = seq;
        if (taken.length === limit || this.#inFlight.has(seq) || this.#acknowledged.has(seq)) continue;
        if (passedOver(message_id)) continue;
        taken.push({ seq, messageId: message_id, topic, payload, repeated: this.#handed.has(seq) });
      }
      if (found.length < wanted) break;
    }
    for (const { seq } of taken) {
      this.#inFlight.add(seq);
      this.#handed.add(seq);
    }
    return taken;
  }

  /** The server has the message: it is deleted, together with others that are acknowledged about now. */
  acknowledge(seq: number): void {
    this.#inFlight.delete(seq);
    this.#acknowledged.add(seq);
    // Should the program end before that, the message is sent again and the server knows it by its id.
    this.#forgetLater(forgetDelay);
  }

  /** The server has these messages, as it says itself; those that wait no longer are passed over. */
  confirm(messageIds: readonly string[]): void {
    for (const messageId of messageIds) {
      const found = this.#statements.byId.get(messageId);
      if (found !== undefined) this.acknowledge(place.parse(found).seq);
    }
  }

  /** These could not be sent: they wait again, in their old place. */
  release(seqs: Iterable<number>): void {
    for (const seq of seqs) this.#inFlight.delete(seq);
  }

  /** Gives a message up that the server will never take. */
  refuse(seq: number): void {
    this.#inFlight.delete(seq);
    const found = this.#statements.rank.get(seq);
    if (found === undefined) return;
    this.#delete(seq);
    this.#giveUp(victims.parse(found).rank, "refused");
  }

  /** Gives up what has waited for too long. @returns how many messages */
  expire(now: number = Date.now()): number {
    let gone = 0;
    this.#state.transaction(() => {
      for (const found of this.#statements.old.all(messageKinds.indexOf("final"), now - this.#maxAge)) {
        const { seq, rank } = victims.parse(found);
        if (this.#inFlight.has(seq) || this.#acknowledged.has(seq)) continue;
        this.#delete(seq);
        this.#giveUp(rank, "age");
        gone++;
      }
    });
    return gone;
  }

  /** Deletes what was acknowledged. */
  flush(): void {
    clearTimeout(this.#forgetTimer);
    this.#forgetTimer = undefined;
    if (this.#acknowledged.size === 0) return;
    this.#state.transaction(() => {
      for (const seq of this.#acknowledged) this.#delete(seq);
    });
    this.#acknowledged.clear();
  }

  #forgetLater(wait: number): void {
    this.#forgetTimer ??= setTimeout(() => {
      try {
        this.flush();
      } catch (error) {
        // A disk that is full or fails: they stay acknowledged, and are not sent again meanwhile.
        this.#onFault?.(error);
        this.#forgetLater(forgetAgain);
      }
    }, wait);
  }

  /** Counts what waits on the disk. */
  #total(): void {
    const { count, bytes } = totals.parse(this.#statements.totals.get());
    this.#count = count;
    this.#bytes = bytes;
  }

  #makeRoom(bytes: number, rank: number): boolean {
    if (bytes > this.#maxBytes) return false;
    while (this.#count >= this.#maxCount || this.#bytes + bytes > this.#maxBytes) {
      const victim = this.#statements.least.all(rank, this.#inFlight.size + 1)
        .map((value) => victims.parse(value)).find(({ seq }) => !this.#inFlight.has(seq));
      // What is under way may arrive: it keeps its place. There is an end for each update, so that the bound still holds.
      if (victim === undefined) return rank === messageKinds.indexOf("final");
      this.#delete(victim.seq);
      if (!this.#acknowledged.has(victim.seq)) this.#giveUp(victim.rank, "room");
    }
    return true;
  }

  #giveUp(rank: number, reason: LossReason): void {
    this.#dropped++;
    this.#onGivenUp?.(messageKinds[rank], reason);
  }

  #delete(seq: number): void {
    this.#handed.delete(seq);
    const gone = this.#statements.delete.get(seq);
    if (gone === undefined) return;
    this.#count--;
    this.#bytes -= size.parse(gone).bytes;
  }
}
