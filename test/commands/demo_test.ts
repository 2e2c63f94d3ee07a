// `zonebench demo`, as a user meets it: in a terminal and without one, to its end, failing, and interrupted.

import assert from "node:assert/strict";
import { join } from "node:path";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

const decoder = new TextDecoder();
const program = [Deno.execPath(), "run", "--no-check", "-P=program", "src/main.ts"];

interface Demo {
  args: string[];
  /** Where it may make its temporary folder. */
  temporary: string;
}

function command({ args, temporary }: Demo, [name, ...before] = program) {
  return new Deno.Command(name, {
    args: [...before, ...args],
    env: { NO_COLOR: "1", TMPDIR: temporary },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

async function run(demo: Demo) {
  const { code, stdout, stderr } = await command(demo).output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name);
}

const fast = ["demo", "--fast", "--set", "bench.network=127.0.80.0/24"];

Deno.test("the demo shows all steps with their commands, verifies them, and leaves nothing", async () => {
  await using folder = await temporaryFolder();
  const { code, stdout, stderr } = await run({ args: fast, temporary: folder.path });
  assert.equal(code, 0, stdout + stderr);
  for (const step of ["1/7  The bench", "4/7  The vehicle moves", "7/7  Fault memory"]) {
    assert.ok(stdout.includes(step), step);
  }
  for (
    const shown of [
      "$ zonebench discover\n",
      "$ zonebench vci KMHZB00BENCH00001\n",
      "light.bin --base-address 0x0 --ecu-type LIGHT_CONTROLLER --hardware 1.0 --version 1.1.0\n",
      "$ zonebench update start --vin KMHZB00BENCH00001\n",
      "$ zonebench diag ECU_003 0x22 F190 --via-server\n",
      "$ zonebench dtc ECU_001 --clear P0562-16\n",
    ]
  ) assert.ok(stdout.includes(shown), shown);
  assert.match(stdout, /✓ its links were negotiated with X25519MLKEM768\n/);
  assert.match(stdout, /✓ it is back from 127\.0\.79\.22 after \d+ ms/);
  assert.match(stdout, /All 7 steps done, 22 checks held/);
  // deno-lint-ignore no-control-regex -- colours are what is looked for
  assert.doesNotMatch(stdout, /\x1b/);
  assert.deepEqual(namesIn(folder.path), []);
});

Deno.test("a check that does not hold ends the demo with 1, says what was expected, and shows the log", async () => {
  await using folder = await temporaryFolder();
  const classical = ["--set", "server.tls.profiles=[0]"];
  const { code, stdout, stderr } = await run({ args: [...fast, ...classical], temporary: folder.path });
  assert.equal(code, 1, stdout);
  assert.match(stderr, /error: expected: its links were negotiated with X25519; found: X25519\n/);
  assert.match(stderr, /INFO - \[HTTPS\]/);
  assert.doesNotMatch(stdout, /The catalogue/);
  assert.deepEqual(namesIn(folder.path), []);
});

Deno.test("the demo keeps its data where it is told to, and refuses a folder with something in it", async () => {
  await using folder = await temporaryFolder();
  await Deno.writeTextFile(join(folder.path, "mine"), "");
  const full = await run({ args: [...fast, "--data", folder.path], temporary: folder.path });
  assert.equal(full.code, 2);
  assert.match(full.stderr, /expected a folder that is new or empty/);
  assert.deepEqual(namesIn(folder.path), ["mine"]);

  const data = join(folder.path, "kept");
  // It need not go to its end for that.
  const child = command({ args: [...fast, "--data", data], temporary: folder.path }).spawn();
  const output = child.stdout.pipeThrough(new TextDecoderStream());
  let shown = "";
  for await (const text of output) {
    shown += text;
    if (shown.includes("The catalogue") && !shown.includes("The update begins")) child.kill("SIGINT");
  }
  const errors = await new Response(child.stderr).text();
  assert.equal((await child.status).code, 1);
  assert.match(errors, /error: interrupted/);
  assert.deepEqual(namesIn(data).sort(), ["body.bin", "data", "demo.log", "light.bin"]);
});

Deno.test("--pause wants a terminal", async () => {
  await using folder = await temporaryFolder();
  const { code, stderr } = await run({ args: [...fast, "--pause"], temporary: folder.path });
  assert.equal(code, 2);
  assert.match(stderr, /--pause: expected a terminal/);
});

interopTest(
  "on a terminal --pause waits for a key before each step, and q ends",
  [peers.script],
  async () => {
    await using folder = await temporaryFolder();
    const line = [...program, ...fast, "--pause"].join(" ");
    const child = new Deno.Command("script", {
      args: ["-qefc", line, "/dev/null"],
      env: { TMPDIR: folder.path, TERM: "xterm", NO_COLOR: "" },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const keys = child.stdin.getWriter();
    let shown = "";
    let asked = 0;
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      shown += text;
      while (shown.split("any key goes on").length - 1 > asked) {
        asked++;
        await keys.write(new TextEncoder().encode(asked === 1 ? " " : "q"));
      }
    }
    await keys.close();
    assert.equal((await child.status).code, 1, shown);
    assert.equal(asked, 2);
    assert.match(shown, /3 gateways answer/);
    assert.doesNotMatch(shown, /firmware add/);
    assert.ok(shown.includes("\x1b[1m1/7"), "headings are bold on a terminal");
    assert.deepEqual(namesIn(folder.path), []);
  },
);
