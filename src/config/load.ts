// Puts the configuration together: defaults, files, environment, command line, in that order, the later one wins.
// A setting that does not fit is an error that names where it stands, its value and what was expected.

import { dirname, resolve } from "node:path";
import { isMap, isPair, isScalar, isSeq, LineCounter, type Node, parse, parseDocument } from "yaml";
import type { z } from "zod";
import { type Config, config as configSchema } from "./schema.ts";
import serverDefaults from "../../config/server.yaml" with { type: "text" };
import benchDefaults from "../../config/bench.yaml" with { type: "text" };

export interface LoadOptions {
  /** Settings file; without it the defaults hold. */
  configFile?: string;
  /** Bench file; without it the small simulated bench. */
  benchFile?: string;
  /** `a.b.c=value`, the value in YAML. */
  set?: readonly string[];
  /** Environment; names that begin with ZONEBENCH_ are settings. @default none */
  environment?: Record<string, string>;
}

/** The configuration cannot be used. Its message has one line for each thing that is wrong. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

const prefix = "ZONEBENCH_";
const maxFileSize = 4 * 1024 * 1024;

/** Where a setting came from, for messages: `bench.yaml:12`, `--set`, `environment ZONEBENCH_…`. */
type Origins = Map<string, string>;
type Path = readonly (string | number)[];
type Tree = Record<string, unknown>;

/** Loads and checks the configuration. @throws {ConfigError} */
export async function loadConfig(options: LoadOptions = {}): Promise<Config> {
  const origins: Origins = new Map();
  const tree = readYaml("default settings", serverDefaults, origins);
  const bench = options.benchFile === undefined
    ? readYaml("default bench", benchDefaults, origins)
    : readYaml(options.benchFile, await readSettingsFile(options.benchFile), origins);
  const foreign = Object.keys(bench).find((key) => key !== "bench");
  if (foreign !== undefined || !isTree(bench.bench)) {
    const name = options.benchFile ?? "default bench";
    throw new ConfigError(
      foreign !== undefined
        ? `${
          originOf([foreign], origins) ?? name
        }: expected "bench" and nothing else at the top of a bench file, got "${foreign}"`
        : `${name}: expected settings below "bench", found none`,
    );
  }
  tree.bench = bench.bench;
  if (options.configFile !== undefined) {
    const own: Origins = new Map();
    const settings = readYaml(options.configFile, await readSettingsFile(options.configFile), own);
    merge(tree, settings, [], (path) => adopt(path, origins, own));
  }
  applyEnvironment(tree, options.environment ?? {}, origins);
  for (const assignment of options.set ?? []) applySet(tree, assignment, origins);

  const parsed = configSchema.safeParse(tree);
  if (parsed.success) {
    await placeFiles(parsed.data, options.benchFile, origins);
    return parsed.data;
  }
  throw new ConfigError(
    parsed.error.issues.flatMap((issue) => describe(issue, tree, origins)).join("\n"),
  );
}

/** Files that an ECU type names stand beside the bench file: their paths become whole ones, they must be there. */
async function placeFiles(config: Config, benchFile: string | undefined, origins: Origins): Promise<void> {
  const folder = benchFile === undefined ? "." : dirname(benchFile);
  const place = async (path: Path, given: string) => {
    const whole = resolve(folder, given);
    if (await Deno.stat(whole).then((it) => it.isFile, () => false)) return whole;
    throw new ConfigError(
      `${originOf(path, origins) ?? "settings"}: ${pathText(path)}: must be a file that is there, got ${
        show(given)
      }, which is ${whole}`,
    );
  };
  for (const [name, { security, authentication = {} }] of Object.entries(config.bench.ecu_types)) {
    const at = ["bench", "ecu_types", name];
    if (security.module !== undefined) {
      security.module = await place([...at, "security", "module"], security.module);
    }
    for (const key of ["certificate", "key", "trust"] as const) {
      const given = authentication[key];
      if (given !== undefined) authentication[key] = await place([...at, "authentication", key], given);
    }
  }
}

