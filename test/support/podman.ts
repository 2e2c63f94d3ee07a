// Podman with a store and a network of its own, gone afterwards: images, containers and volumes of a test touch no others, and its
// bridges live in a network namespace that it made. Needs root.

import { join } from "node:path";
import { executable } from "./field_machine.ts";
import { ownName } from "./namespaces.ts";
import { longTest, present, unlessMissing } from "./peers.ts";
import { pythonPackages } from "./python_packages.ts";

const decoder = new TextDecoder();
const repository = new URL("../../", import.meta.url).pathname;

export interface Output {
  code: number;
  text: string;
}

/** Programs that this needs. */
const programs = {
  podman: ["podman", "--version"],
  runc: ["runc", "--version"],
  netavark: ["/usr/lib/podman/netavark", "--version"],
  "aardvark-dns": ["/usr/lib/podman/aardvark-dns", "--version"],
  iptables: ["iptables", "--version"],
  debootstrap: ["debootstrap", "--version"],
};

const composePackages = ["podman-compose==1.6.0", "python-dotenv==1.2.4", "pyyaml==6.0.3"];
const composeFolder = pythonPackages("podman-compose-1.6.0", composePackages);

function missing(): { command: string; install: string }[] {
  const absent = Object.entries(programs).filter(([, [command, ...args]]) => {
    try {
      return !new Deno.Command(command, { args, stdin: "null", stdout: "null", stderr: "null" }).outputSync()
        .success;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return true;
      throw error;
    }
  });
  const found = absent.map(([name]) => ({ command: name, install: `apt-get install ${name}` }));
  if (!present({ command: executable, install: "" })) {
    found.push({ command: executable, install: "deno task compile" });
  }
  if (composeFolder === undefined) {
    found.push({
      command: "podman-compose",
      install: `apt-get install python3-pip (the test then fetches ${composePackages[0]} by pip)`,
    });
  }
  if (Deno.uid() !== 0) {
    found.push({ command: "the right to make namespaces", install: "run the tests as root" });
  }
  return found;
}

/** Registers a test that runs containers; skipped, with a line that says so, where they cannot be run. */
export function podmanTest(
  name: string,
  test: (podman: Podman, context: Deno.TestContext) => Promise<void>,
): void {
  unlessMissing(name, missing(), async (context) => {
    await using podman = await Podman.make();
    await test(podman, context);
  }, longTest);
}

export class Podman implements AsyncDisposable {
  readonly #namespace = ownName("zbpod");

  private constructor(readonly path: string) {}

  static async make(): Promise<Podman> {
    const podman = new Podman(await Deno.makeTempDir({ prefix: "zonebench-podman-" }));
    await Deno.writeTextFile(
      join(podman.path, "containers.conf"),
      // The usual limits are above what this machine may give; a log and events in files need no other service.
      '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\nlog_driver = "k8s-file"\n' +
        '[engine]\nruntime = "runc"\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n',
    );
    await succeed("ip", ["netns", "add", podman.#namespace]);
    await succeed("ip", ["-n", podman.#namespace, "link", "set", "lo", "up"]);
    return podman;
  }

  get #global(): string[] {
    return ["--root", join(this.path, "storage"), "--runroot", join(this.path, "run"), "--runtime", "runc"];
  }

  async #execute(
    command: string,
    args: string[],
    options: { cwd?: string; env?: Record<string, string> } = {},
  ) {
    const { code, stdout, stderr } = await new Deno.Command(command, {
      args,
      stdin: "null",
      signal: AbortSignal.timeout(600_000),
      cwd: options.cwd,
      env: { CONTAINERS_CONF: join(this.path, "containers.conf"), ...options.env },
    }).output();
    return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
  }

  /** Runs podman in the namespace of the test. */
  async try(args: string[]): Promise<Output> {
    return await this.#execute("nsenter", [
      `--net=/run/netns/${this.#namespace}`,
      "podman",
      ...this.#global,
      ...args,
    ]);
  }

  /** As {@link try}, and must succeed. */
  async run(args: string[]): Promise<string> {
    const { code, text } = await this.try(args);
    if (code !== 0) throw new Error(`podman ${args.join(" ")}: exit code ${code}\n${text.slice(-4000)}`);
    return text;
  }

  /** Runs a command in a container that runs. */
  async exec(container: string, command: string[]): Promise<Output> {
    return await this.try(["exec", container, ...command]);
  }

  async logs(container: string): Promise<string> {
    return (await this.try(["logs", container])).text;
  }

  /**
   * Builds an image, in Docker's format: OCI's has no health checks. Its commands reach this machine's network, as a build must to
   * install packages.
   */
  async build(tag: string, file: string, context: string): Promise<void> {
    const args = [
      "build",
      "--isolation",
      "chroot",
      "--network",
      "host",
      "--format",
      "docker",
      "--pull=never",
    ];
    const { code, text } = await this.#execute("podman", [
      ...this.#global,
      ...args,
      "-f",
      file,
      "-t",
      tag,
      context,
    ]);
    if (code !== 0) throw new Error(`podman build ${file}: exit code ${code}\n${text.slice(-4000)}`);
  }

  /** Makes a minimal Debian of the release that the images are based on, under the name of its image. */
  async importDebian(tag: string): Promise<void> {
    const folder = join(this.path, "debian");
    await succeed("debootstrap", ["--variant=minbase", "bookworm", folder]);
    const archive = join(this.path, "debian.tar");
    await succeed("tar", ["-C", folder, "-cf", archive, "."]);
    await this.run(["import", archive, tag]);
    await Deno.remove(archive);
    await Deno.remove(folder, { recursive: true });
  }

  /** Runs podman-compose on a project. */
  async compose(project: string, args: string[], env: Record<string, string>): Promise<Output> {
    if (composeFolder === undefined) throw new Error("podman-compose is not here");
    const wrapper = join(this.path, "podman");
    await Deno.writeTextFile(wrapper, `#!/bin/sh\nexec podman ${this.#global.join(" ")} "$@"\n`, {
      mode: 0o755,
    });
    return await this.#execute("nsenter", [
      ...[`--net=/run/netns/${this.#namespace}`, "python3", join(composeFolder, "podman_compose.py")],
      ...["--podman-path", wrapper, ...args],
    ], { cwd: project, env: { ...env, PYTHONPATH: composeFolder } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.try(["stop", "--all", "--time", "0"]);
    await this.try(["rm", "--all", "--force", "--volumes"]);
    await this.try(["system", "reset", "--force"]);
    await succeed("ip", ["netns", "delete", this.#namespace]);
    await Deno.remove(this.path, { recursive: true });
  }
}

async function succeed(command: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, {
    args,
    cwd: repository,
    stdin: "null",
    stdout: "null",
  })
    .output();
  if (!success) throw new Error(`${command} ${args.join(" ")}: ${decoder.decode(stderr).slice(-2000)}`);
}
