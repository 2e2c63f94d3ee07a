// What a gateway keeps of signed metadata: whole or not at all, over restarts, whatever its clock says.

import assert from "node:assert/strict";
import { refusal } from "../../../src/uptane/checks.ts";
import { createLogger } from "../../../src/log.ts";
import { AttackLog } from "../../../src/vmg/uptane/attack_log.ts";
import { AttestedClock } from "../../../src/vmg/uptane/attested_clock.ts";
import { SqliteMetadataStore } from "../../../src/vmg/uptane/metadata_store.ts";
import { primaryKey } from "../../../src/vmg/uptane/primary_key.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";
import { StateError } from "../../../src/vmg/errors.ts";

async function inFolder(run: (directory: string) => Promise<void> | void): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "uptane-state-" });
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const files = (...names: string[]) => new Map(names.map((name) => [name, new TextEncoder().encode(name)]));

Deno.test("a repository's files are replaced together, and the other's stay", () =>
  inFolder(async (directory) => {
    {
      using state = StateDatabase.open(directory);
      const store = new SqliteMetadataStore(state);
      assert.deepEqual(await store.load("director"), new Map());
      await store.replace("director", files("root.json", "targets.json"));
      await store.replace("image", files("root.json"));
      await store.replace("director", files("root.json", "timestamp.json"));
    }
    using state = StateDatabase.open(directory);
    const store = new SqliteMetadataStore(state);
    assert.deepEqual(await store.load("director"), files("root.json", "timestamp.json"));
    assert.deepEqual(await store.load("image"), files("root.json"));
  }));

Deno.test("a replacement that fails at any of its files leaves all of the old ones", () =>
  inFolder(async (directory) => {
    using state = StateDatabase.open(directory);
    const store = new SqliteMetadataStore(state);
    await store.replace("director", files("a.json", "b.json"));
    for (const failing of ["c.json", "d.json", "e.json"]) {
      state.sqlite.exec(`
        CREATE TEMP TRIGGER full BEFORE INSERT ON uptane_files WHEN new.name = '${failing}'
        BEGIN SELECT raise(FAIL, 'database or disk is full'); END`);
      await assert.rejects(store.replace("director", files("c.json", "d.json", "e.json")), /disk is full/);
      state.sqlite.exec("DROP TRIGGER full");
      assert.deepEqual(await store.load("director"), files("a.json", "b.json"), failing);
    }
  }));

Deno.test("what a process had written when it was killed is there in whole sets alone", () =>
  inFolder(async (directory) => {
    // Two sets of files in turn, for ever: whichever is found, its files are of one set.
    const script = `
      import { StateDatabase } from ${
      JSON.stringify(import.meta.resolve("../../../src/vmg/state/database.ts"))
    };
      import { SqliteMetadataStore } from ${
      JSON.stringify(import.meta.resolve("../../../src/vmg/uptane/metadata_store.ts"))
    };
      const store = new SqliteMetadataStore(StateDatabase.open(Deno.args[0]));
      for (let turn = 0;; turn++) {
        const bytes = new Uint8Array(20_000).fill(turn);
        await store.replace("director", new Map(["root", "targets", "timestamp"].map((name) => [name, bytes])));
        if (turn === 3) console.log("running");
      }`;
    for (let cut = 0; cut < 3; cut++) {
      const process = new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-check", script, directory],
        cwd: new URL("../../../", import.meta.url),
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const reader = process.stdout.getReader();
      await reader.read();
      process.kill("SIGKILL");
      await reader.cancel();
      await process.status;
      using state = StateDatabase.open(directory);
      const found = [...(await new SqliteMetadataStore(state).load("director")).values()];
      assert.equal(found.length, 3);
      assert.deepEqual(new Set(found.map((bytes) => new Set(bytes).size)), new Set([1]));
      assert.equal(new Set(found.map(([first]) => first)).size, 1);
    }
  }));

