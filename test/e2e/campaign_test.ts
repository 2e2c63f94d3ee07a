// Updates that wait: for an approval, for their next attempt. Server and gateway are killed in each wait, and people approve at
// the server and at the vehicle, whose gateway runs in another process.

import assert from "node:assert/strict";
import { join } from "node:path";
import type { Update } from "../../src/contract/ota.ts";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { eventually, Program, temporaryFolder, verifiedReport } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

async function addFirmware(
  program: Program,
  folder: string,
  type: string,
  more: string[] = [],
): Promise<void> {
  await verifiedReport(program, vin);
  const file = join(folder, `${type}.hex`);
  await Deno.writeTextFile(file, intelHex([{ address: 0, bytes: sampleBytes(20_000, 5) }]));
  await program.json([
    ...["firmware", "add", file, "--hardware", "1.0", "--version", "1.1.0", "--ecu-type", type],
    ...more,
  ]);
}

async function begin(program: Program, more: string[]): Promise<string> {
  const { update_id } = await program.json(["update", "start", "--vin", vin, ...more]) as {
    update_id: string;
  };
  return update_id;
}

async function shown(program: Program, id: string): Promise<Update> {
  const updates = await program.json(["update", "list"]) as Update[];
  const update = updates.find(({ update_id }) => update_id === id);
  assert.ok(update, `update ${id} is in the list`);
  return update;
}

async function waitsFor(program: Program, id: string, what: string): Promise<void> {
  await eventually(
    `update ${id} waits for ${what}`,
    async () => (await shown(program, id)).waiting?.for === what ? true : undefined,
    60_000,
  );
}

Deno.test("an update that waits for approval outlives its killed gateway and server, and is approved at the vehicle", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.92.0/24",
    settings: ["vmg.reconnect_max=1", "vmg.update.parked=[]"],
  });
  const server = await program.serve(["--only", "server"]);
  await using _bench = await program.serve(["--only", "bench"], "Bench running");
  const vmg = await program.serve(["--only", "vmg"], "[MQTT] Connected");
  await addFirmware(program, folder.path, "LIGHT_CONTROLLER", ["--release", "3"]);
  const id = await begin(program, ["--mode", "approve", "--timeout", "2h"]);
  await waitsFor(program, id, "approval");
  vmg.kill("SIGKILL");
  await vmg.ended;
  await using second = await program.serve(["--only", "vmg"], "waits for approval");
  server.kill("SIGKILL");
  await server.ended;
  await using _server = await program.serve(["--only", "server"]);
  await waitsFor(program, id, "approval");

  const table = await program.run(["vehicle", "updates"]);
  assert.match(table.stdout, /waits for approval/);
  assert.match(table.stdout, new RegExp(`Next: .*vehicle approve ${id}`));
  const approved = await program.json(["vehicle", "approve"]) as { update_id: string; outcome: string };
  assert.deepEqual(approved, { vin, update_id: id, outcome: "approved" });
  const watch = await program.run(["update", "watch", id, "--timeout", "120"]);
  assert.equal(watch.code, 0, `${watch.stderr}\n${second.log}`);
  const end = await shown(program, id);
  assert.deepEqual([end.status, end.mode, end.approved?.by], ["completed", "approve", "vehicle"]);

  const late = await program.run(["vehicle", "approve", id]);
  assert.equal(late.code, 1);
  assert.match(late.stderr, /no vehicle on this machine has an update/);
  const again = await program.run(["update", "approve", id]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /has ended: completed/);
});

Deno.test("an attempt that failed is followed by the next, over a kill of the server, and the watch goes along", async () => {
  await using folder = await temporaryFolder();
  const bench = join(folder.path, "bench.yaml");
  const text = await Deno.readTextFile(new URL("../../config/bench.yaml", import.meta.url));
  const place = 'part_number: "LC-1007-A",';
  assert.ok(text.includes(place));
  await Deno.writeTextFile(
    bench,
    text.replace(
      place,
      `${place} faults: [{ kind: negative_response, service: 0x36, occurrence: 1, nrc: 0x72 }],`,
    ),
  );
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.93.0/24",
    settings: [
      "vmg.reconnect_max=1",
      "updates.retry_min=12",
      "updates.retry_max=12",
      "maintenance.interval=0.5",
    ],
    more: ["--bench", bench],
  });
  const server = await program.serve(["--only", "server"]);
  await using _bench = await program.serve(["--only", "bench"], "Bench running");
  await using vmg = await program.serve(["--only", "vmg"], "[MQTT] Connected");
  await addFirmware(program, folder.path, "LIGHT_CONTROLLER");
  const id = await begin(program, ["--retries", "2"]);
  await waitsFor(program, id, "retry");
  server.kill("SIGKILL");
  await server.ended;
  await using _server = await program.serve(["--only", "server"]);
  const watch = await program.run(["update", "watch", id, "--timeout", "120"]);
  assert.equal(watch.code, 0, `${watch.stderr}\n${vmg.log}`);
  assert.match(watch.stdout, /completed, attempt 2 of 3/);
  const first = await shown(program, id);
  assert.deepEqual([first.status, first.attempt, first.attempts], ["failed", 1, 3]);
  assert.match(String(first.error), /NRC 0x72/);
  assert.ok(first.retried_by);
  const second = await shown(program, first.retried_by);
  assert.deepEqual([second.status, second.attempt, second.retry_of], ["completed", 2, id]);
});
