// The project's own files, as the bill of materials needs them: lock files, what the program imports, and the catalogue of
// licences that stands beside this.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import catalogueFile from "./licenses.json" with { type: "json" };
import manifest from "../deno.json" with { type: "json" };
import { closure, cratesOf, type LockedPackage, nameOf, npmPackages } from "./components.ts";

/** The project's folder. */
export const project = fileURLToPath(new URL("../", import.meta.url));

/** Folders with a Cargo.lock, and what is built there. */
export const crateFolders = {
  "wasm/tls": { part: "tls.wasm", target: "wasm32-unknown-unknown" },
  "wasm/zstd": { part: "zstd.wasm", target: "wasm32-unknown-unknown" },
  "launcher": { part: "launcher", target: "x86_64-unknown-linux-gnu" },
} as const;

/** What of the product a component is in. */
export type Part = "program" | "tls.wasm" | "zstd.wasm" | "pglite.wasm" | "launcher" | "runtime";

/** A component that is shipped, with its licence. */
export interface CatalogueEntry {
  /** "other": neither from npm nor from crates.io. */
  readonly ecosystem: string;
  readonly name: string;
  readonly version: string;
  /** SPDX expression. */
  readonly license: string;
  readonly parts: readonly string[];
  /** Keys of the texts. */
  readonly texts: readonly string[];
  readonly url?: string;
  readonly note?: string;
}

/** `licenses.json`. */
export interface Catalogue {
  readonly components: readonly CatalogueEntry[];
  /** Crates of the lock files that take part in building alone. */
  readonly build_only: readonly string[];
  readonly texts: Readonly<Record<string, string>>;
}

/** The committed catalogue. */
export const catalogue: Catalogue = catalogueFile;

/** The project's name and version. */
export const { name: projectName, version: projectVersion } = manifest;

/** npm packages by {@link nameOf}, and those that the program imports, with all below them. */
export async function readNpm(): Promise<
  { all: Map<string, LockedPackage>; direct: string[]; shipped: Set<string> }
> {
  const locked = npmPackages(await Deno.readTextFile(join(project, "deno.lock")));
  const all = new Map([...locked.values()].map((it) => [nameOf(it), it]));
  const imported = new Set<string>();
  for (const folder of ["src", "hardware"]) await collectImports(join(project, folder), imported);
  const direct = Object.entries(manifest.imports).flatMap(([bare, target]) => {
    const used = [...imported].some((it) =>
      it === bare || it.startsWith(bare.endsWith("/") ? bare : `${bare}/`)
    );
    return used ? [target.replace(/^npm:\/?/, "npm:").replace(/\/$/, "")] : [];
  });
  return { all, direct: [...new Set(direct)], shipped: closure(direct, all) };
}

/** Crates of all lock files by {@link nameOf}, each with the parts whose lock files have it. */
export async function readCrates(): Promise<Map<string, LockedPackage>> {
  const all = new Map<string, LockedPackage>();
  for (const folder of Object.keys(crateFolders)) {
    for (const crate of cratesOf(await Deno.readTextFile(join(project, folder, "Cargo.lock")))) {
      all.set(nameOf(crate), crate);
    }
  }
  return all;
}

/** Bare specifiers of a folder's modules. */
async function collectImports(folder: string, into: Set<string>): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory) await collectImports(path, into);
    else if (name.endsWith(".ts")) {
      const text = await Deno.readTextFile(path);
      for (const [, specifier] of text.matchAll(/\b(?:from|import)\s*\(?\s*"([^".][^":]*)"/g)) {
        into.add(specifier);
      }
    }
  }
}