async function readSettingsFile(path: string): Promise<string> {
  let text: string;
  try {
    const { size } = await Deno.stat(path);
    if (size > maxFileSize) {
      throw new ConfigError(
        `${path}: expected at most ${maxFileSize} bytes of settings, the file has ${size}`,
      );
    }
    text = await Deno.readTextFile(path);
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    throw new ConfigError(`${path}: cannot be read: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  return text;
}

function readYaml(name: string, text: string, origins: Origins): Tree {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const problem = document.errors[0];
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw new ConfigError(`${name}:${line}:${col}: not valid YAML: ${problem.message}`);
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new ConfigError(`${name}: not valid YAML: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  if (value === null) return {};
  if (!isTree(value)) throw new ConfigError(`${name}: expected settings as "key: value", got ${show(value)}`);
  noteOrigins(document.contents, [], name, lines, origins);
  return value;
}

function noteOrigins(
  node: Node | null,
  path: Path,
  name: string,
  lines: LineCounter,
  origins: Origins,
): void {
  if (isMap(node)) {
    for (const item of node.items) {
      if (!isPair(item) || !isScalar(item.key)) continue;
      const below = [...path, String(item.key.value)];
      origins.set(keyOf(below), `${name}:${lines.linePos(item.key.range?.[0] ?? 0).line}`);
      noteOrigins(item.value as Node | null, below, name, lines, origins);
    }
  } else if (isSeq(node)) {
    node.items.forEach((item, index) => {
      const element = item as Node;
      origins.set(keyOf([...path, index]), `${name}:${lines.linePos(element.range?.[0] ?? 0).line}`);
      noteOrigins(element, [...path, index], name, lines, origins);
    });
  }
}

/** Lays `from` over `into`: maps are merged, everything else is replaced. */
function merge(into: Tree, from: Tree, path: Path, note: (path: Path) => void): void {
  for (const [key, value] of Object.entries(from)) {
    const below = [...path, key];
    const present = Object.hasOwn(into, key) ? into[key] : undefined;
    if (isTree(present) && isTree(value)) merge(present, value, below, note);
    else {
      assign(into, key, value);
      note(below);
    }
  }
}

/** Takes over where a replaced setting, and all below it, came from. */
function adopt(path: Path, origins: Origins, own: Origins): void {
  const key = keyOf(path);
  for (const known of origins.keys()) {
    if (known === key || known.startsWith(key + "\0")) origins.delete(known);
  }
  for (const [known, origin] of own) {
    if (known === key || known.startsWith(key + "\0")) origins.set(known, origin);
  }
}

function applyEnvironment(tree: Tree, environment: Record<string, string>, origins: Origins): void {
  const names = new Map<string, Path>();
  collectNames(tree, [], names);
  for (const [name, text] of Object.entries(environment).sort(([a], [b]) => a < b ? -1 : 1)) {
    if (!name.startsWith(prefix)) continue;
    const path = names.get(name);
    if (!path) {
      throw new ConfigError(
        `environment ${name}: no such setting${suggestion(name, names.keys())}`,
      );
    }
    put(tree, path, parseValue(text, `environment ${name}`), `environment ${name}`);
    noteAll(path, `environment ${name}`, origins);
  }
}

function collectNames(tree: Tree, path: Path, names: Map<string, Path>): void {
  for (const [key, value] of Object.entries(tree)) {
    const below = [...path, key];
    names.set(prefix + below.join("_").toUpperCase(), below);
    if (isTree(value)) collectNames(value, below, names);
  }
}

function applySet(tree: Tree, assignment: string, origins: Origins): void {
  const at = assignment.indexOf("=");
  const name = assignment.slice(0, at);
  if (at < 1 || !/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(name)) {
    throw new ConfigError(`--set ${show(assignment)}: expected a.b.c=value, such as server.https.port=9443`);
  }
  const path = name.split(".").map((part) => /^\d+$/.test(part) ? Number(part) : part);
  put(tree, path, parseValue(assignment.slice(at + 1), `--set ${name}`), `--set ${name}`);
  noteAll(path, `--set`, origins);
}

function parseValue(text: string, where: string): unknown {
  try {
    const value: unknown = parse(text, { maxAliasCount: 0 });
    // An empty text is the empty string, as in `database.url=`.
    return value === null && text.trim() === "" ? "" : value;
  } catch (cause) {
    throw new ConfigError(`${where}: not a YAML value: ${show(text)}`, { cause });
  }
}

/** Sets one value. The last name may be new, for optional settings: the schema refuses those that it does not know. */
function put(tree: Tree, path: Path, value: unknown, where: string): void {
  let at: unknown = tree;
  for (const [index, part] of path.entries()) {
    const last = index === path.length - 1;
    const here = path.slice(0, index + 1);
    if (Array.isArray(at) && typeof part === "number" && part < at.length) {
      if (last) at[part] = value;
      else at = at[part];
    } else if (isTree(at) && (Object.hasOwn(at, String(part)) || last)) {
      if (last) assign(at, String(part), value);
      else at = at[String(part)];
    } else {
      const siblings = isTree(at) ? Object.keys(at) : [];
      throw new ConfigError(
        `${where}: no such setting "${pathText(here)}"${suggestion(String(part), siblings)}`,
      );
    }
  }
}

function noteAll(path: Path, origin: string, origins: Origins): void {
  const key = keyOf(path);
  for (const known of [...origins.keys()]) if (known.startsWith(key + "\0")) origins.delete(known);
  origins.set(key, origin);
}

function describe(issue: z.core.$ZodIssue, tree: Tree, origins: Origins): string[] {
  const path = issue.path.map((part) => typeof part === "symbol" ? String(part) : part);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const at = [...path, key];
      const known = typeof path.at(-1) === "number"
        ? []
        : Object.keys(knownAt(path)).filter((it) => it !== key);
      return `${originOf(at, origins) ?? "settings"}: ${pathText(at)}: no such setting${
        suggestion(key, known)
      }`;
    });
  }
  const value = valueAt(tree, path);
  // A value that can hold a secret is not repeated.
  const shown = /(url|secret|password)$/.test(String(path.at(-1))) ? "" : `, got ${show(value)}`;
  return [`${originOf(path, origins) ?? "settings"}: ${pathText(path)}: ${issue.message}${shown}`];
}

/** The settings that the defaults have at a place. */
function knownAt(path: Path): Tree {
  const defaults = path[0] === "bench" ? parse(benchDefaults) : parse(serverDefaults);
  const value = valueAt(defaults, path);
  return isTree(value) ? value : {};
}

function originOf(path: Path, origins: Origins): string | undefined {
  for (let length = path.length; length > 0; length--) {
    const origin = origins.get(keyOf(path.slice(0, length)));
    if (origin) return origin;
  }
  return undefined;
}

function valueAt(tree: unknown, path: Path): unknown {
  let at = tree;
  for (const part of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Record<string | number, unknown>)[part];
  }
  return at;
}

/** Own property, whatever its name: `__proto__` from a file must not change an object's prototype. */
function assign(tree: Tree, key: string, value: unknown): void {
  Object.defineProperty(tree, key, { value, enumerable: true, configurable: true, writable: true });
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function keyOf(path: Path): string {
  return path.join("\0");
}

function pathText(path: Path): string {
  return path.map((part, index) => typeof part === "number" ? `[${part}]` : index === 0 ? part : `.${part}`)
    .join("");
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function suggestion(word: string, known: Iterable<string>): string {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 4)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best === undefined ? "" : `; did you mean "${best}"?`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
