// Processes that are killed in mid-update: what was acknowledged is still there, and the update ends in a defined state.

import assert from "node:assert/strict";
import { join } from "node:path";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { eventually, Program, type Serving, temporaryFolder, verifiedReport } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

interface UpdateState {
  status: string;
  progress: number;
  error: string | null;
}

/** Vehicle registered, an image in the catalogue, an update that has begun to install. */
async function updateUnderWay(program: Program, folder: string): Promise<string> {
  await verifiedReport(program, vin);
  const file = join(folder, "body.hex");
  await Deno.writeTextFile(file, intelHex([{ address: 0, bytes: sampleBytes(200_000, 11) }]));
  const args = ["firmware", "add", file, "--hardware", "1.0", "--version", "1.1.0", "--ecu-type"];
  for (const type of ["BODY_CONTROLLER", "DOOR_MODULE", "LIGHT_CONTROLLER"]) {
    await program.json([...args, type]);
  }
  const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
  await eventually(
    "the update installs",
    async () => (await stateOf(program, update_id)).status === "installing" ? true : undefined,
  );
  return update_id;
}

async function stateOf(program: Program, id: string): Promise<UpdateState> {
  const updates = await program.json(["update", "list"]) as (UpdateState & { update_id: string })[];
  const update = updates.find((it) => it.update_id === id);
  assert.ok(update, `update ${id} is in the store`);
  return update;
}

async function completed(program: Program, id: string, logs: Serving[]): Promise<void> {
  const watch = await program.run(["update", "watch", id, "--json", "--timeout", "120"]);
  assert.equal(watch.code, 0, [watch.stderr, ...logs.map((it) => it.log)].join("\n-----\n"));
  for (const ecu of ["ECU_005", "ECU_006", "ECU_007"]) {
    const version = await program.json(["diag", ecu, "0x22", "F189"]) as { response: string };
    assert.equal(version.response, "62F189312E312E30", `${ecu} runs 1.1.0`);
  }
}

Deno.test("the server is killed in mid-update: it comes back with all it knew, and the update goes on to its end", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.47.0/24",
    timing: "realistic",
    settings: ["vmg.telemetry_interval=0.2", "vmg.reconnect_max=2"],
  });
  await using first = await program.serve(["--only", "server"]);
  await using bench = await program.serve(["--only", "bench"], "Bench running");
  await using vmg = await program.serve(["--only", "vmg"], "[MQTT] Connected");
  const id = await updateUnderWay(program, folder.path);
  await first.logged("Telemetry from");
  first.kill("SIGKILL");
  await first.ended;

  await using second = await program.serve(["--only", "server"]);
  const catalogue = await program.json(["firmware", "list"]) as unknown[];
  assert.equal(catalogue.length, 3);
  assert.ok((await program.run(["vci", vin, "--json"])).code === 0, "the vehicle and its report are there");
  await completed(program, id, [second, vmg, bench]);
});

Deno.test("everything is killed in mid-update: after the restart the update goes on to its end", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.48.0/24",
    timing: "realistic",
    settings: ["vmg.reconnect_max=2"],
  });
  await using first = await program.serve();
  const id = await updateUnderWay(program, folder.path);
  first.kill("SIGKILL");
  await first.ended;
  await using second = await program.serve();
  await completed(program, id, [second]);
  assert.equal(await second.stop(), 0, second.log);
});
