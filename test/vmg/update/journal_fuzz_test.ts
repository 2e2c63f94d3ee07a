// The gateway's state as bytes from outside: damaged files, and rows with anything in them. It is refused with a message that says
// what to do, or read; what is read is what the gateway may act on, and every update has an end. ZONEBENCH_FUZZ_RUNS says how many
// rows, and 100 times as few files; ZONEBENCH_FUZZ_SEED from where: the seed stands in the failure's message.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { silentLogger } from "../../../src/log.ts";
import { JournalDamagedError, StateError } from "../../../src/vmg/errors.ts";
import { Outbox } from "../../../src/vmg/link/outbox.ts";
import { RemoteConfig } from "../../../src/vmg/link/remote_config.ts";
import { CommandLog } from "../../../src/vmg/state/command_log.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";
import { UpdateJournal } from "../../../src/vmg/update/journal.ts";
import {
  ecuPhase,
  installPhase,
  readEcu,
  readUpdate,
  writeBackup,
} from "../../../src/vmg/update/journal_rows.ts";
import { TermsJournal } from "../../../src/vmg/update/terms.ts";
import { AttackLog } from "../../../src/vmg/uptane/attack_log.ts";
import { AttestedClock } from "../../../src/vmg/uptane/attested_clock.ts";
import { SqliteMetadataStore } from "../../../src/vmg/uptane/metadata_store.ts";

const runs = Number(Deno.env.get("ZONEBENCH_FUZZ_RUNS") ?? 10_000);
const seed = Number(Deno.env.get("ZONEBENCH_FUZZ_SEED") ?? Date.now() % 2 ** 31);
const hash = "ab".repeat(32);

/** Numbers from a seed (mulberry32): the same for the same seed. */
function random(from: number): (limit: number) => number {
  let state = from >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 * limit);
  };
}

const saved = {
  file: "update-1_ECU_001.bin",
  sha256: hash,
  segments: [{ address: 0x8000, length: 600 }],
  erase: [{ address: 0x8000, length: 1024 }],
};

const directed = [{
  ecuId: "ECU_001",
  hardwareId: "H1",
  filename: "BCM/H1/2.0.0.bin",
  length: 600,
  hashes: { sha256: hash },
  mustMatch: undefined,
  releaseCounter: 2,
  imageRole: "targets",
}];

const goodUpdate = {
  update_id: "update-1",
  package_id: "22f55c7b-c4a1-4435-9b2a-5dde9b0904ab",
  download_url: "/api/v1/ota/package/22f55c7b-c4a1-4435-9b2a-5dde9b0904ab",
  target_ecus: '["ECU_001"]',
  wanted: null,
  status: "installing",
  cancel_requested: 0,
  error: null,
  etag: '"1"',
  size: 4096,
  created: 1,
  ended: null,
  phase: "staging",
  outcome: null,
  directed: JSON.stringify(directed),
};

const goodEcu = {
  update_id: "update-1",
  ecu_id: "ECU_001",
  status: "installing",
  step: "transfer",
  error: null,
  phase: "staging",
  from_version: "1.0.0",
  to_version: "2.0.0",
  release: 2,
  activation: 0,
  backup: writeBackup(saved),
  image_sha256: hash,
  image_size: 600,
};

const hostile: readonly unknown[] = [
  null,
  "",
  "x",
  "../../../etc/passwd",
  "..",
  "a/b",
  "a\u0000b",
  "[]",
  "{}",
  "[[]]",
  '["ECU_001", 1]',
  "committing",
  "committed",
  "rolling_back",
  "lost",
  "\ud800",
  "9".repeat(400),
  "[".repeat(5_000),
  -1,
  0,
  0.5,
  2 ** 31,
  2 ** 53,
  -(2 ** 63),
  NaN,
  Infinity,
  true,
  new Uint8Array(3),
  10n ** 18n,
];

/** A row with one to three columns changed: for something hostile, or by a few characters. */
function damaged(good: Readonly<Record<string, unknown>>, below: (limit: number) => number) {
  const row: Record<string, unknown> = { ...good };
  const names = Object.keys(good);
  for (let changes = 1 + below(3); changes > 0; changes--) {
    const name = names[below(names.length)];
    const value = row[name];
    if (below(20) === 0) delete row[name];
    else if (typeof value !== "string" || value === "" || below(2) === 0) {
      row[name] = hostile[below(hostile.length)];
    } else {
      const at = below(value.length);
      const put = below(2) === 0 ? String.fromCharCode(value.charCodeAt(at) ^ 1 << below(7)) : "";
      row[name] = value.slice(0, at) + put + value.slice(at + 1 + (below(4) === 0 ? below(40) : 0));
    }
  }
  return row;
}

