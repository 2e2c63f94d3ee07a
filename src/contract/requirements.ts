// What an image asks for besides its hardware: other ECUs' software and measured values of the vehicle; as it is written on
// the command line and in a query, and as it is stored and signed.

import { z } from "zod";
import * as id from "./identifiers.ts";
import { type PackageCondition, packageCondition } from "./package.ts";

/** Most dependencies, and most conditions, of one image. */
const most = 32;

/** An ECU type that the vehicle must have, running this version or a newer one; without a version, any. */
export const imageDependency = z.strictObject({
  ecu_type: id.ecuType,
  version: id.releaseVersion.optional(),
});

export type ImageDependency = z.infer<typeof imageDependency>;

/** `BRAKE_CONTROLLER@2.0.0` */
export function formatDependency({ ecu_type, version }: ImageDependency): string {
  return version === undefined ? ecu_type : `${ecu_type}@${version}`;
}

/** `speed<=0`, `temp>=5 and temp<=60`, `gear=0` */
export function formatCondition({ signal, min, max }: PackageCondition): string {
  if (min === max) return `${signal}=${min}`;
  return [
    ...min === undefined ? [] : [`${signal}>=${min}`],
    ...max === undefined ? [] : [`${signal}<=${max}`],
  ].join(" and ");
}

/** @throws {RangeError} for what is no `ECU_TYPE` or `ECU_TYPE@VERSION` */
export function parseDependency(text: string): ImageDependency {
  const [ecuType, ...rest] = text.split("@");
  const parsed = imageDependency.safeParse({
    ecu_type: ecuType,
    ...rest.length === 0 ? {} : { version: rest.join("@") },
  });
  if (parsed.success) return parsed.data;
  const [{ message }] = parsed.error.issues;
  throw new RangeError(
    `expected an ECU type such as BODY_CONTROLLER or BODY_CONTROLLER@1.2.0, got "${text}": ${message}`,
  );
}

/** @throws {RangeError} for what is no `SIGNAL<=NUMBER`, `SIGNAL>=NUMBER` or `SIGNAL=NUMBER` */
export function parseCondition(text: string): PackageCondition {
  const match =
    /^\s*([A-Za-z_][A-Za-z0-9_.]{0,63})\s*(<=|>=|=)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*$/
      .exec(text);
  const limit = Number(match?.[3]);
  if (match === null || !Number.isFinite(limit)) {
    throw new RangeError(
      `expected a signal and a limit such as speed<=0, battery_soc>=30 or gear=0, got "${text}"`,
    );
  }
  const [, signal, operator] = match;
  return {
    signal,
    ...operator === "<=" ? {} : { min: limit },
    ...operator === ">=" ? {} : { max: limit },
  };
}

/** Query parameter: items with commas between. */
function listOf<T>(parse: (text: string) => T) {
  return z.string().min(1).max(8_000).transform((text, context): T[] => {
    const items = text.split(",");
    if (items.length > most) {
      context.addIssue({ code: "custom", message: `must have at most ${most} items, got ${items.length}` });
      return z.NEVER;
    }
    try {
      return items.map((item) => parse(item.trim()));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      context.addIssue({ code: "custom", message: error.message });
      return z.NEVER;
    }
  });
}

/** `BRAKE_CONTROLLER@2.0.0,DOOR_MODULE` */
export const dependencyList = listOf(parseDependency);

/** `speed<=0,battery_soc>=30` */
export const conditionList = listOf(parseCondition);

/** Release counter of an image: an ECU that counts takes none below what it has committed. */
export const releaseCounter = z.int().min(0).max(0xffff_ffff);

export const imageDependencies = z.array(imageDependency).max(most);
export const imageConditions = z.array(packageCondition).max(most);

/**
 * The conditions of several images as one list, a signal once: its limits are the narrowest.
 * @throws {RangeError} when the limits leave no value
 */
export function mergeConditions(conditions: Iterable<PackageCondition>): PackageCondition[] {
  const merged = new Map<string, PackageCondition>();
  for (const { signal, min, max } of conditions) {
    const before = merged.get(signal);
    const low = Math.max(before?.min ?? -Infinity, min ?? -Infinity);
    const high = Math.min(before?.max ?? Infinity, max ?? Infinity);
    if (low > high) {
      throw new RangeError(
        `${signal} would have to be at least ${low} and at most ${high}: no value is both`,
      );
    }
    merged.set(signal, {
      signal,
      ...Number.isFinite(low) ? { min: low } : {},
      ...Number.isFinite(high) ? { max: high } : {},
    });
  }
  return [...merged.values()].sort((a, b) => a.signal < b.signal ? -1 : 1);
}
