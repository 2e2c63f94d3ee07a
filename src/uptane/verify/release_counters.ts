// The highest release counter that was verified for each ECU and hardware. It is kept beside the Director's metadata, so that
// neither targets that leave an ECU out for a while nor a rotation of keys makes an older image good again.

import type { VehicleEcu } from "./director.ts";
import { StoreError } from "../errors.ts";
import { isArray, type JsonValue } from "../canonical_json.ts";
import { JsonReadError, readJson } from "../json_reader.ts";

/** Name of the file. It has no `.json` so that it cannot be the metadata of a role. */
export const releaseCountersFile = "release_counters";

/** Counters by ECU and hardware. */
export class ReleaseCounters {
  readonly #counters: Map<string, number>;

  private constructor(counters: Map<string, number>) {
    this.#counters = counters;
  }

  /** @throws {StoreError} if the file is damaged. */
  static read(bytes: Uint8Array | undefined): ReleaseCounters {
    if (bytes === undefined) return new ReleaseCounters(new Map());
    let document: JsonValue;
    try {
      document = readJson(bytes);
    } catch (cause) {
      if (!(cause instanceof JsonReadError)) throw cause;
      throw damaged(cause.message, cause);
    }
    if (typeof document !== "object" || document === null || isArray(document)) {
      throw damaged("expected an object");
    }
    const counters = new Map<string, number>();
    for (const [key, counter] of Object.entries(document)) {
      if (typeof counter !== "number" || counter < 0) throw damaged(`expected a counter for ${key}`);
      counters.set(key, counter);
    }
    return new ReleaseCounters(counters);
  }

  /** The lowest counter that an ECU takes. */
  floor(ecu: VehicleEcu): number {
    return Math.max(this.#counters.get(keyOf(ecu)) ?? 0, ecu.releaseCounter ?? 0);
  }

  /** Notes a counter that was verified. */
  raise(ecu: VehicleEcu, counter: number): void {
    this.#counters.set(keyOf(ecu), Math.max(this.#counters.get(keyOf(ecu)) ?? 0, counter));
  }

  /** The file. */
  bytes(): Uint8Array<ArrayBuffer> {
    return new TextEncoder().encode(JSON.stringify(Object.fromEntries(this.#counters)));
  }
}

/** Another hardware in the same place counts anew. */
function keyOf({ ecuId, hardwareId }: VehicleEcu): string {
  return `${ecuId} ${hardwareId}`;
}

function damaged(reason: string, cause?: unknown): StoreError {
  return new StoreError("store_damaged", `director: kept ${releaseCountersFile}: ${reason}`, { cause });
}