const partOfAPath = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

Deno.test(`${runs} damaged rows of the journal are refused as damaged, or may be acted on`, () => {
  const below = random(seed);
  let taken = 0;
  for (let run = 0; run < runs; run++) {
    const isUpdate = below(2) === 0;
    const row = damaged(isUpdate ? goodUpdate : goodEcu, below);
    try {
      if (isUpdate) {
        const { updateId, packageId, phase, size } = readUpdate(row, "update-1");
        assert.match(updateId, partOfAPath);
        if (packageId !== null) assert.match(packageId, partOfAPath);
        assert.ok(phase === null || installPhase.options.includes(phase));
        assert.ok(size === null || Number.isSafeInteger(size) && size >= 0);
      } else {
        const { backup, phase, image, activation } = readEcu(row, "update-1");
        // What is written into an ECU when all goes back is what was noted, or nothing.
        if (backup !== null) assert.deepEqual(backup, saved);
        assert.ok(ecuPhase.options.includes(phase));
        if (image !== null) assert.match(image.sha256, /^[0-9a-f]{64}$/);
        assert.ok(activation >= 0);
      }
      taken++;
    } catch (error) {
      if (error instanceof JournalDamagedError && error.message.length < 600) continue;
      throw new Error(`ZONEBENCH_FUZZ_SEED=${seed}, row ${run}: ${Deno.inspect(row)}`, { cause: error });
    }
  }
  console.log(`${runs} rows, seed ${seed}: ${taken} were read, ${runs - taken} refused`);
});

