// Updates from the command to the reported end, against simulated ECUs and a server's stand-in.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { SimulatedFault } from "../../../hardware/sim/options.ts";
import { generateSigningKey } from "../../../src/pqc/signature.ts";
import { eventually } from "../../support/program.ts";
import { type Handler, serveFile } from "../support/counterpart.ts";
import { type PackageDiffers, TestBench, type TestPackage, vin, vmgId } from "../support/vehicle.ts";

function offer(bench: TestBench, made: TestPackage) {
  const file = serveFile({ bytes: made.bytes, etag: () => made.etag });
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, file.handler);
  return file.log;
}

/** Flash operations of each ECU: a change means that something was erased or programmed. */
function operations(bench: TestBench): Record<string, number> {
  return Object.fromEntries(bench.bench.ecus.map(({ ecuId, flashOperations }) => [ecuId, flashOperations]));
}

interface EcuEnd {
  ecu_id: string;
  status: string;
  progress: number;
  error?: string;
}

function ecusOf(report: Record<string, unknown>): EcuEnd[] {
  return report.ecus as EcuEnd[];
}

/** `{ ECU_001: "completed", … }` */
function statuses(report: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(ecusOf(report).map(({ ecu_id, status }) => [ecu_id, status]));
}

/** Runs an update of the package and gives its last report. */
async function run(bench: TestBench, made: TestPackage): Promise<Record<string, unknown>> {
  offer(bench, made);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  return await bench.server.ended(command.update_id);
}

Deno.test("an update goes from the command to the version read back, each ECU told", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001", "ECU_002", "ECU_003"]);
  offer(bench, made);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.equal(end.progress, 100);
  assert.deepEqual(ecusOf(end), [
    { ecu_id: "ECU_001", status: "completed", progress: 100 },
    { ecu_id: "ECU_002", status: "completed", progress: 100 },
    { ecu_id: "ECU_003", status: "completed", progress: 100 },
  ]);
  for (const [ecuId, image] of made.images) {
    const ecu = bench.bench.ecu(ecuId);
    assert.deepEqual(ecu.readMemory(0x1000, image.length), image, ecuId);
    assert.equal(ecu.version, "1.2.3");
  }
  const seen = bench.server.messages("ota/status").map(({ status }) => status);
  const order = ["accepted", "downloading", "verifying", "installing", "completed"];
  const places = seen.map((status) => order.indexOf(String(status)));
  assert.deepEqual(places, places.toSorted((a, b) => a - b));
  await bench.server.until(
    "a VCI after the update",
    () => bench.server.calls.filter(({ path }) => path === `/api/v1/vehicles/${vin}/vci`).length === 2,
  );
  const vci = bench.server.calls.filter(({ path }) => path.endsWith("/vci")).at(-1)?.body as {
    trigger: string;
    ecus: { ecu_id: string; sw_version: string }[];
  };
  assert.equal(vci.trigger, "update");
  assert.deepEqual(vci.ecus.map(({ sw_version }) => sw_version), ["1.2.3", "1.2.3", "1.2.3"]);
});

Deno.test("a package with any byte flipped is refused before an ECU is touched", async (test) => {
  // What came through once would not be taken from the package again.
  await using bench = await TestBench.start({ vmg: { update: { keepImages: 0 } } });
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001", "ECU_003"], { size: 6_000 });
  const { length } = made.bytes;
  const header = new DataView(made.bytes.buffer).getUint32(8);
  const places = {
    "the magic": 0,
    "the manifest's length": 10,
    "the manifest": 16 + (header >> 1),
    "the signature": 16 + header + 100,
    "the first blob": length - 9_000,
    "the last byte": length - 1,
  };
  const before = operations(bench);
  for (const [what, at] of Object.entries(places)) {
    await test.step(what, async () => {
      const bytes = made.bytes.slice();
      bytes[at] ^= 0x01;
      const end = await run(bench, { ...made, bytes });
      assert.equal(end.status, "failed");
      assert.match(String(end.error), /^metadata: package_(?:form|signed|content): [a-z_]+: /);
      assert.deepEqual(statuses(end), { ECU_001: "cancelled", ECU_003: "cancelled" });
    });
  }
  assert.deepEqual(operations(bench), before);
  assert(!bench.lines.some((line) => line.includes("extended_session")), "no flash was begun");
  assert.deepEqual(bench.bench.ecus.map(({ session }) => session), [1, 1, 1]);
});

