// When an update's time has run out. The deadline is one of the server's clock; the machine's may be years off. What was
// attested counts where there is a source of that; without one, the machine's clock and the time since the command came.

import type { UpdateTerms } from "./terms.ts";

/** Times that the server attested. */
export interface TrustedTime {
  /** Now, counted on from what was attested since the start; undefined before that. */
  readonly now: Date | undefined;
  /** The latest that was ever attested: it is not earlier. */
  readonly latest: Date | undefined;
}

/** Clocks of an {@link UpdateTimer}. */
export interface Clocks {
  /** Milliseconds since 1970, by the machine. */
  wall: () => number;
  /** Milliseconds that pass evenly, from anywhere. */
  elapsed: () => number;
  /** undefined: nothing is ever attested. */
  trusted: TrustedTime | undefined;
}

/** Longest time between two looks at the clocks, milliseconds: what is attested meanwhile counts. */
const longestNap = 10_000;

/** Tells when the time of updates runs out. */
export class UpdateTimer {
  readonly #clocks: Clocks;
  /** When each update was first heard of by this process, by `elapsed`. */
  readonly #heard = new Map<string, number>();

  constructor({ wall = Date.now, elapsed = () => performance.now(), trusted }: Partial<Clocks> = {}) {
    this.#clocks = { wall, elapsed, trusted };
  }

  /** Milliseconds since 1970, as they were attested; by the machine where nothing was. */
  get now(): number {
    const { wall, trusted } = this.#clocks;
    return trusted?.now?.getTime() ?? wall();
  }

  /** An update's command has come, or was found in the journal. */
  heard(updateId: string): void {
    if (!this.#heard.has(updateId)) this.#heard.set(updateId, this.#clocks.elapsed());
  }

  /** An update has ended. */
  forget(updateId: string): void {
    this.#heard.delete(updateId);
  }

  /** Milliseconds that are left, 0 or less when it has run out; Infinity where it has no end. */
  left(updateId: string, { deadline, lifetime, received }: UpdateTerms): number {
    if (deadline === null) return Infinity;
    const { wall, elapsed, trusted } = this.#clocks;
    if (trusted?.now !== undefined) return deadline - trusted.now.getTime();
    const heard = this.#heard.get(updateId);
    const since = heard === undefined ? 0 : elapsed() - heard;
    const latest = trusted?.latest?.getTime() ?? -Infinity;
    // A clock that is set while the vehicle waits would end what has time left: it counts where nothing better ever will.
    const own = trusted === undefined ? wall() : -Infinity;
    const passed = trusted === undefined ? Math.max(since, own - received) : since;
    return Math.min(deadline - Math.max(latest, own), lifetime === null ? Infinity : lifetime - passed);
  }

  /**
   * Calls `onOver` once the time has run out; once more after a while when it throws, which `onFault` is told.
   * @returns what calls it off
   */
  watch(
    updateId: string,
    terms: UpdateTerms,
    onOver: () => void,
    onFault: (error: unknown) => void,
  ): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = () => {
      const left = this.left(updateId, terms);
      if (left > 0) {
        if (left < Infinity) timer = setTimeout(look, Math.min(left, longestNap));
        return;
      }
      try {
        onOver();
      } catch (error) {
        onFault(error);
        timer = setTimeout(look, longestNap);
      }
    };
    look();
    return () => clearTimeout(timer);
  }
}
