// Collects what an executable carries into one folder: the program and its workers, each bundled into one file, and the files
// that they read.

import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runProcess } from "./processes.ts";
import { denoVersion } from "./targets.ts";

/** The project's folder. */
export const repository = fileURLToPath(new URL("../", import.meta.url));

/** The name of the program's first module in the folder. */
export const mainModule = "main.js";

/** Modules that run in threads of their own, by what `new URL("./…", import.meta.url)` of the program names. */
const workers = [
  "src/server/store/pglite_worker.ts",
  "src/codec/worker.ts",
  "hardware/uds/seed_key_worker.ts",
];

/** What PGlite reads beside the module that it is in. */
const pgliteFiles = ["pglite.wasm", "pglite.data", "initdb.wasm"];

/** Files for people. */
const documents = ["README.md", "LICENSE", "config", "docs"];

/** What `zonebench --version` says about the executable; stands in `build.json` beside the program. */
interface BuildInformation {
  /** Of git, with `+changes` where the working tree had some; "unknown" outside of git. */
  commit: string;
  /** Of the commit, ISO 8601; absent outside of git. */
  date?: string;
  kind: BuildKind;
  target: string;
  deno: string;
}

/** `deno-compile`: Deno's own executable format. `self-extracting`: the launcher with Deno and the program behind it. */
export type BuildKind = "deno-compile" | "self-extracting";

/** What of the project's settings the executable starts with. */
export interface ProgramSettings {
  /** Flags of `deno run` and `deno compile`: the permission set "program", spelled out. */
  flags: string[];
}

/** Reads the flags from deno.json, so that the executable may do what the program may, and nothing more. */
export async function programSettings(): Promise<ProgramSettings> {
  const { permissions, unstable } = JSON.parse(await Deno.readTextFile(join(repository, "deno.json"))) as {
    permissions: { program: Record<string, boolean | string[]> };
    unstable: string[];
  };
  const flags = Object.entries(permissions.program).map(([name, value]) => {
    if (value === true) return `--allow-${name}`;
    if (Array.isArray(value) && value.length > 0) return `--allow-${name}=${value.join(",")}`;
    throw new TypeError(
      `deno.json, permissions.program.${name}: expected true or names, got ${JSON.stringify(value)}`,
    );
  });
  return { flags: ["--no-prompt", ...unstable.map((name) => `--unstable-${name}`), ...flags] };
}

/** Writes the program into an empty folder, all but what says how it was built. */
export async function collectProgram(folder: string): Promise<void> {
  const sources = ["src/main.ts", ...workers];
  for (const source of sources) await bundle(source, join(folder, bundleName(source)));
  const pglite = await pgliteFolder();
  for (const name of pgliteFiles) await Deno.copyFile(join(pglite, name), join(folder, name));
  for (const name of documents) await copyTree(name, folder);
}

/** Writes `build.json` beside the program. */
export async function describeBuild(folder: string, kind: BuildKind, target: string): Promise<void> {
  const information = await buildInformation(kind, target);
  await Deno.writeTextFile(join(folder, "build.json"), `${JSON.stringify(information, null, 2)}\n`);
}

async function buildInformation(kind: BuildKind, target: string): Promise<BuildInformation> {
  const git = (...args: string[]) => runProcess("git", args, { cwd: repository }).then((it) => it.trim());
  try {
    const [commit, date] = (await git("log", "-1", "--format=%H %cI")).split(" ");
    const changed = await git("status", "--porcelain", "--untracked-files=no") !== "";
    return { commit: changed ? `${commit}+changes` : commit, date, kind, target, deno: denoVersion };
  } catch {
    // A copy of the sources without git, or git's folder of another owner: the executable works all the same.
    return { commit: "unknown", kind, target, deno: denoVersion };
  }
}

function bundleName(source: string): string {
  return basename(source).replace(/\.ts$/, ".js");
}

/** Bundles one module with all that it imports. What it calls workers by is changed to their bundles' names. */
async function bundle(source: string, output: string): Promise<void> {
  await runProcess(
    Deno.execPath(),
    ["bundle", "--quiet", "--frozen", "--unstable-raw-imports", "--platform", "deno", "-o", output, source],
    { cwd: repository },
  );
  let text = await Deno.readTextFile(output);
  text = withoutPaths(text);
  if (source === "src/main.ts") {
    for (const worker of workers) {
      const named = `new URL("./${basename(worker)}", import.meta.url)`;
      const parts = text.split(named);
      if (parts.length !== 2) {
        throw new Error(`${output}: expected ${named} once, found it ${parts.length - 1} times`);
      }
      text = parts.join(`new URL("./${bundleName(worker)}", import.meta.url)`);
    }
  }
  const unknown = /new Worker\(new URL\("[^"]*\.ts"/.exec(text);
  if (unknown !== null) {
    throw new Error(`${output}: ${unknown[0]}… is a worker that launcher/program.ts does not name`);
  }
  await Deno.writeTextFile(output, text);
}

/** Names of packages' modules hold the way to the folder of packages on this machine: without it they are the same everywhere. */
function withoutPaths(text: string): string {
  const [first, ...others] = text.split("/npm/registry.npmjs.org/");
  const cut = (part: string) => {
    let end = part.length;
    while (end > 0 && /[^\s"'`()]/.test(part[end - 1])) end--;
    return part.slice(0, end);
  };
  const last = others.pop();
  if (last === undefined) return text;
  return [...[first, ...others].map(cut), last].join("npm:");
}

/** Where PGlite's package lies; it is there once the worker has been bundled. */
async function pgliteFolder(): Promise<string> {
  const resolving = ["eval", 'console.log(import.meta.resolve("@electric-sql/pglite"))'];
  const url = await runProcess(Deno.execPath(), resolving, { cwd: repository });
  return dirname(fileURLToPath(url.trim()));
}

/** Copies a file or a folder of the project. */
async function copyTree(name: string, folder: string): Promise<void> {
  const source = join(repository, name);
  const { isDirectory } = await Deno.stat(source);
  if (!isDirectory) {
    await Deno.copyFile(source, join(folder, name));
    return;
  }
  await Deno.mkdir(join(folder, name));
  for await (const entry of Deno.readDir(source)) await copyTree(join(name, entry.name), folder);
}
