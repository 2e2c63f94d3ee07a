// What lets an update begin, how long it may take, and how often it is tried.
import type { Migration } from "../migrate.ts";

export const campaigns: Migration = {
  version: 7,
  name: "campaigns",
  statements: [
    `alter table updates add column mode text not null default 'forced'
       check (mode in ('forced', 'when-parked', 'approve'))`,
    `alter table updates add column attempt integer not null default 1`,
    `alter table updates add column attempts integer not null default 1`,
    // Each attempt is an update of its own.
    `alter table updates add column retry_of uuid`,
    `alter table updates add column retried_by uuid`,
    `alter table updates add column retry_at timestamptz check (retry_at is null or ended is not null)`,
    `alter table updates add column deadline timestamptz`,
    `alter table updates add column approved_at timestamptz`,
    `alter table updates add column approved_by text check (approved_by in ('operator', 'vehicle'))`,
    `alter table updates add column waiting_for text check (waiting_for in ('approval', 'parked', 'conditions'))`,
    `alter table updates add column waiting_detail text`,
    `alter table updates add constraint updates_attempt check (attempt between 1 and attempts)`,
    `alter table updates add constraint updates_approved check ((approved_at is null) = (approved_by is null))`,
    `alter table updates add constraint updates_waiting check ((waiting_for is null) = (waiting_detail is null))`,
    `create index updates_retry on updates (retry_at) where retry_at is not null`,
    `create index updates_deadline on updates (deadline) where deadline is not null and ended is null`,
  ],
};
