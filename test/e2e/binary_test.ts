// The whole product from one file, copied to a machine with no Deno, no Node and no network.

import assert from "node:assert/strict";
import { join } from "node:path";
import { type FieldMachine, fieldTest } from "../support/field_machine.ts";
import { intelHex, type Part, sampleBytes } from "../support/firmware_files.ts";
import { peers, present } from "../support/peers.ts";
import { type CommandResult, eventually, Program, type Serving } from "../support/program.ts";
import { type WiredBench, wiredBench } from "../support/wired_bench.ts";

const vin = "KMHZB00BENCH00001";
const decoder = new TextDecoder();

/** The executable, with the default bench as `user` sees it: gateways at addresses, a CAN adapter behind a PTY. */
function benches(machine: FieldMachine, text: string): { hardware: Program; user: Program } {
  const common = {
    network: "127.0.70.0/24",
    program: [machine.program],
    within: machine.within,
    freshDatabase: true,
  };
  const pty = join(machine.bench, "ttyCAN");
  const files = wiredBench(text, "127.0.70", pty);
  const made = (name: keyof WiredBench) => {
    const file = join(machine.bench, `${name}.yaml`);
    Deno.writeTextFileSync(file, files[name]);
    return new Program({ ...common, data: name, more: ["--bench", file] });
  };
  return { hardware: made("hardware"), user: made("user") };
}

