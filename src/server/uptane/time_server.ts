// Attested time (Uptane Standard 2.1, section 5.4.2.2): the time with the nonces of whoever asks, signed by the Director's role
// `time`. A signature costs time: each certificate gets so many a minute.

import { attest } from "../../uptane/time.ts";
import type { RoleSigners } from "./role_signers.ts";

export interface TimeServerOptions {
  signers: RoleSigners;
  /** Attestations that one certificate gets in a minute. @default 60 */
  perMinute?: number;
  /** @default the system's clock */
  now?: () => Date;
}

/** Asked too often. */
export class TooManyTimes extends Error {
  override readonly name = "TooManyTimes";
  /** @param wait seconds until the next one is given */
  constructor(readonly wait: number) {
    super(`expected fewer requests for the time: the next one is answered in ${wait} s`);
  }
}

/** Certificates that are remembered at most; those that asked longest ago go first. */
const mostCallers = 10_000;

export class TimeServer {
  readonly #signers: RoleSigners;
  readonly #perMinute: number;
  readonly #now: () => Date;
  /** What each may still ask for, in attestations, as it was at a time in ms. */
  readonly #left = new Map<string, { count: number; at: number }>();

  constructor({ signers, perMinute = 60, now = () => new Date() }: TimeServerOptions) {
    if (!(perMinute >= 1)) throw new RangeError(`perMinute: expected at least 1, got ${perMinute}`);
    this.#signers = signers;
    this.#perMinute = perMinute;
    this.#now = now;
  }

  /**
   * Signs the time.
   *
   * @param caller Name in the certificate.
   * @param nonces As the contract has checked them.
   * @returns {Promise} the attestation as a file
   * @throws {TooManyTimes} {@link RoleKeysMissing}
   */
  async attest(caller: string, nonces: readonly string[]): Promise<Uint8Array> {
    const now = this.#now();
    this.#take(caller, now.getTime());
    const { signers } = await this.#signers.director();
    return await attest(now, nonces, signers("time"));
  }

  #take(caller: string, at: number): void {
    const last = this.#left.get(caller) ?? { count: this.#perMinute, at };
    // A clock that was set back gives nothing.
    const gained = Math.max(0, at - last.at) / 60_000 * this.#perMinute;
    const count = Math.min(this.#perMinute, last.count + gained);
    if (count < 1) throw new TooManyTimes(Math.ceil((1 - count) / this.#perMinute * 60));
    this.#left.delete(caller);
    this.#left.set(caller, { count: count - 1, at });
    if (this.#left.size > mostCallers) {
      const [oldest] = this.#left.keys();
      this.#left.delete(oldest);
    }
  }
}
