// Turns an adapter's time stamps, which begin again every minute, into times of the host's clock.
import { timestampPeriod } from "./slcan_frame.ts";

/** How much faster than the host's an adapter's crystal may run: 200 ppm is twice what two poor ones differ. */
const drift = 200e-6;

/**
 * Follows an adapter's clock. A frame is never earlier on the host than at the adapter, so the smallest difference seen is
 * the nearest to the truth: times keep the adapter's spacing, however unevenly the serial line delivers.
 */
export class TimestampClock {
  #started = false;
  /** The adapter's clock without wraps, ms. */
  #adapter = 0;
  #stamp = 0;
  #host = 0;
  #offset = 0;
  #last = -Infinity;

  /**
   * @param stamp 0…59,999
   * @param now the host's time of arrival, ms
   * @returns the frame's time on the host's clock; never later than `now`, never earlier than the last one's
   */
  time(stamp: number, now: number): number {
    if (!this.#started) {
      this.#started = true;
      this.#adapter = stamp;
      this.#offset = now - stamp;
    } else {
      const step = (stamp - this.#stamp + timestampPeriod) % timestampPeriod;
      const elapsed = now - this.#host;
      // What the line held back lets less time pass on the host than at the adapter: rounding takes either.
      const wraps = Math.max(0, Math.round((elapsed - step) / timestampPeriod));
      this.#adapter += step + wraps * timestampPeriod;
      this.#offset = Math.min(this.#offset + elapsed * drift, now - this.#adapter);
    }
    this.#stamp = stamp;
    this.#host = now;
    this.#last = Math.max(this.#last, this.#adapter + this.#offset);
    return this.#last;
  }
}