/** Runs the executable with nothing but what is given. */
async function run(machine: FieldMachine, args: string[]): Promise<CommandResult> {
  const [command, ...rest] = [...machine.within, machine.program, ...args];
  const { code, stdout, stderr } = await new Deno.Command(command, { args: rest, stdin: "null" }).output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Starts `serve` and gives how long it took to be ready, in seconds. */
async function timed(program: Program): Promise<{ serving: Serving; seconds: number }> {
  const begun = performance.now();
  const serving = await program.serve();
  return { serving, seconds: (performance.now() - begun) / 1000 };
}

async function firstReport(user: Program): Promise<void> {
  await eventually("the vehicle's first report names every ECU with its version", async () => {
    const { code, stdout } = await user.run(["vci", vin, "--json"]);
    if (code !== 0) return undefined;
    const { ecus } = JSON.parse(stdout) as { ecus: { status: string }[] };
    return ecus.length === 8 && ecus.every(({ status }) => status === "ok") ? true : undefined;
  });
}

/** Puts an image for each ECU into the catalogue and takes them all into the vehicle. */
async function update(machine: FieldMachine, user: Program, version: string): Promise<[string, Part][]> {
  const parts: [string, string, Part][] = [
    ["ECU_005", "BODY_CONTROLLER", { address: 0x2000, bytes: sampleBytes(4000, 71) }],
    ["ECU_007", "LIGHT_CONTROLLER", { address: 0x2000, bytes: sampleBytes(4000, 72) }],
  ];
  for (const [ecu, type, part] of parts) {
    const file = `${ecu}.hex`;
    await Deno.writeTextFile(join(machine.bench, file), intelHex([part]));
    await user.json(["firmware", "add", file, "--ecu-type", type, "--hardware", "1.0", "--version", version]);
  }
  const { update_id } = await user.json(["update", "start", "--vin", vin]) as { update_id: string };
  const watch = await user.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
  assert.equal(watch.code, 0, watch.stderr);
  return parts.map(([ecu, , part]) => [ecu, part]);
}

async function memoryOf(program: Program, ecu: string, { address, bytes }: Part): Promise<Uint8Array> {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
  const request = ["diag", ecu, "0x23", `44${hex(address)}${hex(bytes.length)}`];
  const { response } = await program.json(request) as { response: string };
  assert.equal(response.slice(0, 2), "63");
  return Uint8Array.fromHex(response.slice(2));
}

fieldTest(
  "one file is enough: serve, an update over DoIP and over a PTY, diagnosis, doctor, backup and restore",
  [peers.socat].filter((peer) => !present(peer)),
  async (machine) => {
    const { size } = await Deno.stat(machine.program);
    assert.ok(size <= 110e6, `the executable has ${size} bytes, expected at most 110 MB`);
    const help = await run(machine, ["--help"]);
    assert.equal(help.code, 0, help.stderr);
    assert.match(help.stdout, /^Usage: zonebench <command>/);
    const version = JSON.parse((await run(machine, ["version", "--json"])).stdout);
    assert.match(version.commit, /^([0-9a-f]{40}(\+changes)?|unknown)$/);
    assert.ok(["self-extracting", "deno-compile"].includes(version.kind), version.kind);
    assert.equal((await run(machine, ["no-such-command"])).code, 2);

    const { hardware, user } = benches(machine, await Deno.readTextFile("config/bench.yaml"));
    await using bench = await hardware.serve(["--only", "bench"], "Bench running");
    const first = await timed(user);
    await firstReport(user);
    await first.serving.logged("[MQTT] New connection");
    const found = await user.json(["discover"]) as { address: string }[];
    assert.deepEqual(found.map(({ address }) => address).sort(), [1, 2, 3].map((n) => `127.0.70.${n}`));

    const parts = await update(machine, user, "1.3.0");
    for (const [ecu, part] of parts) assert.deepEqual(await memoryOf(hardware, ecu, part), part.bytes, ecu);
    const vinOfEcu = {
      request: "22F190",
      response: "62F190" + new TextEncoder().encode(vin).toHex().toUpperCase(),
    };
    assert.deepEqual(await user.json(["diag", "ECU_003", "0x22", "F190"]), vinOfEcu);
    const through = await user.run(["diag", "ECU_007", "0x22", "F190", "--via-server", "--json"]);
    assert.equal(through.code, 0, `${through.stderr}\n${first.serving.log}\n${bench.log}`);
    assert.deepEqual(JSON.parse(through.stdout), vinOfEcu);

    const { broken, checks } = await user.json(["doctor"]) as { broken: number; checks: unknown[] };
    assert.equal(broken, 0, JSON.stringify(checks, null, 2));
    await Deno.writeTextFile(join(machine.bench, "pass-phrase"), "of this test alone\n", { mode: 0o600 });
    const keys = ["--pass-file", "pass-phrase"];
    await user.json(["backup", "bench.tar.zst", "--with-keys", ...keys]);
    // Killed: what it held is free again, and what it had acknowledged is there.
    first.serving.kill("SIGKILL");
    await first.serving.ended;
    const second = await timed(user);
    await firstReport(user);
    assert.equal(await second.serving.stop("SIGTERM"), 0, second.serving.log);

    const restored = new Program({ ...user.options, data: "restored" });
    await restored.json(["restore", "bench.tar.zst", ...keys]);
    const third = await timed(restored);
    await firstReport(restored);
    const images = await restored.json(["firmware", "list"]) as { version: string }[];
    assert.deepEqual(images.map(({ version }) => version), ["1.3.0", "1.3.0"]);
    assert.equal(await third.serving.stop(), 0, third.serving.log);
    assert.equal(await bench.stop(), 0, bench.log);

    const [one, two] = [first, second].map(({ seconds }) => seconds.toFixed(2));
    console.log(
      `zonebench ${version.kind}: ${
        (size / 1e6).toFixed(1)
      } MB; ready in ${one} s with a new database, then in ${two} s`,
    );
    const left = (await Array.fromAsync(Deno.readDir(machine.home))).map(({ name }) => name);
    assert.deepEqual(left, version.kind === "self-extracting" ? [".cache"] : []);
  },
);

fieldTest(
  "one file tells the whole story: the demonstration ends well, and leaves nothing behind",
  [],
  async (machine) => {
    const before = (await Array.fromAsync(Deno.readDir(machine.bench))).map(({ name }) => name);
    const { code, stdout, stderr } = await run(machine, ["demo", "--fast"]);
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    assert.match(stdout, /All \d+ steps done, \d+ checks held/);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(machine.bench))).map(({ name }) => name), before);
  },
);
