// Signed metadata: what the Director gives out to each vehicle, keys of ECUs, and whether a report was checked against them.
//
// The Director's rows do not reference `vehicles`: a vehicle that is entered anew goes on with the version that it knows.
import type { Migration } from "../migrate.ts";

export const signedMetadata: Migration = {
  version: 8,
  name: "signed metadata",
  statements: [
    `create table director_states (
      vin text primary key check (vin ~ '^[A-HJ-NPR-Z0-9]{17}$'),
      version bigint not null check (version >= 0),
      update_id uuid,
      root_sha256 text not null,
      renew_after timestamptz not null
    )`,
    `create table director_files (
      vin text not null references director_states on delete cascade,
      name text not null,
      version bigint not null,
      bytes bytea not null,
      primary key (vin, name)
    )`,
    `create table ecu_keys (
      vin text not null check (vin ~ '^[A-HJ-NPR-Z0-9]{17}$'),
      ecu_id text not null,
      is_primary boolean not null,
      keys jsonb not null,
      added timestamptz not null,
      report_time timestamptz,
      report_nonces jsonb not null default '[]',
      primary key (vin, ecu_id)
    )`,
    `create unique index ecu_keys_one_primary on ecu_keys (vin) where is_primary`,
    `alter table vci_reports add column verified boolean not null default false`,
    `alter table vci_reports add column unverified_reason text`,
    `create index vci_reports_verified on vci_reports (vin, seq desc) where verified`,
    `alter table anomalies drop constraint anomalies_rule_check`,
    `alter table anomalies add constraint anomalies_rule_check
       check (rule in ('limit', 'rate', 'deviation', 'attack'))`,
  ],
};
