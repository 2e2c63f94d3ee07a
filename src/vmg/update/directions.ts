// What signed metadata directs to the ECUs of an update, and whether a package holds that and nothing else.

import type { PackageManifest } from "../../contract/package.ts";
import { UptaneError } from "../../uptane/errors.ts";
import type { VehicleEcu as VerifiedEcu } from "../../uptane/verify/director.ts";
import type { VerifiedTarget } from "../../uptane/verify/full.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { mapBounded } from "../parallel.ts";
import type { AttackLog } from "../uptane/attack_log.ts";
import { matchPackage } from "../uptane/package_match.ts";
import { refusalOf } from "../uptane/refusals.ts";
import type { UpdateMetadata } from "../uptane/update_metadata.ts";
import type { VehicleDescription, VehicleEcu } from "../vehicle.ts";
import { hardwareOf } from "../vci.ts";
import type { JournalUpdate, UpdateJournal } from "./journal.ts";
import { identify } from "./targets.ts";

/** Options of {@link UpdateDirections}. */
export interface UpdateDirectionsOptions {
  vehicle: VehicleDescription;
  bus: VehicleBus;
  journal: Pick<UpdateJournal, "setDirected">;
  metadata: Pick<UpdateMetadata, "verify">;
  attacks: AttackLog;
  /** Hardware of ECUs as the last report of the vehicle had it. */
  hardware: ReadonlyMap<string, string>;
  /** ECUs of one zonal gateway that are read at once. */
  parallelReads: number;
}

/** The directions of one vehicle's updates. */
export class UpdateDirections {
  readonly #options: UpdateDirectionsOptions;

  constructor(options: UpdateDirectionsOptions) {
    this.#options = options;
  }

  /**
   * What both repositories direct. An installation that was begun goes on with what was verified for it, for it may not wait for
   * the network; before that, what has come to be or has expired meanwhile counts.
   *
   * @throws {UptaneError | StoreError} when it is refused; {@link EcuUnreadableError} when an ECU does not answer; the signal's reason
   */
  async of(update: JournalUpdate, signal: AbortSignal): Promise<readonly VerifiedTarget[]> {
    const { metadata, journal } = this.#options;
    const { updateId, phase, directed } = update;
    if (phase !== null && directed !== null) return directed;
    const targets = await metadata.verify(await this.#ecus(update, signal), signal);
    journal.setDirected(updateId, targets);
    return targets;
  }

  /** @throws {UptaneError} where the package is not what was directed */
  match(manifest: PackageManifest, directed: readonly VerifiedTarget[]): void {
    try {
      matchPackage(manifest, directed);
    } catch (error) {
      if (error instanceof UptaneError) this.#options.attacks.note(error);
      throw error;
    }
  }

  /** What a package or an ECU refused, by its check, and noted; everything else as it is. */
  refused(error: unknown): unknown {
    const refused = refusalOf(error);
    if (refused === undefined) return error;
    this.#options.attacks.note(refused);
    return refused;
  }

  /** The vehicle's ECUs: those of the update as they are now, the others as they were reported last, if they were. */
  async #ecus({ updateId, targetEcus }: JournalUpdate, signal: AbortSignal): Promise<VerifiedEcu[]> {
    const { vehicle, bus, hardware, parallelReads } = this.#options;
    const asked = new Set(targetEcus);
    const known = async (ecu: VehicleEcu): Promise<VerifiedEcu[]> => {
      const { ecuId, ecuType } = ecu;
      const hardwareId = asked.has(ecuId)
        ? hardwareOf(await identify(ecu, bus, `update ${updateId}`, signal))
        : hardware.get(ecuId);
      return hardwareId === undefined ? [] : [{ ecuId, ecuType, hardwareId }];
    };
    const zones = [...Map.groupBy(vehicle.ecus, ({ zonalGatewayId }) => zonalGatewayId).values()];
    const found = await Promise.all(zones.map((zone) => mapBounded(zone, parallelReads, known)));
    return found.flat(2);
  }
}
