// VBF files: their format, and what they say of their own download (data format, ranges to erase, address to call).
import type { Migration } from "../migrate.ts";

export const download: Migration = {
  version: 2,
  name: "download",
  statements: [
    `alter table images drop constraint images_format_check`,
    `alter table images add constraint images_format_check
       check (format in ('intel-hex', 's-record', 'vbf', 'binary'))`,
    `alter table images add column download jsonb`,
  ],
};
