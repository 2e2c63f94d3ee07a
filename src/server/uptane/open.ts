// Opens the repositories of signed metadata, and makes everything of the server that works with them. A folder that has none is
// founded.

import { join } from "node:path";
import type { Logger } from "../../log.ts";
import { repositoryNames } from "../../uptane/models.ts";
import type { Events } from "../events.ts";
import type { DataFiles } from "../files.ts";
import type { Metrics } from "../metrics.ts";
import type { UptaneOptions } from "../options.ts";
import type { Store } from "../store/mod.ts";
import { Director } from "./director.ts";
import { ImageRepository } from "./image_repository.ts";
import { Inventory } from "./inventory.ts";
import { RepositoryAuthor } from "./repository_author.ts";
import { RepositoryDirectory } from "./repository_directory.ts";
import { RoleSigners } from "./role_signers.ts";
import { defaultValidity, type RoleSetting } from "./roles.ts";
import { TimeServer } from "./time_server.ts";
import { VersionReports } from "./version_reports.ts";

/** What the server works with. */
export interface SignedMetadata {
  readonly director: Director;
  readonly images: ImageRepository;
  readonly time: TimeServer;
  readonly inventory: Inventory;
  readonly reports: VersionReports;
}

export interface SignedMetadataOptions extends UptaneOptions {
  directory: string;
  store: Store;
  files: DataFiles;
  events: Events;
  metrics: Metrics;
  log: Logger;
}

const oneKey: RoleSetting = { algorithms: ["ml-dsa-65"], threshold: 1 };
const oneOfEach = { root: oneKey, timestamp: oneKey, snapshot: oneKey, targets: oneKey, time: oneKey };

/** Opens the repositories; images of the catalogue that are not published are. */
export async function openSignedMetadata(options: SignedMetadataOptions): Promise<SignedMetadata> {
  const { store, files, events, metrics, log, validity = defaultValidity } = options;
  const directory = new RepositoryDirectory(options.directory);
  await found(directory, options, log);
  const signers = new RoleSigners(directory);
  const images = new ImageRepository({ directory, validity, store, files, log });
  const inventory = new Inventory({ store, log });
  await inventory.adopt(options.inventory ?? []);
  await inventory.addFound(options.foundKeys ?? []);
  await images.maintain();
  return {
    director: new Director({ store, directory, signers, images, validity }),
    images,
    time: new TimeServer({ signers, perMinute: options.timesPerMinute }),
    inventory,
    reports: new VersionReports({ store, events, metrics, log, policy: options.versionReports }),
  };
}

async function found(
  directory: RepositoryDirectory,
  { roles, validity = defaultValidity }: UptaneOptions,
  log: Logger,
): Promise<void> {
  const made = await directory.locked(async () => {
    const author = new RepositoryAuthor(directory, new Date(), validity);
    const names = [];
    for (const name of repositoryNames) {
      if ((await author.found(name, roles?.[name] ?? oneOfEach)).length > 0) names.push(name);
    }
    return names;
  });
  if (made.length > 0) {
    log.info(`Repositories of signed metadata made in ${directory.path}: ${made.join(", ")}`);
  }
  const offline = await keysToTakeAway(directory);
  if (offline.length === 0) return;
  log.info(
    `Keys of ${offline.join(", ")} are in ${
      join(directory.path, "keys")
    }: for production take them off this machine ` +
      `(docs/security.md)`,
  );
}

/** Roles whose keys need not be where the server is, and are. */
async function keysToTakeAway(directory: RepositoryDirectory): Promise<string[]> {
  const keys = await directory.keys();
  const found: string[] = [];
  for (const [name, role] of [["director", "root"], ["image", "root"], ["image", "targets"]] as const) {
    const { roles } = (await directory.root(name)).signed;
    if (roles[role].keyids.some((keyid) => keys.has(keyid))) found.push(`${name} ${role}`);
  }
  return found;
}
