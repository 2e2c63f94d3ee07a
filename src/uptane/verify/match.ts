// Whether an image that the Director wants is one that the Image repository has, for this ECU, and no older than before (Uptane
// Standard 2.1, sections 5.4.4.2, step 10, and 5.4.3.4, steps 3 to 5).

import { canonicalJson, type JsonValue } from "../canonical_json.ts";
import type { Checker } from "../checks.ts";
import type { Target } from "../models.ts";
import type { Directed } from "./director.ts";

/** An image of the Director's and its namesake in the Image repository. */
export interface MatchOptions {
  readonly directed: Directed;
  /** Undefined for partial verification, which has no Image repository. */
  readonly image: Target | undefined;
  /** Lowest release counter that is taken. */
  readonly floor: number;
  readonly checker: Checker;
}

/**
 * Checks one image.
 *
 * @throws {RepositoriesDisagreeError | WrongHardwareError | RollbackError}
 */
export function checkMatch({ directed, image, floor, checker }: MatchOptions): void {
  const { ecu, filename, target } = directed;
  const subject = `${filename} for ${ecu.ecuId}`;
  if (image !== undefined) {
    const same = target.length === image.length &&
      canonical({ ...target.hashes }) === canonical({ ...image.hashes });
    checker.require(
      "match_non_custom",
      subject,
      same,
      () =>
        `expected ${image.length} bytes of SHA-256 ${image.hashes.sha256} as in the Image repository, ` +
        `the Director says ${target.length} bytes of ${target.hashes.sha256}`,
    );
    const ours = mustMatchText(target);
    const theirs = mustMatchText(image);
    checker.require(
      "match_custom",
      subject,
      ours === theirs,
      () =>
        `expected must_match ${shorten(theirs)} as in the Image repository, the Director says ${
          shorten(ours)
        }`,
    );
  }
  const match = target.custom?.must_match;
  checker.require(
    "match_hardware",
    subject,
    match?.hardware_ids.includes(ecu.hardwareId) === true,
    () =>
      `expected an image for hardware ${ecu.hardwareId}, got one for ${
        match?.hardware_ids.join(", ") ?? "none"
      }`,
  );
  if (ecu.ecuType !== undefined && match?.ecu_types !== undefined) {
    const { ecuType } = ecu;
    const types = match.ecu_types;
    checker.require(
      "match_ecu_type",
      subject,
      types.includes(ecuType),
      () => `expected an image for ${ecuType}, got one for ${types.join(", ")}`,
    );
  }
  // An image without a counter is older than any that has one: else leaving it out would lead back.
  const counter = match?.release_counter ?? 0;
  checker.require(
    "match_release_counter",
    subject,
    counter >= floor,
    () => `expected release counter ${floor} or higher, got ${counter}`,
  );
}

function mustMatchText(target: Target): string {
  return canonical(jsonOf(target.custom?.must_match ?? null));
}

function canonical(value: JsonValue): string {
  return new TextDecoder().decode(canonicalJson(value));
}

/** What came from JSON, as such: further members of must_match are of no known type. */
function jsonOf(value: unknown): JsonValue {
  if (
    value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean"
  ) {
    return value;
  }
  if (Array.isArray(value)) return value.map(jsonOf);
  return Object.fromEntries(
    Object.entries(value ?? {}).flatMap(([name, member]) =>
      member === undefined ? [] : [[name, jsonOf(member)]]
    ),
  );
}

function shorten(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
