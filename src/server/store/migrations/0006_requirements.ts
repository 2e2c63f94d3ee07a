// What images ask for: a release counter, other ECUs' software, measured values of the vehicle.
import type { Migration } from "../migrate.ts";

export const requirements: Migration = {
  version: 6,
  name: "requirements",
  statements: [
    `alter table images add column release bigint check (release between 0 and 4294967295)`,
    `alter table images add column depends_on jsonb not null default '[]'`,
    `alter table images add column conditions jsonb not null default '[]'`,
  ],
};
