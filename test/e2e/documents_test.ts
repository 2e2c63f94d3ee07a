// The README, and what of docs/ is to be copied, word for word: every command of every `sh` block is executed, in its order,
// in a folder such as a fresh clone is, on default ports, without a network. Each must end well and print what it is for.

import assert from "node:assert/strict";
import { join } from "node:path";
import { commandsIn } from "../support/documents.ts";
import { aloneTest } from "../support/namespaces.ts";
import { throughNpx } from "../support/npx.ts";
import { peers, present } from "../support/peers.ts";
import { Serving, temporaryFolder } from "../support/program.ts";

const decoder = new TextDecoder();

/** What each command is to print. One that nothing here fits has no place in a document: nobody would know whether it works. */
const expectations: [command: RegExp, printed: RegExp][] = [
  [/ zonebench demo$/, /All 7 steps done/],
  [/ zonebench discover$/, /127\.0\.10\.1:13400 +0x1001[^]*127\.0\.10\.3:13400/],
  [/ zonebench vci KMHZB00BENCH00001( --set \S+)?$/, /ECU_001 +ENGINE_CONTROLLER[^]*ECU_008/],
  [/ zonebench firmware add /, /BODY_CONTROLLER hardware 1\.0 version 1\.1\.0[^]*intel-hex/],
  [/ zonebench update start /, /Update [0-9a-f-]{36} started/],
  [/ zonebench update watch$/, /Update [0-9a-f-]{36} completed/],
  [/ zonebench update list$/, /KMHZB00BENCH00001 +forced +completed +100 %/],
  [/ zonebench diag ECU_003 0x22 F190( --via-server)?$/, /^62 F1 90 [^]*"KMHZB00BENCH00001"/],
  [/ zonebench diag ECU_001 0x22 F189 --json --decode$/, /"name":"ecuSoftwareVersion","text":"1\.0\.0"/],
  [/ zonebench dtc ECU_001 --snapshot$/, /P0562-16 +0x09[^]*P0562-16 snapshot 0x01/],
  [/ zonebench flash ECU_005 /, /ECU_005 runs version 1\.2\.0/],
  [/^curl .*\/api\/v1\/vehicles$/, /"vin":"KMHZB00BENCH00001"[^]*"status":"online"/],
  [/^curl .*\/healthz$/, /"status":"ok"/],
  [/^mosquitto_pub /, /^$/],
  [/ zonebench version$/, /^zonebench \d[^]*tls\.wasm +sha256:[0-9a-f]{64}/],
  [/ zonebench doctor$/, /All is well\.|Nothing is broken/],
  [/ zonebench repo verify$/, /All \d+ checks passed/],
  [/ zonebench backup backup\.tar\.zst$/, /^backup\.tar\.zst: [^]*\d rows\n +\d+ files/],
  [/ zonebench restore .* --data restored$/, /^restored: restored as of /],
  [/ zonebench licenses$/, /^NAME[^]*rustls/],
  [/ task sbom$/, /dist\/zonebench\.cdx\.json/],
  [/ task check$/, /imports of src and hardware run only along the arrows \.\.\. ok/],
  [/ task bench doip_round_trip$/, /doip_round_trip\n +\S/],
  [/ zonebench pki init /, /Authority made in data\/pki|Authority in data\/pki kept as it is/],
  [/ zonebench pki issue vehicle .*--profile 12$/, /vehicle-KMHZB00BENCH00001\.crt/],
  [/ zonebench pki issue operator alice --profile 12$/, /operator-alice\.crt/],
  [/ zonebench pki show$/, /ca\S*\.crt[^]*alice/],
  [/^python3 -c 'import can;/, /Timestamp:|None/],
  [/ test -P=test test\/wait_test\.ts$/, /ok \| [1-9]\d* passed \| 0 failed/],
];

/** A `serve` does not end by itself: the next one takes its place. */
const serving = /\bserve\b/;

/** The one command that is not executed as it stands: this test is part of it. */
function executed(line: string): string {
  return line.replace(/^(npx -y deno@\S+) task test$/, "$1 test -P=test test/wait_test.ts");
}

const repository = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");

/** Copies what a clone has. */
async function copyProject(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if (from === repository && [".git", "data", "dist", "coverage"].includes(name) || name === "target") {
      continue;
    }
    if (isDirectory) await copyProject(join(from, name), join(to, name));
    else if (isFile) await Deno.copyFile(join(from, name), join(to, name));
  }
}

/** A reader at two terminals: one for `serve`, one for the rest. */
class Reader implements AsyncDisposable {
  #serve: Serving | undefined;

