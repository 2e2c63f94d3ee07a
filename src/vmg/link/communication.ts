// Which way the vehicle talks to its server: over MQTT as long as that is up; after it has been away for a while, over HTTPS:
// what waits is sent there and commands are asked for, while MQTT is tried in the background; back once MQTT holds.

import { Buffer } from "node:buffer";
import { ProblemError, type RestClient } from "../../contract/client.ts";
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

  /** @returns how many messages the server took */
  async #sendBatch(signal: AbortSignal): Promise<number> {
    const { vin, rest, outbox } = this.#options;
    const taken = outbox.take(batchCount);
    const batch = withinBytes(taken);
    outbox.release(taken.slice(batch.length).map(({ seq }) => seq));
    if (batch.length === 0) return 0;
    try {
      const { accepted, rejected } = await rest.call(routes.sendMessages, {
        path: { vin },
        body: {
          messages: batch.map(({ messageId, topic, payload }) => ({
            message_id: messageId,
            topic,
            payload: JSON.parse(payload),
          })),
        },
        signal,
      });
      for (const { message_id, reason } of rejected) {
        this.#log.error(`The server refuses message ${message_id}: ${reason}`);
      }
      const done = new Set([...accepted, ...rejected.map(({ message_id }) => message_id)]);
      const settled = batch.filter(({ messageId }) => done.has(messageId));
      for (const { seq } of settled) outbox.acknowledge(seq);
      outbox.release(batch.filter(({ messageId }) => !done.has(messageId)).map(({ seq }) => seq));
      this.#sent += settled.length;
      return settled.length;
    } catch (error) {
      outbox.release(batch.map(({ seq }) => seq));
      if (!signal.aborted) {
        const refused = error instanceof ProblemError && error.status < 500 && error.status !== 429;
        this.#log[refused ? "error" : "warn"](`Messages not sent over HTTPS: ${explain(error)}`);
      }
      return 0;
    }
  }
}

/** As many of the first messages as fit into one request, at least one. */
function withinBytes(messages: QueuedMessage[]): QueuedMessage[] {
  let bytes = 0;
  const end = messages.findIndex(({ payload }) => (bytes += payload.length) > batchBytes);
  return end < 0 ? messages : messages.slice(0, Math.max(1, end));
}
