// Completion, as the shells themselves do it: what they offer for a line, and what becomes of keys that are typed.

import assert from "node:assert/strict";
import { join } from "node:path";
import { interopTest, type Peer, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

const decoder = new TextDecoder();
const bash: Peer = { command: "bash", probe: ["--version"], install: "apt-get install bash" };

async function output(command: string, args: string[], options: Deno.CommandOptions = {}): Promise<string> {
  const result = await new Deno.Command(command, { ...options, args, stdin: "null" }).output();
  assert.equal(result.code, 0, decoder.decode(result.stderr));
  return decoder.decode(result.stdout);
}

/** A folder with the script and with something to complete: `fw/`, `fw/a image.hex`, `notes.txt`. */
async function withScript(
  shell: string,
  run: (script: string, folder: string) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const script = join(folder.path, "script");
  await Deno.writeTextFile(
    script,
    await output(Deno.execPath(), ["run", "--no-check", "-P=program", "src/main.ts", "completion", shell]),
  );
  const files = join(folder.path, "files");
  await Deno.mkdir(join(files, "fw"), { recursive: true });
  await Deno.writeTextFile(join(files, "fw", "a image.hex"), "");
  await Deno.writeTextFile(join(files, "notes.txt"), "");
  await run(script, files);
}

/** What is offered at the end of a line. */
const offers: [line: string, offered: string[]][] = [
  ["zonebench upd", ["update"]],
  ["zonebench update ", ["approve", "cancel", "list", "start", "watch"]],
  ["zonebench pki issue ", ["broker", "gateway", "operator", "server-client", "vehicle"]],
  ["zonebench update start --v", ["--vin"]],
  ["zonebench serve --only ", ["bench", "server", "vmg"]],
  ["zonebench serve --log json --only v", ["vmg"]],
  ["zonebench firmware add --format s", ["s-record"]],
  ["zonebench firmware add --priority ", ["critical", "high", "low", "normal"]],
  ["zonebench completion ", ["bash", "fish", "zsh"]],
  ["zonebench help comp", ["completion"]],
  ["zonebench firmware add n", ["notes.txt"]],
  ["zonebench flash ECU_005 n", ["notes.txt"]],
  ["zonebench serve --config n", ["notes.txt"]],
  ["zonebench diag n", []],
  ["zonebench firmware add --version n", []],
  // Names of commands that stand as an option's value or as an argument are none.
  ["zonebench vci --server update st", []],
];

/** Keys, and the arguments that the program is given for them. */
const typed: [keys: string, args: string[]][] = [
  ["zonebench upd\tsta\t--vi\tX\r", ["update", "start", "--vin", "X"]],
  ["zonebench serve --on\tben\t\r", ["serve", "--only", "bench"]],
  ["zonebench firmware add fw/\t--form\tint\t\r", [
    "firmware",
    "add",
    "fw/a image.hex",
    "--format",
    "intel-hex",
  ]],
  ["zonebench serve --data f\t\r", ["serve", "--data", "fw"]],
];

interopTest("bash offers commands, options, choices, files and folders", [bash], async () => {
  await withScript("bash", async (script, cwd) => {
    const offered = async (line: string) => {
      const words = line.split(" ");
      const text = await output("bash", [
        "--norc",
        "-c",
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zonebench; printf "%s\\n" "${COMPREPLY[@]}"',
        "bash",
        script,
        ...words,
      ], { cwd });
      return text.split("\n").map((it) => it.trim()).filter((it) => it !== "").sort();
    };
    for (const [line, expected] of offers) assert.deepEqual(await offered(line), expected, line);
    // Bash takes what has a sign in it apart.
    assert.deepEqual(await offered("zonebench serve --only = b"), ["bench"]);
    assert.deepEqual(await offered("zonebench serve --only ="), ["bench", "server", "vmg"]);
    assert.deepEqual(await offered("zonebench serve --data "), ["fw"]);
  });
});

interopTest("fish offers commands, options, choices, files and folders", [peers.fish], async () => {
  await withScript("fish", async (script, cwd) => {
    const home = { HOME: cwd, XDG_CONFIG_HOME: cwd, XDG_DATA_HOME: cwd };
    const lines = offers.map(([line]) => line);
    const text = await output(
      "fish",
      [
        "-c",
        'source $argv[1]; for line in $argv[2..-1]; echo "> $line"; complete -C $line; end',
        script,
        ...lines,
      ],
      { cwd, env: home },
    );
    const answers = text.split(/^> .*\n/m).slice(1).map((part) =>
      part.split("\n").map((it) => it.split("\t")[0]).filter((it) => it !== "").sort()
    );
    for (const [at, [line, expected]] of offers.entries()) assert.deepEqual(answers[at], expected, line);
  });
});

/** Types lines into a shell on a terminal and gives the arguments of each `zonebench`. */
async function typeInto(shell: string[], setUp: string[], cwd: string): Promise<string[][]> {
  const log = join(cwd, "..", "arguments");
  await Deno.writeTextFile(log, "");
  const child = new Deno.Command("script", {
    args: ["-qefc", shell.join(" "), "/dev/null"],
    cwd,
    env: { TERM: "dumb", HOME: cwd },
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const keys = child.stdin.getWriter();
  const encoder = new TextEncoder();
  const say = (text: string) => keys.write(encoder.encode(text));
  let screen = "";
  const shown = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) screen += text;
  })();
  const until = async (text: string) => {
    for (let tries = 0; !screen.includes(text); tries++) {
      assert.ok(tries < 300, `"${text}" was not shown:\n${screen}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const record = `zonebench() { printf '%s\\0' "$@" >> '${log}'; printf '\\n' >> '${log}'; }`;
  // Typed in two halves, or its echo would be taken for what it prints.
  await say([...setUp, record, "echo rea''dy", ""].join("\r"));
  await until("ready");
  for (const [number, [line]] of typed.entries()) {
    await say(`${line}echo do''ne${number}\r`);
    await until(`done${number}`);
  }
  await say("exit\r");
  await keys.close();
  await child.status;
  await shown;
  const lines = (await Deno.readTextFile(log)).split("\n").slice(0, -1);
  // zsh joins option and value by a sign, and leaves the slash of a folder away when the word ends: both mean the same.
  return lines.map((line) =>
    line.split("\0").slice(0, -1)
      .flatMap((word) => /^--\w+=/.test(word) ? word.split("=") : [word])
      .map((word) => word.replace(/\/$/, ""))
  );
}

interopTest("bash completes what is typed", [bash, peers.script], async () => {
  await withScript("bash", async (script, cwd) => {
    const args = await typeInto(["bash", "--norc", "--noprofile", "-i"], [`source '${script}'`], cwd);
    assert.deepEqual(args, typed.map(([, expected]) => expected));
  });
});

interopTest("zsh completes what is typed", [peers.zsh, peers.script], async () => {
  await withScript("zsh", async (script, cwd) => {
    const setUp = ["autoload -U compinit", "compinit -u -D", `source '${script}'`];
    const args = await typeInto(["zsh", "-f", "-i"], setUp, cwd);
    assert.deepEqual(args, typed.map(([, expected]) => expected));
  });
});

interopTest("each script is one that its shell can read", [bash, peers.zsh, peers.fish], async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    await withScript(shell, async (script) => void await output(shell, ["-n", script]));
  }
});
