// A machine as in the field, made of this one with namespaces: no network but loopback, no Deno, no Node, none of the project's
// files, an empty environment, a home folder of its own. Needs root.

import { basename, join } from "node:path";
import { longTest, unlessMissing } from "./peers.ts";
import type { Peer } from "./peers.ts";
import { rootHome } from "./root_home.ts";

const repository = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");

/** The executable that is tested. */
export const executable = join(repository, "dist", "zonebench");

const needed: Pick<Peer, "command" | "install">[] = [
  { command: executable, install: "deno task compile" },
  {
    command: "unshare",
    install: "apt-get install util-linux (and run as root, where namespaces are allowed)",
  },
  { command: "nsenter", install: "apt-get install util-linux" },
];

/** Registers a test on such a machine. */
export function fieldTest(
  name: string,
  peers: Pick<Peer, "command" | "install">[],
  run: (machine: FieldMachine) => Promise<void>,
): void {
  const there = [isFile(executable), canUnshare(), canUnshare()];
  const missing = needed.filter((_, at) => !there[at]);
  unlessMissing(name, [...missing, ...peers], async () => {
    await using machine = await FieldMachine.make();
    await run(machine);
  }, longTest);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function canUnshare(): boolean {
  if (Deno.uid() !== 0) return false;
  const args = ["--mount", "--net", "nsenter", "--version"];
  try {
    return new Deno.Command("unshare", { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** What the holder of the namespaces does before it says that it is ready: `$1` the folder, `$2` what is hidden. */
const setUp = `set -e
ip link set lo up
mount --bind "$1/home" "${rootHome}"
mount --bind "$1/none" "$2"
shift 2
for file; do mount --bind /dev/null "$file"; done
echo ready
exec sleep infinity`;

export class FieldMachine implements AsyncDisposable {
  /** The folder in which the executable lies, and nothing else. */
  readonly bench: string;
  /** What root's home folder is there. */
  readonly home: string;
  /** The executable's copy. */
  readonly program: string;

  private constructor(private readonly folder: string, private readonly holder: Deno.ChildProcess) {
    this.bench = join(folder, "bench");
    this.home = join(folder, "home");
    this.program = join(this.bench, basename(executable));
  }

  static async make(): Promise<FieldMachine> {
    const folder = await Deno.makeTempDir({ prefix: "zonebench-field-" });
    for (const name of ["bench", "home", "none"]) await Deno.mkdir(join(folder, name));
    await Deno.copyFile(executable, join(folder, "bench", basename(executable)));
    const holder = new Deno.Command("unshare", {
      args: [
        ...["--mount", "--net", "--propagation", "private", "/bin/sh", "-c", setUp, "sh"],
        ...[folder, repository, ...runtimes()],
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const machine = new FieldMachine(folder, holder);
    const output = holder.stdout.getReader();
    const { value } = await output.read();
    await output.cancel();
    if (new TextDecoder().decode(value) !== "ready\n") {
      await machine[Symbol.asyncDispose]();
      throw new Error("the namespaces could not be set up: see standard error");
    }
    return machine;
  }

  /** What a command is begun with to run on this machine, in the bench's folder and with an empty environment. */
  get within(): string[] {
    return [
      ...["nsenter", "--target", String(this.holder.pid), "--mount", "--net", `--wd=${this.bench}`],
      ...["/usr/bin/env", "-i"],
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.holder.kill("SIGKILL");
    await this.holder.status;
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Every Deno and Node that a program could find, but for those below root's home folder, which is hidden whole. */
function runtimes(): string[] {
  const found = new Set([Deno.realPathSync(Deno.execPath())]);
  const folders = (Deno.env.get("PATH") ?? "").split(":").concat("/usr/bin", "/usr/local/bin");
  for (const folder of folders) {
    for (const name of ["deno", "node", "npx"]) {
      const path = join(folder, name);
      if (isFile(path)) found.add(Deno.realPathSync(path));
    }
  }
  return [...found].filter((path) => !path.startsWith(`${rootHome}/`));
}
