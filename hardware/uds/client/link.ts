// The tester's side of AccessTimingParameter (ISO 14229-1:2013 9.7) and LinkControl (2020, 10.10).
import {
  accessTimingParameter,
  LinkControl,
  linkControl,
  TimingAccess,
  type TimingParameters,
} from "../codec/management.ts";
import type { Exchange, RequestOptions } from "../exchange.ts";
import { Sid } from "../services.ts";
import { ask, tell, unexpected } from "./ask.ts";

/** Part of {@link UdsClient}: `client.link`. */
export class LinkClient {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** 0x83 01 and 03: the shortest timing that the ECU can keep, or the one in force. Milliseconds. */
  async readTiming(which: "extended" | "active", options?: RequestOptions): Promise<TimingParameters> {
    const access = which === "extended" ? TimingAccess.readExtended : TimingAccess.readActive;
    const { timing } = await ask(this.#exchange, accessTimingParameter, { access }, options);
    if (timing === undefined) {
      throw unexpected(this.#exchange, Sid.accessTimingParameter, "a timing record", "none");
    }
    return timing;
  }

  /** 0x83 04, and 02 without a timing: the default one. The client keeps to it from then on. */
  async setTiming(timing: TimingParameters | undefined, options?: RequestOptions): Promise<void> {
    const access = timing === undefined ? TimingAccess.setToDefault : TimingAccess.setToGiven;
    await ask(this.#exchange, accessTimingParameter, { access, timing }, options);
    this.#exchange.adoptTiming(timing);
  }

  /** 0x87 01 or 02: can the link go to that mode? @param mode a fixed mode (Annex B.3), or a bit rate in bit/s */
  async verify(mode: { fixed: number } | { bitRate: number }, options?: RequestOptions): Promise<void> {
    const request = "fixed" in mode
      ? { control: LinkControl.verifyFixed, mode: mode.fixed }
      : { control: LinkControl.verifySpecific, bitRate: mode.bitRate };
    await ask(this.#exchange, linkControl, request, options);
  }

  /**
   * 0x87 03: goes to the verified mode. The answer is suppressed, as 10.10.2.1 wants where it could no longer be read:
   * what follows must be sent in the new mode, which is the caller's to set at his own end.
   */
  async transition(options?: RequestOptions): Promise<void> {
    await tell(this.#exchange, linkControl, { control: LinkControl.transition, suppress: true }, options);
  }
}
