// What the embedded broker keeps over a restart: subscriptions, queued messages with their packet identifiers, QoS 2 messages
// that wait for their PUBREL, retained messages. Changes come in batches and are written in one transaction.
import type { Context } from "./context.ts";
import { atomically, json, type Sql } from "./database.ts";

/** A packet without its payload, as JSON; what it holds is the broker's business. */
export type PacketFields = Readonly<Record<string, unknown>>;

/** A packet as it is stored. `payload` is undefined for packets that have none (PUBREL). */
export interface StoredPacket {
  packet: PacketFields;
  payload: Uint8Array | undefined;
}

export interface QueueEntry extends StoredPacket {
  entryId: string;
  clientId: string;
  queued: Date;
  /** Undefined until the message was sent once. */
  packetId: number | undefined;
}

export interface SubscriptionEntry {
  clientId: string;
  filter: string;
  /** Quality of service and whatever else the broker keeps with the filter. */
  subscription: Readonly<Record<string, unknown>>;
}

export interface IncomingEntry extends StoredPacket {
  clientId: string;
  packetId: number;
  received: Date;
}

export interface RetainedEntry extends StoredPacket {
  topic: string;
}

/** Changes that belong together: all of them are written, or none. Each subject holds a key once. */
export interface SessionChanges {
  /** Clients of whom everything before these changes goes. */
  ended: readonly string[];
  subscriptions: readonly SubscriptionEntry[];
  unsubscriptions: readonly Pick<SubscriptionEntry, "clientId" | "filter">[];
  queue: readonly QueueEntry[];
  unqueued: readonly string[];
  incoming: readonly IncomingEntry[];
  outgone: readonly Pick<IncomingEntry, "clientId" | "packetId">[];
  retained: readonly RetainedEntry[];
  unretained: readonly string[];
}

/** A client's session as it was stored. */
export interface StoredSession {
  subscriptions: SubscriptionEntry[];
  /** In the order of queueing. */
  queue: QueueEntry[];
  incoming: IncomingEntry[];
}

interface PacketRow {
  packet: PacketFields;
  payload: Uint8Array | null;
}

export class MqttSessions {
  constructor(private readonly context: Context) {}

  /** Writes changes in one transaction. Subjects without changes cost nothing. */
  async apply(changes: SessionChanges): Promise<void> {
    await atomically(this.context.sql, async (sql) => {
      await endSessions(sql, changes.ended);
      await changeSubscriptions(sql, changes);
      await changeQueue(sql, changes);
      await changeIncoming(sql, changes);
      await changeRetained(sql, changes);
    });
  }

  /** A client's session. @param since messages that were queued before are left out */
  async load(clientId: string, since: Date): Promise<StoredSession> {
    const { sql } = this.context;
    const subscriptions = await sql.query<SubscriptionEntry>(
      "select client_id, filter, subscription from mqtt_subscriptions where client_id = $1 order by seq",
      [clientId],
    );
    const queue = await sql.query<PacketRow & Omit<QueueEntry, "packetId"> & { packetId: number | null }>(
      `select entry_id, client_id, queued, packet_id, packet, payload from mqtt_queue
       where client_id = $1 and queued >= $2 order by seq`,
      [clientId, since],
    );
    const incoming = await sql.query<PacketRow & IncomingEntry>(
      "select client_id, packet_id, received, packet, payload from mqtt_incoming where client_id = $1",
      [clientId],
    );
    return {
      subscriptions,
      queue: queue.map((row) => ({ ...row, ...stored(row), packetId: row.packetId ?? undefined })),
      incoming: incoming.map((row) => ({ ...row, ...stored(row) })),
    };
  }

  async retained(): Promise<RetainedEntry[]> {
    const rows = await this.context.sql.query<PacketRow & RetainedEntry>(
      "select topic, packet, payload from mqtt_retained order by topic",
    );
    return rows.map((row) => ({ ...row, ...stored(row) }));
  }
}

function stored({ packet, payload }: PacketRow): StoredPacket {
  return { packet, payload: payload ?? undefined };
}

async function endSessions(sql: Sql, ended: readonly string[]): Promise<void> {
  if (ended.length === 0) return;
  for (const table of ["mqtt_subscriptions", "mqtt_queue", "mqtt_incoming"]) {
    await sql.query(
      `delete from ${table} where client_id in (select jsonb_array_elements_text($1::jsonb))`,
      [json(ended)],
    );
  }
}

