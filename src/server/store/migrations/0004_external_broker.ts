// Several servers on one database with an existing broker: who holds which of the broker's client ids, when a command is to
// be sent next, and whether a package's builder is still there.
import type { Migration } from "../migrate.ts";

export const externalBroker: Migration = {
  version: 4,
  name: "external broker",
  statements: [
    // The shared subscription of all servers on this database. A row at most.
    `create table broker_share (
      one boolean primary key default true check (one),
      share_group text not null
    )`,
    // A client id is a session at the broker, with what waits in it. It is held for a time that its holder prolongs.
    `create table broker_clients (
      client_id text primary key,
      name text not null,
      number integer not null check (number > 0),
      share_group text not null,
      holder uuid,
      held_until timestamptz,
      unique (name, number)
    )`,
    // What is being sent is kept from other servers until `next_delivery`; what was sent is sent again then.
    `alter table commands add column next_delivery timestamptz`,
    `alter table commands add column deliveries integer not null default 0`,
    `alter table packages add column builder_seen timestamptz`,
  ],
};
