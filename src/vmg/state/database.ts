// The gateway's state in one SQLite file: opened by one gateway at a time, with a versioned schema, and safe against
// kill -9 and loss of power at any moment.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StateError, StateLockedError } from "../errors.ts";
import { inspectState, stateRemedy } from "./inspection.ts";

/** Each brings the schema one version up; `user_version` counts those that were done. */
const migrations: readonly string[] = [
  `
  -- What came from the server and must be acted on once.
  CREATE TABLE commands (
    message_id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    -- A second name under which a repetition is known: the request_id of a diagnosis.
    reference TEXT,
    payload TEXT NOT NULL,
    received INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE UNIQUE INDEX commands_reference ON commands (channel, reference) WHERE reference IS NOT NULL;

  -- What is to be published, in order; gone once the broker acknowledged it.
  CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    rank INTEGER NOT NULL,
    -- A later message of the same name takes the place of one that was not sent yet.
    slot TEXT,
    created INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX outbox_rank ON outbox (rank, seq);
  CREATE INDEX outbox_slot ON outbox (slot) WHERE slot IS NOT NULL;

  CREATE TABLE updates (
    update_id TEXT PRIMARY KEY,
    -- NULL: cancelled before its start was ever heard of.
    package_id TEXT,
    download_url TEXT,
    target_ecus TEXT NOT NULL,
    -- What a vehicle that updates itself wanted, "ECU@version …"; NULL where the server gave the command.
    wanted TEXT,
    status TEXT NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    -- Entity tag and whole length of the package, as the first answer gave them.
    etag TEXT,
    size INTEGER,
    created INTEGER NOT NULL,
    ended INTEGER
  ) STRICT;
  CREATE INDEX updates_open ON updates (created) WHERE ended IS NULL;

  CREATE TABLE update_ecus (
    update_id TEXT NOT NULL REFERENCES updates (update_id) ON DELETE CASCADE,
    ecu_id TEXT NOT NULL,
    status TEXT NOT NULL,
    step TEXT,
    error TEXT,
    PRIMARY KEY (update_id, ecu_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE remote_config (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    config TEXT NOT NULL
  ) STRICT;
  `,
  `
  -- How far the installation is, as one transaction over all ECUs; NULL before it began.
  ALTER TABLE updates ADD COLUMN phase TEXT;
  -- Once everything is rolled back: how the update ends then.
  ALTER TABLE updates ADD COLUMN outcome TEXT;
  ALTER TABLE update_ecus ADD COLUMN phase TEXT NOT NULL DEFAULT 'pending';
  ALTER TABLE update_ecus ADD COLUMN from_version TEXT;
  ALTER TABLE update_ecus ADD COLUMN to_version TEXT;
  ALTER TABLE update_ecus ADD COLUMN release INTEGER;
  -- ECUs of one group are activated together, groups in ascending order.
  ALTER TABLE update_ecus ADD COLUMN activation INTEGER NOT NULL DEFAULT 0;
  -- What was saved of the old software, as JSON.
  ALTER TABLE update_ecus ADD COLUMN backup TEXT;
  `,
  `
  -- Whether what is published waits for the server's word, beyond the broker's.
  CREATE TABLE acknowledgement (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    by_server INTEGER NOT NULL
  ) STRICT;
  `,
  `
  -- The image that the ECU is to run.
  ALTER TABLE update_ecus ADD COLUMN image_sha256 TEXT;
  ALTER TABLE update_ecus ADD COLUMN image_size INTEGER;
  -- What was last installed in each ECU: a copy of it may serve as the base of a delta.
  CREATE TABLE installed_images (
    ecu_id TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Signed metadata that is trusted, by repository.
  CREATE TABLE uptane_files (
    repository TEXT NOT NULL,
    name TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (repository, name)
  ) STRICT;
  -- Latest attested time, milliseconds since 1970.
  CREATE TABLE uptane_time (id INTEGER PRIMARY KEY CHECK (id = 1), attested INTEGER NOT NULL) STRICT;
  -- Codes of checks that failed, and how often, until the server has heard of them.
  CREATE TABLE uptane_attacks (code TEXT PRIMARY KEY, seen INTEGER NOT NULL) STRICT;
  -- The images that signed metadata directed to the ECUs of an update, as JSON; NULL before that was verified.
  ALTER TABLE updates ADD COLUMN directed TEXT;
  `,
  `
  -- What lets an update begin, how long it may take, and how often the server tries it.
  CREATE TABLE update_terms (
    update_id TEXT PRIMARY KEY REFERENCES updates (update_id) ON DELETE CASCADE,
    mode TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    -- By the server's clock; NULL: it has no end.
    deadline INTEGER,
    -- From the command to the deadline, milliseconds.
    lifetime INTEGER,
    -- By the machine's clock.
    received INTEGER NOT NULL,
    approved_by TEXT,
    -- Why it is to be cancelled, where nobody asked for it.
    cancel_reason TEXT,
    -- Of an installation that failed: whether another attempt may mend it.
    retryable INTEGER
  ) STRICT, WITHOUT ROWID;
  -- Approvals that overtook the start of their update.
  CREATE TABLE early_approvals (update_id TEXT PRIMARY KEY, received INTEGER NOT NULL) STRICT;
  `,
  `
  -- Which keys attested that time; NULL: whichever an earlier program knew.
  ALTER TABLE uptane_time ADD COLUMN keys TEXT;
  `,
  `
  -- Until when an approval is waited for, by attested time or else by the machine's; NULL: it is not waited for yet.
  ALTER TABLE update_terms ADD COLUMN approval_until INTEGER;
  `,
];

