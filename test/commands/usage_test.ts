// The command line as a user meets it: help, wrong usage, exit codes.

import assert from "node:assert/strict";
import { join } from "node:path";
import { Program, temporaryFolder } from "../support/program.ts";

async function run(args: string[], common = false) {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  if (common) return await new Program({ data, network: "127.0.102.0/24" }).run(args);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-P=program", "src/main.ts", ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("--help ends with 0 and names every command", async () => {
  const { code, stdout } = await run(["--help"]);
  assert.equal(code, 0);
  for (
    const command of ["serve", "pki", "repo", "firmware", "update", "vci", "discover", "diag", "dtc", "flash"]
  ) {
    assert.match(stdout, new RegExp(`^  ${command}\\b`, "m"));
  }
});

Deno.test("wrong usage ends with 2 and says what is wrong on standard error", async () => {
  for (
    const [args, message] of [
      [["nonsense"], /unknown command 'nonsense'/],
      [["diag"], /missing required argument 'ECU'/],
      [["serve", "--only", "nothing"], /Allowed choices are server, vmg, bench/],
      [["firmware", "add", "x.hex"], /required option '--ecu-type/],
      [["serve", "--set", "server.https.port=high"], /server\.https\.port.*expected number/],
      [["serve", "--config", "/nowhere.yaml"], /\/nowhere\.yaml: cannot be read/],
      [["diag", "ECU_999", "0x22", "F190"], /no ECU ECU_999 on the bench; there are ECU_001/],
      [["diag", "ECU_001", "22", "F190"], /SERVICE 22: must be a service id such as 0x22/],
      [["diag", "ECU_001", "0x22", "F19"], /DATA F19: must be hexadecimal digits/],
      [
        ["dtc", "ECU_001", "--status", "failed"],
        /--status: status mask: expected .*testFailed.*got "failed"/,
      ],
      [["dtc", "ECU_001", "--clear", "P9999"], /--clear: DTC: expected e\.g\. P0562-16.*got "P9999"/],
      [
        ["flash", "ECU_001", "a.hex", "ECU_002"],
        /expected pairs of ECU and FILE, got ECU_002 without a file/,
      ],
      [["flash", "ECU_001", "a.hex", "ECU_001", "b.hex"], /expected each ECU once, got ECU_001 twice/],
      [["pki", "issue", "vehicle"], /missing required argument 'VIN'/],
      [
        ["restore", "x", "--without-keys", "--pass-file", "y"],
        /'--without-keys' cannot be used with option '--pass-file <file>'/,
      ],
      [["pki", "issue", "vehicle", "SHORT"], /VIN: expected 17 characters.*got "SHORT"/],
      [["update", "start", "--vin", "V", "--mode", "soon"], /choices are forced, when-parked, approve/],
      [["update", "start", "--vin", "V", "--retries", "11"], /expected a whole number from 0 to 10/],
      [["update", "start", "--vin", "V", "--timeout", "1w"], /expected a time from 1s to 365d/],
      [
        ["firmware", "add", "x", "--condition", "speed<0"],
        /expected a signal and a limit such as speed<=0, .*got "speed<0"/,
      ],
      [["firmware", "add", "x", "--depends-on", "DOOR@1"], /expected an ECU type .*got "DOOR@1"/],
      [["firmware", "add", "x", "--release", "-1"], /expected a whole number from 0 to 4294967295/],
      [
        ["firmware", "add", "x", "--version", "1.x"],
        /expected a semantic version such as 1\.10\.0, got "1\.x"/,
      ],
    ] as const
  ) {
    const { code, stdout, stderr } = await run([...args]);
    assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, message);
    assert.equal(stdout, "");
  }
});

Deno.test("a server that does not run is a failure that says how to start it", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.102.0/24" });
  assert.equal((await program.run(["pki", "init"])).code, 0);
  assert.equal((await program.run(["pki", "issue", "operator", "bench"])).code, 0);
  const { code, stderr } = await program.run(["firmware", "list"]);
  assert.equal(code, 1);
  assert.match(stderr, /Is the server running\? Start it with: deno task zonebench serve/);
});

Deno.test("where no gateway has run there is no update to approve, and that is said", async () => {
  for (const args of [["vehicle", "updates"], ["vehicle", "approve"]]) {
    const { code, stderr } = await run(args, true);
    assert.equal(code, 1);
    assert.match(stderr, /no gateway has run with the folder .*KMHZB00BENCH00001/);
  }
});

Deno.test("without certificates a command says where they were looked for", async () => {
  const { code, stderr } = await run(["firmware", "list"], true);
  assert.equal(code, 1);
  assert.match(stderr, /operator-bench\.crt: not there/);
});

Deno.test("pki issues a vehicle's certificate with a private key for its owner alone", async () => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const program = new Program({ data, network: "127.0.102.0/24" });
  assert.equal((await program.run(["pki", "init"])).code, 0);
  const { code, stdout } = await program.run(["pki", "issue", "vehicle", "KMHZB00BENCH00077"]);
  assert.equal(code, 0);
  assert.match(stdout, /vehicle-KMHZB00BENCH00077\.crt/);
  const { mode } = await Deno.stat(join(data, "pki", "vehicle-KMHZB00BENCH00077.key"));
  assert.equal(mode! & 0o777, 0o600);
  const shown = await program.json(["pki", "show"]) as {
    file: string;
    algorithm: string;
    has_key: boolean;
  }[];
  assert.deepEqual(shown.map((it) => it.file), ["ca.crt", "server.crt", "vehicle-KMHZB00BENCH00077.crt"]);
  const bad = await program.run(["pki", "issue", "vehicle", "NOT-A-VIN"]);
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /expected 17 characters/);
});

Deno.test("nothing answers where no bench is, and discover says so", async () => {
  const { code, stderr } = await run(["discover", "--timeout", "0.3"], true);
  assert.equal(code, 1);
  assert.match(stderr, /no gateway answered within 0\.3 s; is the bench on\?/);
});
