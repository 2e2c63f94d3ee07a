// Partial verification, for a Secondary that can do no more (Uptane Standard 2.1, section 5.4.4.1): the Director's targets
// alone, and, as the standard recommends, the Director's root before them.

import { Checker } from "../checks.ts";
import { limitsOf } from "../store.ts";
import { checkDirections, type VehicleEcu } from "./director.ts";
import type { FullVerificationOptions } from "./full.ts";
import { checkMatch } from "./match.ts";
import { ReleaseCounters, releaseCountersFile } from "./release_counters.ts";
import { TrustedRepository } from "./repository.ts";
import type { SignedImage } from "./image.ts";

/** Options of {@linkcode verifyPartially}. */
export interface PartialVerificationOptions extends
  Pick<
    FullVerificationOptions,
    "store" | "fetcher" | "time" | "vehicleId" | "limits" | "signal" | "observe"
  > {
  /** The Secondary itself. */
  readonly ecu: VehicleEcu;
}

/** An image for the Secondary. */
export interface DirectedImage extends SignedImage {
  readonly releaseCounter: number;
}

/**
 * Verifies what the Director wants on one ECU. Whoever has the Director's targets key can make it take any image: full
 * verification by the Primary is what stands against that.
 *
 * @returns {Promise} the image; undefined if nothing is directed to the ECU
 * @throws as {@linkcode verifyFully}.
 */
export async function verifyPartially(
  options: PartialVerificationOptions,
): Promise<DirectedImage | undefined> {
  const { store, fetcher, time, vehicleId, ecu, signal, observe } = options;
  if (Number.isNaN(time.getTime())) throw new RangeError("time: expected a date, got an invalid one");
  const limits = limitsOf(options.limits);
  const checker = new Checker(observe);
  const director = await TrustedRepository.open({
    repository: "director",
    store,
    fetcher,
    time,
    limits,
    signal,
    checker,
  });
  await director.updateRoot();
  director.checkRootExpiry();
  const targets = await director.loadNewestTargets();
  const [directed] = checkDirections(targets, vehicleId, [ecu], true, checker);
  const counters = ReleaseCounters.read(director.file(releaseCountersFile));
  if (directed === undefined) {
    await director.keepTargets(targets);
    return undefined;
  }
  checkMatch({ directed, image: undefined, floor: counters.floor(ecu), checker });
  const releaseCounter = directed.target.custom?.must_match?.release_counter ?? 0;
  counters.raise(ecu, releaseCounter);
  await director.keepTargets(targets, { name: releaseCountersFile, bytes: counters.bytes() });
  const { length, hashes } = directed.target;
  return { filename: directed.filename, length, hashes, releaseCounter };
}
