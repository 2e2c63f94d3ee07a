// Where the repositories of signed metadata are, and what the server is told of them: from the settings.

import { join } from "node:path";
import { parseRoleKeys, type RoleKeySetting } from "../config/role_keys.ts";
import type { Config } from "../config/schema.ts";
import type { UptaneOptions } from "../server/options.ts";
import type { DataFolders } from "./common.ts";

/** Folder of the repositories. */
export function repositoryFolder({ server }: Config, folders: DataFolders): string {
  if (server.uptane.directory !== "") return server.uptane.directory;
  return server.files === "" ? folders.repository : join(server.files, "repo");
}

/** The server's options. */
export function uptaneOptions(config: Config, folders: DataFolders): UptaneOptions & { directory: string } {
  const { director, image, valid_days, version_reports, times_per_minute } = config.server.uptane;
  return {
    directory: repositoryFolder(config, folders),
    roles: { director: settings(director), image: settings({ ...image, time: director.time }) },
    validity: valid_days,
    versionReports: version_reports,
    timesPerMinute: times_per_minute,
  };
}

function settings<Role extends string>(keys: Readonly<Record<Role, string>>): Record<Role, RoleKeySetting>;
function settings(keys: Readonly<Record<string, string>>): Record<string, RoleKeySetting> {
  return Object.fromEntries(
    Object.entries(keys).map(([role, text]) => {
      const setting = parseRoleKeys(text);
      if (setting === undefined) {
        throw new TypeError(`keys of ${role}: the settings were checked, got ${text}`);
      }
      return [role, setting];
    }),
  );
}
