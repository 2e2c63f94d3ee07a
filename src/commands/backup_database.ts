// Where a backup gets the database's dump from: a PostgreSQL server, the embedded database if nobody has it, or the running
// server that has it.

import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { routes } from "../contract/routes.ts";
import { describeError } from "../log.ts";
import { dumpDatabase } from "../server/store/dump.ts";
import { DatabaseLockedError } from "../server/store/errors.ts";
import type { Database } from "../server/store/mod.ts";
import { openPglite } from "../server/store/pglite.ts";
import { openPostgres } from "../server/store/postgres.ts";
import { asOperator, foldersOf, type OperatorOptions } from "./common.ts";
import { exists } from "./files.ts";
import { CommandFailed } from "./output.ts";

/** Takes the dump's bytes, which it may keep. */
export type TakeBytes = (bytes: Uint8Array) => Promise<void>;

/**
 * Hands the dump of the database over.
 * @returns {Promise<string>} where it came from; undefined: there is no database here
 * @throws {CommandFailed} {@link StoreError}
 */
export async function takeDump(
  options: OperatorOptions,
  config: Config,
  take: TakeBytes,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (config.database.url !== "") {
    await dumpOf(await openPostgres({ url: config.database.url, connections: 2, signal }), take, signal);
    return "PostgreSQL";
  }
  const directory = foldersOf(options.data).database;
  if (!await exists(join(directory, "pg"))) return undefined;
  let database: Database;
  try {
    database = await openPglite({ directory, signal });
  } catch (error) {
    if (!(error instanceof DatabaseLockedError)) throw error;
    await dumpOfServer(options, error, take, signal);
    return "the running server";
  }
  await dumpOf(database, take, signal);
  return "the embedded database";
}

async function dumpOf(database: Database, take: TakeBytes, signal: AbortSignal): Promise<void> {
  const encoder = new TextEncoder();
  try {
    await dumpDatabase(database, { write: (lines) => take(encoder.encode(lines)), signal });
  } finally {
    await database.close();
  }
}

async function dumpOfServer(
  options: OperatorOptions,
  locked: DatabaseLockedError,
  take: TakeBytes,
  signal: AbortSignal,
): Promise<void> {
  await asOperator(options, async (client, { server }) => {
    let response;
    try {
      response = await client.open(routes.dumpDatabase, { signal });
    } catch (cause) {
      signal.throwIfAborted();
      const where = options.server ?? `port ${server.https.port}`;
      throw new CommandFailed(
        `${locked.message}; its server was asked for the database at ${where} and did not give it: ${
          describeError(cause)
        }; give the settings that the server was started with (--config, --set, --server)`,
        { cause },
      );
    }
    for await (const part of response.body) {
      signal.throwIfAborted();
      await take(part);
    }
  });
}