async function changeSubscriptions(
  sql: Sql,
  { subscriptions, unsubscriptions }: SessionChanges,
): Promise<void> {
  if (unsubscriptions.length > 0) {
    await sql.query(
      `delete from mqtt_subscriptions s using jsonb_to_recordset($1::jsonb) as t(client_id text, filter text)
       where s.client_id = t.client_id and s.filter = t.filter`,
      [json(unsubscriptions.map(({ clientId, filter }) => ({ client_id: clientId, filter })))],
    );
  }
  if (subscriptions.length > 0) {
    const rows = subscriptions.map(({ clientId, filter, subscription }) => ({
      client_id: clientId,
      filter,
      subscription,
    }));
    await sql.query(
      `insert into mqtt_subscriptions (client_id, filter, subscription)
       select client_id, filter, subscription
       from rows from (jsonb_to_recordset($1::jsonb) as (client_id text, filter text, subscription jsonb)) with ordinality
         as t(client_id, filter, subscription, at) order by at
       on conflict (client_id, filter) do update set subscription = excluded.subscription`,
      [json(rows)],
    );
  }
}

async function changeQueue(sql: Sql, { queue, unqueued }: SessionChanges): Promise<void> {
  if (unqueued.length > 0) {
    await sql.query(
      "delete from mqtt_queue where entry_id in (select jsonb_array_elements_text($1::jsonb)::uuid)",
      [json(unqueued)],
    );
  }
  if (queue.length === 0) return;
  const rows = queue.map((entry) => ({
    entry_id: entry.entryId,
    client_id: entry.clientId,
    queued: entry.queued,
    packet_id: entry.packetId ?? null,
    packet: entry.packet,
    payload: encoded(entry.payload),
  }));
  await sql.query(
    `insert into mqtt_queue (entry_id, client_id, queued, packet_id, packet, payload)
     select entry_id, client_id, queued, packet_id, packet, decode(payload, 'base64')
     from rows from (jsonb_to_recordset($1::jsonb)
       as (entry_id uuid, client_id text, queued timestamptz, packet_id integer, packet jsonb, payload text)) with ordinality
       as t(entry_id, client_id, queued, packet_id, packet, payload, at) order by at
     on conflict (entry_id) do update
       set packet_id = excluded.packet_id, packet = excluded.packet, payload = excluded.payload`,
    [json(rows)],
  );
}

async function changeIncoming(sql: Sql, { incoming, outgone }: SessionChanges): Promise<void> {
  if (outgone.length > 0) {
    await sql.query(
      `delete from mqtt_incoming s using jsonb_to_recordset($1::jsonb) as t(client_id text, packet_id integer)
       where s.client_id = t.client_id and s.packet_id = t.packet_id`,
      [json(outgone.map(({ clientId, packetId }) => ({ client_id: clientId, packet_id: packetId })))],
    );
  }
  if (incoming.length === 0) return;
  const rows = incoming.map((entry) => ({
    client_id: entry.clientId,
    packet_id: entry.packetId,
    received: entry.received,
    packet: entry.packet,
    payload: encoded(entry.payload),
  }));
  await sql.query(
    `insert into mqtt_incoming (client_id, packet_id, received, packet, payload)
     select client_id, packet_id, received, packet, decode(payload, 'base64') from jsonb_to_recordset($1::jsonb)
       as t(client_id text, packet_id integer, received timestamptz, packet jsonb, payload text)
     on conflict (client_id, packet_id) do update
       set received = excluded.received, packet = excluded.packet, payload = excluded.payload`,
    [json(rows)],
  );
}

async function changeRetained(sql: Sql, { retained, unretained }: SessionChanges): Promise<void> {
  if (unretained.length > 0) {
    await sql.query(
      "delete from mqtt_retained where topic in (select jsonb_array_elements_text($1::jsonb))",
      [json(unretained)],
    );
  }
  if (retained.length === 0) return;
  const rows = retained.map(({ topic, packet, payload }) => ({ topic, packet, payload: encoded(payload) }));
  await sql.query(
    `insert into mqtt_retained (topic, packet, payload)
     select topic, packet, decode(payload, 'base64')
     from jsonb_to_recordset($1::jsonb) as t(topic text, packet jsonb, payload text)
     on conflict (topic) do update set packet = excluded.packet, payload = excluded.payload`,
    [json(rows)],
  );
}

function encoded(payload: Uint8Array | undefined): string | null {
  return payload === undefined ? null : payload.toBase64();
}