Deno.test("a package that is not for this vehicle as it is is refused before an ECU is touched", async (test) => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const before = operations(bench);
  const other = await generateSigningKey();
  const cases: [string, PackageDiffers, RegExp][] = [
    ["another vehicle", { vin: "KMHZZ81KBMU000037" }, /expected a package for KMHZZ81KBMU000036/],
    ["an unknown key", { key: other }, /expected a signature by one of 1 trusted keys/],
    [
      "other hardware",
      { hwVersion: "HW-9" },
      /metadata: director_hardware: .*expected hardware HW-2\.0 for ECU_001, got HW-9/,
    ],
    [
      "another type",
      { ecuType: "RADIO" },
      /metadata: match_ecu_type: .*expected an image for BODY_CONTROLLER, got one for RADIO/,
    ],
    ["another gateway", { zone: "ZG_CHASSIS" }, /ECU_001: it stands behind ZG_BODY/],
  ];
  for (const [what, differs, message] of cases) {
    await test.step(what, async () => {
      const end = await run(bench, await bench.package(["ECU_001"], { size: 100, ...differs }));
      assert.equal(end.status, "failed");
      assert.match(String(end.error), message);
    });
  }
  await test.step("an ECU that was not asked for", async () => {
    const made = await bench.package(["ECU_001", "ECU_002"], { size: 100 });
    const end = await run(bench, { ...made, ecuIds: ["ECU_001"] });
    assert.match(String(end.error), /ECU_002: the package has an image that was not asked for/);
  });
  await test.step("an ECU without an image", async () => {
    const made = await bench.package(["ECU_001"], { size: 100 });
    const end = await run(bench, { ...made, ecuIds: ["ECU_001", "ECU_002"] });
    assert.match(String(end.error), /ECU_002: the package has no image for it/);
  });
  await test.step("an address elsewhere", async () => {
    const made = await bench.package(["ECU_001"], { size: 100 });
    const log = offer(bench, made);
    const command = {
      ...bench.start(made),
      download_url: `https://example.com/api/v1/ota/package/${made.packageId}`,
    };
    await bench.server.send(`vehicle/${vmgId}/control`, command);
    const end = await bench.server.ended(command.update_id);
    assert.match(String(end.error), /^download: download_url: expected https:\/\/127\.0\.0\.1/);
    assert.deepEqual(log.ranges, []);
  });
  await test.step("a package that the server does not have", async () => {
    const made = await bench.package(["ECU_001"], { size: 100 });
    const command = bench.start(made);
    await bench.server.send(`vehicle/${vmgId}/control`, command);
    const end = await bench.server.ended(command.update_id);
    assert.equal(end.status, "failed");
    assert.match(String(end.error), /^download: no route/);
    const asked = bench.server.calls.filter(({ path }) => path.endsWith(made.packageId));
    assert.equal(asked.length, 1);
  });
  assert.deepEqual(operations(bench), before);
});

