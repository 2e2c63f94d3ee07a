// Turns on the embedded database's single connection: single statements may be under way together, a transaction has the
// connection to itself, and whoever asked first goes first.
import { DatabaseTimeoutError, DatabaseUnavailableError } from "./errors.ts";

interface Waiter {
  exclusive: boolean;
  start(): void;
  reject(error: Error): void;
}

/** A first-in first-out lock with shared and exclusive holders, a limit on waiting time and on the number that wait. */
export class Turns {
  #waiting: Waiter[] = [];
  #shared = 0;
  #exclusive = false;
  #closed: Error | null = null;
  #drained: (() => void) | null = null;

  constructor(private readonly options: { maxWaiting: number; waitLimit: number }) {}

  /**
   * Waits for a turn; the function that it gives ends the turn and must be called once.
   * @throws DatabaseTimeoutError after the wait limit, DatabaseUnavailableError when too many wait or the lock is closed
   */
  async take(exclusive: boolean): Promise<() => void> {
    if (this.#closed) throw this.#closed;
    if (this.#waiting.length > 0 || !this.#free(exclusive)) await this.#wait(exclusive);
    else this.#enter(exclusive);
    return () => this.#leave(exclusive);
  }

  /** Rejects whoever waits and every later call; resolves when the turns that were given have ended. */
  close(reason: Error): Promise<void> {
    this.#closed = reason;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(reason);
    return new Promise((resolve) => {
      this.#drained = resolve;
      this.#admit();
    });
  }

  #free(exclusive: boolean): boolean {
    return !this.#exclusive && (!exclusive || this.#shared === 0);
  }

  #enter(exclusive: boolean): void {
    if (exclusive) this.#exclusive = true;
    else this.#shared++;
  }

  #leave(exclusive: boolean): void {
    if (exclusive) this.#exclusive = false;
    else this.#shared--;
    this.#admit();
  }

  #admit(): void {
    if (this.#shared === 0 && !this.#exclusive) this.#drained?.();
    while (this.#waiting.length > 0 && this.#free(this.#waiting[0].exclusive)) {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) return;
      this.#enter(waiter.exclusive);
      waiter.start();
    }
  }

  #wait(exclusive: boolean): Promise<void> {
    const { maxWaiting, waitLimit } = this.options;
    if (this.#waiting.length >= maxWaiting) {
      throw new DatabaseUnavailableError(`the database is busy: ${maxWaiting} queries wait already`);
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        exclusive,
        start: () => {
          clearTimeout(timer);
          resolve();
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(new DatabaseTimeoutError(`waited ${waitLimit} ms for a turn on the database`));
        // The one that gave up may have been an exclusive one that held back shared ones behind it.
        this.#admit();
      }, waitLimit);
      this.#waiting.push(waiter);
    });
  }
}
