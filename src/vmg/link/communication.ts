// Which way the vehicle talks to its server: over MQTT as long as that is up; after it has been away for a while, over HTTPS:
// what waits is sent there and commands are asked for, while MQTT is tried in the background; back once MQTT holds.

import { Buffer } from "node:buffer";
import { AnswerError, ProblemError, type RestClient } from "../../contract/client.ts";
import { routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { explain } from "../errors.ts";
import { delay } from "../../wait.ts";
import type { Outbox, QueuedMessage } from "./outbox.ts";

/** How the vehicle talks to its server. */
export type CommunicationMode = "mqtt" | "https";

/** Options of {@link CommunicationManager}. Times in milliseconds. */
export interface CommunicationOptions {
  vin: string;
  rest: RestClient;
  outbox: Outbox;
  /** Milliseconds since MQTT was up; 0 while it is. */
  away: () => number;
  /** Takes a message from the server over, as one that came over MQTT; on disk when it returns. */
  take: (topic: string, payload: Uint8Array) => void;
  /** How long MQTT may be away before HTTPS takes its place. */
  fallbackAfter: number;
  /** Time between two questions for commands. */
  pollInterval: number;
  /** Least time between two batches of messages. */
  batchInterval: number;
  /** How long MQTT must be up until it counts again. */
  holdTime: number;
  log: Logger;
}

/** Messages that are sent in one request. The server's limit is 1,000 and its body limit 1 MiB. */
const batchCount = 100;
const batchBytes = 512 * 1024;

/**
 * Statuses that say that something is wrong with what was sent (RFC 9110 clause 15.5: bad request, content too large,
 * unprocessable content). Others are about who sends, where to or when.
 */
const aboutContent = new Set([400, 413, 422]);

/** So many messages refused one by one, and none taken: the server's fault is another one. */
const refusedInVain = 5;

/** Time between two looks at the link, at most, milliseconds. */
const longestPause = 1_000;

/** Chooses the way. */
export class CommunicationManager {
  readonly #options: CommunicationOptions;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  #mode: CommunicationMode = "mqtt";
  #running: Promise<void> | undefined;
  /** Ends what is under way over HTTPS. */
  #fallback: AbortController | undefined;
  #fallbackEnded: Promise<unknown> = Promise.resolve();
  /** Messages that the server refused by themselves once, while it took others. */
  readonly #suspects = new Set<string>();
  #upSince: number | undefined;
  #polled = 0;
  #sent = 0;

  constructor(options: CommunicationOptions) {
    for (const name of ["fallbackAfter", "pollInterval", "batchInterval", "holdTime"] as const) {
      if (!(options[name] >= 0)) {
        throw new RangeError(`${name}: expected at least 0 ms, got ${options[name]}`);
      }
    }
    this.#options = options;
    this.#log = options.log;
  }

  get mode(): CommunicationMode {
    return this.#mode;
  }

  /** Messages from and to the server that went over HTTPS. */
  get statistics(): { polled: number; sent: number } {
    return { polled: this.#polled, sent: this.#sent };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** MQTT is up: what HTTPS has under way ends, so that the order of messages is kept. Resolves when it has. */
  async linkUp(): Promise<void> {
    this.#upSince = Date.now();
    this.#fallback?.abort(new Error("MQTT is back"));
    await this.#fallbackEnded;
  }

  async #run(): Promise<void> {
    const { fallbackAfter, holdTime } = this.#options;
    const { signal } = this.#stopping;
    const pause = Math.max(
      10,
      Math.min(longestPause, fallbackAfter / 4, holdTime === 0 ? Infinity : holdTime / 4),
    );
    while (!signal.aborted) {
      await delay(pause, signal).catch(() => {}); // The loop's condition sees the end.
      if (signal.aborted) break;
      const away = this.#options.away();
      if (away > 0) this.#upSince = undefined;
      if (this.#mode === "mqtt" && away > 0 && away >= fallbackAfter) {
        this.#mode = "https";
        this.#log.warn(`MQTT disconnected for ${Math.round(away / 1000)} s. Switching to HTTPS fallback`);
      }
      if (this.#mode === "https" && away === 0) {
        this.#upSince ??= Date.now();
        if (Date.now() - this.#upSince >= holdTime) {
          this.#mode = "mqtt";
          this.#log.info("MQTT reconnected. Switching back to MQTT");
        }
      }
      if (this.#mode === "https" && away > 0 && this.#fallback === undefined) this.#begin();
    }
    this.#fallback?.abort(signal.reason);
    await this.#fallbackEnded;
  }

  #begin(): void {
    const fallback = this.#fallback = new AbortController();
    const signal = AbortSignal.any([fallback.signal, this.#stopping.signal]);
    this.#fallbackEnded = Promise.all([this.#poll(signal), this.#drain(signal)])
      .finally(() => this.#fallback = undefined);
  }

  /** Asks for commands until the signal ends it. */
  async #poll(signal: AbortSignal): Promise<void> {
    const { vin, rest, take, pollInterval } = this.#options;
    while (!signal.aborted) {
      try {
        const { messages } = await rest.call(routes.pendingMessages, { path: { vin }, signal });
        for (const { message_id, topic, payload } of messages) {
          take(topic, Buffer.from(JSON.stringify(payload)));
          this.#polled++;
          await rest.call(routes.acknowledgeMessage, { path: { vin, message_id }, signal });
        }
        if (messages.length > 0) this.#log.info(`${messages.length} message(s) came by polling`);
      } catch (error) {
        if (!signal.aborted) this.#log.warn(`Polling failed: ${explain(error)}`);
      }
      await delay(pollInterval, signal).catch(() => {}); // The loop's condition sees the end.
    }
  }

  /** Sends what waits, oldest first, until the signal ends it. */
  async #drain(signal: AbortSignal): Promise<void> {
    const { outbox, batchInterval, pollInterval } = this.#options;
    let wake: () => void = () => {};
    const end = outbox.onAdded(() => wake());
    while (!signal.aborted) {
      const added = new Promise<void>((resolve) => wake = resolve);
      const before = Date.now();
      const sent = await this.#sendBatch(signal);
      const waited = new AbortController();
      const either = AbortSignal.any([signal, waited.signal]);
      if (sent === 0) await Promise.race([added, delay(pollInterval, either).catch(() => {})]);
      // The loop's condition sees the end; the other wait is over with this one.
      waited.abort();
      const rest = batchInterval - (Date.now() - before);
      if (sent !== batchCount && rest > 0) await delay(rest, signal).catch(() => {});
    }
    end();
  }

  /** @returns how many messages are done with */
  async #sendBatch(signal: AbortSignal): Promise<number> {
    const { outbox } = this.#options;
    let batch = new Batch([]);
    try {
      const taken = outbox.take(batchCount);
      batch = new Batch(withinBytes(taken));
      outbox.release(taken.slice(batch.messages.length).map(({ seq }) => seq));
      if (batch.messages.length === 0) return 0;
      await this.#send(batch, batch.messages, signal);
      this.#refuse(batch);
    } catch (error) {
      // The server's, the network's, or the disk's.
      if (!signal.aborted) this.#log.warn(`Messages not sent over HTTPS: ${explain(error)}`);
    }
    outbox.release(batch.messages.map(({ seq }) => seq));
    this.#sent += batch.done;
    return batch.done;
  }

  /**
   * Sends a part of a batch; one that the server refuses for what is in it is halved until the message is found.
   * @throws when the server cannot be reached, or refuses for another reason than what is in the part
   */
  async #send(batch: Batch, part: readonly QueuedMessage[], signal: AbortSignal): Promise<void> {
    const { vin, rest, outbox } = this.#options;
    try {
      const { accepted, rejected } = await rest.call(routes.sendMessages, {
        path: { vin },
        body: {
          messages: part.map(({ messageId, topic, payload }) => ({
            message_id: messageId,
            topic,
            payload: JSON.parse(payload),
          })),
        },
        signal,
      });
      for (const { message_id, reason } of rejected) {
        this.#log.error(`The server refuses message ${message_id} and keeps it aside: ${reason}`);
      }
      const done = new Set([...accepted, ...rejected.map(({ message_id }) => message_id)]);
      const settled = part.filter(({ messageId }) => done.has(messageId));
      for (const { seq, messageId } of settled) {
        outbox.acknowledge(seq);
        this.#suspects.delete(messageId);
      }
      batch.done += settled.length;
    } catch (error) {
      // A load balancer before the server says it without problem details.
      const known = error instanceof ProblemError || error instanceof AnswerError;
      if (!known || error.status === undefined || !aboutContent.has(error.status)) throw error;
      if (part.length === 1) {
        batch.refused.push({ message: part[0], why: explain(error) });
        // A server that refuses everything has another fault than the messages.
        if (batch.done === 0 && batch.refused.length >= refusedInVain) throw error;
        return;
      }
      const half = Math.ceil(part.length / 2);
      await this.#send(batch, part.slice(0, half), signal);
      await this.#send(batch, part.slice(half), signal);
    }
  }

  /** Gives up what the server refuses by itself a second time, if it takes others; else it is asked again later. */
  #refuse({ refused, done }: Batch): void {
    for (const { message: { seq, messageId, topic }, why } of refused) {
      const told = `The server refuses message ${messageId} on ${topic} alone: ${why}`;
      if (done === 0) {
        this.#log.warn(`${told}. It waits: the server takes no other message either`);
      } else if (!this.#suspects.has(messageId)) {
        this.#suspects.add(messageId);
        this.#log.warn(`${told}. It is sent once more`);
      } else {
        this.#suspects.delete(messageId);
        this.#log.error(`${told}. It is given up`);
        this.#options.outbox.refuse(seq);
      }
    }
  }
}

/** A batch under way. */
class Batch {
  /** Messages that the server has, or keeps aside. */
  done = 0;
  readonly refused: { message: QueuedMessage; why: string }[] = [];

  constructor(readonly messages: readonly QueuedMessage[]) {}
}

/** As many of the first messages as fit into one request, at least one. */
function withinBytes(messages: QueuedMessage[]): QueuedMessage[] {
  let bytes = 0;
  const end = messages.findIndex(({ payload }) => (bytes += payload.length) > batchBytes);
  return end < 0 ? messages : messages.slice(0, Math.max(1, end));
}
