// Checks of the data folder: who may write, room, database, gateways' state.

import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { unfinishedName } from "../../backup/entry_path.ts";
import { copySnapshot } from "../../server/store/dump.ts";
import { migrations } from "../../server/store/migrations/mod.ts";
import type { Database } from "../../server/store/mod.ts";
import { openPglite } from "../../server/store/pglite.ts";
import { describeUrl, openPostgres } from "../../server/store/postgres.ts";
import { stateVersion } from "../../vmg/mod.ts";
import { exists, nearest } from "../files.ts";
import { formatSize } from "../output.ts";
import type { Check, Context, Finding } from "./check.ts";

export const dataFolder: Check = {
  name: "data",
  run: async ({ folders: { root } }) => {
    if (!await exists(root)) {
      return [{ verdict: "skipped", subject: root, found: "is not there yet: the first serve makes it" }];
    }
    const findings: Finding[] = [];
    if (await exists(join(root, unfinishedName))) {
      findings.push({
        verdict: "broken",
        subject: root,
        found: "a restore into it runs, or was broken off",
        advice: "let it end, or zonebench restore FILE --replace",
      });
    }
    const probe = join(root, `.doctor-${crypto.randomUUID()}.tmp`);
    try {
      await Deno.writeTextFile(probe, "", { createNew: true });
      await Deno.remove(probe);
    } catch (error) {
      findings.push({
        verdict: "broken",
        subject: root,
        found: `cannot be written: ${error instanceof Error ? error.message : error}`,
        advice: "give it to the user that the program runs as (chown -R), or choose another --data",
      });
    }
    const { mode } = await Deno.stat(root);
    if (mode !== null && (mode & 0o022) !== 0) {
      findings.push({
        verdict: "warning",
        subject: root,
        found: "others may write there",
        advice: `chmod go-w ${root}`,
      });
    }
    return findings.length > 0 ? findings : [{ verdict: "ok", subject: root, found: "can be written" }];
  },
};

/** Room that an update with its packages, a backup and the database want; and what is next to nothing. */
const room = { comfortable: 2 ** 30, least: 100 * 2 ** 20 } as const;

export const disk: Check = {
  name: "disk",
  run: async ({ folders, config }) => {
    const places = [folders.root, ...config.server.files === "" ? [] : [config.server.files]];
    return await Promise.all(places.map(async (place): Promise<Finding> => {
      const subject = `disk of ${place}`;
      const { bavail, bsize, files, ffree } = await statfs(await nearest(place));
      const free = bavail * bsize;
      if (files > 0 && ffree < 1000) {
        return {
          verdict: "broken",
          subject,
          found: `${ffree} files can be made yet`,
          advice: "remove files there",
        };
      }
      const found = `${formatSize(free)} free`;
      if (free >= room.comfortable) return { verdict: "ok", subject, found };
      return {
        verdict: free < room.least ? "broken" : "warning",
        subject,
        found,
        advice: "make room, or shorten retention.* in the settings; firmware, packages and telemetry need it",
      };
    }));
  },
};

export const database: Check = {
  name: "database",
  limit: 60_000,
  run: async (context, signal) => {
    const { config, folders, health } = context;
    if (config.database.url !== "") return await postgres(context, signal);
    const subject = folders.database;
    const path = join(folders.database, "pg");
    if (!await exists(path)) {
      return [{ verdict: "skipped", subject, found: "is not there yet: the first serve makes it" }];
    }
    const holder = await lockHolder(folders.database);
    if (holder !== undefined) {
      if (health === undefined) {
        return [{
          verdict: "warning",
          subject,
          found:
            `in use by process ${holder}, whose server does not answer at port ${config.server.local.port}`,
          advice: "give doctor the settings that the server was started with, or see the server's log",
        }];
      }
      const well = health.database === "ok";
      return [{
        verdict: well ? "ok" : "broken",
        subject,
        found: `in use by process ${holder}, ${well ? "answers" : "does not answer its server"}`,
        advice: well ? undefined : "see the server's log; a restart recovers what was acknowledged",
      }];
    }
    const size = await sizeOf(path);
    if (size > largestCopy) {
      return [{
        verdict: "ok",
        subject,
        found: `${formatSize(size)}, not opened: too large to look at a copy of it`,
      }];
    }
    return await embedded(subject, folders.database, size, signal);
  },
};

/** The copy that is looked at needs this much room and time. */
const largestCopy = 2 ** 30;

/** Looks at a copy: opening the database itself would keep a server from starting meanwhile. */
async function embedded(
  subject: string,
  directory: string,
  size: number,
  signal: AbortSignal,
): Promise<Finding[]> {
  await using copy = await copySnapshot(directory);
  let opened: Database;
  try {
    opened = await openPglite({ directory: copy.path, signal });
  } catch (error) {
    signal.throwIfAborted();
    return [{
      verdict: "broken",
      subject,
      found: `does not open: ${error instanceof Error ? error.message : error}`,
      advice: "restore a backup: zonebench restore FILE --replace",
    }];
  }
  try {
    return [levelOf(subject, await levelIn(opened), `${formatSize(size)}, not in use`)];
  } finally {
    await opened.close();
  }
}