Deno.test("a command that comes again is acted on once", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_003"], { size: 3_000 });
  const log = offer(bench, made);
  const command = bench.start(made);
  const sameUpdate = { ...command, message_id: "another-message" };
  for (const sent of [command, command, sameUpdate]) {
    await bench.server.send(`vehicle/${vmgId}/control`, sent);
    await bench.server.send(`vehicle/${vin}/control`, sent);
  }
  assert.equal((await bench.server.ended(command.update_id)).status, "completed");
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await bench.server.until(
    "the last one was heard",
    () => bench.lines.filter((line) => /again: it was acted on before/.test(line)).length >= 5,
  );
  assert.equal(log.ranges.length, 1);
  assert.equal(bench.lines.filter((line) => /accepted: ECU_003/.test(line)).length, 1);
  const ends = bench.server.messages("ota/status").filter(({ status }) => status === "completed");
  assert.equal(ends.length, 1);
});

const faults: [string, SimulatedFault | SimulatedFault[], RegExp][] = [
  [
    "refuses a block",
    { kind: "negative_response", service: 0x36, occurrence: 2, nrc: 0x72 },
    /ECU_001: flash failed at transfer_data: .*NRC 0x72 generalProgrammingFailure/,
  ],
  [
    "refuses the programming session",
    { kind: "negative_response", service: 0x10, occurrence: 2, nrc: 0x22 },
    /ECU_001: flash failed at programming_session: .*NRC 0x22 conditionsNotCorrect/,
  ],
  [
    "refuses the erase",
    { kind: "negative_response", service: 0x31, occurrence: 2, nrc: 0x33 },
    /ECU_001: flash failed at erase_memory: .*NRC 0x33 securityAccessDenied/,
  ],
  [
    "falls silent",
    { kind: "silence", service: 0x36, occurrence: 2 },
    /ECU_001: flash failed at transfer_data: .*no answer to TransferData within/,
  ],
  [
    "loses its gateway's connection again and again",
    [
      { kind: "close_connection", service: 0x36, occurrence: 2 },
      { kind: "close_connection", service: 0x36, occurrence: 3 },
    ],
    /ECU_001: flash failed at transfer_data: .*clos/,
  ],
];
for (const [what, fault, message] of faults) {
  Deno.test(`an ECU that ${what} fails the update with step, ECU and code, and all run the old software`, async () => {
    await using bench = await TestBench.start();
    await bench.vmg();
    await bench.server.connected();
    await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
    const before = operations(bench).ECU_002;
    for (const each of [fault].flat()) bench.bench.ecu("ECU_001").inject(each);
    const end = await run(bench, await bench.package(["ECU_001", "ECU_002", "ECU_003"]));
    assert.equal(end.status, "failed");
    assert.match(String(end.error), message);
    const [first, second, third] = ecusOf(end);
    // One that answers nobody cannot be asked what it runs.
    assert.equal(first.status, what === "falls silent" ? "failed" : "rolled_back");
    assert.match(String(first.error), message);
    assert.equal(second.status, "cancelled");
    assert.equal(operations(bench).ECU_002, before);
    // The other gateway's ECU was begun already, or was not.
    assert.match(third.status, /^(rolled_back|cancelled)$/);
    assert.deepEqual(bench.bench.ecus.map(({ version }) => version), ["1.0.0", "1.0.0", "1.0.0"]);
  });
}

Deno.test("a connection that a zonal gateway loses in mid-flash is had again, and the update completes", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
  bench.bench.ecu("ECU_001").inject({ kind: "close_connection", service: 0x36, occurrence: 2 });
  const end = await run(bench, await bench.package(["ECU_001", "ECU_002"]));
  assert.equal(end.status, "completed");
  assert.deepEqual(ecusOf(end).map(({ status }) => status), ["completed", "completed"]);
  assert.equal(bench.bench.ecu("ECU_001").version, "1.2.3");
});

/** Slows an ECU's transfer down, so that something can happen in the middle of it. */
function slow(bench: TestBench, ecuId: string, blocks = 5): void {
  for (let occurrence = 1; occurrence <= blocks; occurrence++) {
    bench.bench.ecu(ecuId).inject({ kind: "late_answer", service: 0x36, occurrence, delay: 250 });
  }
}

