// Updates of a gateway whose repositories do what attackers, and bad networks, do: each is refused with its code and no ECU is
// touched, or goes on as it should.

import assert from "node:assert/strict";
import {
  assertRefused,
  begin,
  manifests,
  reportedAttacks,
  reportedBench,
  run,
} from "../support/metadata_bench.ts";
import { serveFile } from "../support/counterpart.ts";
import { TestBench, type TestPackage, vin, vmgId } from "../support/vehicle.ts";
import { type DirectedImage, type RepositoryAnswer, TestRepositories } from "../../support/repositories.ts";

const day = 86_400_000;
const small = { size: 500 };

/** Metadata that does not come is asked for a little while. */
const impatient = { update: { downloadPatience: 300 } };

/** The fields of a package's entry that are signed by the repositories as well. */
const fields: [string, Partial<DirectedImage["image"]>, string, string][] = [
  ["hash", { sha256: "cd".repeat(32) }, "package_hash", "arbitrary software"],
  ["length", { size: 501 }, "package_length", "arbitrary software"],
  ["version", { version: "1.2.4" }, "package_version", "mix-and-match"],
  ["release counter", { releaseCounter: 3 }, "package_release", "rollback"],
  [
    "addresses",
    { segments: [{ address: 0x2000, length: 500 }] },
    "package_layout",
    "arbitrary software",
  ],
];
for (const [what, differs, code, attack] of fields) {
  Deno.test(`a package with another ${what} than what is directed is refused`, async () => {
    await using bench = await reportedBench();
    const made = await bench.package(["ECU_001", "ECU_003"], small);
    await bench.repositories.direct(
      made.directed.map((it) => it.ecuId === "ECU_003" ? { ...it, image: { ...it.image, ...differs } } : it),
    );
    await assertRefused(bench, made, code, attack);
  });
}

Deno.test("a package with fewer images, or more, than are directed is refused", async () => {
  await using bench = await reportedBench();
  const both = await bench.package(["ECU_001", "ECU_003"], small);
  const one = await bench.package(["ECU_001"], small);
  await assertRefused(
    bench,
    { ...both, ecuIds: ["ECU_001", "ECU_003"] },
    "package_hash",
    "arbitrary software",
  );
  await bench.repositories.direct([...one.directed, both.directed[1]]);
  await assertRefused(bench, one, "package_complete", "partial bundle");
  await bench.repositories.direct([both.directed[0]]);
  await assertRefused(bench, both, "package_directed", "arbitrary software");
});

Deno.test("what the server does not direct to this vehicle's ECUs and hardware is refused", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  const [{ ecuId, image }] = made.directed;
  await bench.repositories.direct([{ ecuId, image: { ...image, hwVersion: "HW-9" } }]);
  await assertRefused(bench, made, "director_hardware", "wrong hardware");
  await bench.repositories.direct([{ ecuId, image: { ...image, hwVersion: "HW-9" }, hardwareId: "HW-2.0" }]);
  await assertRefused(bench, made, "match_hardware", "wrong hardware");
  await bench.repositories.direct([{ ecuId, image: { ...image, ecuType: "RADIO" } }]);
  await assertRefused(bench, made, "match_ecu_type", "wrong hardware");
  await bench.repositories.direct([{ ecuId: "ECU_777", image }]);
  await assertRefused(bench, made, "director_ecu_known", "wrong ECU");
  await bench.repositories.order({}, "KMHZZ81KBMU000037");
  await assertRefused(bench, made, "director_vehicle", "wrong vehicle");
});

Deno.test("what was refused is told once, and a good update completes afterwards", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  await bench.repositories.direct([]);
  await assertRefused(bench, made, "package_directed", "arbitrary software");
  await bench.repositories.direct(made.directed);
  assert.equal((await run(bench, made)).status, "completed");
  await bench.server.until("the report after the update", () => manifests(bench).length === 3);
  assert.deepEqual(reportedAttacks(bench), [[], ["package_directed"], []]);
});

Deno.test("a gateway with other first roots believes nothing", async () => {
  const others = await TestRepositories.found(vin);
  await using bench = await TestBench.start();
  const { uptane } = bench.options();
  assert.ok(uptane !== undefined);
  await bench.vmg({ uptane: { ...uptane, roots: others.roots } });
  await bench.server.connected();
  await bench.server.until("the first VCI", () => manifests(bench).length === 1);
  // The time is attested before the first report, which tells of it.
  assert.deepEqual(reportedAttacks(bench), [["time_signed"]]);
  await assertRefused(bench, await bench.package(["ECU_001"], small), "time_signed", "arbitrary software");
});

Deno.test("a first root that is none ends the start, and holds nothing", async () => {
  await using bench = await TestBench.start();
  const { uptane } = bench.options();
  assert.ok(uptane !== undefined);
  const roots = { ...uptane.roots, image: bench.repositories.image.file("1.targets.json") };
  await assert.rejects(bench.vmg({ uptane: { ...uptane, roots } }), { code: "metadata_form" });
  await bench.vmg();
});

