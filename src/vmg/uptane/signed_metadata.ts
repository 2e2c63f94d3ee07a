// Everything that has to do with signed metadata in one gateway, put together.

import type { RestClient } from "../../contract/client.ts";
import type { Logger } from "../../log.ts";
import { provision } from "../../uptane/verify/provision.ts";
import type { UptaneOptions } from "../options.ts";
import type { StateDatabase } from "../state/database.ts";
import type { VehicleDescription } from "../vehicle.ts";
import { AttackLog } from "./attack_log.ts";
import { AttestedClock } from "./attested_clock.ts";
import { SqliteMetadataStore } from "./metadata_store.ts";
import { primaryKey } from "./primary_key.ts";
import { UpdateMetadata, type UpdateMetadataOptions } from "./update_metadata.ts";
import { type InstalledSoftware, VersionReports } from "./version_reports.ts";

/** Options of {@link openSignedMetadata}. */
export interface SignedMetadataOptions
  extends Pick<UpdateMetadataOptions, "patience" | "retryDelay" | "maxRetryDelay"> {
  uptane: UptaneOptions;
  vehicle: VehicleDescription;
  /** Folder of the gateway's state: its key is in it. */
  directory: string;
  state: StateDatabase;
  log: Logger;
}

/** The parts. */
export interface SignedMetadata {
  readonly attacks: AttackLog;
  readonly clock: AttestedClock;
  /** @param rest Leads to the server. */
  metadata(rest: RestClient): UpdateMetadata;
  /** @param installed What the gateway installed last on an ECU. */
  reports(
    metadata: UpdateMetadata,
    installed: (ecuId: string) => InstalledSoftware | undefined,
  ): VersionReports;
}

/**
 * Opens what is trusted, the first roots where there is nothing yet, and the gateway's key.
 *
 * @throws {UptaneError} when a first root is none; {@link StateError} when the key is none
 */
export async function openSignedMetadata(options: SignedMetadataOptions): Promise<SignedMetadata> {
  const { uptane, vehicle, directory, state, patience, retryDelay, maxRetryDelay } = options;
  const log = options.log.child("Uptane");
  const store = new SqliteMetadataStore(state);
  const taken = await provision(store, uptane.roots);
  if (taken.length > 0) log.info(`First trusted root taken: ${taken.join(", ")}`);
  const signer = await primaryKey(directory, uptane.keyAlgorithm);
  const clock = new AttestedClock(state);
  const attacks = new AttackLog(state, log);
  const { vin } = vehicle;
  const { limits, software } = uptane;
  return {
    attacks,
    clock,
    metadata: (rest) =>
      new UpdateMetadata({
        vin,
        rest,
        store,
        clock,
        attacks,
        patience,
        retryDelay,
        maxRetryDelay,
        limits,
        log,
      }),
    reports: (metadata, installed) =>
      new VersionReports({ vehicle, signer, software, metadata, clock, attacks, installed, log }),
  };
}
