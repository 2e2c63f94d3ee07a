// The inventory: public keys of vehicles' ECUs, and what was last heard from each, so that no report is believed twice.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { ConflictError, NotFoundError } from "./errors.ts";
import { selectPage, Where } from "./page.ts";
import type { Page, PageRequest } from "./page.ts";

/** A public key as it stands in metadata. */
export interface StoredKey {
  keytype: string;
  scheme: string;
  keyval: { public: string };
}

export interface EcuKeyInput {
  vin: string;
  ecuId: string;
  primary: boolean;
  keys: readonly StoredKey[];
}

export interface EcuKeyRow {
  vin: string;
  ecuId: string;
  primary: boolean;
  keys: StoredKey[];
  added: Date;
  /** Time in the last report that was believed. */
  reportTime: Date | null;
  /** Nonces of all reports that named this time. */
  reportNonces: string[];
}

export interface EcuKeyFilter extends PageRequest {
  vin?: string;
}

/** What is remembered of an ECU's last report. */
export interface EcuReportMemory {
  ecuId: string;
  time: Date;
  nonces: readonly string[];
}

const COLUMNS = `vin, ecu_id, is_primary as "primary", keys, added, report_time, report_nonces`;

export class EcuKeys {
  constructor(private readonly context: Context) {}

  /**
   * Enters an ECU's keys, in place of those that it had. What was heard from the ECU stays known: a new key does not make an old
   * report good again.
   * @throws ConflictError when it is to be the Primary and another one is (`existing` is that one's ecu_id)
   */
  async set({ vin, ecuId, primary, keys }: EcuKeyInput): Promise<EcuKeyRow> {
    const { sql } = this.context;
    const [row] = await sql.query<EcuKeyRow>(
      `insert into ecu_keys (vin, ecu_id, is_primary, keys, added)
       select $1, $2, $3, $4, $5 where not $3 or not exists (
         select from ecu_keys where vin = $1 and is_primary and ecu_id <> $2)
       on conflict (vin, ecu_id) do update set is_primary = excluded.is_primary, keys = excluded.keys,
         added = excluded.added
       returning ${COLUMNS}`,
      [vin, ecuId, primary, json(keys), this.context.now()],
    );
    if (row) return row;
    const [other] = await sql.query<{ ecuId: string }>(
      "select ecu_id from ecu_keys where vin = $1 and is_primary",
      [vin],
    );
    throw new ConflictError(
      `${
        other?.ecuId ?? "another ECU"
      } is the Primary of ${vin} already: remove it first, or enter it without`,
      other?.ecuId ?? "",
    );
  }

  /**
   * Takes an ECU's keys out. The row stays without any: were it gone, the ECU's old reports would be good again once somebody
   * enters the keys again.
   * @throws NotFoundError
   */
  async remove(vin: string, ecuId: string): Promise<void> {
    const rows = await this.context.sql.query(
      `update ecu_keys set keys = '[]', is_primary = false where vin = $1 and ecu_id = $2 and keys <> '[]'
       returning ecu_id`,
      [vin, ecuId],
    );
    if (rows.length === 0) throw new NotFoundError("ECU in the inventory", `${vin} ${ecuId}`);
  }

  /** By VIN and ECU. */
  async list(filter: EcuKeyFilter = {}): Promise<Page<EcuKeyRow>> {
    const where = new Where().and("keys <> ?::jsonb", "[]").and("vin = ?", filter.vin);
    return await selectPage(
      this.context.sql,
      { columns: COLUMNS, from: "ecu_keys", where, order: "vin, ecu_id" },
      filter,
    );
  }

  /**
   * All of one vehicle, by ECU.
   * @param held until the transaction's end nobody else changes them. @default false
   */
  async of(vin: string, held: boolean = false): Promise<EcuKeyRow[]> {
    return await this.context.sql.query<EcuKeyRow>(
      `select ${COLUMNS} from ecu_keys where vin = $1 and keys <> '[]' order by ecu_id${
        held ? " for update" : ""
      }`,
      [vin],
    );
  }

  /** Whether any ECU of the vehicle is there. */
  async has(vin: string): Promise<boolean> {
    const [row] = await this.context.sql.query(
      "select 1 as one from ecu_keys where vin = $1 and keys <> '[]' limit 1",
      [vin],
    );
    return row !== undefined;
  }

  /** Notes what was heard. */
  async remember(vin: string, memory: readonly EcuReportMemory[]): Promise<void> {
    if (memory.length === 0) return;
    await this.context.sql.query(
      `update ecu_keys k set report_time = t.time, report_nonces = t.nonces
       from jsonb_to_recordset($2::jsonb) as t(ecu_id text, time timestamptz, nonces jsonb)
       where k.vin = $1 and k.ecu_id = t.ecu_id`,
      [vin, json(memory.map(({ ecuId, time, nonces }) => ({ ecu_id: ecuId, time, nonces })))],
    );
  }
}
