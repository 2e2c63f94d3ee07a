// The whole path: a firmware file from the catalogue into the memory of an ECU, and back out of it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { RestClient } from "../../src/contract/client.ts";
import { routes } from "../../src/contract/routes.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { profileById } from "../../src/pqc/profiles.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";
import { intelHex, type Part, sampleBytes, sRecord } from "../support/firmware_files.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

interface VciReport {
  ecus: { ecu_id: string; sw_version?: string; status: string }[];
  outdated_ecus: { ecu_id: string }[];
}

/** Reads an ECU's memory with 0x23, straight over the bus. */
async function readBack(program: Program, ecu: string, part: Part): Promise<Uint8Array> {
  const result = new Uint8Array(part.bytes.length);
  for (let at = 0; at < result.length;) {
    const length = Math.min(2048, result.length - at);
    const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
    const answer = await program.json(["diag", ecu, "0x23", `44${hex(part.address + at)}${hex(length)}`]) as {
      response: string;
    };
    assert.equal(answer.response.slice(0, 2), "63");
    assert.equal(answer.response.length, 2 + 2 * length);
    result.set(Uint8Array.fromHex(answer.response.slice(2)), at);
    at += length;
  }
  return result;
}

async function vciOf(program: Program): Promise<VciReport> {
  return await program.json(["vci", vin]) as VciReport;
}

Deno.test("Intel HEX, S-record and binary files go from the catalogue into the ECUs, byte for byte", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.41.0/24",
    freshDatabase: true,
  });
  const parts = {
    hex: [{ address: 0x0000_0000, bytes: sampleBytes(5000, 1) }, {
      address: 0x1000_1014,
      bytes: sampleBytes(28, 2),
    }],
    srec: [{ address: 0x0800_0000, bytes: sampleBytes(4096, 3) }],
    bin: [{ address: 0x8000_4000, bytes: sampleBytes(3000, 4) }],
  };
  const file = (name: string) => join(folder.path, name);
  await Deno.writeTextFile(file("body.hex"), intelHex(parts.hex));
  await Deno.writeTextFile(file("door.s37"), sRecord(parts.srec));
  await Deno.writeFile(file("engine.bin"), parts.bin[0].bytes);

  const serving = await program.serve();
  try {
    const before = await eventually("the vehicle's first report", async () => {
      const { code, stdout } = await program.run(["vci", vin, "--json"]);
      return code === 0 ? JSON.parse(stdout) as VciReport : undefined;
    });
    assert.equal(before.ecus.length, 8);
    assert.ok(before.ecus.every((ecu) => ecu.status === "ok" && ecu.sw_version === "1.0.0"));
    assert.deepEqual(before.outdated_ecus, []);

    const add = (name: string, type: string, version: string, more: string[] = []) =>
      program.json([
        "firmware",
        "add",
        file(name),
        "--ecu-type",
        type,
        "--hardware",
        "1.0",
        "--version",
        version,
        ...more,
      ]);
    const image = await add("body.hex", "BODY_CONTROLLER", "1.10.0") as { image_id: string; size: number };
    assert.equal(image.size, (await Deno.stat(file("body.hex"))).size);
    // By text 1.9.9 is the newer of the two; by version it is not.
    await add("door.s37", "BODY_CONTROLLER", "1.9.9");
    await add("door.s37", "DOOR_MODULE", "2.0.0");
    await add("engine.bin", "ENGINE_CONTROLLER", "1.0.1", ["--base-address", "0x80004000"]);

    const outdated = await vciOf(program);
    assert.deepEqual(
      outdated.outdated_ecus.map((ecu) => ecu.ecu_id).sort(),
      ["ECU_001", "ECU_005", "ECU_006"],
    );

    const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
    const watch = await program.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
    const lines = watch.stdout.trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(lines.at(-1).status, "completed", `${watch.stderr}\n${serving.log}`);
    assert.equal(watch.code, 0);
    assert.equal(lines.at(-1).progress, 100);
    for (let at = 1; at < lines.length; at++) {
      assert.ok(lines[at].progress >= lines[at - 1].progress, "progress never goes back");
    }

    for (
      const [ecu, image] of [["ECU_005", parts.hex], ["ECU_006", parts.srec], ["ECU_001", parts.bin]] as const
    ) {
      for (const part of image) {
        assert.deepEqual(await readBack(program, ecu, part), part.bytes, `${ecu} memory`);
      }
    }
    const version = await program.json(["diag", "ECU_005", "0x22", "F189"]) as { response: string };
    // 62 F189 "1.10.0"
    assert.equal(version.response, "62F189312E31302E30");

    const after = await eventually("the report after the update", async () => {
      const report = await vciOf(program);
      return report.outdated_ecus.length === 0 ? report : undefined;
    });
    const versions = Object.fromEntries(after.ecus.map((ecu) => [ecu.ecu_id, ecu.sw_version]));
    assert.deepEqual([versions.ECU_001, versions.ECU_005, versions.ECU_006], ["1.0.1", "1.10.0", "2.0.0"]);
    assert.equal(versions.ECU_002, "1.0.0", "an ECU that had no update keeps its version");

    const nothing = await program.run(["update", "start", "--vin", vin]);
    assert.equal(nothing.code, 1, "nothing is outdated any more");
  } finally {
    assert.equal(await serving.stop(), 0, serving.log);
  }
});