async function installing(bench: TestBench, ecuId: string): Promise<void> {
  await bench.server.until(
    `${ecuId} is in its transfer`,
    () =>
      bench.server.messages("ota/status").some((report) =>
        ecusOf(report).some((ecu) =>
          ecu.ecu_id === ecuId && ecu.status === "installing" && ecu.progress >= 15
        )
      ),
  );
}

Deno.test("a cancel in mid-flash stops it between two requests, and the ECU runs its old software", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001", "ECU_002"]);
  offer(bench, made);
  slow(bench, "ECU_001");
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await installing(bench, "ECU_001");
  await bench.server.send(`vehicle/${vmgId}/control`, {
    message_id: "cancel-1",
    command: "CANCEL_OTA_UPDATE",
    update_id: command.update_id,
  });
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "cancelled", JSON.stringify(end));
  assert.deepEqual(statuses(end), { ECU_001: "rolled_back", ECU_002: "cancelled" });
  assert.equal(bench.bench.ecu("ECU_001").version, "1.0.0");
  // The ECU is whole enough for the next update.
  bench.bench.ecu("ECU_001").clearFaults();
  assert.equal((await run(bench, await bench.package(["ECU_001"]))).status, "completed");
});

Deno.test("a cancelled ECU with one bank gets its old software back, byte for byte, and takes another update", async () => {
  await using bench = await TestBench.start({ banks: 1 });
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001"]);
  offer(bench, made);
  const before = bench.bench.ecu("ECU_001").readMemory(0, 32_768);
  slow(bench, "ECU_001");
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await installing(bench, "ECU_001");
  await bench.server.send(`vehicle/${vmgId}/control`, {
    message_id: "cancel-1",
    command: "CANCEL_OTA_UPDATE",
    update_id: command.update_id,
  });
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "cancelled");
  assert.deepEqual(statuses(end), { ECU_001: "rolled_back" });
  assert.equal(bench.bench.ecu("ECU_001").version, "1.0.0");
  assert.deepEqual(bench.bench.ecu("ECU_001").readMemory(0, 32_768), before);
  await eventually(
    "the backup is deleted",
    () => [...Deno.readDirSync(`${bench.directory}/${vin}/backups`)].length === 0 || undefined,
  );
  bench.bench.ecu("ECU_001").clearFaults();
  assert.equal((await run(bench, await bench.package(["ECU_001"]))).status, "completed");
});

Deno.test("a cancel ends a download", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001"]);
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, (_call, response) => {
    response.writeHead(200, { etag: made.etag, "content-length": made.bytes.length });
    response.write(made.bytes.subarray(0, 1_000));
    return "taken";
  });
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await bench.server.until(
    "downloading",
    () => bench.server.messages("ota/status").some(({ status }) => status === "downloading"),
  );
  await bench.server.send(`vehicle/${vmgId}/control`, {
    message_id: "cancel-1",
    command: "CANCEL_OTA_UPDATE",
    update_id: command.update_id,
  });
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "cancelled");
  assert.equal(end.error, "cancelled on request");
});

Deno.test("a cancel that overtakes its start is kept", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001"], { size: 100 });
  const log = offer(bench, made);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, {
    message_id: "cancel-1",
    command: "CANCEL_OTA_UPDATE",
    update_id: command.update_id,
  });
  assert.equal((await bench.server.ended(command.update_id)).status, "cancelled");
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await bench.server.until(
    "the start is heard",
    () => bench.lines.some((line) => line.includes("is known already")),
  );
  assert.deepEqual(log.ranges, []);
});