  constructor(readonly within: string[], readonly folder: string, readonly path: string) {}

  /** Types a command and waits until it has done what it is for. */
  async type(line: string): Promise<void> {
    if (serving.test(line)) {
      await this.#stop();
      const child = this.#command(`exec ${line}`).spawn();
      this.#serve = new Serving(child);
      await this.#serve.logged(line.includes("--only bench") ? "Bench running" : "OTA Server Running");
      if (!line.includes("--only bench")) await this.#serve.logged("VCI sent");
      return;
    }
    const typed = executed(line);
    const [, printed] = expectations.find(([command]) => command.test(typed)) ?? [];
    assert.ok(printed !== undefined, `nothing is known of what "${typed}" prints`);
    const { code, stdout, stderr } = await this.#command(typed).output();
    const output = decoder.decode(stdout);
    const all = `${output}${decoder.decode(stderr)}\n${this.#serve?.log.slice(-4_000) ?? ""}`;
    assert.equal(code, 0, `${typed}: exit code ${code}\n${all}`);
    assert.match(output, printed, `${typed}\n${all}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }

  async #stop(): Promise<void> {
    const serve = this.#serve;
    this.#serve = undefined;
    if (serve === undefined) return;
    await using _ = serve;
    // Ctrl+C goes to all of a terminal's programs: npx, Deno's task and the program.
    Deno.kill(-serve.process.pid, "SIGINT");
    const { code } = await serve.ended;
    assert.ok(serve.log.includes("Stopped"), serve.log);
    assert.ok(code === 0 || code === 130, `exit code ${code}`);
  }

  #command(line: string): Deno.Command {
    const [command, ...args] = ["setsid", "--wait", ...this.within, "bash", "-c", line];
    return new Deno.Command(command, {
      args,
      cwd: this.folder,
      env: {
        NO_COLOR: "1",
        PATH: `${this.path}:${Deno.env.get("PATH")}`,
        // What was fetched before is there; nothing else can be.
        npm_config_offline: "true",
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  }
}

/** npx has this version of Deno in its cache; it is fetched where it is not. */
const npxHasDeno = throughNpx(`deno@${Deno.version.deno}`, "--version")?.startsWith(
  `deno ${Deno.version.deno}`,
);

const needed = [peers.curl, peers.mosquittoClients, peers.microbit, peers.pythonCan, peers.socat];
const missing = [
  ...needed.filter((peer) => !present(peer)),
  ...npxHasDeno ? [] : [{ command: "npx", install: "apt-get install npm, with a registry in reach" }],
];

/** Documents whose blocks are to be copied; those on installing and running a service are about other machines. */
const documents: [name: string, begin: string[]][] = [
  ["README.md", []],
  ["docs/hardware.md", ["deno task serve"]],
  ["docs/pqc.md", []],
];

for (const [name, begin] of documents) {
  aloneTest(`every command of ${name} does what the document says`, missing, async (within) => {
    await using temporary = await temporaryFolder();
    const folder = join(temporary.path, "zonebench");
    await copyProject(repository, folder);
    const path = join(temporary.path, "bin");
    await Deno.mkdir(path);
    await Deno.symlink(Deno.execPath(), join(path, "deno"));
    // Debian's own, which has Debian's packages.
    await Deno.symlink(peers.pythonCan.command, join(path, "python3"));
    const commands = commandsIn(name, await Deno.readTextFile(join(folder, name)));
    assert.ok(commands.length > 0);
    await using reader = new Reader(within, folder, path);
    for (const line of begin) await reader.type(line);
    for (const { where, line } of commands) {
      try {
        await reader.type(line);
      } catch (cause) {
        throw new Error(`${where}: ${line}: ${cause instanceof Error ? cause.message : cause}`, { cause });
      }
    }
  });
}

Deno.test("commands are read with their continued lines, from sh blocks alone", () => {
  const text = [
    "text",
    "```sh",
    "one \\",
    "  --two",
    "",
    "three",
    "```",
    "```text",
    "four FILE",
    "```",
    "```",
    "five",
    "```",
    "```sh",
    "six",
    "```",
  ].join("\n");
  assert.deepEqual(commandsIn("a.md", text), [
    { where: "a.md:3", line: "one --two" },
    { where: "a.md:6", line: "three" },
    { where: "a.md:15", line: "six" },
  ]);
  assert.throws(() => commandsIn("a.md", "```sh\none \\\n```"), /a\.md:2: .* goes on after the block/);
});