Deno.test("the clock goes on from the attested time, evenly, and its latest time stays over a restart", () =>
  inFolder((directory) => {
    const attested = new Date("2026-03-01T12:00:00Z");
    let elapsed = 5_000;
    {
      using state = StateDatabase.open(directory);
      const clock = new AttestedClock(state, () => elapsed);
      assert.equal(clock.latest, undefined);
      assert.equal(clock.now, undefined);
      clock.set(attested, "a");
      elapsed += 1_500;
      assert.deepEqual(clock.now, new Date("2026-03-01T12:00:01.500Z"));
      assert.deepEqual(clock.latest, attested);
    }
    using state = StateDatabase.open(directory);
    const clock = new AttestedClock(state, () => elapsed);
    assert.deepEqual(clock.latest, attested);
    assert.equal(clock.now, undefined, "how long the gateway was off is not known");
    clock.set(new Date("2026-03-01T11:59:59Z"), "a");
    assert.deepEqual(clock.latest, attested, "the latest time never goes back");
    assert.deepEqual([clock.latestBy("a"), clock.latestBy("b")], [attested, undefined]);
    const earlier = new Date("2026-02-01T00:00:00Z");
    clock.set(earlier, "b");
    assert.deepEqual(clock.latest, earlier, "unless other keys attest it");
    assert.deepEqual([clock.latestBy("a"), clock.latestBy("b")], [undefined, earlier]);
  }));

Deno.test("a time that an earlier program kept counts for whichever keys come next", () =>
  inFolder((directory) => {
    using state = StateDatabase.open(directory);
    state.sqlite.exec("INSERT INTO uptane_time (id, attested) VALUES (1, 1000)");
    const clock = new AttestedClock(state);
    assert.deepEqual(clock.latestBy("a"), new Date(1000));
    clock.set(new Date(500), "a");
    assert.deepEqual([clock.latestBy("a"), clock.latestBy("b")], [new Date(1000), undefined]);
  }));

Deno.test("failed checks are told in the next report, and again if they fail meanwhile", () =>
  inFolder((directory) => {
    const lines: string[] = [];
    const log = createLogger({ write: (line) => lines.push(line), color: false });
    const rollback = refusal("timestamp_rollback", "image timestamp", "expected 5, got 4");
    const freeze = refusal("targets_expiry", "image targets 4", "expected to be read before then");
    {
      using state = StateDatabase.open(directory);
      const attacks = new AttackLog(state, log);
      attacks.note(rollback);
      attacks.note(freeze);
    }
    assert.match(
      lines[0],
      /WARN.* Refused as rollback \(Uptane 5\.4\.4\.4 \(3\)\): timestamp_rollback: image timestamp: expected 5, got 4/,
    );
    using state = StateDatabase.open(directory);
    const attacks = new AttackLog(state, log);
    const first = attacks.untold;
    assert.deepEqual(first.map(({ code }) => code), ["timestamp_rollback", "targets_expiry"]);
    attacks.note(freeze);
    attacks.told(first);
    assert.deepEqual(attacks.untold.map(({ code }) => code), ["targets_expiry"]);
    attacks.told(attacks.untold);
    assert.deepEqual(attacks.untold, []);
  }));

Deno.test("the gateway's key is made once, for its owner alone", () =>
  inFolder(async (directory) => {
    const own = `${directory}/KMHZZ81KBMU000036`;
    const made = await primaryKey(own, "ecdsa-p256");
    const { mode } = await Deno.stat(`${own}/report.key`);
    assert.equal((mode ?? 0) & 0o777, 0o600);
    assert.equal(await Deno.readTextFile(`${own}/report.pub`), made.key.keyval.public);
    // The key that is there counts, whatever would be made today.
    const found = await primaryKey(own, "ml-dsa-65");
    assert.equal(found.keyid, made.keyid);
    assert.equal((await primaryKey(`${directory}/other`)).algorithm, "ml-dsa-65");
    await Deno.writeTextFile(`${own}/report.key`, "no key");
    await assert.rejects(primaryKey(own), (error) => {
      assert.ok(error instanceof StateError);
      assert.match(error.message, /report\.key: expected one PEM block PRIVATE KEY/);
      return true;
    });
  }));
