// In which order ECUs are activated: what an ECU depends on runs its new software before it does.

import { PackageMismatchError } from "../errors.ts";
import type { Target } from "./targets.ts";

/**
 * The group of each ECU: those of group 0 depend on none of the update, those of group n on at least one of group n - 1.
 * An ECU that the package has nothing for is there as it is, and waited for by nobody.
 * @throws {PackageMismatchError} when ECUs depend on each other in a circle
 */
export function activationGroups(targets: readonly Target[]): Map<string, number> {
  const byId = new Map(targets.map((target) => [target.ecu.ecuId, target]));
  const groups = new Map<string, number>();
  for (let group = 0; groups.size < targets.length; group++) {
    const next = targets.filter(({ ecu, entry }) =>
      !groups.has(ecu.ecuId) &&
      (entry.depends_on ?? []).every((needed) => !byId.has(needed) || groups.has(needed))
    );
    if (next.length === 0) {
      const left = targets.map(({ ecu }) => ecu.ecuId).filter((ecuId) => !groups.has(ecuId));
      throw new PackageMismatchError(`ECUs depend on each other in a circle: ${left.join(", ")}`);
    }
    for (const { ecu } of next) groups.set(ecu.ecuId, group);
  }
  return groups;
}