/** A state as a vehicle has it, in one file. */
async function goodFile(directory: string): Promise<Uint8Array> {
  {
    using state = StateDatabase.open(directory);
    const journal = new UpdateJournal(state);
    const terms = new TermsJournal(state);
    for (const [index, phase] of [null, ...installPhase.options].entries()) {
      const updateId = `update-${index}`;
      const targetEcus = ["ECU_001", "ECU_002"];
      journal.add({ updateId, packageId: `package-${index}`, downloadUrl: "/package", targetEcus });
      terms.begin(updateId, { mode: "approve", attempt: 1, attempts: 2, approved: false });
      if (phase === null) continue;
      journal.beginInstall(
        updateId,
        targetEcus.map((ecuId) => ({
          ecuId,
          phase: "pending",
          fromVersion: "1.0.0",
          toVersion: "2.0.0",
          release: 2,
          activation: 0,
          image: { sha256: hash, size: 600 },
        })),
      );
      journal.setBackup(updateId, "ECU_001", saved);
      journal.setPhase(updateId, phase);
      if (index % 2 === 0) journal.finish(updateId, "completed", null);
    }
    const outbox = new Outbox(state);
    const commands = new CommandLog(state);
    for (let at = 0; at < 40; at++) {
      outbox.add({ topic: "vehicle/x/telemetry", kind: "telemetry", payload: { at, text: "x".repeat(200) } });
      commands.note(`message-${at}`, "diagnostics", "{}");
    }
    new RemoteConfig(state, silentLogger).take(3, { telemetry_interval: 5 });
    new AttestedClock(state).set(new Date("2026-03-01T12:00:00Z"), "keys");
    await new SqliteMetadataStore(state).replace("image", new Map([["root.json", new Uint8Array(3_000)]]));
    state.sqlite.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  return await Deno.readFile(`${directory}/vmg.db`);
}

/** A file with flipped bits, other bytes, pages of its own elsewhere, or without its end. */
function damagedFile(good: Uint8Array, below: (limit: number) => number): Uint8Array {
  let bytes = good.slice();
  for (let changes = 1 + below(3); changes > 0; changes--) {
    const at = below(4) === 0 ? below(100) : below(bytes.length);
    const length = below(Math.min(200, bytes.length - at) + 1);
    switch (below(6)) {
      case 0:
      case 1:
        bytes[at] ^= 1 << below(8);
        break;
      case 2:
        for (let offset = 0; offset < length; offset++) bytes[at + offset] = below(256);
        break;
      case 3:
        bytes.fill([0, 0xff][below(2)], at, at + length);
        break;
      case 4: {
        const pages = Math.max(1, Math.floor(bytes.length / 4096));
        const page = bytes.slice(4096 * below(pages)).subarray(0, 4096);
        bytes.set(page.subarray(0, bytes.length - 4096 * (pages - 1)), 4096 * below(pages));
        break;
      }
      default:
        if (below(4) === 0) bytes = bytes.slice(0, Math.max(1, at));
    }
  }
  return bytes;
}

/** Reads all of it as a gateway that starts does, until every update has its end. */
async function readAll(state: StateDatabase): Promise<void> {
  const journal = new UpdateJournal(state);
  const terms = new TermsJournal(state);
  for (const { error } of journal.giveUpDamaged((updateId) => terms.get(updateId))) {
    terms.forget(error.updateId);
  }
  const outbox = new Outbox(state);
  new RemoteConfig(state, silentLogger);
  new CommandLog(state).unfinished("diagnostics");
  outbox.take(100);
  outbox.add({ topic: "vehicle/x/ota/status", kind: "final", payload: {} });
  const attacks = new AttackLog(state, silentLogger).untold;
  assert.ok(attacks.length <= 32);
  await new SqliteMetadataStore(state).load("image");
  journal.installedImages();
  journal.open();
  for (let left = 20; left > 0; left--) {
    const update = journal.next();
    if (update === undefined) break;
    assert.match(update.updateId, partOfAPath);
    assert.ok(["forced", "when-parked", "approve"].includes(terms.get(update.updateId).mode));
    for (const { backup } of journal.ecus(update.updateId)) {
      if (backup !== null) assert.deepEqual(backup, saved);
    }
    journal.finish(update.updateId, "failed", "ended by the test");
    assert.ok(left > 1, "the updates have no end");
  }
  const { latest } = new AttestedClock(state);
  assert.ok(latest === undefined || !Number.isNaN(latest.getTime()));
}

const files = Math.max(100, Math.round(runs / 100));

Deno.test(`${files} damaged files are refused with what to do, or read to the end of every update`, async () => {
  const directory = await Deno.makeTempDir({ prefix: "vmg-fuzz-" });
  try {
    const good = await goodFile(directory);
    const below = random(seed);
    let taken = 0;
    for (let run = 0; run < files; run++) {
      for (const name of ["vmg.db-wal", "vmg.db-shm"]) {
        await Deno.remove(`${directory}/${name}`).catch(() => {});
      }
      await Deno.writeFile(`${directory}/vmg.db`, damagedFile(good, below));
      try {
        using state = StateDatabase.open(directory);
        await readAll(state);
        taken++;
      } catch (error) {
        if (
          error instanceof StateError &&
          /restore it from a backup|a newer program wrote it/.test(error.message)
        ) continue;
        throw new Error(`ZONEBENCH_FUZZ_SEED=${seed}, file ${run}`, { cause: error });
      }
    }
    console.log(`${files} files, seed ${seed}: ${taken} were read, ${files - taken} refused`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

for (
  const [what, sql] of [
    ["a trigger", "CREATE TRIGGER t AFTER INSERT ON outbox BEGIN DELETE FROM updates; END"],
    [
      "a view",
      "DROP TABLE remote_config; CREATE VIEW remote_config AS SELECT 1 AS id, 1 AS version, '{}' AS config",
    ],
    ["a table that is missing", "DROP TABLE installed_images"],
    ["a column more", "ALTER TABLE updates ADD COLUMN more TEXT"],
    ["a number beyond 53 bits", "INSERT INTO uptane_attacks VALUES ('x', 9223372036854775807)"],
    ["a schema version below 0", "PRAGMA user_version = -1"],
    [
      "an index that is missing",
      "DROP INDEX updates_open",
    ],
  ]
) {
  Deno.test(`a state with ${what} is refused with what to do`, async () => {
    const directory = await Deno.makeTempDir({ prefix: "vmg-fuzz-" });
    try {
      StateDatabase.open(directory).close();
      {
        using raw = new DatabaseSync(`${directory}/vmg.db`);
        raw.exec(sql);
      }
      assert.throws(() => StateDatabase.open(directory), (error) => {
        assert.ok(error instanceof StateError);
        assert.match(
          error.message,
          /vmg\.db (?:is damaged: .+|cannot be used as the gateway's state); restore it from a backup/,
        );
        return true;
      });
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

Deno.test("a state whose header says that it is only read is refused with what to do", async () => {
  const directory = await Deno.makeTempDir({ prefix: "vmg-fuzz-" });
  try {
    const bytes = await goodFile(directory);
    // Write version of the file format: above 2 it is not written (SQLite's file format, section 1.3.3).
    bytes[18] = 3;
    await Deno.writeFile(`${directory}/vmg.db`, bytes);
    assert.throws(() => StateDatabase.open(directory), /cannot be used .*; restore it from a backup/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
