// The turns at one ECU: one use at a time, in the order of asking. A use that must not be disturbed, a flash, lets nobody
// wait behind it: it may take minutes, so that others are told at once that the ECU is busy.

import { EcuBusyError } from "../errors.ts";

/** Who asks, and how. */
export interface Turn {
  /** For the message to others, e.g. `update 6f1c…`. */
  purpose: string;
  /** Others are refused while this is under way or waits. */
  exclusive: boolean;
  /** Longest wait for the turn, milliseconds. */
  timeout: number;
  signal?: AbortSignal;
}

/** The turns at one ECU. */
export class EcuLane {
  readonly #ecuId: string;
  readonly #waiting: { turn: Turn; go: () => void }[] = [];
  #current: Turn | undefined;

  constructor(ecuId: string) {
    this.#ecuId = ecuId;
  }

  /**
   * Waits for the turn.
   * @returns what ends it
   * @throws {EcuBusyError} while an exclusive use is under way or waits, or when the turn does not come in time
   */
  async enter(turn: Turn): Promise<() => void> {
    turn.signal?.throwIfAborted();
    const blocking = [this.#current, ...this.#waiting.map((entry) => entry.turn)].find((t) => t?.exclusive);
    if (blocking !== undefined) {
      throw new EcuBusyError(`${this.#ecuId} is busy: ${blocking.purpose} is under way`);
    }
    if (this.#current !== undefined) await this.#wait(turn);
    this.#current = turn;
    return () => {
      if (this.#current !== turn) return;
      this.#current = undefined;
      this.#waiting.shift()?.go();
    };
  }

  #wait(turn: Turn): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const entry = {
      turn,
      go: () => {
        // Taken here and not by the waiter, who runs later: nobody may step in between.
        this.#current = turn;
        resolve();
      },
    };
    this.#waiting.push(entry);
    const leave = (reason: unknown) => {
      const at = this.#waiting.indexOf(entry);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      reject(reason);
    };
    const ended = () => leave(turn.signal?.reason);
    const timer = setTimeout(() => {
      const purpose = this.#current?.purpose ?? "another request";
      leave(new EcuBusyError(`${this.#ecuId} is busy: ${purpose} did not end within ${turn.timeout} ms`));
    }, turn.timeout);
    turn.signal?.addEventListener("abort", ended, { once: true });
    return promise.finally(() => {
      clearTimeout(timer);
      turn.signal?.removeEventListener("abort", ended);
    });
  }
}
