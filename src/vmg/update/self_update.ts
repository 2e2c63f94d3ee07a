// A vehicle that updates itself: when the server says that ECUs are outdated, it asks for a package and installs it.

import type { RestClient } from "../../contract/client.ts";
import { routes } from "../../contract/routes.ts";
import type { OutdatedEcu } from "../../contract/vehicles.ts";
import type { Logger } from "../../log.ts";
import type { UpdateJournal } from "./journal.ts";
import type { UpdateRunner } from "./runner.ts";
import { explain } from "../errors.ts";

/** Options of {@link SelfUpdate}. */
export interface SelfUpdateOptions {
  vin: string;
  rest: RestClient;
  journal: UpdateJournal;
  runner: UpdateRunner;
  log: Logger;
}

/** Starts the vehicle's own updates. */
export class SelfUpdate {
  readonly #options: SelfUpdateOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(options: SelfUpdateOptions) {
    this.#options = options;
  }

  /** Considers what the server said. Does nothing while an update is open, or when this very goal was tried before. */
  consider(outdated: readonly OutdatedEcu[]): void {
    const { journal, log } = this.#options;
    if (outdated.length === 0 || this.#busy || this.#stopping.signal.aborted) return;
    if (journal.next() !== undefined) return;
    const wanted = outdated.map(({ ecu_id, latest }) => `${ecu_id}@${latest}`).sort().join(" ");
    const last = journal.lastOf(wanted);
    if (last !== undefined) {
      // What failed once would fail again and again, each report starting the next try.
      log.info(`[OTA] Update to ${wanted} was ${last} before: left to the server`);
      return;
    }
    this.#busy = true;
    this.#running = this.#begin(outdated, wanted).finally(() => this.#busy = false);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #begin(outdated: readonly OutdatedEcu[], wanted: string): Promise<void> {
    const { vin, rest, journal, runner, log } = this.#options;
    const targetEcus = outdated.map(({ ecu_id }) => ecu_id);
    try {
      const { update_id, package_id, download_url } = await rest.call(routes.requestPackage, {
        body: { vehicle_id: vin, target_ecus: targetEcus },
        signal: this.#stopping.signal,
      });
      journal.transaction(() =>
        runner.accept({
          updateId: update_id,
          packageId: package_id,
          downloadUrl: download_url,
          targetEcus,
          wanted,
        })
      );
    } catch (error) {
      // The next report of the configuration brings the next try.
      if (!this.#stopping.signal.aborted) log.warn(`[OTA] No package: ${explain(error)}`);
    }
  }
}
