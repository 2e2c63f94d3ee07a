// Builds dist/zonebench, the whole product in one executable: with `deno compile` where its runtime can be had, otherwise
// as an executable that unpacks itself.

import { Command, Option } from "commander";
import { dirname, join, resolve } from "node:path";
import { writeBillOfMaterials } from "../bom/sbom.ts";
import { writeArchive } from "./archive.ts";
import { ProcessError, runProcess } from "./processes.ts";
import {
  type BuildKind,
  collectProgram,
  describeBuild,
  mainModule,
  programSettings,
  repository,
} from "./program.ts";
import { denoFor } from "./runtime.ts";
import { type Target, targetNamed, targets } from "./targets.ts";

/** How long `deno compile` may take, with the download of its runtime. */
const compileLimit = 300_000;

interface CompileOptions {
  target: string;
  kind: BuildKind | "auto";
  output?: string;
  deno?: string;
  level: string;
}

async function compile(options: CompileOptions): Promise<void> {
  const target = targetNamed(options.target);
  const native = target.triple === Deno.build.target;
  const output = resolve(
    options.output ??
      join(repository, "dist", native ? "zonebench" : `zonebench-${target.triple.split("-")[0]}`),
  );
  await Deno.mkdir(dirname(output), { recursive: true });
  const work = await Deno.makeTempDir({ dir: dirname(output), prefix: ".compile-" });
  try {
    const kind = await build(target, options, output, work);
    if (native) await probe(output, work);
    const bill = join(dirname(output), "zonebench.cdx.json");
    await writeBillOfMaterials(bill);
    const { size } = await Deno.stat(output);
    console.log(
      `${output}: ${(size / 1e6).toFixed(1)} MB for ${target.triple}, ${kind}${
        native ? ", starts" : ", not started here"
      }`,
    );
    console.log(`${bill}: what it is made of (CycloneDX)`);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function build(
  target: Target,
  options: CompileOptions,
  output: string,
  work: string,
): Promise<BuildKind> {
  const program = join(work, "program");
  await Deno.mkdir(program);
  await collectProgram(program);
  if (options.kind !== "self-extracting") {
    try {
      await denoCompile(target, output, program);
      return "deno-compile";
    } catch (error) {
      // A runtime that the user names is meant: nothing else is built in silence.
      const wanted = options.kind === "deno-compile" || Deno.env.has("DENORT_BIN");
      if (wanted || !(error instanceof ProcessError)) throw error;
      const why = /^ *\d*:? *(.*(?:denort|download|request).*)$/mi.exec(error.message)?.[1] ?? error.message;
      console.log(`deno compile has no runtime here (${why}): building a self-extracting executable`);
    }
  }
  await selfExtracting(target, output, work, options);
  return "self-extracting";
}

/** Deno's own way. `$DENORT_BIN`, its cache or a download give it the runtime. */
async function denoCompile(target: Target, output: string, folder: string): Promise<void> {
  await describeBuild(folder, "deno-compile", target.triple);
  const { flags } = await programSettings();
  const included: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (name !== mainModule) included.push("--include", name);
  }
  const draft = `${output}.new`;
  try {
    await runProcess(Deno.execPath(), [
      ...["compile", "--quiet", "--no-check", "--no-config", "--no-remote", "--no-npm", ...flags],
      ...[...included, "--target", target.triple, "--output", draft, mainModule],
    ], { cwd: folder, limit: compileLimit });
    if (target.triple === Deno.build.target) await probe(draft, dirname(folder));
    await Deno.rename(draft, output);
  } finally {
    await Deno.remove(draft).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

async function selfExtracting(
  target: Target,
  output: string,
  work: string,
  { deno, level }: CompileOptions,
): Promise<void> {
  const folder = join(work, "unpacked");
  await Deno.mkdir(folder);
  await Deno.rename(join(work, "program"), join(folder, "program"));
  await describeBuild(join(folder, "program"), "self-extracting", target.triple);
  await Deno.copyFile(await denoFor(target, dirname(output), deno), join(folder, "zonebench"));
  const launcher = `${output}.launcher`;
  try {
    await runProcess(join(repository, "launcher", "build"), [target.triple, launcher]);
    const { flags } = await programSettings();
    await writeArchive(output, {
      launcher,
      folder,
      runtime: "zonebench",
      args: [
        "run",
        "--quiet",
        "--no-config",
        "--no-lock",
        "--no-remote",
        "--no-npm",
        ...flags,
        `{}/program/${mainModule}`,
      ],
      environment: {
        // What the runtime keeps to start faster stands beside the program.
        DENO_DIR: "{}/deno",
        DENO_NO_UPDATE_CHECK: "1",
        DENO_NO_PACKAGE_JSON: "1",
      },
      level: Number(level),
    });
  } finally {
    await Deno.remove(launcher).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

/** Runs the executable as it will be: without an environment, away from the project. */
async function probe(executable: string, work: string): Promise<void> {
  const home = await Deno.makeTempDir({ dir: work });
  const text = await runProcess(executable, ["--help"], {
    cwd: home,
    environment: { XDG_CACHE_HOME: home },
    limit: 120_000,
  });
  if (!text.startsWith("Usage: zonebench <command>")) {
    throw new ProcessError(
      `what was built is not zonebench (is $DENORT_BIN a denort?): it prints "${text.slice(0, 60)}"`,
    );
  }
}

if (import.meta.main) {
  const command = new Command("compile")
    .description("Builds zonebench as one executable for Linux.")
    .addOption(
      new Option("--target <triple>", "machine that it is for").choices(Object.keys(targets)).default(
        Deno.build.target,
      ),
    )
    .addOption(
      new Option("--kind <kind>", "auto takes deno compile where its runtime (denort) can be had").choices([
        "auto",
        "deno-compile",
        "self-extracting",
      ]).default("auto"),
    )
    .option("--output <file>", "(default: dist/zonebench, for another machine dist/zonebench-MACHINE)")
    .option("--deno <file>", "Deno's executable for the target, instead of one from npm or PyPI")
    .option("--level <1-19>", "of zstd", "9");
  await command.parseAsync(Deno.args, { from: "user" });
  try {
    await compile(command.opts<CompileOptions>());
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
