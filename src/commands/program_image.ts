// What the vehicle's gateway itself runs, as its version reports say it: this program, measured where it lies.

import { createHash } from "node:crypto";
import type { InstalledSoftware } from "../vmg/mod.ts";
import { exists } from "./files.ts";
import manifest from "../../deno.json" with { type: "json" };

/** What the program consists of where it runs from source. */
const sources = ["deno.json", "deno.lock", "hardware", "src", "wasm"];

let measured: Promise<InstalledSoftware> | undefined;

/**
 * This program: from an executable the one file that it is bundled into, else its sources, one after another by their paths.
 * Measured once.
 */
export function programImage(): Promise<InstalledSoftware> {
  return measured ??= measure();
}

async function measure(): Promise<InstalledSoftware> {
  const hash = createHash("sha256");
  let length = 0;
  for (const [name, file] of await programFiles()) {
    const bytes = await Deno.readFile(file);
    // With name and length before it no byte can stand for one of another file.
    hash.update(`${name}\0${bytes.length}\0`).update(bytes);
    length += bytes.length;
  }
  return {
    filename: `zonebench/gateway/${manifest.version}.bin`,
    length,
    sha256: hash.digest("hex"),
  };
}

async function programFiles(): Promise<[string, URL][]> {
  // In an executable this module is part of the program's one file, and the build's description lies beside it.
  const own = new URL(import.meta.url);
  if (await exists(new URL("./build.json", own))) return [["program", own]];
  const root = new URL("../../", own);
  const files: [string, URL][] = [];
  for (const name of sources) await collect(name, new URL(name, root), files);
  return files.sort(([a], [b]) => a < b ? -1 : 1);
}

async function collect(name: string, place: URL, files: [string, URL][]): Promise<void> {
  if ((await Deno.stat(place)).isFile) {
    files.push([name, place]);
    return;
  }
  for await (const entry of Deno.readDir(place)) {
    // What builds leave is no part of the program.
    if (entry.isSymlink || entry.name === "target" || entry.name.startsWith(".")) continue;
    await collect(`${name}/${entry.name}`, new URL(`${entry.name}`, `${place}/`), files);
  }
}
