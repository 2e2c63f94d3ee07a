// Peers from PyPI: fetched by pip into the user's cache, once, and there whole or not at all.

import { join } from "node:path";

const cache = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? Deno.cwd(), ".cache");

/**
 * The folder with these packages, fetched where it is missing.
 *
 * @param name Of the folder; another one for other versions.
 * @param packages With their versions, e.g. `tuf==7.0.1`; none is added that one of them needs.
 * @param finish What else is to be done in the folder before it counts.
 * @returns undefined where they cannot be had
 */
export function pythonPackages(
  name: string,
  packages: readonly string[],
  finish: (folder: string) => void = () => {},
): string | undefined {
  const folder = join(cache, `zonebench-${name}`);
  if (isFolder(folder)) return folder;
  Deno.mkdirSync(cache, { recursive: true });
  const draft = Deno.makeTempDirSync({ dir: cache, prefix: "zonebench-draft-" });
  try {
    const { success } = new Deno.Command("python3", {
      args: [
        ...["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"],
        ...["--disable-pip-version-check", "--root-user-action=ignore", "--target", draft, ...packages],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync();
    if (!success) return undefined;
    finish(draft);
    Deno.renameSync(draft, folder);
    return folder;
  } catch (error) {
    // No Python here; or another run has made the folder meanwhile.
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (isFolder(folder)) return folder;
    throw error;
  } finally {
    if (isFolder(draft)) Deno.removeSync(draft, { recursive: true });
  }
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
