// Full verification, as a Primary does it (Uptane Standard 2.1, section 5.4.4.2), in the order of its steps.

import { Checker, type CheckResult } from "../checks.ts";
import { type Limits, limitsOf, type MetadataFetcher, type MetadataStore } from "../store.ts";
import type { Hashes, MustMatch } from "../models.ts";
import { findImage } from "./delegations.ts";
import { checkDirections, type Directed, type VehicleEcu } from "./director.ts";
import { checkMatch } from "./match.ts";
import { updateRepository, type Versions, versionsOf } from "./update.ts";
import { ReleaseCounters, releaseCountersFile } from "./release_counters.ts";
import { type CheckedTargets, type RepositoryOptions, TrustedRepository } from "./repository.ts";

/** Options of {@linkcode verifyFully}. */
export interface FullVerificationOptions {
  /** Where trusted metadata is kept; each repository's first root is in it (see provision.ts). */
  readonly store: MetadataStore;
  readonly fetcher: MetadataFetcher;
  /** The time now, attested or of a clock that is trusted: step 1. */
  readonly time: Date;
  /** VIN */
  readonly vehicleId: string;
  /** All ECUs that can be updated. */
  readonly ecus: readonly VehicleEcu[];
  /** @default {@linkcode defaultLimits} */
  readonly limits?: Partial<Limits>;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Hears of each check. @default nobody */
  readonly observe?: (result: CheckResult) => void;
  /** Checks the Image repository even when nothing new is directed (step 6 allows it). @default false */
  readonly alwaysImage?: boolean;
}

/** An image that may be installed on an ECU, once its bytes are checked. */
export interface VerifiedTarget {
  readonly ecuId: string;
  readonly hardwareId: string;
  readonly filename: string;
  readonly length: number;
  readonly hashes: Hashes;
  /** What both repositories said of it. */
  readonly mustMatch: MustMatch | undefined;
  readonly releaseCounter: number;
  /** The Image repository's role that signed it: `targets` or a delegated one. */
  readonly imageRole: string;
}

/** What verification came to. */
export interface VerifiedUpdate {
  /** Images that the ECUs do not run yet. Empty: nothing is to be done. */
  readonly targets: readonly VerifiedTarget[];
  /** Versions of what is trusted now. */
  readonly director: Versions;
  /** Undefined when the Image repository was not asked. */
  readonly image: Versions | undefined;
}

/**
 * Verifies what both repositories offer.
 *
 * What is on this side already is not fetched again. It is checked again even where the standard lets an ECU stop (steps 4 and
 * 8): an installation that was interrupted must find its verified plan anew, and time goes on.
 *
 * The Director's targets are trusted, and kept, only when everything agreed; all else is kept as it is checked.
 *
 * @throws {UptaneError} of the first check that fails, by attack.
 * @throws {StoreError} when there is no trusted root, or the store is damaged.
 * @throws what the fetcher or the store throws, and the signal's reason.
 */
export async function verifyFully(options: FullVerificationOptions): Promise<VerifiedUpdate> {
  const { store, fetcher, time, vehicleId, ecus, signal, observe, alwaysImage = false } = options;
  const limits = limitsOf(options.limits);
  checkArguments(time, ecus);
  const checker = new Checker(observe);
  const common: Omit<RepositoryOptions, "repository"> = { store, fetcher, time, limits, signal, checker };
  // Steps 2 to 5.
  const director = await TrustedRepository.open({ ...common, repository: "director" });
  const directorTargets = await updateRepository(director, false);
  const directed = checkDirections(directorTargets, vehicleId, ecus, false, checker);
  // Step 6.
  const pending = directed.filter(({ ecu, target }) => ecu.installed !== target.hashes.sha256);
  const counters = ReleaseCounters.read(director.file(releaseCountersFile));
  let image: TrustedRepository | undefined;
  let imageTargets: CheckedTargets | undefined;
  const targets: VerifiedTarget[] = [];
  if (pending.length > 0 || alwaysImage) {
    // Steps 7 to 9.
    image = await TrustedRepository.open({ ...common, repository: "image" });
    imageTargets = await updateRepository(image, true);
    // Step 10.
    for (const one of pending) {
      const wanted = { name: one.filename, hardwareIds: [one.ecu.hardwareId] };
      const found = await findImage(image, imageTargets, wanted, limits.delegations, checker);
      checkMatch({ directed: one, image: found.target, floor: counters.floor(one.ecu), checker });
      targets.push(verified(one, found.role));
    }
  }
  for (const [at, { ecu }] of pending.entries()) counters.raise(ecu, targets[at].releaseCounter);
  await director.keepTargets(directorTargets, { name: releaseCountersFile, bytes: counters.bytes() });
  return {
    targets,
    director: versionsOf(director, directorTargets),
    image: image && imageTargets && versionsOf(image, imageTargets),
  };
}

function verified({ ecu, filename, target }: Directed, imageRole: string): VerifiedTarget {
  const match = target.custom?.must_match;
  return {
    ecuId: ecu.ecuId,
    hardwareId: ecu.hardwareId,
    filename,
    length: target.length,
    hashes: target.hashes,
    mustMatch: match,
    releaseCounter: match?.release_counter ?? 0,
    imageRole,
  };
}

function checkArguments(time: Date, ecus: readonly VehicleEcu[]): void {
  if (Number.isNaN(time.getTime())) throw new RangeError("time: expected a date, got an invalid one");
  const ids = new Set(ecus.map(({ ecuId }) => ecuId));
  if (ids.size !== ecus.length) {
    throw new RangeError(`ecus: expected each ECU once, got ${ecus.length} of ${ids.size}`);
  }
}
