// ECU types that are not the usual ones, as a user sets them in a bench file: programming behind certificates, flash plans of
// their own, faults; through the commands and through an update.

import assert from "node:assert/strict";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { intelHex, type Part, sampleBytes } from "../support/firmware_files.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

/** Reads an ECU's memory with 0x23, straight over the bus. */
async function readBack(program: Program, ecu: string, { address, bytes }: Part): Promise<Uint8Array> {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
  const { response } = await program.json(["diag", ecu, "0x23", `44${hex(address)}${hex(bytes.length)}`]) as {
    response: string;
  };
  assert.equal(response.slice(0, 2), "63");
  return Uint8Array.fromHex(response.slice(2));
}

/** The default bench, changed. */
// deno-lint-ignore no-explicit-any -- a YAML file of any shape
async function benchFile(folder: string, change: (bench: any) => void): Promise<string> {
  const document = parse(await Deno.readTextFile("config/bench.yaml"));
  change(document.bench);
  const file = join(folder, "bench.yaml");
  await Deno.writeTextFile(file, stringify(document));
  return file;
}

Deno.test("ECUs behind certificates, and ECUs with plans of their own, are flashed by an update and by hand", async () => {
  await using folder = await temporaryFolder();
  const bench = await benchFile(folder.path, ({ ecu_types: types }) => {
    types.ENGINE_CONTROLLER.authentication = { algorithm: "ml-dsa-65" };
    Object.assign(types.BRAKE_CONTROLLER, {
      authentication: { algorithm: "ecdsa-p-256" },
      flash: { steps: { security_access: true } },
    });
    // Its certificate is longer than the first frame of a classic message can say.
    types.LIGHT_CONTROLLER.authentication = { algorithm: "ml-dsa-87" };
    types.DOOR_MODULE.flash = {
      programming_session: 0x42,
      extended_session: 0x43,
      preconditions: [{ routine: 0xd001, option: "0102" }, { did: 0xf442, length: 2, scale: 0.001, min: 12 }],
      fingerprint_did: 0xf15c,
      fingerprint: [{ date: "yymmdd" }, { text: "LAB", length: 8 }],
      erase: "range",
      erase_routine: 0xff10,
      address_bytes: 4,
      size_bytes: 3,
      compression: "deflate",
      data_format: 0x20,
      check_routine: 0x0210,
      check_method: "crc32",
      check_scope: "segments",
      dependencies_routine: 0xff11,
      routine_ok: 0x10,
      reset_type: 3,
      version_did: 0xf195,
    };
    types.DOOR_MODULE.data_identifiers = [{ did: 0xf442, data: "36B0" }];
  });
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.66.0/24",
    more: ["--bench", bench],
  });
  await using serving = await program.serve();
  await eventually("the vehicle's first report", async () => {
    const { code } = await program.run(["vci", vin, "--json"]);
    return code === 0 ? true : undefined;
  });
  const parts: [string, string, Part][] = [
    ["ECU_001", "ENGINE_CONTROLLER", { address: 0x2000, bytes: sampleBytes(4000, 61) }],
    ["ECU_003", "BRAKE_CONTROLLER", { address: 0x2000, bytes: sampleBytes(4000, 62) }],
    ["ECU_006", "DOOR_MODULE", { address: 0x1000, bytes: sampleBytes(4000, 63) }],
    ["ECU_007", "LIGHT_CONTROLLER", { address: 0x2000, bytes: sampleBytes(2000, 64) }],
  ];
  const file = (ecu: string) => join(folder.path, `${ecu}.hex`);
  for (const [ecu, type, part] of parts) {
    await Deno.writeTextFile(file(ecu), intelHex([part]));
    await program.json(
      ["firmware", "add", file(ecu), "--ecu-type", type, "--hardware", "1.0", "--version", "1.3.0"],
    );
  }
  const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
  const watch = await program.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
  assert.equal(watch.code, 0, `${watch.stderr}\n${serving.log}`);
  for (const [ecu, , part] of parts) {
    const { response } = await program.json(["diag", ecu, "0x22", "F195"]) as { response: string };
    assert.equal(response, "62F195312E332E30", `${ecu} version`);
    if (ecu !== "ECU_007") assert.deepEqual(await readBack(program, ecu, part), part.bytes, `${ecu} memory`);
  }
  const { response } = await program.json(["diag", "ECU_006", "0x22", "F15B"]) as { response: string };
  assert.match(response, /^62F15B[0-9]{6}4C41422020202020$/);
  assert.equal(await serving.stop(), 0, serving.log);

  await using again = await program.serve(["--only", "bench"], "Bench running");
  for (const [ecu] of parts) {
    const flashed = await program.json(["flash", ecu, file(ecu), "--version", "1.4.0"]);
    assert.equal((flashed as { version: string }).version, "1.4.0");
  }
  const refused = await program.run(["diag", "ECU_001", "0x29", "08"]);
  assert.equal(refused.code, 0, refused.stderr);
  await Deno.remove(join(folder.path, "data", "pki", "tester-ml-dsa-65.key"));
  const missing = await program.run(["flash", "ECU_001", file("ECU_001"), "--version", "1.5.0"]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /authentication: .*tester-ml-dsa-65\.crt and its key: not there/);
  assert.equal(await again.stop(), 0, again.log);
});

Deno.test("faults of ECUs and of an adapter come from the bench file", async () => {
  await using folder = await temporaryFolder();
  const bench = await benchFile(folder.path, ({ vehicles: [{ gateways, adapters }] }) => {
    const [{ ecus: [engine, battery] }] = gateways;
    engine.faults = [{ kind: "negative_response", service: 0x36, occurrence: 2, nrc: 0x72 }];
    battery.faults = [{ kind: "wrong_block_counter", occurrence: 1 }];
    adapters[0].faults = [
      { kind: "garbage", occurrence: 5, bytes: "00FF0D74210D" },
      { kind: "double", occurrence: 9 },
      { kind: "drop", occurrence: 1, id: 0x18da_f148 },
    ];
  });
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.67.0/24",
    more: ["--bench", bench],
  });
  await using serving = await program.serve(["--only", "bench", "--set", "log.level=debug"], "Bench running");
  const file = join(folder.path, "image.hex");
  await Deno.writeTextFile(file, intelHex([{ address: 0x2000, bytes: sampleBytes(9000, 71) }]));
  const flash = (ecu: string) => program.run(["flash", ecu, file, "--version", "2.0.0"]);
  const refused = await flash("ECU_001");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /transfer_data, block 0x02 at payload offset 4093.*0x72/);
  assert.equal((await flash("ECU_001")).code, 0);
  const repeated = await flash("ECU_002");
  assert.equal(repeated.code, 0, repeated.stderr);
  assert.match(serving.log, /ECU_002: fault wrong_block_counter/);
  const overCan = await flash("ECU_007");
  assert.equal(overCan.code, 0, `${overCan.stderr}\n${serving.log}`);
  const unheard = await program.run(["diag", "ECU_008", "0x22", "F190"]);
  assert.equal(unheard.code, 1);
  assert.match(unheard.stderr, /ECU_008: .*no answer to ReadDataByIdentifier/);
  assert.equal((await program.run(["diag", "ECU_008", "0x22", "F190"])).code, 0);
  for (const kind of ["garbage", "double", "drop"]) assert.match(serving.log, new RegExp(`fault ${kind}`));
  assert.equal(await serving.stop(), 0, serving.log);
});
