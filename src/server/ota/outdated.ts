// Which ECUs are outdated: the newest released image of the same type and hardware against what the ECU reported.

import semver from "semver";
import type { OutdatedEcu, VciEcu } from "../../contract/vehicles.ts";
import type { Image, Repositories } from "../store/mod.ts";
import { targetKey } from "../store/images.ts";

/** An outdated ECU with the image that it should have. */
export interface Outdated {
  readonly ecu: VciEcu;
  readonly current: string;
  readonly image: Image;
  /** ECUs of the same update that are activated before it. @default none */
  readonly dependsOn?: readonly string[];
}

export interface Analysis {
  readonly outdated: Outdated[];
  /** ECUs that could not be judged, and why. */
  readonly skipped: { ecu_id: string; reason: string }[];
}

/**
 * Compares by semantic version, so 1.10.0 is newer than 1.9.9. An ECU is judged only by what it reported itself: one that
 * was unreachable, or gave no version or hardware, is skipped. A version that is no semantic version is outdated as soon as
 * a release exists that it is not equal to: nothing can be older than what has no order, and a released image replaces it.
 */
export async function analyse(ecus: readonly VciEcu[], images: Repositories["images"]): Promise<Analysis> {
  const outdated: Outdated[] = [];
  const skipped: { ecu_id: string; reason: string }[] = [];
  const candidates: { ecu: VciEcu; current: string; target: { ecuType: string; hwVersion: string } }[] = [];
  for (const ecu of ecus) {
    if (ecu.status === "unreachable") {
      skipped.push({ ecu_id: ecu.ecu_id, reason: `unreachable${ecu.error ? `: ${ecu.error}` : ""}` });
    } else if (ecu.sw_version === undefined) {
      skipped.push({ ecu_id: ecu.ecu_id, reason: "no software version reported" });
    } else if (ecu.hw_version === undefined) {
      skipped.push({ ecu_id: ecu.ecu_id, reason: "no hardware version reported" });
    } else {
      const target = { ecuType: ecu.ecu_type, hwVersion: ecu.hw_version };
      candidates.push({ ecu, current: ecu.sw_version, target });
    }
  }
  const targets = new Map(candidates.map(({ target }) => [targetKey(target), target]));
  const newest = await images.newestReleased([...targets.values()]);
  for (const { ecu, current, target } of candidates) {
    const image = newest.get(targetKey(target));
    if (image && isOlder(current, image.version)) outdated.push({ ecu, current, image });
  }
  return { outdated, skipped };
}

/** Whether `current`, as reported, is older than a release. A leading `v` or `=` and blanks are read over. */
export function isOlder(current: string, release: string): boolean {
  const version = semver.parse(current.trim(), { loose: true });
  if (version === null) return current.trim() !== release;
  return semver.lt(version, release);
}

/** As the vehicle is told. */
export function toOutdatedEcus(outdated: readonly Outdated[]): OutdatedEcu[] {
  return outdated.map(({ ecu, current, image }) => ({
    ecu_id: ecu.ecu_id,
    current,
    latest: image.version,
    priority: image.priority,
  }));
}
