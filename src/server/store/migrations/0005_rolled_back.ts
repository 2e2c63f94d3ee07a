// Updates as transactions: ECUs that run their old software again, and how fast one gets its image.
import type { Migration } from "../migrate.ts";

export const rolledBack: Migration = {
  version: 5,
  name: "rolled back",
  statements: [
    `alter table update_ecus drop constraint update_ecus_status_check`,
    `alter table update_ecus add constraint update_ecus_status_check
       check (status in ('pending', 'installing', 'completed', 'failed', 'cancelled', 'rolled_back'))`,
    `alter table update_ecus add column bytes bigint`,
    `alter table update_ecus add column speed double precision`,
    `alter table update_ecus add column time_left double precision`,
  ],
};
