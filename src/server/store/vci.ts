// Vehicle configuration information: each report whole, and what is known of each ECU now.
import type { Context } from "./context.ts";
import { atomically, json } from "./database.ts";
import { NotFoundError } from "./errors.ts";
import { selectRows, Where } from "./page.ts";
import type { PageRequest } from "./page.ts";

/** What a report says about one ECU. What was not read is absent; it is never invented. */
export interface VciEcuInput {
  ecuId: string;
  ecuType?: string | null;
  zonalGatewayId?: string | null;
  swVersion?: string | null;
  hwVersion?: string | null;
  serialNumber?: string | null;
  partNumber?: string | null;
  supplier?: string | null;
  /** @default true */
  reachable?: boolean;
  unreachableReason?: string | null;
}

export interface VciInput {
  vin: string;
  deviceId: string;
  trigger?: string | null;
  /** When it was read, by the vehicle's clock. */
  timestamp: Date;
  ecus: readonly VciEcuInput[];
  /** The report as it came, but for the signed versions. */
  report: unknown;
  /** Whether the ECUs' keys bear out its versions. @default false */
  verified?: boolean;
  /** Why they do not. @default null */
  unverifiedReason?: string | null;
}

export interface VciEcu {
  ecuId: string;
  ecuType: string | null;
  zonalGatewayId: string | null;
  swVersion: string | null;
  hwVersion: string | null;
  serialNumber: string | null;
  partNumber: string | null;
  supplier: string | null;
  reachable: boolean;
  unreachableReason: string | null;
  reported: Date;
}

export interface VciReport {
  reportId: string;
  vin: string;
  deviceId: string;
  trigger: string | null;
  reported: Date;
  received: Date;
  report: unknown;
  verified: boolean;
  unverifiedReason: string | null;
}

const REPORT = "report_id, vin, device_id, trigger, reported, received, report, verified, unverified_reason";
const ECU =
  `ecu_id, ecu_type, zonal_gateway_id, sw_version, hw_version, serial_number, part_number, supplier, reachable,
  unreachable_reason, reported`;

export class Vci {
  constructor(private readonly context: Context) {}

  /**
   * Stores a report. It becomes the vehicle's current state unless a newer one is stored already (`current` says).
   * @throws NotFoundError when no such vehicle is registered
   */
  async add(input: VciInput): Promise<{ reportId: string; current: boolean }> {
    const reportId = this.context.newId();
    const received = this.context.now();
    const current = await atomically(this.context.sql, async (tx) => {
      // The vehicle's row is locked first, so reports of one vehicle are stored one after another.
      const [vehicle] = await tx.query<{ newer: boolean }>(
        `select (vci_reported is null or vci_reported <= $2
           or vci_reported > $3::timestamptz + interval '60 seconds') as newer
         from vehicles where vin = $1 for update`,
        [input.vin, input.timestamp, received],
      );
      if (vehicle === undefined) throw new NotFoundError("vehicle", input.vin);
      await tx.query(
        `with marked as (update vehicles set vci_reported = $5 where vin = $2 and $8)
         insert into vci_reports (report_id, vin, device_id, trigger, reported, received, report, verified,
           unverified_reason)
         values ($1, $2, $3, $4, $5, $6, $7, $9, $10)`,
        [
          reportId,
          input.vin,
          input.deviceId,
          input.trigger ?? null,
          input.timestamp,
          received,
          json(input.report),
          vehicle.newer,
          input.verified ?? false,
          input.unverifiedReason ?? null,
        ],
      );
      if (!vehicle.newer) return false;
      await tx.query(
        `with told as (
           select * from jsonb_to_recordset($2::jsonb) as t(ecu_id text, ecu_type text, zonal_gateway_id text,
             sw_version text, hw_version text, serial_number text, part_number text, supplier text,
             reachable boolean, unreachable_reason text)
         ), gone as (
           delete from vci_ecus where vin = $1 and ecu_id not in (select ecu_id from told)
         )
         insert into vci_ecus (vin, ${ECU})
         select $1, t.*, $3::timestamptz from told t
         on conflict (vin, ecu_id) do update set ecu_type = excluded.ecu_type,
           zonal_gateway_id = excluded.zonal_gateway_id, sw_version = excluded.sw_version,
           hw_version = excluded.hw_version, serial_number = excluded.serial_number,
           part_number = excluded.part_number, supplier = excluded.supplier, reachable = excluded.reachable,
           unreachable_reason = excluded.unreachable_reason, reported = excluded.reported`,
        [input.vin, json(input.ecus.map(toColumns)), input.timestamp],
      );
      return true;
    });
    return { reportId, current };
  }

  /** Every ECU of the vehicle's newest report, by ecu_id; empty when there was none. */
  async ecus(vin: string): Promise<VciEcu[]> {
    return await this.context.sql.query<VciEcu>(
      `select ${ECU} from vci_ecus where vin = $1 order by ecu_id`,
      [vin],
    );
  }

  /** The newest report, by the vehicle's clock. */
  async latest(vin: string): Promise<VciReport | null> {
    const [report] = await this.context.sql.query<VciReport>(
      `select ${REPORT} from vci_reports
       where vin = $1 and reported = (select vci_reported from vehicles where vin = $1) order by seq desc limit 1`,
      [vin],
    );
    return report ?? null;
  }

  /** The last report that came with good signatures of the ECUs. */
  async latestVerified(vin: string): Promise<VciReport | null> {
    const [report] = await this.context.sql.query<VciReport>(
      `select ${REPORT} from vci_reports where vin = $1 and verified order by seq desc limit 1`,
      [vin],
    );
    return report ?? null;
  }

  /** Whether each vehicle's newest report is verified; vehicles that have none are left out. */
  async verified(vins: readonly string[]): Promise<Map<string, boolean>> {
    const rows = await this.context.sql.query<{ vin: string; verified: boolean }>(
      `select distinct on (r.vin) r.vin, r.verified from vci_reports r join vehicles v
         on v.vin = r.vin and v.vci_reported = r.reported
       where r.vin in (select jsonb_array_elements_text($1::jsonb)) order by r.vin, r.seq desc`,
      [json(vins)],
    );
    return new Map(rows.map(({ vin, verified }) => [vin, verified]));
  }

  /** Reports in the order in which they came, newest first. */
  async history(vin: string, page: PageRequest = {}): Promise<VciReport[]> {
    const where = new Where().and("vin = ?", vin);
    return await selectRows(this.context.sql, {
      columns: REPORT,
      from: "vci_reports",
      where,
      order: "seq desc",
    }, page);
  }
}

function toColumns(ecu: VciEcuInput): Record<string, unknown> {
  return {
    ecu_id: ecu.ecuId,
    ecu_type: ecu.ecuType,
    zonal_gateway_id: ecu.zonalGatewayId,
    sw_version: ecu.swVersion,
    hw_version: ecu.hwVersion,
    serial_number: ecu.serialNumber,
    part_number: ecu.partNumber,
    supplier: ecu.supplier,
    reachable: ecu.reachable ?? true,
    unreachable_reason: ecu.unreachableReason,
  };
}
