// The order of messages on one connection: what each asks for is done after what its sender asked for before, and
// acknowledgements keep the order of what they acknowledge (MQTT 3.1.1 and 5.0, section 4.6).

/**
 * A message's work. What only has to be waited for is given back as a function: the sender's next message begins without
 * waiting for it.
 */
export type Work = () => Promise<(() => Promise<void>) | void>;

export class InOrder {
  /** The last work of each sender that has any under way. */
  readonly #senders = new Map<string, Promise<void>>();
  #acknowledged: Promise<void> = Promise.resolve();

  /**
   * Does a message's work after that of its sender's messages before it.
   * @returns what settles after all messages before it, of whatever sender, have
   */
  do(sender: string, work: Work): Promise<void> {
    const before = this.#acknowledged;
    const begun = (this.#senders.get(sender) ?? Promise.resolve()).then(work);
    const processed = begun.then(() => {}, () => {}).then(() => {
      if (this.#senders.get(sender) === processed) this.#senders.delete(sender);
    });
    this.#senders.set(sender, processed);
    const done = begun.then((rest) => rest?.());
    // A failure is reported at its own turn; until then it must not count as unhandled.
    done.catch(() => {});
    const acknowledged = before.then(() => done);
    this.#acknowledged = acknowledged.catch(() => {});
    return acknowledged;
  }

  /** Resolves when everything that came so far is done with. */
  settled(): Promise<void> {
    return this.#acknowledged;
  }
}
