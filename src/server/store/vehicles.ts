// The registry: who the vehicles are, where they were last seen, how they are linked, their metadata and configuration.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { ConflictError, InvalidArgumentError, NotFoundError } from "./errors.ts";
import { requireCount, selectPage, selectRows, Where } from "./page.ts";
import type { Page, PageRequest } from "./page.ts";

/** What a TLS handshake said about a vehicle's link. A fact that the TLS stack cannot tell is "unknown". */
export interface LinkFacts {
  listener: "https" | "mqtt";
  protocol: string;
  group: string;
  cipherSuite: string;
  signatureScheme: string;
}

/** The newest link on one listener. */
export interface Link extends LinkFacts {
  since: Date;
}

export interface Vehicle {
  vin: string;
  vehicleId: string;
  vmgId: string;
  vehicleModel: string;
  vehicleYear: number;
  registered: Date;
  status: "online" | "offline";
  statusSince: Date;
  currentIp: string | null;
  /** When the server last heard a heartbeat, by the server's clock. */
  lastHeartbeat: Date | null;
  location: unknown;
  /** Per cent. */
  battery: number | null;
  metadata: Record<string, unknown>;
  metadataUpdated: Date | null;
  config: Record<string, unknown>;
  /** 0 until a configuration is set, then one more with each change. */
  configVersion: number;
  configUpdated: Date | null;
  /** When the newest stored VCI was read, by the vehicle's clock. */
  vciReported: Date | null;
}

export interface Registration {
  vin: string;
  vmgId: string;
  vehicleModel: string;
  vehicleYear: number;
}

export interface Heartbeat {
  ip: string;
  /** What the vehicle says of itself. @default "online" */
  status?: "online" | "offline";
  /** The vehicle's time. */
  timestamp: Date;
  location?: unknown;
  /** Per cent. */
  battery?: number;
}

export interface HeartbeatResult {
  /** The address before, null when there was none. */
  previousIp: string | null;
  ipChanged: boolean;
  statusChanged: boolean;
}

export interface VehicleAddress {
  ip: string;
  since: Date;
}

export interface VehicleFilter extends PageRequest {
  /** @default both */
  status?: "online" | "offline";
}

export interface StatusChange {
  vin: string;
  vmgId: string;
  lastHeartbeat: Date | null;
}

const COLUMNS =
  `vin, vehicle_id, vmg_id, vehicle_model, vehicle_year, registered, status, status_since, current_ip,
  last_heartbeat, location, battery, metadata, metadata_updated, config, config_version, config_updated, vci_reported`;

/** How far a stored vehicle time may lie ahead of the server's before it no longer holds back later ones. */
const CLOCK_TOLERANCE_SECONDS = 60;

export class Vehicles {
  constructor(private readonly context: Context) {}

  /**
   * Enters the vehicle, or refreshes its model, year and vmg_id when it is known already.
   * @throws ConflictError when the vmg_id belongs to another vehicle (`existing` is that one's VIN)
   */
  async register(registration: Registration): Promise<{ vehicle: Vehicle; created: boolean }> {
    const { vin, vmgId, vehicleModel, vehicleYear } = registration;
    const { sql } = this.context;
    const params = [vin, this.context.newId(), vmgId, vehicleModel, vehicleYear, this.context.now()];
    // Whoever registers the same VIN or vmg_id at the same moment is seen in the second round.
    for (let round = 0; round < 3; round++) {
      const [created] = await sql.query<Vehicle>(
        `insert into vehicles (vin, vehicle_id, vmg_id, vehicle_model, vehicle_year, registered, status_since)
         values ($1, $2, $3, $4, $5, $6, $6) on conflict do nothing returning ${COLUMNS}`,
        params,
      );
      if (created) return { vehicle: created, created: true };
      const [other] = await sql.query<{ vin: string }>(
        "select vin from vehicles where vmg_id = $1 and vin <> $2",
        [
          vmgId,
          vin,
        ],
      );
      if (other) throw new ConflictError(`vmg_id ${vmgId} belongs to vehicle ${other.vin}`, other.vin);
      const [known] = await sql.query<Vehicle>(
        `update vehicles set vmg_id = $2, vehicle_model = $3, vehicle_year = $4 where vin = $1 returning ${COLUMNS}`,
        [vin, vmgId, vehicleModel, vehicleYear],
      );
      if (known) return { vehicle: known, created: false };
    }
    throw new ConflictError(`vehicle ${vin} is being registered and removed at the same time`, vin);
  }

