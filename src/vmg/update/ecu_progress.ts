// How far an ECU is, and how fast: what its flash says of steps and bytes, as share, speed and time left.

import { type FlashStep, flashSteps } from "../../../hardware/flash/plan.ts";
import type { EcuState } from "./report.ts";

/** Share of an ECU's own progress, per cent, that is done when the transfer begins, when it ends, and when it is staged. */
const share = { transfer: 10, transferred: 85 } as const;
const transferAt = flashSteps.indexOf("transfer_data");

/** Steps whose bytes are told. */
const measured: ReadonlySet<FlashStep> = new Set(["read_memory", "transfer_data"]);

/** The progress of one ECU. */
export class EcuProgress {
  readonly #now: () => number;
  #step: FlashStep | undefined;
  #began = 0;
  #from = 0;
  #most = 0;

  /** @param now milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** What a step and its bytes change. */
  at(step: FlashStep, done: number, total: number): Partial<EcuState> {
    if (step !== this.#step) {
      this.#step = step;
      this.#began = this.#now();
      this.#from = done;
    }
    // A phase that comes later begins with the steps of an earlier one: the share does not go back.
    this.#most = Math.max(this.#most, shareOf(step, done, total));
    if (!measured.has(step)) return { step, progress: this.#most, bytes: null, speed: null, timeLeft: null };
    const elapsed = (this.#now() - this.#began) / 1000;
    const speed = elapsed > 0 && done > this.#from ? (done - this.#from) / elapsed : null;
    return {
      step,
      progress: this.#most,
      bytes: done,
      speed,
      timeLeft: speed === null ? null : (total - done) / speed,
    };
  }
}

function shareOf(step: FlashStep, done: number, total: number): number {
  const at = flashSteps.indexOf(step);
  if (at < transferAt) return share.transfer * at / transferAt;
  if (at > transferAt) {
    return share.transferred +
      (100 - share.transferred) * (at - transferAt) / (flashSteps.length - transferAt);
  }
  return share.transfer + (share.transferred - share.transfer) * (total > 0 ? done / total : 0);
}
