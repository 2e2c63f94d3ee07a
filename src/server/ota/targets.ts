// What an update is for: the ECUs that the report which directs updates shows to be outdated, or the images of an earlier attempt.

import type { OutdatedEcu, Vci } from "../../contract/vehicles.ts";
import type { Logger } from "../../log.ts";
import type { Registry } from "../registry.ts";
import type { Store, Update } from "../store/mod.ts";
import { analyse, type Outdated, toOutdatedEcus } from "./outdated.ts";
import { checkRequirements, targetsOf } from "./requirements.ts";

export interface UpdateTargetsOptions {
  store: Store;
  registry: Registry;
  log: Logger;
}

/** There is nothing to update, or not what was asked for. */
export class NothingToUpdate extends Error {
  override readonly name = "NothingToUpdate";
  constructor(message: string, readonly code: "no_report" | "up_to_date" | "unknown_ecu" | "not_outdated") {
    super(message);
  }
}

export class UpdateTargets {
  readonly #options: UpdateTargetsOptions;
  readonly #store: Store;

  constructor(options: UpdateTargetsOptions) {
    this.#options = options;
    this.#store = options.store;
  }

  /** Which ECUs of a report are outdated; those that cannot be judged are logged with the reason. */
  async outdated(vin: string, report: Pick<Vci, "ecus">): Promise<OutdatedEcu[]> {
    return toOutdatedEcus(await this.#analyse(vin, report));
  }

  /** Which ECUs are outdated by the report that directs updates; none before the first. */
  async outdatedNow(vin: string): Promise<OutdatedEcu[]> {
    const report = await this.#options.registry.directingVci(vin);
    return report ? await this.outdated(vin, report) : [];
  }

  /**
   * What is to be updated, in an order that its images allow.
   * @throws {NothingToUpdate} {@link RequirementUnmet}
   */
  async choose(vin: string, wanted: readonly string[] | undefined): Promise<Outdated[]> {
    const report = await this.#options.registry.directingVci(vin);
    if (!report) {
      throw new NothingToUpdate(
        `vehicle ${vin} has not reported its ECUs yet, or not with the signatures of the keys in the inventory`,
        "no_report",
      );
    }
    const outdated = await this.#analyse(vin, report);
    if (wanted === undefined) {
      if (outdated.length === 0) throw new NothingToUpdate(`no ECU of ${vin} is outdated`, "up_to_date");
      return await this.#checked(outdated, report, outdated);
    }
    const byId = new Map(outdated.map((entry) => [entry.ecu.ecu_id, entry]));
    const missing = wanted.filter((ecu) => !byId.has(ecu));
    const reported = new Set(report.ecus.map(({ ecu_id }) => ecu_id));
    const unknown = missing.filter((ecu) => !reported.has(ecu));
    if (unknown.length > 0) {
      throw new NothingToUpdate(
        `not among the ECUs that ${vin} reported last: ${unknown.slice(0, 10).join(", ")}`,
        "unknown_ecu",
      );
    }
    if (missing.length > 0) {
      throw new NothingToUpdate(
        `not outdated by the last report of ${vin}: ${missing.slice(0, 10).join(", ")}`,
        "not_outdated",
      );
    }
    const names = new Set(wanted);
    return await this.#checked(outdated.filter((entry) => names.has(entry.ecu.ecu_id)), report, outdated);
  }

  /** @param outdated what could be updated as well */
  async #checked(
    targets: readonly Outdated[],
    report: Pick<Vci, "ecus">,
    outdated: readonly Outdated[],
  ): Promise<Outdated[]> {
    const catalogue = await this.#store.images.ofTargets(targetsOf(targets));
    return checkRequirements(targets, report.ecus, catalogue, outdated);
  }

  /** The images of an update once more, for the ECUs as they were reported last. @throws as {@link choose} */
  async again(update: Update): Promise<Outdated[]> {
    const report = await this.#options.registry.directingVci(update.vin);
    if (!report) {
      throw new NothingToUpdate(
        `vehicle ${update.vin} has no report that can direct an update any more`,
        "no_report",
      );
    }
    const rows = (await this.#store.updates.ecus([update.updateId])).get(update.updateId) ?? [];
    const targets: Outdated[] = [];
    for (const { ecuId, imageId, fromVersion } of rows) {
      const ecu = report.ecus.find(({ ecu_id }) => ecu_id === ecuId);
      const image = imageId === null ? null : await this.#store.images.find(imageId);
      if (ecu === undefined || image === null) {
        throw new NothingToUpdate(
          `${ecuId}: ${ecu === undefined ? "the vehicle does not report it any more" : "its image is gone"}`,
          "not_outdated",
        );
      }
      targets.push({ ecu, current: ecu.sw_version ?? fromVersion ?? "", image });
    }
    return await this.#checked(targets, report, []);
  }

  async #analyse(vin: string, report: Pick<Vci, "ecus">): Promise<Outdated[]> {
    const { outdated, skipped } = await analyse(report.ecus, this.#store.images);
    for (const { ecu_id, reason } of skipped) {
      this.#options.log.debug(`${ecu_id} of ${vin} not judged: ${reason}`);
    }
    return outdated;
  }
}