Deno.test("a gateway that is stopped in mid-flash goes on after its start", async () => {
  await using bench = await TestBench.start();
  const first = await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001", "ECU_002", "ECU_003"]);
  const log = offer(bench, made);
  slow(bench, "ECU_002");
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await installing(bench, "ECU_002");
  const began = Date.now();
  await first.stop();
  assert(Date.now() - began < 5_000, "stopped within 5 s");
  const ends = ["completed", "failed", "cancelled"];
  assert(
    !bench.server.messages("ota/status").some(({ status }) => ends.includes(String(status))),
    "a stop is no end",
  );
  const done = operations(bench);
  bench.bench.ecu("ECU_002").clearFaults();

  await bench.vmg();
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.equal(bench.bench.ecu("ECU_002").version, "1.2.3");
  // What is staged is announced, accepted, taken over, confirmed and committed: five records, and no cell is written again.
  assert.equal(operations(bench).ECU_001, done.ECU_001 + 5, "what is staged is not transferred again");
  assert.equal(log.ranges.length, 1, "the package is not fetched again");
  const seen = bench.server.messages("ota/status").map(({ status }) => String(status));
  assert(
    !seen.slice(seen.indexOf("installing")).includes("downloading"),
    "it is not told to be further back",
  );
});

Deno.test("a gateway whose power was cut in mid-flash goes on after its start", async () => {
  await using bench = await TestBench.start({ banks: 1 });
  await bench.vmg({ directory: `${bench.directory}/lost` });
  await bench.server.connected();
  const made = await bench.package(["ECU_001"]);
  offer(bench, made);
  slow(bench, "ECU_001");
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await installing(bench, "ECU_001");
  // What the disk holds at this moment is what a killed process leaves.
  await Deno.mkdir(`${bench.directory}/${vin}/packages`, { recursive: true });
  for (const name of ["vmg.db", "vmg.db-wal", `packages/${made.packageId}.otap`]) {
    await Deno.copyFile(`${bench.directory}/lost/${name}`, `${bench.directory}/${vin}/${name}`);
  }
  await bench.stop();
  bench.bench.ecu("ECU_001").clearFaults();
  bench.bench.ecu("ECU_001").powerOff();
  await bench.bench.ecu("ECU_001").powerOn();
  assert.equal(bench.bench.ecu("ECU_001").state, "boot");
  bench.server.published.length = 0;
  await bench.vmg();
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.equal(bench.bench.ecu("ECU_001").version, "1.2.3");
});

/** Bytes of a block, and of the image whose download stalls: three whole blocks and a part of one. */
const blockSize = 65_536;
const stalledSize = 200_000;

/** Where the blocks of the package of one such image begin. */
function blockAt(made: TestPackage, block: number): number {
  const view = new DataView(made.bytes.buffer);
  return 16 + view.getUint32(8) + view.getUint32(12) + 32 * 4 + block * blockSize;
}

/** Answers with what ends in the middle of the third block, and goes silent. */
function stall(made: TestPackage): Handler {
  return (_call, response) => {
    response.writeHead(200, { etag: made.etag, "content-length": made.bytes.length });
    response.write(made.bytes.subarray(0, blockAt(made, 2) + 10_000));
    return "taken";
  };
}

