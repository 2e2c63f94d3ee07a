// What the server is doing: IDLE, PROCESSING (HTTPS), HANDLING (MQTT) or MAINTENANCE (timers).

import type { Logger } from "../log.ts";

/** Work that is counted. */
export const activities = ["PROCESSING", "HANDLING", "MAINTENANCE"] as const;
export type Activity = (typeof activities)[number];
export type State = "IDLE" | Activity;

/**
 * Counts work under way by kind. Work of several kinds runs at once; the state that is shown is the first of
 * PROCESSING, HANDLING, MAINTENANCE that has work under way, and IDLE when none has: somebody who waits for an answer
 * comes before a message that was sent, and that before what nobody waits for.
 */
export class ServerState {
  readonly #running: Record<Activity, number> = { PROCESSING: 0, HANDLING: 0, MAINTENANCE: 0 };
  readonly #log: Logger;
  readonly #onChange: (state: State) => void;
  #shown: State = "IDLE";

  /** @param onChange told of each change, for the metric */
  constructor(log: Logger, onChange: (state: State) => void = () => {}) {
    this.#log = log;
    this.#onChange = onChange;
  }

  get current(): State {
    return this.#shown;
  }

  running(activity: Activity): number {
    return this.#running[activity];
  }

  /** Begins a piece of work; the function that it gives ends it. Ending it twice counts once. */
  enter(activity: Activity): () => void {
    this.#running[activity]++;
    this.#show();
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      this.#running[activity]--;
      this.#show();
    };
  }

  /** Counts `work` from its call to its end. */
  async during<T>(activity: Activity, work: () => Promise<T>): Promise<T> {
    const leave = this.enter(activity);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  #show(): void {
    const next = activities.find((activity) => this.#running[activity] > 0) ?? "IDLE";
    if (next === this.#shown) return;
    this.#log.debug(`State ${this.#shown} -> ${next}`);
    this.#shown = next;
    this.#onChange(next);
  }
}
