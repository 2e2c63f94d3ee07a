// One wait of a transport: a promise with a deadline and a signal, made so that a request costs neither a timer nor
// a listener of its own. The connection keeps one timer for all waits; a signal that comes again keeps its listener.

/** At most one promise is under way at a time. */
export class Wait<T> {
  readonly #aborted = (): void => {
    if (this.#signal !== undefined) this.reject(this.#signal.reason);
  };
  #resolve: ((value: T) => void) | undefined;
  #reject: ((reason: unknown) => void) | undefined;
  #signal: AbortSignal | undefined;
  /** When the wait is over, in the clock's milliseconds. */
  deadline = Infinity;

  /** Whether somebody waits. */
  get active(): boolean {
    return this.#resolve !== undefined;
  }

  /** Begins a wait. The caller has seen that none is active and that the signal is not aborted. */
  begin(deadline: number, signal: AbortSignal | undefined): Promise<T> {
    this.deadline = deadline;
    if (signal !== this.#signal) {
      this.#signal?.removeEventListener("abort", this.#aborted);
      this.#signal = signal;
      signal?.addEventListener("abort", this.#aborted);
    }
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Ends the wait, if there is one. */
  resolve(value: T): void {
    const resolve = this.#resolve;
    this.#resolve = this.#reject = undefined;
    resolve?.(value);
  }

  /** Ends the wait, if there is one. */
  reject(reason: unknown): void {
    const reject = this.#reject;
    this.#resolve = this.#reject = undefined;
    reject?.(reason);
  }

  /** Lets go of the signal; for a connection that is gone. */
  release(): void {
    this.#signal?.removeEventListener("abort", this.#aborted);
    this.#signal = undefined;
  }
}
