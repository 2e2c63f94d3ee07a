// What zonebench doctor finds, when something is wrong and when all is well; alone and beside a server.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { runChecks } from "../../src/commands/doctor/check.ts";
import type { Checked, Context } from "../../src/commands/doctor/check.ts";
import { certificates } from "../../src/commands/doctor/certificates.ts";
import { clock } from "../../src/commands/doctor/system.ts";
import { foldersOf } from "../../src/commands/common.ts";
import { loadConfig } from "../../src/config/load.ts";
import { initAuthority, issueOperator, issueServer, issueVehicle } from "../../src/pqc/authority.ts";
import { migrate } from "../../src/server/store/migrate.ts";
import { migrations } from "../../src/server/store/migrations/mod.ts";
import { openPglite } from "../../src/server/store/pglite.ts";
import { prepareEmbedded } from "../support/embedded.ts";
import { Program, temporaryFolder } from "../support/program.ts";

const network = "127.0.75.0/24";
const vin = "KMHZB00BENCH00001";

interface Report {
  checks: Checked[];
  broken: number;
  warnings: number;
}

async function doctor(program: Program): Promise<Report & { code: number }> {
  const { code, stdout, stderr } = await program.run(["doctor", "--json"]);
  assert.ok(stdout.startsWith("{"), stderr);
  return { ...JSON.parse(stdout) as Report, code };
}

function of(report: Report, subject: RegExp): Checked {
  const found = report.checks.filter((it) => subject.test(it.subject));
  assert.equal(found.length, 1, `${subject}: ${JSON.stringify(report.checks)}`);
  return found[0];
}

async function contextOf(data: string, now = new Date()): Promise<Context> {
  const config = await loadConfig();
  const options = { data, set: [], log: "text" } as const;
  return { options: { ...options, set: [] }, config, folders: foldersOf(data), health: undefined, now };
}

const never = new AbortController().signal;

Deno.test("with nothing there yet nothing is broken, and nothing is made", async () => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const report = await doctor(new Program({ data, network }));
  assert.equal(report.code, 0, JSON.stringify(report));
  assert.equal(report.broken, 0);
  assert.match(of(report, /\/db$/).found, /not there yet/);
  assert.equal(of(report, /^server\.https /).found, "free");
  await assert.rejects(Deno.stat(data), Deno.errors.NotFound);
});

Deno.test("beside a server all of it is seen to be the server's, and the server goes on", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network });
  await using serving = await program.serve();
  const report = await doctor(program);
  assert.equal(report.code, 0, JSON.stringify(report));
  for (const listener of [/^server\.https /, /^server\.mqtt /, /^server\.local /]) {
    assert.equal(of(report, listener).found, "held by the running server");
  }
  assert.match(of(report, /\/db$/).found, new RegExp(`in use by process ${serving.process.pid}, answers`));
  assert.equal(of(report, /^ZG_BODY/).verdict, "ok");
  assert.equal(of(report, /^CAN_BODY/).verdict, "ok");
  const again = await program.run(["diag", "ECU_007", "0x22", "F190", "--json"]);
  assert.equal(again.code, 0, again.stderr);
  assert.equal(await serving.stop(), 0, serving.log);
});

Deno.test("a port that another program holds is named with what to do", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network });
  using _held = Deno.listen({ hostname: "127.0.0.1", port: program.httpsPort });
  using _bench = Deno.listen({ hostname: "127.0.75.2", port: 13_400 });
  const report = await doctor(program);
  assert.equal(report.code, 1);
  const port = of(report, /^server\.https /);
  assert.equal(port.verdict, "broken");
  assert.equal(port.found, "held by another program");
  assert.match(port.advice ?? "", /--set server\.https\.port=N/);
  assert.match(of(report, /127\.0\.75\.2:13400/).found, /held by another program, maybe another bench/);
  assert.equal(report.broken, 2);

  const settings = ["server.mqtt.hostname=192.0.2.1"];
  const elsewhere = await doctor(new Program({ data: join(folder.path, "data"), network, settings }));
  assert.equal(of(elsewhere, /^server\.mqtt 192\.0\.2\.1/).found, "is no address of this machine");
});

Deno.test("settings that do not fit are told, each with its place", async () => {
  await using folder = await temporaryFolder();
  const settings = ["server.https.port=99999"];
  const report = await doctor(new Program({ data: folder.path, network, settings }));
  assert.equal(report.code, 1);
  assert.equal(report.checks[0].verdict, "broken");
  assert.match(report.checks[0].found, /server\.https\.port/);
});

