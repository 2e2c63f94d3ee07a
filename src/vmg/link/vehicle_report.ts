// Registers the vehicle and reports its configuration over HTTPS, again and again until the server has both.

import { ProblemError, type RestClient } from "../../contract/client.ts";
import { routes } from "../../contract/routes.ts";
import type { OutdatedEcu, Vci } from "../../contract/vehicles.ts";
import type { Logger } from "../../log.ts";
import type { VehicleDescription } from "../vehicle.ts";
import { Backoff, delay, orAborted, settledWithin } from "../../wait.ts";
import { explain } from "../errors.ts";
import type { AcknowledgedBy } from "./confirmations.ts";

/** Options of {@link VehicleReporter}. Times in milliseconds. */
export interface VehicleReporterOptions {
  vehicle: VehicleDescription;
  rest: RestClient;
  /** Reads the configuration. */
  read: (trigger: string, signal: AbortSignal) => Promise<VehicleState>;
  /**
   * Whether ECUs are being changed: what is read then is neither the old state nor the new one. Whoever changes them asks
   * for a report afterwards.
   */
  changing: () => boolean;
  /** The server knows the vehicle, and says who acknowledges what it publishes. */
  onRegistered: (acknowledgedBy: AcknowledgedBy) => void;
  /** The server has the report; these ECUs are outdated. */
  onAnswer: (outdated: readonly OutdatedEcu[]) => void;
  /** First and largest upper bound of the wait before another try. */
  retryDelay: number;
  maxRetryDelay: number;
  /**
   * Wait before a report that the server refused is made once more: what was wrong may have been put right there, such as keys
   * of ECUs that it did not know. @default 300_000
   */
  refusedDelay?: number;
  log: Logger;
}

/** What is reported. */
export interface VehicleState {
  readonly vci: Vci;
  /** To be told that the server has it. */
  readonly delivered: () => void;
}

/** Registration and reports of one vehicle. */
export class VehicleReporter {
  readonly #options: VehicleReporterOptions;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  readonly #tried = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;
  #registered = false;
  #trigger: string | undefined;
  #wake: () => void = () => {};

  constructor(options: VehicleReporterOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  /** Resolves once the first try to register has an outcome: a broker may know the vehicle from then on. */
  get firstTry(): Promise<void> {
    return this.#tried.promise;
  }

  /** Registers and sends a first report. */
  start(): void {
    this.request("startup");
    this.#running ??= this.#run();
  }

  /** Asks for a report; several that come together make one. */
  request(trigger: string): void {
    this.#trigger = trigger;
    this.#wake();
  }

  /** The server may have forgotten the vehicle: it registers once more, and reports. */
  registerAgain(): void {
    this.#registered = false;
    this.request("registration");
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#tried.resolve();
  }

  async #run(): Promise<void> {
    const { retryDelay, maxRetryDelay, refusedDelay = 300_000 } = this.#options;
    const { signal } = this.#stopping;
    const backoff = new Backoff({ initial: retryDelay, max: maxRetryDelay });
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      try {
        if (this.#registered && this.#trigger === undefined) {
          await orAborted(woken, signal);
          continue;
        }
        if (!this.#registered) await this.#register();
        this.#tried.resolve();
        if (this.#trigger !== undefined) await this.#report(this.#trigger);
        backoff.reset();
      } catch (error) {
        this.#tried.resolve();
        if (signal.aborted) return;
        if (this.#isRefused(error)) {
          const seconds = refusedDelay / 1000;
          this.#log.warn(
            `Vehicle report refused: ${
              explain(error)
            }. Reporting again in ${seconds} s, or with the next cause`,
          );
          await settledWithin(orAborted(woken, signal), refusedDelay);
        } else {
          const wait = backoff.next();
          this.#log.warn(`Vehicle report failed: ${explain(error)}. Retrying in ${wait}ms`);
          await delay(wait, signal).catch(() => {}); // The loop's condition sees the end.
        }
      }
    }
  }

  /** Whether the server will not take such a report. A vehicle that it no longer knows registers again. */
  #isRefused(error: unknown): boolean {
    if (!(error instanceof ProblemError) || error.status >= 500) return false;
    if (error.status !== 404 && error.status !== 409) return this.#registered;
    this.#registered = false;
    return false;
  }

  async #register(): Promise<void> {
    const { vehicle, rest, onRegistered } = this.#options;
    const { status, message, acknowledged_by = "broker" } = await rest.call(routes.registerVehicle, {
      body: {
        vin: vehicle.vin,
        vehicle_model: vehicle.model,
        vehicle_year: vehicle.year,
        vmg_id: vehicle.vmgId,
      },
      signal: this.#stopping.signal,
    });
    this.#registered = true;
    onRegistered(acknowledged_by);
    this.#log.info(`Vehicle ${vehicle.vin} ${status}: ${message}`);
  }

  async #report(trigger: string): Promise<void> {
    const { vehicle, rest, read, changing, onAnswer } = this.#options;
    const { signal } = this.#stopping;
    // A later request wants a later look.
    this.#trigger = undefined;
    try {
      if (changing()) return;
      const { vci, delivered } = await read(trigger, signal);
      if (changing()) return;
      const { outdated_ecus } = await rest.call(routes.submitVci, {
        path: { vin: vehicle.vin },
        body: vci,
        signal,
      });
      delivered();
      const unreachable = vci.ecus.filter(({ status }) => status === "unreachable").length;
      this.#log.info(
        `VCI sent (${trigger}): ${vci.ecus.length} ECUs, ${unreachable} unreachable, ${outdated_ecus.length} outdated`,
      );
      onAnswer(outdated_ecus);
    } catch (error) {
      this.#trigger ??= trigger;
      throw error;
    }
  }
}