Deno.test("expired metadata is a freeze", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  bench.repositories.time = () => new Date(Date.now() + 8 * day);
  await assertRefused(bench, made, "timestamp_expiry", "freeze");
});

Deno.test("a bundle that the vehicle has seen a later one of is a rollback", async () => {
  await using bench = await reportedBench();
  const first = await bench.package(["ECU_001"], { ...small, version: "1.1.0" });
  const recorded = bench.repositories.director.record();
  assert.equal((await run(bench, await bench.package(["ECU_001"], small))).status, "completed");
  bench.repositories.director.replay(recorded);
  await assertRefused(bench, first, "timestamp_rollback", "rollback");
});

Deno.test("a release counter below what was verified before is a rollback, though the bundle is new", async () => {
  await using bench = await reportedBench();
  assert.equal(
    (await run(bench, await bench.package(["ECU_001"], { ...small, release: 5 }))).status,
    "completed",
  );
  const older = await bench.package(["ECU_001"], { ...small, release: 4, version: "1.3.0" });
  await assertRefused(bench, older, "match_release_counter", "rollback");
});

for (const [what, years] of [["behind", 5], ["ahead", -5]] as const) {
  Deno.test(`a vehicle whose own clock is years ${what} goes by the attested time`, async () => {
    await using bench = await TestBench.start();
    // The server's time, and that of its repositories, is years from this machine's.
    const there = () => new Date(Date.now() + years * 365 * day);
    const far = await TestRepositories.found(vin, there());
    far.time = there;
    bench.server.give(far);
    const { uptane } = bench.options();
    assert.ok(uptane !== undefined);
    await bench.vmg({ uptane: { ...uptane, roots: far.roots } });
    await bench.server.connected();
    const made = await bench.package(["ECU_001"], small);
    await far.direct(made.directed);
    assert.equal((await run(bench, made)).status, "completed");
    // And what has expired there is a freeze, whatever the date is here.
    far.time = () => new Date(there().getTime() + 8 * day);
    const next = await bench.package(["ECU_001"], { ...small, version: "1.3.0" });
    await assertRefused(bench, next, "timestamp_expiry", "freeze");
    // Nor does the time go back, a restart between.
    far.time = () => new Date(there().getTime() - day);
    await bench.stop();
    await bench.vmg({ uptane: { ...uptane, roots: far.roots } });
    const again = await run(bench, next);
    assert.match(String(again.error), /^metadata: time_rollback: /);
  });
}

for (const [what, years] of [["behind", -5], ["ahead", 5]] as const) {
  Deno.test(`a vehicle whose machine's clock is years ${what} comes to its server all the same, and updates`, async () => {
    await using bench = await TestBench.start();
    // By this clock the server's certificate is not good.
    await bench.vmg({ machineClock: () => Date.now() + years * 365 * day });
    await bench.server.connected();
    const off = bench.lines.find((line) => line.includes("clock is off by"));
    assert.match(String(off), new RegExp(`clock is off by 157[67]\\d{5} s: it is 20`));
    assert.equal((await run(bench, await bench.package(["ECU_001"], small))).status, "completed");
    assert.deepEqual(reportedAttacks(bench)[0], []);
  });
}

Deno.test("while the clock is wrong, a server that cannot sign the time hears of nothing but nonces", async () => {
  await using bench = await TestBench.start();
  const others = await TestRepositories.found(vin);
  bench.server.give(others);
  await bench.vmg({ machineClock: () => Date.now() + 5 * 365 * day });
  await bench.server.until(
    "the time is refused",
    () => bench.lines.some((line) => line.includes("The time is not attested: attested time: ")),
  );
  await bench.stop();
  assert.ok(bench.server.calls.length > 0);
  // The time, and whether there is a newer root whose key may have signed it.
  assert.ok(
    bench.server.calls.every(({ path }) =>
      /^\/api\/v1\/uptane\/(?:time|director\/[^/]+\/2\.root\.json)$/.test(path)
    ),
  );
  assert.deepEqual(bench.server.published, []);
});

const unwell: RepositoryAnswer = { status: 503, bytes: new TextEncoder().encode("{}") };

Deno.test("a network and a server that are unwell for a while are no attack", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  let failures = 0;
  for (const file of ["time", "director/timestamp.json", "image/timestamp.json"]) {
    let left = 3;
    bench.repositories.instead.set(file, () => {
      if (--left === 0) bench.repositories.instead.delete(file);
      failures++;
      if (left === 1) bench.server.cut();
      return unwell;
    });
  }
  assert.equal((await run(bench, made)).status, "completed");
  assert.equal(failures, 9);
  await bench.server.until("the report after the update", () => manifests(bench).length === 2);
  assert.deepEqual(reportedAttacks(bench), [[], []]);
});

