// Gets Deno's executable for a target: the one that runs, or that of another machine from npm or PyPI, checked by its hash.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { ProcessError, runProcess } from "./processes.ts";
import { denoVersion, type Target } from "./targets.ts";

/**
 * Gives the path of Deno's executable for a target.
 *
 * @param given what the user names instead; it must be the published one, too
 * @param folder where a download may be kept
 * @throws {Error} when it cannot be had, with what was tried
 */
export async function denoFor(target: Target, folder: string, given?: string): Promise<string> {
  if (given !== undefined) {
    const found = await sha256Of(given);
    if (found === target.denoSha256) return given;
    throw new Error(
      `--deno ${given}: expected Deno ${denoVersion} for ${target.triple}, SHA-256 ${target.denoSha256}, got ${found}`,
    );
  }
  if (target.triple === Deno.build.target) {
    const own = Deno.execPath();
    if (Deno.version.deno !== denoVersion) {
      throw new Error(`expected to be run by Deno ${denoVersion}, got ${Deno.version.deno}`);
    }
    return own;
  }
  const kept = join(folder, `deno-${denoVersion}-${target.triple}`);
  if (await sha256Of(kept) === target.denoSha256) return kept;
  const failures: string[] = [];
  for (const source of [fromNpm, fromPypi]) {
    const work = await Deno.makeTempDir({ dir: folder, prefix: "download-" });
    try {
      const path = await source(target, work);
      const found = await sha256Of(path);
      if (found !== target.denoSha256) {
        throw new ProcessError(`its SHA-256 is ${found}, expected ${target.denoSha256}`);
      }
      await Deno.rename(path, kept);
      return kept;
    } catch (error) {
      if (!(error instanceof ProcessError)) throw error;
      failures.push(`${source === fromNpm ? "npm" : "PyPI"}: ${error.message}`);
    } finally {
      await Deno.remove(work, { recursive: true });
    }
  }
  throw new Error(
    `Deno ${denoVersion} for ${target.triple} cannot be had; --deno FILE takes one that you have:\n${
      failures.join("\n")
    }`,
  );
}

async function fromNpm(target: Target, work: string): Promise<string> {
  const name = `${target.npmPackage}@${denoVersion}`;
  await runProcess("npm", ["pack", "--silent", "--pack-destination", work, name], { cwd: work });
  const [archive] = await namesIn(work, ".tgz");
  await runProcess("tar", ["-xzf", archive, "package/deno"], { cwd: work });
  return join(work, "package", "deno");
}

async function fromPypi(target: Target, work: string): Promise<string> {
  const pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"];
  const what = ["--platform", target.pypiPlatform, "-d", work, `deno==${denoVersion}`];
  await runProcess("python3", [...pip, ...what], { cwd: work });
  const [archive] = await namesIn(work, ".whl");
  await runProcess("python3", ["-m", "zipfile", "-e", archive, work], { cwd: work });
  return join(work, `deno-${denoVersion}.data`, "scripts", "deno");
}

async function namesIn(folder: string, suffix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) if (name.endsWith(suffix)) names.push(name);
  if (names.length !== 1) throw new ProcessError(`expected one file *${suffix}, got ${names.length}`);
  return names;
}

/** Of a file, hexadecimal; undefined where there is none. */
async function sha256Of(path: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    using file = await Deno.open(path);
    for await (const chunk of file.readable) hash.update(chunk);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return hash.digest("hex");
}
