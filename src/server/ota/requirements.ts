// What the images of an update ask for, held against the vehicle: release counters, other ECUs' software, and the order that
// follows from them. No ECU is added that nobody asked for: what is missing is said.

import semver from "semver";
import { formatDependency, mergeConditions } from "../../contract/requirements.ts";
import type { PackageCondition } from "../../contract/package.ts";
import type { VciEcu } from "../../contract/vehicles.ts";
import { targetKey } from "../store/images.ts";
import type { Image, ImageDependency, ImageTarget } from "../store/mod.ts";
import { isOlder, type Outdated } from "./outdated.ts";

/** Why an update is not begun. */
export type UnmetCode =
  | "dependency_unmet"
  | "dependency_cycle"
  | "release_rollback"
  | "conditions_contradict";

/** An update asks for what the vehicle does not have, or for what cannot be. */
export class RequirementUnmet extends Error {
  override readonly name = "RequirementUnmet";
  constructor(message: string, readonly code: UnmetCode) {
    super(message);
  }
}

/**
 * Checks what the images ask for.
 * @param ecus the vehicle's last report
 * @param catalogue every image for the targets' types and hardware
 * @param outdated what could be updated as well
 * @returns the targets, each with the ECUs of this update that are activated before it
 * @throws {RequirementUnmet} naming the first thing that is missing, and what to do
 */
export function checkRequirements(
  targets: readonly Outdated[],
  ecus: readonly VciEcu[],
  catalogue: readonly Image[],
  outdated: readonly Outdated[] = [],
): Outdated[] {
  const byTarget = Map.groupBy(catalogue, targetKey);
  for (const target of targets) checkRelease(target, byTarget.get(targetKey(target.image)) ?? []);
  const updated = new Map(targets.map((target) => [target.ecu.ecu_id, target]));
  const ordered = targets.map((target) => {
    const before = target.image.dependsOn.flatMap((needed) =>
      resolve(target, needed, ecus, updated, outdated)
    );
    return { ...target, dependsOn: [...new Set(before)].sort() };
  });
  checkCycles(ordered);
  conditionsOf(ordered);
  return ordered;
}

/** What must hold before any ECU of the update is changed. @throws {RequirementUnmet} when no value could */
export function conditionsOf(targets: readonly Outdated[]): PackageCondition[] {
  const images = new Map(targets.map(({ image }) => [image.imageId, image]));
  try {
    return mergeConditions([...images.values()].flatMap(({ conditions }) => conditions));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RequirementUnmet(
      `the conditions of the update's images contradict each other: ${error.message}; update the ECUs one after another`,
      "conditions_contradict",
    );
  }
}

/**
 * The version that a new image may not be released below, or that must not be released below it; undefined when there is none.
 * @param others images of the same type and hardware
 */
export function findRollback(
  { version, release }: { version: string; release: number | null },
  others: readonly Image[],
): { older: Pick<Image, "version" | "release">; newer: Pick<Image, "version" | "release"> } | undefined {
  const own = { version, release };
  for (const other of others) {
    const order = semver.compare(version, other.version);
    if (order === 0) continue;
    const [older, newer] = order > 0 ? [other, own] : [own, other];
    if ((newer.release ?? 0) < (older.release ?? 0)) return { older, newer };
  }
  return undefined;
}

function checkRelease({ ecu, current, image }: Outdated, versions: readonly Image[]): void {
  const running = versions.filter(({ version }) => isSame(current, version));
  const committed = Math.max(0, ...running.map(({ release }) => release ?? 0));
  if (committed <= (image.release ?? 0)) return;
  throw new RequirementUnmet(
    `${ecu.ecu_id} runs ${current}, which is release ${committed}; ${image.version} is release ${
      image.release ?? 0
    }, ` +
      "and an ECU takes no release below the one that it has committed (anti-rollback). " +
      `Add the software as a newer version with --release ${committed} or more`,
    "release_rollback",
  );
}

/** Whether an ECU that reports `current` runs this version; build metadata does not count (semver.org §10). */
function isSame(current: string, version: string): boolean {
  const reported = semver.parse(current.trim(), { loose: true });
  return reported === null ? current.trim() === version : semver.eq(reported, version);
}

/** ECUs of the update that are activated before `target`, for one of its dependencies. */
function resolve(
  { ecu, image }: Outdated,
  needed: ImageDependency,
  ecus: readonly VciEcu[],
  updated: ReadonlyMap<string, Outdated>,
  outdated: readonly Outdated[],
): string[] {
  const what = formatDependency({ ecu_type: needed.ecuType, version: needed.version });
  const who = `${ecu.ecu_id}: ${image.version} needs ${what}`;
  const found = ecus.filter(({ ecu_id, ecu_type }) => ecu_type === needed.ecuType && ecu_id !== ecu.ecu_id);
  if (found.length === 0) {
    throw new RequirementUnmet(`${who}, and the vehicle has no other ${needed.ecuType}`, "dependency_unmet");
  }
  const before: string[] = [];
  const { version: least } = needed;
  for (const { ecu_id, sw_version, status } of found) {
    const target = updated.get(ecu_id);
    if (target !== undefined) before.push(ecu_id);
    const version = target?.image.version ?? (status === "unreachable" ? undefined : sw_version);
    if (least === undefined || (version !== undefined && !isOlder(version, least))) continue;
    const other = outdated.find((it) => it.ecu.ecu_id === ecu_id);
    throw new RequirementUnmet(
      `${who}; ${ecu_id} ${
        target !== undefined
          ? `gets ${version} by this update: `
          : version === undefined
          ? "did not say what it runs: "
          : `runs ${version}: `
      }${
        other !== undefined && !isOlder(other.image.version, least)
          ? `update it as well, --ecu ${ecu.ecu_id} ${ecu_id}`
          : `the catalogue has no ${least} or newer for it`
      }`,
      "dependency_unmet",
    );
  }
  return before;
}

function checkCycles(targets: readonly Outdated[]): void {
  const left = new Map(targets.map(({ ecu, dependsOn = [] }) => [ecu.ecu_id, dependsOn]));
  for (let before = -1; before !== left.size;) {
    before = left.size;
    for (const [ecuId, needed] of left) if (!needed.some((it) => left.has(it))) left.delete(ecuId);
  }
  if (left.size === 0) return;
  // What is left may only wait for a circle: going from one to the next ends in it.
  const path: string[] = [];
  let at = [...left.keys()][0];
  while (!path.includes(at)) {
    path.push(at);
    at = left.get(at)!.find((it) => left.has(it))!;
  }
  const circle = [...path.slice(path.indexOf(at)), at];
  throw new RequirementUnmet(
    `ECUs need each other in a circle, so that none can be activated first: ${circle.join(" needs ")}`,
    "dependency_cycle",
  );
}

/** The targets' types and hardware, each once. */
export function targetsOf(targets: readonly Outdated[]): ImageTarget[] {
  return [...new Map(targets.map(({ image }) => [targetKey(image), image])).values()];
}
