// What the vehicle does about an update before it fetches anything of it: gets the time attested and verifies what both repositories
// say (Uptane Standard 2.1, section 5.4.4.2). Network trouble is no attack: it is tried again within the update's patience. What is
// refused is noted for the next version report.

import { AnswerError, ProblemError, type RestClient } from "../../contract/client.ts";
import type { Logger } from "../../log.ts";
import { Checker, type CheckResult, refusal } from "../../uptane/checks.ts";
import { SlowRetrievalError, StoreError, UptaneError } from "../../uptane/errors.ts";
import { type Limits, limitsOf, type MetadataStore } from "../../uptane/store.ts";
import { attestTime, maxAttestation } from "../../uptane/time.ts";
import type { VehicleEcu } from "../../uptane/verify/director.ts";
import { type VerifiedTarget, verifyFully } from "../../uptane/verify/full.ts";
import { retrieve } from "../../uptane/verify/retrieve.ts";
import { Backoff, delay, orAborted } from "../../wait.ts";
import { explain } from "../errors.ts";
import type { AttackLog } from "./attack_log.ts";
import type { AttestedClock } from "./attested_clock.ts";
import { metadataFetcher, timeFetcher } from "./metadata_fetcher.ts";

/** Options of {@link UpdateMetadata}. Times in milliseconds. */
export interface UpdateMetadataOptions {
  vin: string;
  rest: RestClient;
  store: MetadataStore;
  clock: AttestedClock;
  attacks: AttackLog;
  /** How long what does not come is tried again. */
  patience: number;
  /** First and largest upper bound of the wait before another try. */
  retryDelay: number;
  maxRetryDelay: number;
  limits?: Partial<Limits>;
  log: Logger;
}

/** Statuses of the 4xx class that say "later", not "no" (RFC 9110 clause 15.5.9, RFC 6585 clause 4). */
const later = new Set([408, 429]);

/** The metadata of one vehicle. */
export class UpdateMetadata {
  readonly #options: UpdateMetadataOptions;
  readonly #limits: Limits;
  readonly #log: Logger;
  /** One at a time: each takes a repository's files and puts them back whole. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: UpdateMetadataOptions) {
    this.#options = options;
    this.#limits = limitsOf(options.limits);
    this.#log = options.log;
  }

  /**
   * Gets the time attested, once.
   *
   * @param rest Leads to the server. @default as everything else goes
   * @throws {UptaneError} when it is refused, which is noted; {@link StoreError}; the network's errors and the signal's reason
   */
  attest(signal: AbortSignal, rest = this.#options.rest): Promise<Date> {
    return this.#inTurn(signal, () => this.#noting(() => this.#attest(signal, rest)));
  }

  /**
   * The images that both repositories direct to these ECUs.
   *
   * @param ecus The vehicle's ECUs, each with the hardware that it reports.
   * @throws {UptaneError} when something is refused, or does not come within the patience; that is noted
   * @throws {StoreError} when what is trusted is not there or damaged; the signal's reason
   */
  async verify(ecus: readonly VehicleEcu[], signal: AbortSignal): Promise<readonly VerifiedTarget[]> {
    const { patience, retryDelay, maxRetryDelay, attacks } = this.#options;
    const backoff = new Backoff({ initial: retryDelay, max: maxRetryDelay });
    const began = performance.now();
    for (;;) {
      let failure: unknown;
      try {
        return await this.#inTurn(signal, () => this.#verify(ecus, signal));
      } catch (error) {
        signal.throwIfAborted();
        failure = error;
      }
      const refused = failure instanceof UptaneError && !(failure instanceof SlowRetrievalError);
      if (refused || failure instanceof StoreError || !mayComeYet(failure)) {
        throw this.#refused(failure);
      }
      if (performance.now() - began >= patience) {
        const error = failure instanceof UptaneError ? failure : refusal(
          "metadata_present",
          "metadata",
          `expected an answer within ${patience} ms: ${explain(failure)}`,
          { cause: failure },
        );
        attacks.note(error);
        throw error;
      }
      const wait = backoff.next();
      this.#log.warn(`No metadata yet: ${explain(failure)}. Asking again in ${wait}ms`);
      await delay(wait, signal);
    }
  }

  /** A refusal with its code; what the server does not give out is dropped. */
  #refused(failure: unknown): unknown {
    if (failure instanceof StoreError) return failure;
    const error = failure instanceof UptaneError ? failure : refusal(
      "metadata_present",
      "metadata",
      `expected it to be given out: ${explain(failure)}`,
      { cause: failure },
    );
    this.#options.attacks.note(error);
    return error;
  }

  async #noting<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof UptaneError) this.#options.attacks.note(error);
      throw error;
    }
  }

  async #verify(ecus: readonly VehicleEcu[], signal: AbortSignal): Promise<readonly VerifiedTarget[]> {
    const { vin, store, rest } = this.#options;
    const { targets, director, image } = await verifyFully({
      store,
      fetcher: metadataFetcher(rest, vin),
      time: await this.#attest(signal, rest),
      vehicleId: vin,
      ecus,
      limits: this.#limits,
      signal,
      observe: this.#observe,
    });
    this.#log.info(
      `Metadata verified: Director ${director.targets}, Image repository ${image?.targets ?? "not asked"}, ` +
        `${targets.length} images`,
    );
    return targets;
  }

  async #attest(signal: AbortSignal, rest: RestClient): Promise<Date> {
    const { vin, store, clock } = this.#options;
    let by = "";
    const time = await attestTime({
      store,
      fetcher: metadataFetcher(rest, vin),
      ask: (nonces) => this.#ask(nonces, signal, rest),
      previous: (keys) => clock.latestBy(by = keys),
      limits: this.#limits,
      signal,
      observe: this.#observe,
    });
    clock.set(time, by);
    return time;
  }

  async #ask(nonces: readonly string[], signal: AbortSignal, rest: RestClient): Promise<Uint8Array> {
    const subject = "attested time";
    const answer = await retrieve(timeFetcher(rest, nonces), {
      request: {
        repository: "director",
        role: "time",
        version: undefined,
        fileName: "time",
        maxLength: maxAttestation,
      },
      time: this.#limits.fileTime,
      signal,
      subject,
      checker: new Checker(this.#observe),
    });
    if (answer === undefined) throw refusal("metadata_present", subject, "expected an answer, got none");
    return answer;
  }

  readonly #observe = ({ code, clause, subject, passed }: CheckResult) =>
    this.#log.debug(`${subject}: ${code} (${clause}) ${passed ? "passed" : "failed"}`);

  #inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const turn = orAborted(this.#turn, signal).then(work);
    this.#turn = turn.catch(() => {}); // Whoever waits for it hears of that.
    return turn;
  }
}

/** Whether a failure that is no refusal is the network's, or a server's that may be well again. */
function mayComeYet(error: unknown): boolean {
  if (error instanceof SlowRetrievalError) return true;
  // A missing permission does not come by waiting.
  if (error instanceof Deno.errors.NotCapable) return false;
  const status = error instanceof ProblemError || error instanceof AnswerError ? error.status : undefined;
  return status === undefined || status >= 500 || later.has(status);
}
