// Deleting what is old, in chunks, so that no statement holds the database for long; and which files nothing refers to.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { requireCount } from "./page.ts";

/** How long each kind of row is kept, in ms; a kind that is left out is not touched. */
export interface RetentionAges {
  telemetry?: number;
  anomalies?: number;
  /** Answered, failed and timed-out requests. */
  diagnostics?: number;
  /** Since their end; with their ECU rows. */
  updates?: number;
  /** Reports; a vehicle's newest stays, and the last one that was verified. */
  vci?: number;
  /** Address history; a vehicle's newest stays. */
  addresses?: number;
  /** Since they were last asked for; a package that an active update needs stays. */
  packages?: number;
  /** Acknowledged, withdrawn or expired ones. */
  commands?: number;
  /** How long a repeated message is recognised. */
  inbound?: number;
  rejected?: number;
  /** Messages that wait in a broker session. */
  mqttQueue?: number;
  /** QoS 2 messages whose PUBREL never came. */
  mqttIncoming?: number;
}

export type RetentionSubject = keyof RetentionAges;

export interface RetentionOptions {
  /** Rows a statement. @default 1000 */
  chunk?: number;
  /** Statements a subject, so that one run ends; the next run goes on. @default 1000 */
  rounds?: number;
  signal?: AbortSignal;
}

/**
 * The rows of a table that only grows, where `seq` follows `received`: the first `limit` rows of the table are looked at,
 * so that no index on the time is needed and a table with nothing old is left after one look.
 */
const oldestOf = (table: string, time: string) =>
  `delete from ${table} where seq in (
     select seq from (select seq, ${time} as time from ${table} order by seq limit $2) oldest where time < $1)`;

/** Each takes $1, the time before which a row is old, and $2, how many rows at most. */
const STATEMENTS: Readonly<Record<RetentionSubject, string>> = {
  telemetry: oldestOf("telemetry", "received"),
  anomalies: oldestOf("anomalies", "received"),
  inbound: oldestOf("inbound_messages", "received"),
  rejected: oldestOf("rejected_messages", "received"),
  diagnostics: `delete from diagnostics where seq in (
    select seq from diagnostics where created < $1 and status <> 'pending' order by created limit $2)`,
  updates:
    `delete from updates where seq in (select seq from updates where ended < $1 order by ended limit $2)`,
  vci: `delete from vci_reports where seq in (
    select seq from vci_reports r where received < $1 and not exists (
      select from vehicles v where v.vin = r.vin and v.vci_reported = r.reported and not exists (
        select from vci_reports n where n.vin = r.vin and n.reported = r.reported and n.seq > r.seq))
      and not (r.verified and not exists (
        select from vci_reports n where n.vin = r.vin and n.verified and n.seq > r.seq))
    order by received limit $2)`,
  addresses: `delete from vehicle_addresses where seq in (
    select seq from vehicle_addresses a where since < $1
      and exists (select from vehicle_addresses n where n.vin = a.vin and n.seq > a.seq)
    order by since limit $2)`,
  packages: `delete from packages where seq in (
    select seq from packages p where touched < $1 and status <> 'building'
      and not exists (select from updates u where u.package_id = p.package_id and u.ended is null)
    order by touched limit $2)`,
  commands: `delete from commands where seq in (
    select seq from commands where created < $1
      and (acked_at is not null or withdrawn_at is not null or expires < $1)
    order by created limit $2)`,
  mqttQueue:
    `delete from mqtt_queue where entry_id in (select entry_id from mqtt_queue where queued < $1 order by queued limit $2)`,
  mqttIncoming: `delete from mqtt_incoming where (client_id, packet_id) in (
    select client_id, packet_id from mqtt_incoming where received < $1 order by received limit $2)`,
};

const SUBJECTS = Object.keys(STATEMENTS).filter((name): name is RetentionSubject => name in STATEMENTS);

/** What files a folder of files named by SHA-256 may hold. */
export type FileKind = "images" | "payloads" | "blobs" | "packages";

const REFERENCES: Readonly<Record<FileKind, string>> = {
  images: "select from images where file_sha256 = f.sha256",
  payloads: "select from images where payload_sha256 = f.sha256",
  blobs: "select from images where blob_sha256 = f.sha256",
  packages: "select from packages where sha256 = f.sha256",
};

export class Retention {
  constructor(private readonly context: Context) {}

  /** Deletes what is older than the given ages and says how many rows of each subject went. */
  async apply(
    ages: RetentionAges,
    options: RetentionOptions = {},
  ): Promise<Partial<Record<RetentionSubject, number>>> {
    const chunk = requireCount("chunk", options.chunk ?? 1000, 1);
    const rounds = requireCount("rounds", options.rounds ?? 1000, 1);
    const now = this.context.now().getTime();
    const deleted: Partial<Record<RetentionSubject, number>> = {};
    for (const subject of SUBJECTS) {
      const age = ages[subject];
      if (age === undefined) continue;
      const cutoff = new Date(now - requireCount(subject, age));
      let total = 0;
      for (let round = 0; round < rounds; round++) {
        options.signal?.throwIfAborted();
        const [{ count }] = await this.context.sql.query<{ count: number }>(
          `with gone as (${STATEMENTS[subject]} returning 1) select count(*) from gone`,
          [cutoff, chunk],
        );
        total += count;
        if (count < chunk) break;
      }
      deleted[subject] = total;
    }
    return deleted;
  }

  /**
   * Which of these files (by SHA-256) no row refers to. A file is written before its row: the caller passes files only
   * that are older than the longest upload or build.
   */
  async unreferenced(kind: FileKind, files: readonly string[]): Promise<string[]> {
    const rows = await this.context.sql.query<{ sha256: string }>(
      `select sha256 from jsonb_array_elements_text($1::jsonb) as f(sha256) where not exists (${
        REFERENCES[kind]
      })`,
      [json(files)],
    );
    return rows.map((row) => row.sha256);
  }
}