/** The schema's version that this program writes, as PRAGMA user_version says it. */
export const stateVersion = migrations.length;

/** The open state. */
export class StateDatabase implements Disposable {
  readonly sqlite: DatabaseSync;
  readonly #lock: Deno.FsFile;
  readonly #rolledBack = new Set<() => void>();
  #depth = 0;

  private constructor(sqlite: DatabaseSync, lock: Deno.FsFile) {
    this.sqlite = sqlite;
    this.#lock = lock;
  }

  /**
   * Opens `{directory}/vmg.db`, which is made when it is not there.
   * @throws {StateLockedError} when another gateway has it
   * @throws {StateError} when it is damaged or a newer program wrote it
   */
  static open(directory: string): StateDatabase {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const lock = lockDirectory(directory);
    const path = join(directory, "vmg.db");
    let sqlite: DatabaseSync | undefined;
    try {
      sqlite = new DatabaseSync(path);
      sqlite.exec(
        "PRAGMA trusted_schema = OFF; " +
          "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON",
      );
      migrate(sqlite, path);
      using empty = new DatabaseSync(":memory:");
      inspectState(sqlite, path, (made) => migrate(made, path), empty);
      return new StateDatabase(sqlite, lock);
    } catch (error) {
      sqlite?.close();
      lock.close();
      if (error instanceof StateError) throw error;
      throw new StateError(`${path} cannot be used as the gateway's state; ${stateRemedy}`, { cause: error });
    }
  }

  /** Runs `work` as one transaction: all of it is on disk when this returns, or none. Calls may be nested. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.sqlite.exec("BEGIN IMMEDIATE");
    this.#depth++;
    try {
      const result = work();
      this.sqlite.exec("COMMIT");
      return result;
    } catch (error) {
      // SQLite may have rolled back by itself (full disk): a second ROLLBACK would hide the first error.
      if (this.sqlite.isTransaction) this.sqlite.exec("ROLLBACK");
      for (const run of this.#rolledBack) run();
      throw error;
    } finally {
      this.#depth--;
    }
  }

  /** Calls `run` after each transaction that came to nothing: what was counted along with it is wrong. It must not throw. */
  onRolledBack(run: () => void): void {
    this.#rolledBack.add(run);
  }

  close(): void {
    if (this.sqlite.isOpen) this.sqlite.close();
    this.#lock.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const lockFile = "lock";

/** Who only asks whether there is a gateway holds the lock for a moment: tries, and the time between two, milliseconds. */
const lockTries = { most: 5, pause: 20 } as const;

/** The lock is the operating system's: it ends with the process that holds it, however that ends. */
function lockDirectory(directory: string): Deno.FsFile {
  const path = join(directory, lockFile);
  const file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
  try {
    let locked = file.tryLockSync(true);
    for (let tries = 1; !locked && tries < lockTries.most; tries++) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockTries.pause);
      locked = file.tryLockSync(true);
    }
    if (!locked) {
      const holder = Deno.readTextFileSync(path).trim();
      throw new StateLockedError(
        `${directory} is in use by another vehicle gateway${
          /^\d+$/.test(holder) ? ` (process ${holder})` : ""
        }: stop it, or choose another --data directory`,
      );
    }
    try {
      file.truncateSync(0);
      file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
    } catch {
      // A full disk: the lock holds all the same, and who is refused is not told the process.
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Whether a gateway has this folder now: one that was killed has it no longer. */
export function isInUse(directory: string): boolean {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(join(directory, lockFile), { read: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  try {
    return !file.tryLockSync(false);
  } finally {
    file.close();
  }
}

function migrate(sqlite: DatabaseSync, path: string): void {
  const version = Number(sqlite.prepare("PRAGMA user_version").get()?.user_version);
  if (version > migrations.length) {
    throw new StateError(
      `${path}: expected schema version ${migrations.length} or less, got ${version}: a newer program wrote it`,
    );
  }
  if (version < 0) throw new StateError(`${path} is damaged: schema version ${version}; ${stateRemedy}`);
  for (let at = version; at < migrations.length; at++) {
    sqlite.exec("BEGIN IMMEDIATE");
    try {
      sqlite.exec(migrations[at]);
      sqlite.exec(`PRAGMA user_version = ${at + 1}`);
      sqlite.exec("COMMIT");
    } catch (error) {
      if (sqlite.isTransaction) sqlite.exec("ROLLBACK");
      throw error;
    }
  }
}
