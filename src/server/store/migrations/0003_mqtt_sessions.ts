// What the embedded broker keeps of its clients (MQTT 3.1.1 section 3.1.2.4), and the messages that it retains.
import type { Migration } from "../migrate.ts";

export const mqttSessions: Migration = {
  version: 3,
  name: "mqtt sessions",
  statements: [
    `create table mqtt_subscriptions (
      seq bigint generated always as identity,
      client_id text not null,
      filter text not null,
      subscription jsonb not null,
      primary key (client_id, filter)
    )`,
    // One row a message and client. The order is that of queueing; a message that was sent keeps its packet identifier.
    `create table mqtt_queue (
      entry_id uuid primary key,
      seq bigint generated always as identity,
      client_id text not null,
      queued timestamptz not null,
      packet_id integer check (packet_id between 0 and 65535),
      packet jsonb not null,
      payload bytea
    )`,
    `create index mqtt_queue_by_client on mqtt_queue (client_id, seq)`,
    `create index mqtt_queue_queued on mqtt_queue (queued)`,
    // QoS 2 messages whose PUBREL has not come.
    `create table mqtt_incoming (
      client_id text not null,
      packet_id integer not null check (packet_id between 0 and 65535),
      received timestamptz not null,
      packet jsonb not null,
      payload bytea,
      primary key (client_id, packet_id)
    )`,
    `create index mqtt_incoming_received on mqtt_incoming (received)`,
    `create table mqtt_retained (
      topic text primary key,
      packet jsonb not null,
      payload bytea not null
    )`,
  ],
};
