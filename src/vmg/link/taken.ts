// Tells the server which of its messages the vehicle has on disk, where the broker is not the server: many at once, shortly
// after they came. What is not told, because the connection was lost, needs no second try: the server sends such a message
// again, and is told then.

/** How long messages are collected, milliseconds. */
const gatherTime = 20;

/** Messages that are told of together; the contract takes 1,000. */
const most = 500;

/** Messages that are remembered while there is no connection to tell of them. */
const mostWaiting = 1_000;

/** What the vehicle has taken and not told of. */
export class TakenMessages {
  readonly #tell: (messageIds: readonly string[]) => Promise<boolean>;
  #waiting = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param tell resolves with whether the broker has it */
  constructor(tell: (messageIds: readonly string[]) => Promise<boolean>) {
    this.#tell = tell;
  }

  /** A message is on disk. */
  note(messageId: string): void {
    const [oldest] = this.#waiting;
    if (this.#waiting.size >= mostWaiting && oldest !== undefined) this.#waiting.delete(oldest);
    this.#waiting.add(messageId);
    this.#timer ??= setTimeout(() => void this.flush(), gatherTime);
  }

  /** Tells of what waits, as far as there is a connection. */
  async flush(): Promise<void> {
    this.stop();
    while (this.#waiting.size > 0) {
      const messageIds = [...this.#waiting].slice(0, most);
      if (!await this.#tell(messageIds)) return;
      for (const messageId of messageIds) this.#waiting.delete(messageId);
    }
  }

  /** Forgets what waits: nobody wants to be told. */
  clear(): void {
    this.stop();
    this.#waiting.clear();
  }

  /** Tells of nothing more by itself. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
