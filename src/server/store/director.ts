// What the Director gives out to each vehicle. A version is used once: its files and its number are written together, and the
// vehicle's row is held while the next one is made.
import type { Context } from "./context.ts";
import type { Sql } from "./database.ts";

/** A vehicle's newest bundle. */
export interface DirectorState {
  vin: string;
  /** 0: there is none yet. */
  version: number;
  /** The update that it directs; null when it directs nothing. */
  updateId: string | null;
  /** SHA-256 of the Director's root whose keys signed it. */
  rootSha256: string;
  /** From when on it is time for the next. */
  renewAfter: Date;
}

/** A bundle that is given out from now on. */
export interface DirectorBundle extends DirectorState {
  files: ReadonlyMap<string, Uint8Array>;
}

/** How many versions a vehicle finds: it may be between two files of one when the next is made. */
const KEPT_VERSIONS = 4;

const STATE = "vin, version, update_id, root_sha256, renew_after";

export class DirectorStore {
  constructor(private readonly context: Context) {}

  /** The vehicle's newest bundle, and its update that has not ended. */
  async current(vin: string): Promise<{ state: DirectorState | null; activeUpdate: string | null }> {
    const { sql } = this.context;
    const [row] = await sql.query<Partial<DirectorState> & { active: string | null }>(
      `select s.*, u.update_id as active from (select $1::text as wanted) w
       left join director_states s on s.vin = w.wanted
       left join updates u on u.vin = w.wanted and u.ended is null`,
      [vin],
    );
    const { active, version, updateId, rootSha256, renewAfter } = row;
    const state = version === undefined || rootSha256 === undefined || renewAfter === undefined ||
        version === null || renewAfter === null
      ? null
      : { vin, version, updateId: updateId ?? null, rootSha256, renewAfter };
    return { state, activeUpdate: active };
  }

  /** The vehicle's state, held until the transaction's end; made when there is none. */
  async lock(vin: string): Promise<DirectorState> {
    const { sql } = this.context;
    await sql.query(
      `insert into director_states (vin, version, root_sha256, renew_after) values ($1, 0, '', $2)
       on conflict do nothing`,
      [vin, this.context.now()],
    );
    const [state] = await sql.query<DirectorState>(
      `select ${STATE} from director_states where vin = $1 for update`,
      [vin],
    );
    return state;
  }

  /** Gives a bundle out, within the transaction that holds the vehicle's state. */
  async put({ vin, version, updateId, rootSha256, renewAfter, files }: DirectorBundle): Promise<void> {
    const { sql } = this.context;
    await sql.query(
      `update director_states set version = $2, update_id = $3, root_sha256 = $4, renew_after = $5 where vin = $1`,
      [vin, version, updateId, rootSha256, renewAfter],
    );
    for (const [name, bytes] of files) await writeFile(sql, { vin, name, version, bytes });
    await sql.query("delete from director_files where vin = $1 and version <= $2", [
      vin,
      version - KEPT_VERSIONS,
    ]);
  }

  /** One file of a vehicle's. */
  async file(vin: string, name: string): Promise<Uint8Array | null> {
    const [row] = await this.context.sql.query<{ bytes: Uint8Array }>(
      "select bytes from director_files where vin = $1 and name = $2",
      [vin, name],
    );
    return row?.bytes ?? null;
  }

  /** Images of an update that has not ended, with the ECUs that get them. */
  async directions(updateId: string): Promise<{ ecuId: string; imageId: string }[]> {
    return await this.context.sql.query<{ ecuId: string; imageId: string }>(
      "select ecu_id, image_id from update_ecus where update_id = $1 and image_id is not null order by ecu_id",
      [updateId],
    );
  }
}

async function writeFile(
  sql: Sql,
  { vin, name, version, bytes }: { vin: string; name: string; version: number; bytes: Uint8Array },
): Promise<void> {
  await sql.query(
    `insert into director_files (vin, name, version, bytes) values ($1, $2, $3, $4)
     on conflict (vin, name) do update set version = excluded.version, bytes = excluded.bytes`,
    [vin, name, version, bytes],
  );
}