/** Whether both whole blocks are on the disk. */
function hasStalled(bench: TestBench, made: TestPackage): boolean {
  try {
    const { size } = Deno.statSync(partOf(bench, made));
    return size === blockAt(made, 2);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function partOf(bench: TestBench, made: TestPackage): string {
  return `${bench.directory}/${vin}/packages/${made.packageId}.otap.part`;
}

/** Begins an update whose download stalls, and stops the gateway there. */
async function stalledDownload(bench: TestBench, made: TestPackage): Promise<string> {
  await bench.vmg();
  await bench.server.connected();
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, stall(made));
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await bench.server.until("a part of the package", () => hasStalled(bench, made));
  await bench.stop();
  return command.update_id;
}

Deno.test("a download goes on with the block that the gateway's end broke off", async () => {
  await using bench = await TestBench.start();
  const made = await bench.package(["ECU_001"], { size: stalledSize });
  const id = await stalledDownload(bench, made);
  const log = offer(bench, made);
  await bench.vmg();
  assert.equal((await bench.server.ended(id)).status, "completed");
  assert.deepEqual(log.ranges, [`bytes=${blockAt(made, 2)}-`]);
});

Deno.test("blocks that lost their bytes with the power are found, and fetched again", async () => {
  await using bench = await TestBench.start();
  const made = await bench.package(["ECU_001"], { size: stalledSize });
  const id = await stalledDownload(bench, made);
  // The file system kept the length and lost the bytes.
  const left = await Deno.readFile(partOf(bench, made));
  left.fill(0, blockAt(made, 1));
  await Deno.writeFile(partOf(bench, made), left);
  const log = offer(bench, made);
  await bench.vmg();
  const end = await bench.server.ended(id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.deepEqual(log.ranges, [`bytes=${blockAt(made, 1)}-`]);
});

Deno.test("a package whose blocks are wrong each time fails the update, and the ECU is not touched", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001"], { size: stalledSize });
  const before = operations(bench);
  const bytes = made.bytes.with(made.bytes.length - 1, made.bytes.at(-1)! ^ 1);
  const log = offer(bench, { ...made, bytes });
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "failed");
  assert.match(
    String(end.error),
    /^metadata: package_content: package: block_hash: ZG_BODY, blob at 0, block 3: \d+ bytes came 3 times and were never/,
  );
  const last = `bytes=${blockAt(made, 3)}-`;
  assert.deepEqual(log.ranges, [undefined, last, last]);
  assert.deepEqual(operations(bench), before);
});

Deno.test("an image that is here already is not fetched again", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001", "ECU_003"], { size: stalledSize });
  assert.equal((await run(bench, made)).status, "completed");
  // The same images once more, in another package: all of it that is fetched is its front.
  const { length } = made.bytes;
  const log = offer(bench, made);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  assert.equal((await bench.server.ended(command.update_id)).status, "completed");
  assert.deepEqual(log.ranges, [undefined]);
  assert.ok(bench.lines.some((line) => line.includes("2 of 2 images are here already and not fetched")));
  assert.ok(length > 400_000);
});

/** Installs version 1.2.3 in ECU_001, and gives version 1.3.0 as a delta to it and whole. */
async function successor(bench: TestBench): Promise<{ delta: TestPackage; whole: TestPackage }> {
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001"], { size: stalledSize });
  assert.equal((await run(bench, made)).status, "completed");
  const old = made.images.get("ECU_001");
  assert(old !== undefined);
  const image = old.slice();
  image.fill(7, 1_000, 2_000);
  const images = new Map([["ECU_001", image]]);
  return {
    delta: await bench.package(["ECU_001"], { images, version: "1.3.0", bases: made.images }),
    whole: await bench.package(["ECU_001"], { images, version: "1.3.0" }),
  };
}

/** The image that the vehicle keeps. */
function keptImage(bench: TestBench): string {
  const folder = `${bench.directory}/${vin}/images`;
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  assert.equal(names.length, 1);
  return `${folder}/${names[0]}`;
}

Deno.test("what was installed is kept and reported, and the next update may be a delta to it", async () => {
  await using bench = await TestBench.start();
  const { delta, whole } = await successor(bench);
  const kept = keptImage(bench);
  await bench.server.until(
    "a VCI that names it",
    () =>
      bench.server.calls.some(({ path, body }) =>
        path.endsWith("/vci") &&
        (body as { ecus: { ecu_id: string; base_sha256?: string }[] }).ecus.some((ecu) =>
          ecu.ecu_id === "ECU_001" && kept.endsWith(`${ecu.base_sha256}.bin`)
        )
      ),
  );
  assert.ok(delta.bytes.length < whole.bytes.length / 10);
  assert.equal((await run(bench, delta)).status, "completed");
  const ecu = bench.bench.ecu("ECU_001");
  assert.equal(ecu.version, "1.3.0");
  assert.deepEqual(ecu.readMemory(0x1000, stalledSize), delta.images.get("ECU_001"));
  const asked = bench.server.calls.filter(({ path }) => path === "/api/v1/ota/package");
  assert.deepEqual(asked, []);
});

