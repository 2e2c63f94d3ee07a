// Small executables with the real launcher and a shell script in the runtime's place, and the ways to start them.

import { join } from "node:path";
import { type ArchiveOptions, writeArchive } from "../../launcher/archive.ts";
import { longTest, type Peer, present, unlessMissing } from "./peers.ts";

const repository = new URL("../../", import.meta.url).pathname;
const decoder = new TextDecoder();

/** What builds the launcher. */
export const cargo: Peer = {
  command: "cargo",
  probe: ["--version"],
  install: "apt-get install cargo-web gcc libc6-dev",
};

/** Mounts of a test's own, in a namespace that ends with it. */
const mounts: Pick<Peer, "command" | "install"> = {
  command: "unshare --mount",
  install: "apt-get install util-linux (and run as root, where mount namespaces are allowed)",
};

let launcher: Promise<string> | undefined;

/** The launcher as its sources make it, built once for all tests of a file. */
function builtLauncher(): Promise<string> {
  launcher ??= (async () => {
    const folder = await Deno.makeTempDir({ prefix: "zonebench-launcher-" });
    globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
    const path = join(folder, "launcher");
    const { success, stderr } = await new Deno.Command(join(repository, "launcher", "build"), {
      args: [Deno.build.target, path],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!success) throw new Error(`launcher/build: ${decoder.decode(stderr)}`);
    return path;
  })();
  return launcher;
}

/** Registers a test that needs the launcher. */
export function launcherTest(name: string, run: (bench: LauncherBench) => Promise<void>): void {
  unlessMissing(name, [cargo].filter((peer) => !present(peer)), () => onBench(run), longTest);
}

/** Registers a test of the launcher that mounts file systems, as root. */
export function mountTest(name: string, run: (bench: LauncherBench) => Promise<void>): void {
  const missing = [cargo].filter((peer) => !present(peer));
  unlessMissing(name, canMount() ? missing : [...missing, mounts], () => onBench(run), longTest);
}

function canMount(): boolean {
  if (Deno.uid() !== 0) return false;
  try {
    return new Deno.Command("unshare", { args: ["--mount", "true"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function onBench(run: (bench: LauncherBench) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "zonebench-test-" });
  try {
    for (const name of ["home", "tmp", "parts"]) await Deno.mkdir(join(folder, name));
    await run(new LauncherBench(folder, await builtLauncher()));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** How a start ended. */
export interface StartResult {
  code: number;
  signal: string | null;
  stdout: string;
  stderr: string;
  pid: number;
}

export interface StartOptions {
  args?: string[];
  /** Beside HOME and TMPDIR. */
  environment?: Record<string, string>;
  /** Shell commands as root in mount namespace of the start's own; `$HOME` and `$TMPDIR` as for the start. */
  mounting?: string;
}

/** A home folder and a folder for temporary files, and executables that unpack into them. */
export class LauncherBench {
  readonly home: string;
  readonly temporary: string;
  /** Where a start usually unpacks. */
  readonly cache: string;
  #executables = 0;

  constructor(readonly folder: string, readonly launcher: string) {
    this.home = join(folder, "home");
    this.temporary = join(folder, "tmp");
    this.cache = join(this.home, ".cache", "zonebench");
  }

  /** Where a start unpacks that cannot do so in the home folder. */
  get fallback(): string {
    return join(this.temporary, `zonebench-${Deno.uid()}`);
  }

  /** Makes an executable that runs a shell script. @returns its path, and the folder's name that it unpacks into */
  async make(
    script: string,
    more: { files?: Record<string, Uint8Array>; options?: Partial<ArchiveOptions> } = {},
  ): Promise<{ path: string; id: string }> {
    const number = this.#executables++;
    const folder = join(this.folder, "parts", String(number));
    await Deno.mkdir(folder);
    await Deno.writeTextFile(join(folder, "run"), `#!/bin/sh\n${script}\n`);
    for (const [name, bytes] of Object.entries(more.files ?? {})) {
      await Deno.writeFile(join(folder, name), bytes);
    }
    const path = join(this.folder, `zonebench-${number}`);
    const id = await writeArchive(path, {
      launcher: this.launcher,
      folder,
      runtime: "run",
      args: ["{}/run-from"],
      level: 1,
      ...more.options,
    });
    return { path, id };
  }

  spawn(path: string, options: StartOptions = {}): Deno.ChildProcess {
    const { args = [], environment, mounting } = options;
    const inNamespace = [
      "--mount",
      "--propagation",
      "private",
      "/bin/sh",
      "-c",
      `${mounting}\nexec "$0" "$@"`,
    ];
    return new Deno.Command(mounting === undefined ? path : "unshare", {
      args: mounting === undefined ? args : [...inNamespace, path, ...args],
      clearEnv: true,
      env: {
        // For the script and for what mounts.
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        HOME: this.home,
        TMPDIR: this.temporary,
        ...environment,
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  /** Starts an executable and waits for its end, at most a minute. */
  async start(path: string, options: StartOptions = {}): Promise<StartResult> {
    const process = this.spawn(path, options);
    const timer = setTimeout(() => process.kill("SIGKILL"), 60_000);
    try {
      const { code, signal, stdout, stderr } = await process.output();
      return {
        code,
        signal,
        stdout: decoder.decode(stdout),
        stderr: decoder.decode(stderr),
        pid: process.pid,
      };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Names in a folder, sorted; none where there is no folder. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
