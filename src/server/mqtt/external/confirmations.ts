// Tells vehicles which of their messages are stored: an external broker's acknowledgement says that the broker has a message,
// not that the database has it. Many are told of together.

import { topicOf } from "../../../contract/mqtt.ts";

/** How long messages are collected, in milliseconds. */
const gatherTime = 20;

/** Messages of a vehicle that are told of together; the contract takes 1,000. */
const most = 500;

const encoder = new TextEncoder();

/**
 * What is stored and not told yet. It goes out with QoS 0, ahead of the acknowledgement of what it tells of on the same
 * connection: either the broker has it, or it sends the message once more. A vehicle that is away then does so itself.
 */
export class Confirmations {
  readonly #publish: (topic: string, payload: Uint8Array) => void;
  #stored = new Map<string, Set<string>>();
  #told: PromiseWithResolvers<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param publish writes to the broker, or does nothing where there is no connection */
  constructor(publish: (topic: string, payload: Uint8Array) => void) {
    this.#publish = publish;
  }

  /**
   * A message is stored.
   * @param name that of the vehicle in the message's topic
   * @returns what resolves when the vehicle is told, as far as it is up to this side
   */
  confirm(name: string, messageId: string): Promise<void> {
    let messages = this.#stored.get(name);
    if (messages === undefined) this.#stored.set(name, messages = new Set());
    messages.add(messageId);
    const told = this.#told ??= Promise.withResolvers<void>();
    if (messages.size >= most) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), gatherTime);
    return told.promise;
  }

  /** Tells of what waits. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const stored = this.#stored;
    const told = this.#told;
    this.#stored = new Map();
    this.#told = undefined;
    for (const [name, messages] of stored) {
      const payload = encoder.encode(JSON.stringify({ message_ids: [...messages] }));
      this.#publish(topicOf(name, "stored"), payload);
    }
    told?.resolve();
  }
}