async function postgres({ config, now }: Context, signal: AbortSignal): Promise<Finding[]> {
  const subject = describeUrl(config.database.url);
  let opened: Database;
  try {
    opened = await openPostgres({ url: config.database.url, connections: 2, connectLimit: 5000, signal });
  } catch (error) {
    signal.throwIfAborted();
    // The message says what to check, and carries no password.
    return [{ verdict: "broken", subject, found: error instanceof Error ? error.message : String(error) }];
  }
  try {
    const asked = Date.now() - now.getTime();
    const [{ time, version }] = await opened.query<{ time: Date; version: string }>(
      "select clock_timestamp() as time, current_setting('server_version') as version",
    );
    const findings = [levelOf(subject, await levelIn(opened), `PostgreSQL ${version}`)];
    const apart = Math.abs(time.getTime() - now.getTime() - asked);
    if (apart > clockTolerance) {
      findings.push({
        verdict: "warning",
        subject: "the database's clock",
        found: `is ${Math.round(apart / 1000)} s away from this machine's`,
        advice: "keep both by NTP: leases between servers and time stamps go by them",
      });
    }
    return findings;
  } finally {
    await opened.close();
  }
}

const clockTolerance = 5000;

/** How many migrations a database has; 0 for an empty one. */
async function levelIn(database: Database): Promise<number> {
  const [{ made }] = await database.query<{ made: boolean }>(
    "select to_regclass('schema_migrations') is not null as made",
  );
  if (!made) return 0;
  const [{ level }] = await database.query<{ level: number }>(
    "select count(*) as level from schema_migrations",
  );
  return level;
}

function levelOf(subject: string, level: number, found: string): Finding {
  const known = migrations.length;
  if (level > known) {
    return {
      verdict: "broken",
      subject,
      found: `schema version ${level}: a newer program wrote it, this one knows versions up to ${known}`,
      advice: "start the newer program",
    };
  }
  const next = level < known ? `; the next start brings it to ${known}: make a backup before` : "";
  return { verdict: "ok", subject, found: `schema version ${level} of ${known}, ${found}${next}` };
}

/** Who holds a folder's lock; undefined: nobody. */
async function lockHolder(folder: string): Promise<string | undefined> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(join(folder, "lock"), { read: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  using held = file;
  // Shared, and given back at once: a program that starts in this instant would be told that the folder is in use.
  if (await held.tryLock(false)) {
    await held.unlock();
    return undefined;
  }
  return (await Deno.readTextFile(join(folder, "lock"))).trim();
}

async function sizeOf(folder: string): Promise<number> {
  let size = 0;
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    size += isDirectory ? await sizeOf(path) : (await Deno.stat(path)).size;
  }
  return size;
}

export const gateways: Check = {
  name: "gateways",
  run: async ({ folders }) => {
    const findings: Finding[] = [];
    if (!await exists(folders.vmg)) return findings;
    for await (const { name, isDirectory } of Deno.readDir(folders.vmg)) {
      const path = join(folders.vmg, name, "vmg.db");
      if (isDirectory && await exists(path)) {
        findings.push(stateOf(name, path, await lockHolder(join(folders.vmg, name))));
      }
    }
    return findings;
  },
};

function stateOf(vin: string, path: string, holder: string | undefined): Finding {
  const subject = `${vin} state`;
  try {
    using state = new DatabaseSync(path, { readOnly: true, timeout: 2000 });
    const version = Number(state.prepare("PRAGMA user_version").get()?.user_version);
    if (version > stateVersion) {
      return {
        verdict: "broken",
        subject,
        found:
          `schema version ${version}: a newer program wrote it, this one knows versions up to ${stateVersion}`,
        advice: "start the newer program",
      };
    }
    const result = Object.values(state.prepare("PRAGMA quick_check(1)").get() ?? {})[0];
    if (result !== "ok") {
      return {
        verdict: "broken",
        subject,
        found: `${path} is damaged: ${result}`,
        advice: "restore a backup: zonebench restore FILE --replace",
      };
    }
    const use = holder === undefined ? "no gateway runs" : `in use by process ${holder}`;
    return { verdict: "ok", subject, found: `schema version ${version} of ${stateVersion}, ${use}` };
  } catch (error) {
    return {
      verdict: "broken",
      subject,
      found: `${path} cannot be read: ${error instanceof Error ? error.message : error}`,
      advice: "restore a backup: zonebench restore FILE --replace",
    };
  }
}