  /** The vehicle with this VIN or, where none has it, this vmg_id. */
  async find(id: string): Promise<Vehicle | null> {
    const [vehicle] = await this.context.sql.query<Vehicle>(
      `select ${COLUMNS} from vehicles where vin = $1 or vmg_id = $1 order by (vin = $1) desc limit 1`,
      [id],
    );
    return vehicle ?? null;
  }

  /** As `find`. @throws NotFoundError */
  async get(id: string): Promise<Vehicle> {
    const vehicle = await this.find(id);
    if (vehicle === null) throw new NotFoundError("vehicle", id);
    return vehicle;
  }

  /** By VIN, ascending. */
  async list(filter: VehicleFilter = {}): Promise<Page<Vehicle>> {
    const where = new Where().and("status = ?", filter.status);
    return await selectPage(
      this.context.sql,
      { columns: COLUMNS, from: "vehicles", where, order: "vin" },
      filter,
    );
  }

  /**
   * Stores a heartbeat; the address history grows only when the address changed. A heartbeat that is older than the one
   * stored (it waited in a queue) proves that the vehicle is there, but does not bring an old address or status back.
   * @param vin the VIN
   * @throws NotFoundError when no such vehicle is registered
   */
  async heartbeat(vin: string, heartbeat: Heartbeat): Promise<HeartbeatResult> {
    const [row] = await this.context.sql.query<
      { ip: string | null; ipChanged: boolean; statusChanged: boolean }
    >(
      `with before as (
         select vin, current_ip, status,
           (heartbeat_reported is null or heartbeat_reported <= $4
             or heartbeat_reported > $3::timestamptz + interval '${CLOCK_TOLERANCE_SECONDS} seconds') as newer
         from vehicles where vin = $1 for update
       ), put as (
         update vehicles v set
           last_heartbeat = $3,
           heartbeat_reported = case when b.newer then $4 else v.heartbeat_reported end,
           current_ip = case when b.newer then $2 else v.current_ip end,
           status = case when b.newer then $5 else v.status end,
           status_since = case when b.newer and v.status <> $5 then $3 else v.status_since end,
           location = case when b.newer then coalesce($6::jsonb, v.location) else v.location end,
           battery = case when b.newer then coalesce($7, v.battery) else v.battery end
         from before b where v.vin = b.vin
       ), history as (
         insert into vehicle_addresses (vin, ip, since)
         select vin, $2, $3 from before where newer and current_ip is distinct from $2
       )
       select current_ip as ip, newer and current_ip is distinct from $2 as ip_changed,
         newer and status <> $5 as status_changed from before`,
      [
        vin,
        heartbeat.ip,
        this.context.now(),
        heartbeat.timestamp,
        heartbeat.status ?? "online",
        heartbeat.location === undefined ? null : json(heartbeat.location),
        heartbeat.battery ?? null,
      ],
    );
    if (row === undefined) throw new NotFoundError("vehicle", vin);
    return { previousIp: row.ip, ipChanged: row.ipChanged, statusChanged: row.statusChanged };
  }

  /** Sets the status (a session began, or a last will came); whether that changed it. False for an unknown vehicle. */
  async setStatus(vin: string, status: "online" | "offline"): Promise<boolean> {
    const rows = await this.context.sql.query(
      // A new session counts as a sign of life: otherwise the next sweep would undo it before the first heartbeat.
      `update vehicles set status = $2, status_since = $3,
         last_heartbeat = case when $2 = 'online' then $3 else last_heartbeat end
       where vin = $1 and status <> $2 returning vin`,
      [vin, status, this.context.now()],
    );
    return rows.length > 0;
  }