Deno.test("a request through server, MQTT and DoIP gives the same answer as straight over the bus", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.42.0/24" });
  await using serving = await program.serve();
  await serving.logged("[MQTT] New connection");
  await eventually(
    "the vehicle is registered",
    async () => (await program.run(["vci", vin, "--json"])).code === 0 ? true : undefined,
  );
  const expected = {
    request: "22F190",
    response: "62F190" + [...vin].map((c) => c.charCodeAt(0).toString(16).toUpperCase()).join(""),
  };
  assert.deepEqual(await program.json(["diag", "ECU_003", "0x22", "F190"]), expected);
  assert.deepEqual(await program.json(["diag", "ECU_003", "0x22", "F190", "--via-server"]), expected);

  const refused = await program.run(["diag", "ECU_003", "0x22", "0000", "--via-server", "--json"]);
  assert.equal(refused.code, 1);
  const outcome = JSON.parse(refused.stdout);
  assert.equal(outcome.nrc, "0x31");
  assert.match(refused.stderr, /requestOutOfRange/);
  assert.equal(await serving.stop("SIGTERM"), 0);
});

Deno.test("discover finds the gateways of the bench with their ECUs", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.43.0/24" });
  const serving = await program.serve(["--only", "bench"], "Bench running");
  try {
    const found = await program.json(["discover"]) as {
      address: string;
      port: number;
      logical_address: number;
      vin: string;
      eid: string;
      ecus: { ecu_id: string; logical_address: number }[];
    }[];
    found.sort((a, b) => a.address < b.address ? -1 : 1);
    assert.deepEqual(found.map((it) => [it.address, it.port, it.logical_address, it.vin]), [
      ["127.0.43.1", 13400, 0x1001, vin],
      ["127.0.43.2", 13400, 0x1002, vin],
      ["127.0.43.3", 13400, 0x1003, vin],
    ]);
    assert.deepEqual(found[0].ecus, [
      { ecu_id: "ECU_001", logical_address: 0x1101 },
      { ecu_id: "ECU_002", logical_address: 0x1102 },
    ]);
  } finally {
    assert.equal(await serving.stop(), 0);
  }
});

Deno.test("a file goes straight into an ECU and stays there when the bench restarts", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.44.0/24" });
  const part = { address: 0x2000, bytes: sampleBytes(9000, 7) };
  const file = join(folder.path, "light.hex");
  await Deno.writeTextFile(file, intelHex([part]));
  const first = await program.serve(["--only", "bench"], "Bench running");
  try {
    const result = await program.json(["flash", "ECU_007", file, "--version", "3.2.1"]) as Record<
      string,
      unknown
    >;
    assert.equal(result.version, "3.2.1");
    assert.equal(result.bytes, 9000);
  } finally {
    first.kill("SIGKILL");
    await first.ended;
  }
  const second = await program.serve(["--only", "bench"], "Bench running");
  try {
    const version = await program.json(["diag", "ECU_007", "0x22", "F189"]) as { response: string };
    assert.equal(version.response, "62F189332E322E31");
    assert.deepEqual(await readBack(program, "ECU_007", part), part.bytes);
  } finally {
    await second.stop();
  }
});

Deno.test("with ML-KEM-1024 and ML-DSA-87 alone a whole update goes through, and the registry says so", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.45.0/24",
    settings: ["server.tls.profiles=[12]"],
  });
  // What was issued for the default profile before is issued anew for this one.
  const init = await program.run(["pki", "init"]);
  assert.equal(init.code, 0, init.stderr);
  for (const holder of [["operator", "bench"], ["vehicle", vin]]) {
    const issued = await program.run(["pki", "issue", ...holder, "--profile", "2"]);
    assert.equal(issued.code, 0, issued.stderr);
  }
  const part = { address: 0x2000, bytes: sampleBytes(5000, 9) };
  const file = join(folder.path, "light.hex");
  await Deno.writeTextFile(file, intelHex([part]));
  await using serving = await program.serve();
  await serving.logged(`TLS handshake successful (MLKEM1024, ML-DSA-87) vehicle-${vin}`);
  await eventually(
    "the vehicle's first report",
    async () => (await program.run(["vci", vin, "--json"])).code === 0 ? true : undefined,
  );
  await program.json([
    ...["firmware", "add", file, "--ecu-type", "LIGHT_CONTROLLER", "--hardware", "1.0", "--version", "1.1.0"],
  ]);
  const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
  const watch = await program.run(["update", "watch", update_id, "--json", "--timeout", "60"]);
  assert.equal(watch.code, 0, `${watch.stderr}\n${serving.log}`);
  assert.deepEqual(await readBack(program, "ECU_007", part), part.bytes);

  const { trust, algorithm, ...credentials } = await loadCredentials(
    join(folder.path, "data", "pki"),
    "operator-bench",
  );
  assert.equal(algorithm, "ML-DSA-87");
  const agent = httpsAgent({ credentials, profile: profileById(12), trust });
  try {
    const origin = `https://127.0.0.1:${program.httpsPort}`;
    const { links } = await new RestClient({ origin, dispatcher: agent })
      .call(routes.getVehicle, { path: { vin } });
    assert.deepEqual(
      links.map(({ listener, protocol, group, signature_scheme }) => [
        listener,
        protocol,
        group,
        signature_scheme,
      ]),
      [["https", "TLSv1.3", "MLKEM1024", "mldsa87"], ["mqtt", "TLSv1.3", "MLKEM1024", "mldsa87"]],
    );
  } finally {
    await agent.destroy();
  }
  const stranger = await program.run(["vci", vin, "--set", "vmg.tls.profile=2"]);
  assert.equal(stranger.code, 1);
  assert.match(stranger.stderr, /pki issue operator bench --profile 2/);
  assert.equal(await serving.stop(), 0, serving.log);
});