Deno.test("data of a newer program, a broken-off restore and a damaged state are found", async () => {
  await using folder = await temporaryFolder();
  const data = folder.path;
  await prepareEmbedded(join(data, "db"));
  const database = await openPglite({ directory: join(data, "db") });
  await migrate(database, [...migrations, { version: migrations.length + 1, name: "later", statements: [] }]);
  await database.close();
  await Deno.mkdir(join(data, "restore.unfinished"));
  for (const name of ["NEWER", "DAMAGED"]) await Deno.mkdir(join(data, "vmg", name), { recursive: true });
  {
    using state = new DatabaseSync(join(data, "vmg/NEWER/vmg.db"));
    state.exec("pragma user_version = 99");
  }
  await Deno.writeTextFile(
    join(data, "vmg/DAMAGED/vmg.db"),
    "SQLite format 3\0 and then nothing of the kind".repeat(100),
  );
  const report = await doctor(new Program({ data, network }));
  assert.equal(report.code, 1);
  assert.match(
    of(report, /\/db$/).found,
    new RegExp(`schema version ${migrations.length + 1}: a newer program wrote it`),
  );
  assert.match(of(report, /^NEWER/).found, /schema version 99: a newer program wrote it/);
  assert.equal(of(report, /^DAMAGED/).verdict, "broken");
  assert.ok(report.checks.some(({ found }) => /a restore into it runs, or was broken off/.test(found)));
  assert.deepEqual(
    (await Array.fromAsync(Deno.readDir(join(data, "db")))).map(({ name }) => name).sort(),
    ["lock", "pg"],
    "the copy that was looked at is gone",
  );
});

Deno.test("certificates that end soon, have ended, are of another authority or another name, and keys open to others", async () => {
  await using folder = await temporaryFolder();
  const context = await contextOf(folder.path);
  const { pki } = context.folders;
  await initAuthority({ directory: pki });
  await issueServer({ directory: pki });
  await issueVehicle(vin, { directory: pki });
  await issueOperator("soon", { directory: pki, days: 10 });
  await issueOperator("past", { directory: pki, days: 1, now: () => new Date(Date.now() - 5 * 86_400_000) });
  const look = async (at = context) =>
    (await runChecks([certificates], at, never)).map(({ verdict, subject }) => `${subject} ${verdict}`);
  assert.deepEqual(await look(), [
    "ca.crt ok",
    "operator-past.crt broken",
    "operator-soon.crt warning",
    "server.crt ok",
    `vehicle-${vin}.crt ok`,
  ]);
  // A day before all was made.
  const before = await look({ ...context, now: new Date(Date.now() - 86_400_000) });
  assert.ok(before.includes("server.crt broken"), before.join("\n"));

  await Deno.chmod(join(pki, "server.key"), 0o640);
  await Deno.copyFile(join(pki, "operator-soon.crt"), join(pki, "vehicle-KMHZB00BENCH00002.crt"));
  const other = join(folder.path, "other");
  await initAuthority({ directory: other });
  await issueOperator("foreign", { directory: other });
  await Deno.copyFile(join(other, "operator-foreign.crt"), join(pki, "operator-foreign.crt"));
  await Deno.copyFile(join(pki, "operator-soon.key"), join(pki, `vehicle-${vin}.key`));
  assert.deepEqual(await look(), [
    "ca.crt ok",
    "operator-foreign.crt broken",
    "operator-past.crt broken",
    "operator-soon.crt warning",
    "server.crt ok",
    `vehicle-${vin}.crt broken`,
    "vehicle-KMHZB00BENCH00002.crt broken",
    "private keys broken",
  ]);
});

Deno.test("a clock that is behind the certificates, or behind the program, is found", async () => {
  await using folder = await temporaryFolder();
  const context = await contextOf(folder.path);
  const at = async (now: Date) => (await runChecks([clock], { ...context, now }, never))[0];
  assert.equal((await at(new Date())).verdict, "ok");
  assert.equal((await at(new Date(0))).verdict, "broken");
  await initAuthority({ directory: context.folders.pki });
  const behind = await at(new Date(Date.now() - 2 * 86_400_000));
  assert.equal(behind.verdict, "broken");
  assert.match(behind.found, /was made at/);
});

Deno.test("a check that does not end is told as such, and one that fails ends no other", async () => {
  const context = await contextOf("nowhere");
  const found = await runChecks(
    [
      { name: "endless", limit: 20, run: () => new Promise(() => {}) },
      { name: "failing", run: () => Promise.reject(new Error("out of order")) },
      { name: "good", run: () => Promise.resolve([{ verdict: "ok", subject: "it", found: "well" }]) },
    ],
    context,
    never,
  );
  assert.deepEqual(found.map(({ check, verdict, found }) => [check, verdict, found]), [
    ["endless", "warning", "could not be told within 0.02 s"],
    ["failing", "warning", "could not be told: out of order"],
    ["good", "ok", "well"],
  ]);
});
