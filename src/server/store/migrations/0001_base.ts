// The first schema.
//
// Habits: `seq` orders a table by insertion and is the cursor of its lists and of its retention; times are timestamptz, bound
// from the server's clock; states are text with a check; what a vehicle may send before it is registered (telemetry,
// deduplication) does not reference `vehicles`.
import type { Migration } from "../migrate.ts";

const SHA256 = "~ '^[0-9a-f]{64}$'";

export const base: Migration = {
  version: 1,
  name: "base",
  statements: [
    `create table vehicles (
      vin text primary key check (vin ~ '^[A-HJ-NPR-Z0-9]{17}$'),
      vehicle_id uuid not null unique,
      vmg_id text not null unique,
      vehicle_model text not null,
      vehicle_year integer not null,
      registered timestamptz not null,
      status text not null default 'offline' check (status in ('online', 'offline')),
      status_since timestamptz not null,
      current_ip text,
      last_heartbeat timestamptz,
      heartbeat_reported timestamptz,
      location jsonb,
      battery double precision,
      metadata jsonb not null default '{}',
      metadata_updated timestamptz,
      config jsonb not null default '{}',
      config_version integer not null default 0,
      config_updated timestamptz,
      vci_reported timestamptz
    )`,
    `create index vehicles_online on vehicles (last_heartbeat) where status = 'online'`,

    // A vehicle's first handshake comes before its registration: no reference.
    `create table vehicle_links (
      vin text not null,
      listener text not null check (listener in ('https', 'mqtt')),
      protocol text not null,
      negotiated_group text not null,
      cipher_suite text not null,
      signature_scheme text not null,
      since timestamptz not null,
      primary key (vin, listener)
    )`,

    `create table vehicle_addresses (
      seq bigint generated always as identity primary key,
      vin text not null references vehicles on delete cascade,
      ip text not null,
      since timestamptz not null
    )`,
    `create index vehicle_addresses_by_vin on vehicle_addresses (vin, seq desc)`,
    `create index vehicle_addresses_since on vehicle_addresses (since)`,

    `create table vci_reports (
      seq bigint generated always as identity primary key,
      report_id uuid not null unique,
      vin text not null references vehicles on delete cascade,
      device_id text not null,
      trigger text,
      reported timestamptz not null,
      received timestamptz not null,
      report jsonb not null
    )`,
    `create index vci_reports_by_vin on vci_reports (vin, seq desc)`,
    `create index vci_reports_received on vci_reports (received)`,

    `create table vci_ecus (
      vin text not null references vehicles on delete cascade,
      ecu_id text not null,
      ecu_type text,
      zonal_gateway_id text,
      sw_version text,
      hw_version text,
      serial_number text,
      part_number text,
      supplier text,
      reachable boolean not null,
      unreachable_reason text,
      reported timestamptz not null,
      primary key (vin, ecu_id)
    )`,

    `create table images (
      seq bigint generated always as identity primary key,
      image_id uuid not null unique,
      ecu_type text not null,
      hw_version text not null,
      version text not null,
      format text not null check (format in ('intel-hex', 's-record', 'binary')),
      file_name text,
      file_sha256 text not null check (file_sha256 ${SHA256}),
      file_size bigint not null check (file_size >= 0),
      segments jsonb not null,
      payload_sha256 text not null check (payload_sha256 ${SHA256}),
      payload_size bigint not null check (payload_size >= 0),
      blob_sha256 text check (blob_sha256 ${SHA256}),
      blob_length bigint check (blob_length >= 0),
      blob_encoding text,
      released boolean not null,
      priority text not null check (priority in ('low', 'normal', 'high', 'critical')),
      created timestamptz not null,
      unique (ecu_type, hw_version, version),
      check ((blob_sha256 is null) = (blob_length is null) and (blob_sha256 is null) = (blob_encoding is null))
    )`,
    `create index images_by_file on images (file_sha256)`,
    `create index images_by_payload on images (payload_sha256)`,
    `create index images_by_blob on images (blob_sha256)`,

    `create table packages (
      seq bigint generated always as identity primary key,
      package_id uuid not null unique,
      vin text not null references vehicles on delete cascade,
      content_key text not null,
      status text not null check (status in ('building', 'ready', 'failed')),
      sha256 text check (sha256 ${SHA256}),
      size bigint check (size >= 0),
      etag text,
      manifest jsonb,
      error text,
      created timestamptz not null,
      touched timestamptz not null,
      check (status <> 'ready' or (sha256 is not null and size is not null and etag is not null and manifest is not null))
    )`,
    // The same content for the same vehicle is built once; a failed build may be tried again.
    `create unique index packages_by_content on packages (vin, content_key) where status <> 'failed'`,
    `create index packages_by_file on packages (sha256)`,
    `create index packages_touched on packages (touched)`,
    `create table package_images (
      package_id uuid not null references packages (package_id) on delete cascade,
      image_id uuid not null references images (image_id),
      primary key (package_id, image_id)
    )`,
    `create index package_images_by_image on package_images (image_id)`,

    `create table updates (
      seq bigint generated always as identity primary key,
      update_id uuid not null unique,
      vin text not null references vehicles on delete cascade,
      requested_ecus jsonb,
      package_id uuid references packages (package_id) on delete set null,
      initiator text not null check (initiator in ('operator', 'vehicle')),
      status text not null check (status in
        ('pending', 'accepted', 'downloading', 'verifying', 'installing', 'completed', 'failed', 'cancelled')),
      progress double precision not null default 0 check (progress between 0 and 100),
      error text,
      created timestamptz not null,
      last_report timestamptz,
      ended timestamptz,
      cancel_requested timestamptz,
      check ((status in ('completed', 'failed', 'cancelled')) = (ended is not null))
    )`,
    `create unique index updates_one_active on updates (vin) where ended is null`,
    `create index updates_by_vin on updates (vin, seq desc)`,
    `create index updates_by_package on updates (package_id)`,
    `create index updates_ended on updates (ended) where ended is not null`,
    `create table update_ecus (
      update_id uuid not null references updates (update_id) on delete cascade,
      ecu_id text not null,
      zonal_gateway_id text,
      image_id uuid,
      from_version text,
      to_version text,
      status text not null check (status in
        ('pending', 'installing', 'completed', 'failed', 'cancelled')),
      progress double precision not null default 0 check (progress between 0 and 100),
      step text,
      error text,
      updated timestamptz not null,
      primary key (update_id, ecu_id)
    )`,

    `create table commands (
      seq bigint generated always as identity primary key,
      message_id uuid not null unique,
      vin text not null references vehicles on delete cascade,
      topic text not null,
      command text not null,
      payload jsonb not null,
      update_id uuid references updates (update_id) on delete set null,
      created timestamptz not null,
      expires timestamptz not null,
      delivered_at timestamptz,
      delivered_via text check (delivered_via in ('mqtt', 'polling')),
      acked_at timestamptz,
      withdrawn_at timestamptz
    )`,
    `create index commands_pending on commands (vin, seq) where acked_at is null and withdrawn_at is null`,
    `create index commands_by_update on commands (update_id)`,
    `create index commands_created on commands (created)`,

    `create table diagnostics (
      seq bigint generated always as identity primary key,
      request_id uuid not null unique,
      vin text not null references vehicles on delete cascade,
      zonal_gateway_id text,
      ecu_id text not null,
      service_id text not null,
      data text not null,
      status text not null check (status in ('pending', 'completed', 'failed', 'timeout')),
      response_data text,
      nrc text,
      decoded jsonb,
      error text,
      created timestamptz not null,
      deadline timestamptz not null,
      answered timestamptz,
      late_answer jsonb,
      late_at timestamptz
    )`,
    `create index diagnostics_by_vin on diagnostics (vin, seq desc)`,
    `create index diagnostics_created on diagnostics (created)`,
    `create index diagnostics_waiting on diagnostics (deadline) where status = 'pending'`,

    `create table telemetry (
      seq bigint generated always as identity primary key,
      vin text not null,
      message_id text,
      timestamp timestamptz not null,
      received timestamptz not null,
      battery_soc double precision,
      speed double precision,
      temp double precision,
      metrics jsonb not null
    )`,
    `create index telemetry_by_vin on telemetry (vin, timestamp, seq)`,
    `create unique index telemetry_once on telemetry (vin, message_id) where message_id is not null`,

    `create table anomalies (
      seq bigint generated always as identity primary key,
      anomaly_id uuid not null unique,
      vin text not null,
      metric text not null,
      rule text not null check (rule in ('limit', 'rate', 'deviation')),
      value double precision not null,
      expected jsonb not null,
      timestamp timestamptz not null,
      received timestamptz not null,
      message text not null
    )`,
    `create index anomalies_by_vin on anomalies (vin, seq desc)`,

    `create table metric_states (
      vin text not null,
      metric text not null,
      count bigint not null,
      mean double precision not null,
      m2 double precision not null,
      last_value double precision not null,
      last_timestamp timestamptz not null,
      primary key (vin, metric)
    )`,

    `create table inbound_messages (
      seq bigint generated always as identity primary key,
      vin text not null,
      message_id text not null,
      topic text not null,
      received timestamptz not null,
      unique (vin, message_id)
    )`,

    `create table rejected_messages (
      seq bigint generated always as identity primary key,
      vin text,
      source text not null,
      topic text,
      reason text not null,
      excerpt text not null,
      received timestamptz not null
    )`,

    `create table statistics (
      one boolean primary key default true check (one),
      refreshed timestamptz not null,
      counts jsonb not null
    )`,
  ],
};
