// Imports run one way: what stands below knows nothing of what stands on it.

import assert from "node:assert/strict";
import { posix } from "node:path";

/** What each part may import besides itself and packages. Parts that are not named here do not exist. */
const allowed: Record<string, readonly string[]> = {
  "hardware": [],
  "src/log.ts": [],
  "src/wait.ts": [],
  "src/contract": ["src/log.ts"],
  "src/config": ["src/contract", "src/log.ts", "config"],
  "src/pqc": ["src/contract", "src/log.ts", "wasm"],
  "src/tls": ["src/contract", "src/log.ts", "src/pqc", "wasm"],
  "src/uptane": ["src/contract", "src/log.ts", "src/pqc"],
  "src/backup": ["src/codec"],
  "src/codec": ["src/contract", "src/log.ts", "src/pqc", "hardware", "wasm"],
  "src/server": [
    "src/contract",
    "src/config",
    "src/log.ts",
    "src/wait.ts",
    "src/pqc",
    "src/tls",
    "src/uptane",
    "src/codec",
    "hardware",
  ],
  "src/vmg": [
    "src/contract",
    "src/config",
    "src/log.ts",
    "src/wait.ts",
    "src/pqc",
    "src/tls",
    "src/uptane",
    "src/codec",
    "hardware",
  ],
  "src/commands": [
    "src/backup",
    "src/contract",
    "src/config",
    "src/log.ts",
    "src/wait.ts",
    "src/pqc",
    "src/tls",
    "src/uptane",
    "src/codec",
    "src/server",
    "src/vmg",
    "hardware",
    "bom",
    "LICENSE",
    "deno.json",
  ],
  "src/main.ts": ["src/commands", "src/config", "src/contract", "src/log.ts"],
};

const common = ["hardware/clock.ts", "hardware/byte_stream.ts", "hardware/same_bytes.ts"];

/** Which parts of hardware/ may import which: stacks below, simulation on top. */
const allowedInHardware: Record<string, readonly string[]> = {
  "hardware/clock.ts": [],
  "hardware/byte_stream.ts": [],
  "hardware/same_bytes.ts": [],
  "hardware/uds": [...common],
  "hardware/doip": [...common, "hardware/uds", "hardware/trace"],
  "hardware/serial": [...common],
  "hardware/can": [...common, "hardware/serial", "hardware/trace"],
  "hardware/isotp": [...common, "hardware/can", "hardware/uds"],
  "hardware/flash": [...common, "hardware/uds"],
  "hardware/trace": [...common],
  "hardware/sim": [
    ...common,
    "hardware/trace",
    "hardware/uds",
    "hardware/doip",
    "hardware/serial",
    "hardware/can",
    "hardware/isotp",
    "hardware/flash",
  ],
};

interface Import {
  file: string;
  target: string;
}

async function* sourcesBelow(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* sourcesBelow(path);
    else if (entry.name.endsWith(".ts")) yield path;
  }
}

/** Module specifiers of a file: static and dynamic imports, re-exports, and workers. */
function specifiersOf(text: string): string[] {
  const withoutComments = text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
  const patterns = [
    /\b(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/g,
    /\bimport\s*["']([^"']+)["']/g,
    /\bimport\s*\(\s*["']([^"']+)["']/g,
    /\bnew\s+URL\(\s*["'](\.[^"']+)["']\s*,\s*import\.meta\.url/g,
  ];
  return patterns.flatMap((pattern) => [...withoutComments.matchAll(pattern)].map((match) => match[1]));
}

async function importsOf(roots: readonly string[]): Promise<Import[]> {
  const imports: Import[] = [];
  for (const root of roots) {
    for await (const file of sourcesBelow(root)) {
      for (const specifier of specifiersOf(await Deno.readTextFile(file))) {
        if (!specifier.startsWith(".")) continue;
        imports.push({ file, target: posix.normalize(posix.join(posix.dirname(file), specifier)) });
      }
    }
  }
  return imports;
}

function partOf(path: string, parts: readonly string[]): string | undefined {
  return parts.find((part) => path === part || path.startsWith(`${part}/`));
}

function violations(imports: readonly Import[], rules: Record<string, readonly string[]>): string[] {
  const parts = [...new Set([...Object.keys(rules), ...Object.values(rules).flat()])];
  return imports.flatMap(({ file, target }) => {
    const from = partOf(file, Object.keys(rules));
    if (from === undefined) return [`${file} belongs to no part that the arrows know`];
    const to = partOf(target, parts);
    if (to === from || (to !== undefined && rules[from].includes(to))) return [];
    return [`${file} imports ${target}, which ${from} must not know`];
  });
}

Deno.test("imports of src and hardware run only along the arrows", async () => {
  const imports = await importsOf(["src", "hardware"]);
  assert.ok(imports.length > 100, `found only ${imports.length} imports: the reader of imports is broken`);
  assert.deepEqual(violations(imports, allowed), []);
});

Deno.test("within hardware the stacks stand below the simulation", async () => {
  assert.deepEqual(violations(await importsOf(["hardware"]), allowedInHardware), []);
});

Deno.test("only tls, pqc and codec touch wasm", async () => {
  const touching = (await importsOf(["src", "hardware"])).filter(({ target }) => target.startsWith("wasm/"));
  assert.deepEqual(touching.filter(({ file }) => !/^src\/(?:tls|pqc|codec)\//.test(file)), []);
});

Deno.test("a forbidden import is found in each form", () => {
  const text = [
    'import { a } from "../server/a.ts";',
    'import type { b } from "../server/b.ts";',
    'export * from "../server/c.ts";',
    'import "../server/d.ts";',
    'const e = await import("../server/e.ts");',
    'new Worker(new URL("../server/f.ts", import.meta.url));',
    'import {\n  g,\n} from "../server/g.ts";',
    '// import { no } from "../server/no.ts";',
  ].join("\n");
  const imports = specifiersOf(text).map((specifier) => ({
    file: "src/vmg/x.ts",
    target: posix.join("src/vmg", specifier),
  }));
  assert.equal(violations(imports, allowed).length, 7);
});
