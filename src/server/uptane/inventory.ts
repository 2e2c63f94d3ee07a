// The inventory (Uptane Standard 2.1, section 5.3.2.2): which keys the ECUs of a vehicle sign with, and which ECU is its Primary.

import { isDeepStrictEqual } from "node:util";
import type { InventoryEcuAnswer, InventoryEntry } from "../../contract/uptane.ts";
import type { Logger } from "../../log.ts";
import { algorithmOf, importPublicKey, KeyError, keyidOf } from "../../uptane/keys.ts";
import type { InventoryEcu, ReportMemory } from "../../uptane/report.ts";
import type { EcuKeyRow, Store } from "../store/mod.ts";
import { InvalidArgumentError } from "../store/errors.ts";

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
  async add({ vin, ecu_id: ecuId, primary, keys }: InventoryEntry): Promise<InventoryEcuAnswer> {
    const models = [];
    for (const [at, pem] of keys.entries()) {
      try {
        models.push(await importPublicKey(pem));
      } catch (error) {
        if (!(error instanceof KeyError)) throw error;
        throw new InvalidArgumentError(
          `keys.${at}`,
          "a public key of ML-DSA-65 or ECDSA P-256 as PEM",
          "none",
        );
      }
    }
    if (new Set(models.map(keyidOf)).size < models.length) {
      throw new InvalidArgumentError("keys", "each key once", "one twice");
    }
    const row = await this.#store.ecuKeys.set({ vin, ecuId, primary, keys: models });
    this.#log.info(`Keys of ${ecuId} of ${vin} entered`, { primary, keys: models.length });
    const others = await this.#store.ecuKeys.of(vin);
    return toAnswer(row, others);
  }

  /** Enters what is there with other keys, or not at all. */
  async adopt(entries: readonly InventoryEntry[]): Promise<void> {
    for (const entry of entries) {
      const rows = await this.#store.ecuKeys.of(entry.vin);
      const present = rows.find(({ ecuId }) => ecuId === entry.ecu_id);
      const wanted = await Promise.all(entry.keys.map(importPublicKey));
      const same = present?.primary === entry.primary &&
        isDeepStrictEqual(present.keys.map(keyidOf).sort(), wanted.map(keyidOf).sort());
      if (!same) await this.add(entry);
    }
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
