// Publishes what waits in the outbox over one connection, in order, with a bounded number of messages under way. It ends with the
// connection: what failed on this one is for the next one.

import { orAborted } from "../../wait.ts";
import type { Confirmation } from "./confirmations.ts";
import type { Outbox, QueuedMessage } from "./outbox.ts";
import { type MqttSession, SessionError } from "./session.ts";
import type { Suspects } from "./suspects.ts";

/** Options of {@link Pump}. */
export interface PumpOptions {
  session: Pick<MqttSession, "publish" | "abandon">;
  outbox: Pick<Outbox, "take" | "acknowledge" | "release" | "onAdded">;
  /** The server's word on a message; undefined where the broker's acknowledgement counts. */
  expect: (messageId: string) => Confirmation | undefined;
  suspects: Suspects;
  /** Messages under way at most; may change, and is asked again after each. */
  window: () => number;
  /** Told of each message that is done with. */
  onSent: () => void;
}

/** Longest time between two looks at what is held back, milliseconds. */
const longestNap = 60_000;

/** The messages of one connection. */
export class Pump {
  readonly #options: PumpOptions;
  #underWay = 0;
  #sent = 0;
  #alone: string | undefined;
  #broken = false;
  #wake: () => void = () => {};

  constructor(options: PumpOptions) {
    this.#options = options;
  }

  /** Messages that are done with. */
  get sent(): number {
    return this.#sent;
  }

  /** The message that was under way by itself when the connection ended, or is: what comes then is the answer to it. */
  get alone(): string | undefined {
    return this.#alone;
  }

  /** Publishes until the signal ends it, or the connection fails. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { session, outbox, suspects } = this.#options;
    const unlisten = outbox.onAdded(() => this.#wake());
    try {
      while (!signal.aborted && !this.#broken) {
        const woken = new Promise<void>((resolve) => this.#wake = resolve);
        for (const message of this.#next()) {
          this.#underWay++;
          void this.#send(message);
        }
        const { wait } = suspects;
        const timer = wait === undefined
          ? undefined
          : setTimeout(() => this.#wake(), Math.min(Math.ceil(wait), longestNap));
        await orAborted(woken, signal).catch(() => {}); // The loop's condition sees the end.
        clearTimeout(timer);
      }
    } catch (cause) {
      // The disk fails: a connection over which nothing goes is of no use, and the next one comes after a wait.
      session.abandon(new SessionError("the queue of messages cannot be read", { cause }));
    } finally {
      unlisten();
    }
  }

  #next(): QueuedMessage[] {
    const { outbox, suspects, window } = this.#options;
    const most = window();
    const messages = outbox.take(most - this.#underWay, (messageId) => suspects.has(messageId));
    if (messages.length === 0 && this.#underWay === 0) {
      // Nothing else is held up by it now.
      const [suspect] = outbox.take(1, (messageId) => !suspects.isDue(messageId));
      this.#alone = suspect?.messageId;
      return suspect === undefined ? [] : [suspect];
    }
    if (messages.length > 0) {
      const [{ messageId }] = messages;
      this.#alone = most === 1 ? messageId : undefined;
    }
    return messages;
  }

  async #send({ seq, messageId, topic, payload, repeated }: QueuedMessage): Promise<void> {
    const { session, outbox, expect, suspects, onSent } = this.#options;
    // The server's word may come before the broker's.
    const confirmation = expect(messageId);
    let published = false;
    try {
      await session.publish(topic, payload, { repeated });
      published = true;
      if (this.#alone === messageId) this.#alone = undefined;
      suspects.clear(messageId);
      await confirmation?.heard;
      outbox.acknowledge(seq);
      this.#sent++;
      onSent();
    } catch {
      // The message keeps its place. Where the server said nothing in time it goes out again; where the connection failed, on
      // the next one: a try on this one would fail at once, and again, and the end of the connection would never be heard of.
      outbox.release([seq]);
      if (!published) this.#broken = true;
    } finally {
      confirmation?.end();
      this.#underWay--;
      this.#wake();
    }
  }
}