for (
  const [what, harm] of [
    ["is gone", (path: string) => Deno.remove(path)],
    ["has a bit flipped", async (path: string) => {
      const bytes = await Deno.readFile(path);
      bytes[100] ^= 1;
      await Deno.writeFile(path, bytes);
    }],
    ["is cut", (path: string) => Deno.truncate(path, 1_000)],
  ] as const
) {
  Deno.test(`a delta whose base ${what} is not fetched: the same update goes on in whole images`, async () => {
    await using bench = await TestBench.start();
    const { delta, whole } = await successor(bench);
    await harm(keptImage(bench));
    const log = offer(bench, whole);
    bench.server.on("POST", "/api/v1/ota/package", ({ body }) => ({
      status: 201,
      body: {
        status: "ready",
        package_id: whole.packageId,
        download_url: `/api/v1/ota/package/${whole.packageId}`,
        update_id: (body as { update_id: string }).update_id,
        size: whole.bytes.length,
        sha256: createHash("sha256").update(whole.bytes).digest("hex"),
      },
    }));
    const end = await run(bench, delta);
    assert.equal(end.status, "completed", JSON.stringify(end));
    const [asked, ...more] = bench.server.calls.filter(({ path }) => path === "/api/v1/ota/package");
    assert.deepEqual(more, []);
    assert.deepEqual(asked.body, { vehicle_id: vin, update_id: end.update_id, deltas: false });
    assert.deepEqual(log.ranges, [undefined]);
    const ecu = bench.bench.ecu("ECU_001");
    assert.equal(ecu.version, "1.3.0");
    assert.deepEqual(ecu.readMemory(0x1000, stalledSize), whole.images.get("ECU_001"));
    // The end is reported before the vehicle tidies up.
    await eventually(
      "no package stays",
      () => [...Deno.readDirSync(`${bench.directory}/${vin}/packages`)].length === 0 || undefined,
    );
  });
}

for (const mqtt of ["up", "away"] as const) {
  Deno.test(`a download under way ends with the address that it came to, MQTT being ${mqtt}, and goes on from the next`, async () => {
    const network = {
      own: new Set(["127.0.0.1"]),
      addresses: () => network.own,
      sourceFor: () => Promise.resolve(undefined),
    };
    // Time-outs and keep-alive are far away: only the change of address ends what hangs.
    const link = { network, keepalive: 600, interfaceInterval: 20, requestTimeout: 600_000 };
    await using bench = await TestBench.start({ vmg: { link } });
    await bench.vmg();
    await bench.server.connected();
    const made = await bench.package(["ECU_001"], { size: stalledSize });
    const ranges: (string | undefined)[] = [];
    const file = serveFile({ bytes: made.bytes, etag: () => made.etag });
    bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, (call, response) => {
      ranges.push(call.headers.range);
      return ranges.length > 1 ? file.handler(call, response) : stall(made)(call, response);
    });
    const command = bench.start(made);
    await bench.server.send(`vehicle/${vmgId}/control`, command);
    await bench.server.until("the download hangs", () => ranges.length === 1 && hasStalled(bench, made));
    if (mqtt === "away") {
      bench.server.refuse(true);
      await bench.server.endMqtt();
      await bench.server.until(
        "the loss",
        () => bench.lines.some((line) => line.includes("Connection lost")),
      );
    }
    network.own = new Set(["127.0.0.2"]);
    await bench.server.until("the download goes on", () => ranges.length === 2);
    bench.server.refuse(false);
    network.own = new Set(["127.0.0.1"]);
    const end = await bench.server.ended(command.update_id);
    assert.equal(end.status, "completed", JSON.stringify(end));
    // The link was lost, not the gateway: it goes on within the block.
    assert.equal(ranges[1], `bytes=${blockAt(made, 2) + 10_000}-`);
  });
}
