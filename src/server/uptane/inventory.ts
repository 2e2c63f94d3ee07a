// The inventory (Uptane Standard 2.1, section 5.3.2.2): which keys the ECUs of a vehicle sign with, and which ECU is its Primary.

import { isDeepStrictEqual } from "node:util";
import type { InventoryEcuAnswer, InventoryEntry } from "../../contract/uptane.ts";
import type { Logger } from "../../log.ts";
import { algorithmOf, importPublicKey, KeyError, keyidOf } from "../../uptane/keys.ts";
import type { KeyModel } from "../../uptane/models.ts";
import type { InventoryEcu, ReportMemory } from "../../uptane/report.ts";
import type { EcuKeyRow, Store } from "../store/mod.ts";
import { InvalidArgumentError } from "../store/errors.ts";

/** What was given for a vehicle and is not in the inventory. */
interface Compared {
  readonly vin: string;
  readonly other: { entry: InventoryEntry; models: KeyModel[] }[];
  readonly absent: { entry: InventoryEntry; models: KeyModel[] }[];
}

/** The inventory in the database. */
export class Inventory {
  readonly #store: Store;
  readonly #log: Logger;

  constructor({ store, log }: { store: Store; log: Logger }) {
    this.#store = store;
    this.#log = log;
  }

  /**
   * Enters an ECU's keys, in place of those that it had.
   * @throws {InvalidArgumentError} for what is no key
   * @throws {ConflictError} when another ECU is the Primary
   */
  async add(entry: InventoryEntry): Promise<InventoryEcuAnswer> {
    const row = await this.#enter(entry, await modelsOf(entry.keys));
    this.#log.info(`Keys of ${row.ecuId} of ${row.vin} entered`, {
      primary: row.primary,
      keys: row.keys.length,
    });
    return toAnswer(row, await this.#store.ecuKeys.of(entry.vin));
  }

  /** Enters what is there with other keys, or not at all. @throws as {@link add} */
  async adopt(entries: readonly InventoryEntry[]): Promise<void> {
    for (const vehicle of await this.#compare(entries)) {
      await this.#enterAll(vehicle.vin, [...vehicle.other, ...vehicle.absent]);
    }
  }

  /**
   * Enters what is not there. A vehicle that has other keys for one of the ECUs keeps all that it has: somebody entered them, and
   * what was found may be of a bench that has gone elsewhere since.
   * @throws as {@link add}
   */
  async addFound(entries: readonly InventoryEntry[]): Promise<void> {
    for (const { vin, other, absent } of await this.#compare(entries)) {
      if (other.length === 0) {
        await this.#enterAll(vin, absent);
        continue;
      }
      const named = other.map(({ entry }) => entry.ecu_id).join(", ");
      this.#log.warn(
        `Keys found here for ${vin} are not those in the inventory (${named}): those in the inventory count. ` +
          `If the vehicle has the keys found here, enter them with "zonebench repo inventory add"`,
      );
    }
  }

  /** What a vehicle has other keys for, and what it has none for. */
  async #compare(entries: readonly InventoryEntry[]): Promise<Compared[]> {
    const compared: Compared[] = [];
    for (const [vin, ofVehicle] of Map.groupBy(entries, (entry) => entry.vin)) {
      const rows = new Map((await this.#store.ecuKeys.of(vin)).map((row) => [row.ecuId, row]));
      const vehicle: Compared = { vin, other: [], absent: [] };
      for (const entry of ofVehicle) {
        const present = rows.get(entry.ecu_id);
        const models = await modelsOf(entry.keys);
        const same = present?.primary === entry.primary &&
          isDeepStrictEqual(present.keys.map(keyidOf).sort(), models.map(keyidOf).sort());
        if (!same) (present === undefined ? vehicle.absent : vehicle.other).push({ entry, models });
      }
      compared.push(vehicle);
    }
    return compared;
  }

  async #enterAll(vin: string, entries: Compared["other"]): Promise<void> {
    if (entries.length === 0) return;
    for (const { entry, models } of entries) await this.#enter(entry, models);
    this.#log.info(`Keys of ${entries.length} ECUs of ${vin} entered`);
  }

  #enter({ vin, ecu_id: ecuId, primary }: InventoryEntry, keys: KeyModel[]): Promise<EcuKeyRow> {
    return this.#store.ecuKeys.set({ vin, ecuId, primary, keys });
  }

  /** @throws {NotFoundError} */
  async remove(vin: string, ecuId: string): Promise<void> {
    await this.#store.ecuKeys.remove(vin, ecuId);
    this.#log.info(`Keys of ${ecuId} of ${vin} removed`);
  }

  async list(filter: { limit: number; offset: number; vin?: string }) {
    const { items, total } = await this.#store.ecuKeys.list(filter);
    const byVin = new Map<string, EcuKeyRow[]>();
    for (const { vin } of items) {
      if (!byVin.has(vin)) byVin.set(vin, await this.#store.ecuKeys.of(vin));
    }
    return { ecus: items.map((row) => toAnswer(row, byVin.get(row.vin) ?? [])), total };
  }
}

/** @throws {InvalidArgumentError} for what is no key, and for one that stands twice */
async function modelsOf(keys: readonly string[]): Promise<KeyModel[]> {
  const models: KeyModel[] = [];
  for (const [at, pem] of keys.entries()) {
    try {
      models.push(await importPublicKey(pem));
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      throw new InvalidArgumentError(`keys.${at}`, "a public key of ML-DSA-65 or ECDSA P-256 as PEM", "none");
    }
  }
  if (new Set(models.map(keyidOf)).size < models.length) {
    throw new InvalidArgumentError("keys", "each key once", "one twice");
  }
  return models;
}

/** As checks of a manifest take it. */
export function toInventory(rows: readonly EcuKeyRow[]): InventoryEcu[] {
  return rows.map(({ ecuId, primary, keys }) => ({
    ecuId,
    primary,
    authority: {
      keys: Object.fromEntries(keys.map((key) => [keyidOf(key), key])),
      role: { keyids: keys.map(keyidOf), threshold: keys.length },
    },
  }));
}

/** What was last heard from each ECU. */
export function toMemory(rows: readonly EcuKeyRow[]): Map<string, ReportMemory> {
  return new Map(
    rows.flatMap(({ ecuId, reportTime, reportNonces }) =>
      reportTime === null ? [] : [[ecuId, { time: reportTime, nonces: reportNonces }]]
    ),
  );
}

/** ECUs whose reports bear the Primary's signature: they have none of their own. */
export function signedByGateway(rows: readonly EcuKeyRow[]): string[] {
  const primary = rows.find((row) => row.primary);
  const gateway = new Set(primary?.keys.map(keyidOf));
  return rows.filter((row) => !row.primary && row.keys.some((key) => gateway.has(keyidOf(key))))
    .map(({ ecuId }) => ecuId);
}

function toAnswer(row: EcuKeyRow, vehicle: readonly EcuKeyRow[]): InventoryEcuAnswer {
  return {
    vin: row.vin,
    ecu_id: row.ecuId,
    primary: row.primary,
    keys: row.keys.map((key) => {
      const algorithm = algorithmOf(key);
      if (algorithm === undefined) throw new TypeError(`key of ${row.ecuId}: of no known algorithm`);
      return { keyid: keyidOf(key), algorithm, public: key.keyval.public };
    }),
    signed_by: signedByGateway(vehicle).includes(row.ecuId) ? "gateway" : "ecu",
    added: row.added.toISOString(),
    last_report: row.reportTime?.toISOString() ?? null,
  };
}