Deno.test("metadata that is withheld for longer than the update's patience is a dropped request", async () => {
  await using bench = await reportedBench(impatient);
  const made = await bench.package(["ECU_001"], small);
  bench.repositories.instead.set("director/timestamp.json", () => unwell);
  await assertRefused(bench, made, "metadata_present", "drop request");
  assert.ok(bench.repositories.asked.filter((file) => file === "director/timestamp.json").length > 1);
});

Deno.test("metadata that the server says it does not have is a dropped request at once", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  const newest = bench.repositories.director.versions.targets;
  bench.repositories.director.files.delete(`${newest}.targets.json`);
  await assertRefused(bench, made, "metadata_present", "drop request");
});

Deno.test("metadata without an end is endless data, and is not read on", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  bench.repositories.instead.set(
    "image/timestamp.json",
    () => ({ status: 200, bytes: new Uint8Array(70_000).fill(0x20) }),
  );
  await assertRefused(bench, made, "metadata_length", "endless data");
  bench.repositories.instead.set("time", () => ({ status: 200, bytes: new Uint8Array(200_000).fill(0x20) }));
  await assertRefused(bench, made, "metadata_length", "endless data");
});

Deno.test("metadata that trickles is slow retrieval once the patience ends", async () => {
  await using bench = await reportedBench({ ...impatient });
  const { uptane } = bench.options();
  assert.ok(uptane !== undefined);
  await bench.stop();
  await bench.vmg({ ...impatient, uptane: { ...uptane, limits: { fileTime: 100 } } });
  await bench.server.until("the second VCI", () => manifests(bench).length === 2);
  const made = await bench.package(["ECU_001"], small);
  bench.server.on("GET", "/api/v1/uptane/image/timestamp.json", (_call, response) => {
    response.writeHead(200);
    const trickle = setInterval(() => response.write(" "), 20);
    response.on("close", () => clearInterval(trickle));
    return "taken";
  });
  await assertRefused(bench, made, "metadata_speed", "slow retrieval");
});

Deno.test("an attested time that is recorded, or another's, is a replay", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  const recorded = await bench.repositories.attest(["ab".repeat(32)]);
  bench.repositories.instead.set("time", () => ({ status: 200, bytes: recorded }));
  await assertRefused(bench, made, "time_nonce", "replay");
});

Deno.test("an update that was interrupted while it downloaded is verified anew, and completes", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  const updateId = await stalled(bench, made);
  await bench.stop();
  const asked = bench.repositories.asked.length;
  await bench.vmg();
  resume(bench, made);
  assert.equal((await bench.server.ended(updateId)).status, "completed");
  assert.ok(bench.repositories.asked.slice(asked).includes("director/timestamp.json"));
});

Deno.test("what has expired while an update was interrupted before its installation is refused", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001"], small);
  const updateId = await stalled(bench, made);
  await bench.stop();
  bench.repositories.time = () => new Date(Date.now() + 8 * day);
  await bench.vmg();
  resume(bench, made);
  assert.match(String((await bench.server.ended(updateId)).error), /^metadata: timestamp_expiry: /);
});

Deno.test("an installation that was interrupted goes on with its verified plan, without the repositories", async () => {
  await using bench = await reportedBench();
  const made = await bench.package(["ECU_001", "ECU_002"], { size: 20_000 });
  for (let occurrence = 1; occurrence <= 5; occurrence++) {
    bench.bench.ecu("ECU_001").inject({ kind: "late_answer", service: 0x36, occurrence, delay: 250 });
  }
  const updateId = await begin(bench, made);
  await bench.server.until(
    "the installation",
    () => bench.server.messages("ota/status").some(({ status }) => status === "installing"),
  );
  await bench.stop();
  bench.bench.ecu("ECU_001").clearFaults();
  // Everything is gone, and what is left has expired.
  bench.repositories.director.files.clear();
  bench.repositories.image.files.clear();
  bench.repositories.time = () => new Date(Date.now() + 400 * day);
  await bench.vmg();
  const end = await bench.server.ended(updateId);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.deepEqual(["ECU_001", "ECU_002"].map((ecuId) => bench.bench.ecu(ecuId).version), ["1.2.3", "1.2.3"]);
});

/** Begins an update whose package does not come. */
async function stalled(bench: TestBench, made: TestPackage): Promise<string> {
  const asked = Promise.withResolvers<void>();
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, (_call, response) => {
    asked.resolve();
    response.writeHead(503).end();
    return "taken";
  });
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await asked.promise;
  return command.update_id;
}

/** Gives the package out from now on. */
function resume(bench: TestBench, made: TestPackage): void {
  const { handler } = serveFile({ bytes: made.bytes, etag: () => made.etag });
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, handler);
}
