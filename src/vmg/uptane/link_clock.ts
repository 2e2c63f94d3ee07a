// The clock by which the gateway judges the server's certificate. It is the machine's while that will do. Where the certificate is
// not good by it alone, the machine's clock may be wrong: the time is then attested over a connection that serves for nothing
// else, and what the machine is off by is reckoned in from there on.
//
// Which time that connection is judged by: the gateway's own certificate is good now, else the server would not talk to it, and no
// time is before the latest attested one. Between those the server's certificate is looked for by halves: it says on which side of
// its validity a guess is. A server that was let in so can lie about everything but the time, which the Director signs.

import type { Logger } from "../../log.ts";
import { CertificateExpired, CertificateNotYetValid } from "../../tls/errors.ts";
import { explain } from "../errors.ts";

/** Options of {@link LinkClock}. */
export interface LinkClockOptions {
  /** When the gateway's own certificate begins and ends to be good. */
  validity: { readonly notBefore: Date; readonly notAfter: Date };
  /** Latest time that was ever attested. */
  latest: () => Date | undefined;
  /** Has the time attested over a connection that is judged by a clock. */
  attest: (clock: () => number, signal: AbortSignal) => Promise<Date>;
  /** The machine's clock, ms since 1970. @default Date.now */
  machine?: () => number;
  log: Logger;
}

/** Guesses at most: 40 years by halves down to a minute. */
const mostGuesses = 25;

/** Time between two searches for a time at which the server's certificate is good, where there is none, milliseconds. */
const searchPause = 60_000;

/** The clock of one gateway's connections. */
export class LinkClock {
  readonly #options: LinkClockOptions;
  readonly #machine: () => number;
  readonly #stopping = new AbortController();
  /** The TLS engine keeps something for each clock that it is given: these two serve for all searches. */
  readonly #guessed = () => this.#guess;
  readonly #corrected = () => this.#machine() + this.#off;
  #guess = 0;
  /** How far the machine's clock is behind, milliseconds. */
  #off = 0;
  #clock: (() => number) | undefined;
  /** When a search may begin again that would find as little as the last one. */
  #again = -Infinity;
  #running: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(options: LinkClockOptions) {
    this.#options = options;
    this.#machine = options.machine ?? Date.now;
    this.#clock = options.machine;
  }

  /** The clock of the next connection; undefined: the machine's will do. */
  get clock(): (() => number) | undefined {
    return this.#clock;
  }

  /** A connection could not be made. If that is for the time, the clock is set right meanwhile; the next try finds it so. */
  failed(error: unknown): void {
    if (this.#busy || this.#stopping.signal.aborted || !isForTheTime(error)) return;
    if (performance.now() < this.#again) return;
    this.#busy = true;
    this.#running = this.#correct().finally(() => this.#busy = false);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #correct(): Promise<void> {
    const { validity, latest, attest, log } = this.#options;
    let low = Math.max(validity.notBefore.getTime(), latest()?.getTime() ?? 0);
    let high = validity.notAfter.getTime();
    log.warn("The server's certificate is not good by this machine's clock: the time is to be attested");
    // The latest time that is known is the best guess for a server that was met then.
    let guess = low;
    for (let guesses = 0; guesses < mostGuesses && low <= guess && guess <= high; guesses++) {
      this.#guess = guess;
      try {
        const attested = await attest(this.#guessed, this.#stopping.signal);
        this.#set(attested);
        return;
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        if (error instanceof CertificateExpired) high = guess - 1;
        else if (error instanceof CertificateNotYetValid) low = guess + 1;
        else {
          log.warn(`The time is not attested: ${explain(error)}`);
          return;
        }
      }
      guess = Math.floor((low + high) / 2);
    }
    this.#again = performance.now() + searchPause;
    log.warn("The time is not attested: the server's certificate is good at no time that it could be now");
  }

  #set(attested: Date): void {
    this.#off = attested.getTime() - this.#machine();
    this.#clock = this.#corrected;
    this.#options.log.warn(
      `This machine's clock is off by ${
        Math.round(Math.abs(this.#off) / 1000)
      } s: it is ${attested.toISOString()}`,
    );
  }
}

function isForTheTime(error: unknown): boolean {
  return error instanceof CertificateExpired || error instanceof CertificateNotYetValid;
}
