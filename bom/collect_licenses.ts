// Writes bom/licenses.json: the licences of all that is shipped, with their texts, from the packages themselves. Cargo tells
// which crates are linked; their sources are cargo's own copies.
//
//   deno task licenses           writes the file
//   deno task licenses --check   fails unless the file is what would be written

import { basename, join } from "node:path";
import { nameOf } from "./components.ts";
import { others } from "./others.ts";
import { type CatalogueEntry, crateFolders, project, readCrates, readNpm } from "./project.ts";

const licenseFile = /^(?:un)?licen[cs]e|^copying|^copyright|^notice/i;

/** What packages without a text of their own say that they are under. */
const standardTexts: Readonly<Record<string, string>> = {
  "Apache-2.0": "apache-2.0",
  Unlicense: "unlicense",
};

const decoder = new TextDecoder();
const texts: Record<string, string> = {};

async function output(command: string, args: string[], cwd = project): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd, stdin: "null" }).output();
  if (!success) throw new Error(`${command} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

/** Keeps a text once, whoever has it. @returns its key */
async function keep(text: string): Promise<string> {
  const whole = `${text.replaceAll("\r\n", "\n").trim()}\n`;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(whole)));
  const key = hash.toHex().slice(0, 16);
  texts[key] = whole;
  return key;
}

async function standardText(name: string): Promise<string> {
  const file = name.startsWith("..") ? name : `${name}.txt`;
  return await keep(await Deno.readTextFile(join(project, "bom", "texts", file)));
}

/** Keys of the texts in a package's folder; those of the licence that it names where it has none. */
async function textsIn(folder: string, license: string, what: string): Promise<string[]> {
  const files = [...Deno.readDirSync(folder)].filter(({ name, isFile }) => isFile && licenseFile.test(name))
    .map(({ name }) => name).sort();
  const keys: string[] = [];
  for (const file of files) keys.push(await keep(await Deno.readTextFile(join(folder, file))));
  if (keys.length > 0) return [...new Set(keys)];
  const standard = standardTexts[license];
  if (standard === undefined) throw new Error(`${what}: ${license}, and no text in ${folder}`);
  return [await standardText(standard)];
}

async function npmEntries(): Promise<CatalogueEntry[]> {
  const { all, shipped } = await readNpm();
  const { npmCache } = JSON.parse(await output(Deno.execPath(), ["info", "--json"])) as { npmCache: string };
  const entries: CatalogueEntry[] = [];
  for (const key of [...shipped].sort()) {
    const { name, version } = all.get(key)!;
    const folder = await npmFolder(npmCache, name, version);
    const { license } = JSON.parse(await Deno.readTextFile(join(folder, "package.json"))) as {
      license?: string;
    };
    if (license === undefined) throw new Error(`${key}: its package.json names no license`);
    const found = await textsIn(folder, license, key);
    entries.push({ ecosystem: "npm", name, version, license, parts: ["program"], texts: found });
  }
  return entries;
}

/** Where Deno keeps a package; it is fetched when it was not needed so far. */
async function npmFolder(cache: string, name: string, version: string): Promise<string> {
  for (let tries = 0; tries < 2; tries++) {
    for (const { name: registry } of Deno.readDirSync(cache)) {
      const folder = join(cache, registry, name, version);
      const { isDirectory } = await Deno.stat(folder).catch(() => ({ isDirectory: false }));
      if (isDirectory) return folder;
    }
    await output(Deno.execPath(), ["cache", "--no-config", "--no-lock", `npm:${name}@${version}`], "/");
  }
  throw new Error(`npm:${name}@${version} is not in ${cache}`);
}

interface CargoPackage {
  name: string;
  version: string;
  license: string | null;
  manifest_path: string;
  source: string | null;
}

async function crateEntries(): Promise<CatalogueEntry[]> {
  const entries = new Map<string, CatalogueEntry & { parts: string[] }>();
  for (const [folder, { part, target }] of Object.entries(crateFolders)) {
    const manifest = ["--manifest-path", join(project, folder, "Cargo.toml"), "--locked"];
    const edges = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe", "--format", "{p}"];
    const tree = await output("cargo", ["tree", ...manifest, "--target", target, ...edges]);
    const linked = new Set(tree.trim().split("\n").map((line) => line.split(" ").slice(0, 2).join(" ")));
    const metadata = await output("cargo", ["metadata", ...manifest, "--format-version", "1"]);
    for (const crate of (JSON.parse(metadata) as { packages: CargoPackage[] }).packages) {
      const { name, version, source, manifest_path } = crate;
      if (source === null || !linked.has(`${name} v${version}`)) continue;
      const key = nameOf({ ecosystem: "cargo", name, version });
      const known = entries.get(key);
      if (known !== undefined) {
        known.parts.push(part);
        continue;
      }
      // The older way to write a choice.
      const license = crate.license?.replaceAll("/", " OR ");
      if (license === undefined) throw new Error(`${key}: its Cargo.toml names no license`);
      const found = await textsIn(join(manifest_path, ".."), license, key);
      entries.set(key, { ecosystem: "cargo", name, version, license, parts: [part], texts: found });
    }
  }
  return [...entries.entries()].sort(([a], [b]) => a < b ? -1 : 1).map(([, entry]) => entry);
}

async function otherEntries(): Promise<CatalogueEntry[]> {
  const entries: CatalogueEntry[] = [];
  for (const entry of others) {
    entries.push({ ...entry, texts: await Promise.all(entry.texts.map((it) => standardText(it))) });
  }
  return entries;
}

const components = [...await npmEntries(), ...await crateEntries(), ...await otherEntries()];
const linked = new Set(components.map(({ ecosystem, name, version }) => `${ecosystem}:${name}@${version}`));
const buildOnly = [...(await readCrates()).keys()].filter((it) => !linked.has(it)).sort();
const sorted = Object.fromEntries(Object.entries(texts).sort(([a], [b]) => a < b ? -1 : 1));
const text = `${JSON.stringify({ components, build_only: buildOnly, texts: sorted }, null, 2)}\n`;
const file = join(project, "bom", "licenses.json");
if (Deno.args.includes("--check")) {
  if (await Deno.readTextFile(file) !== text) {
    console.error(`${basename(file)} is not what the packages say: run deno task licenses`);
    Deno.exit(1);
  }
} else {
  await Deno.writeTextFile(file, text);
}
console.log(`${components.length} components, ${Object.keys(sorted).length} texts, ${text.length} bytes`);
