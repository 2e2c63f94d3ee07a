// How an update ended is told over HTTPS when MQTT stays away.

import { ProblemError, type RestClient } from "../../contract/client.ts";
import { updateReport } from "../../contract/ota.ts";
import { routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { delay } from "../wait.ts";
import type { Link } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import { explain } from "../errors.ts";

/** Options of {@link FinalReports}. */
export interface FinalReportsOptions {
  vin: string;
  link: Link;
  outbox: Outbox;
  rest: RestClient;
  /** How long MQTT may be away first, milliseconds. */
  after: number;
  log: Logger;
}

/** Time between two looks, milliseconds, at most. */
const longestPause = 5_000;

/** Reports that are sent in one go. */
const batch = 20;

/** Watches over the reports of ends. */
export class FinalReports {
  readonly #options: FinalReportsOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: FinalReportsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { after, link, log } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await delay(Math.min(after, longestPause), signal);
        if (link.away >= after) await this.#send();
      } catch (error) {
        // It stays in the outbox: MQTT or the next look takes it.
        if (!signal.aborted) {
          log.debug(`The end of an update could not be told over HTTPS: ${explain(error)}`);
        }
      }
    }
  }

  async #send(): Promise<void> {
    const { vin, outbox, rest, log } = this.#options;
    for (const { seq, payload } of outbox.peek("final", batch)) {
      const report = updateReport.parse(JSON.parse(payload));
      const completed_ecus = report.ecus.filter(({ status }) => status === "completed").map(({ ecu_id }) =>
        ecu_id
      );
      try {
        await rest.call(routes.reportUpdate, {
          body: { ...report, vehicle_id: vin, completed_ecus },
          signal: this.#stopping.signal,
        });
        log.info(`Update ${report.update_id} ${report.status}: told over HTTPS`);
      } catch (error) {
        if (!(error instanceof ProblemError) || error.status >= 500 || error.status === 429) throw error;
        log.error(`The server refuses the end of update ${report.update_id}: ${error.message}`);
      }
      outbox.acknowledge(seq);
    }
  }
}