  /** Marks offline whoever was online and silent for `silentFor` ms, and says who they were (at most 1000 a call). */
  async markSilentOffline(silentFor: number): Promise<StatusChange[]> {
    requireCount("silentFor", silentFor);
    const now = this.context.now();
    return await this.context.sql.query<StatusChange>(
      `update vehicles set status = 'offline', status_since = $2
       where vin in (
         select vin from vehicles where status = 'online' and coalesce(last_heartbeat, status_since) < $1
         order by vin limit 1000 for update skip locked
       ) returning vin, vmg_id, last_heartbeat`,
      [new Date(now.getTime() - silentFor), now],
    );
  }

  /** Stores what a handshake negotiated. The vehicle need not be registered yet: its first request is the registration. */
  async setLink(vin: string, link: LinkFacts): Promise<void> {
    await this.context.sql.query(
      `insert into vehicle_links (vin, listener, protocol, negotiated_group, cipher_suite, signature_scheme, since)
       values ($1, $2, $3, $4, $5, $6, $7)
       on conflict (vin, listener) do update set protocol = excluded.protocol,
         negotiated_group = excluded.negotiated_group, cipher_suite = excluded.cipher_suite,
         signature_scheme = excluded.signature_scheme, since = excluded.since`,
      [
        vin,
        link.listener,
        link.protocol,
        link.group,
        link.cipherSuite,
        link.signatureScheme,
        this.context.now(),
      ],
    );
  }

  /** The newest link on each listener, of each of these vehicles. */
  async links(vins: readonly string[]): Promise<Map<string, Link[]>> {
    const rows = await this.context.sql.query<Link & { vin: string }>(
      `select vin, listener, protocol, negotiated_group as "group", cipher_suite, signature_scheme, since
       from vehicle_links where vin in (select jsonb_array_elements_text($1::jsonb)) order by vin, listener`,
      [json(vins)],
    );
    const links = new Map<string, Link[]>(vins.map((vin) => [vin, []]));
    for (const { vin, ...link } of rows) links.get(vin)?.push(link);
    return links;
  }

  /** The addresses a vehicle had, newest first. */
  async addresses(vin: string, page: PageRequest = {}): Promise<VehicleAddress[]> {
    const where = new Where().and("vin = ?", vin);
    return await selectRows(
      this.context.sql,
      { columns: "ip, since", from: "vehicle_addresses", where, order: "seq desc" },
      page,
    );
  }

  /** Replaces the vehicle's free metadata. @throws NotFoundError */
  async setMetadata(vin: string, metadata: Record<string, unknown>): Promise<void> {
    const rows = await this.context.sql.query(
      "update vehicles set metadata = $2, metadata_updated = $3 where vin = $1 returning vin",
      [vin, json(metadata), this.context.now()],
    );
    if (rows.length === 0) throw new NotFoundError("vehicle", vin);
  }

  /**
   * Replaces the vehicle's remote configuration and gives its new version, which stays when nothing changed.
   * @throws NotFoundError
   */
  async setConfig(vin: string, config: Record<string, unknown>): Promise<number> {
    if (Array.isArray(config)) throw new InvalidArgumentError("config", "an object", config);
    const [row] = await this.context.sql.query<{ configVersion: number }>(
      `update vehicles set config = $2::jsonb,
         config_version = config_version + case when config_version = 0 or config <> $2::jsonb then 1 else 0 end,
         config_updated = case when config_version = 0 or config <> $2::jsonb then $3 else config_updated end
       where vin = $1 returning config_version`,
      [vin, json(config), this.context.now()],
    );
    if (row === undefined) throw new NotFoundError("vehicle", vin);
    return row.configVersion;
  }
}
