// `zonebench version` and `--version`: which program this is, what it runs on, and the WebAssembly that it loads.

import { Command } from "commander";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { zstdWasm } from "../codec/zstd_instance.ts";
import { tlsWasm } from "../tls/engine/instance.ts";
import { withJson } from "./common.ts";
import { commitOf } from "./git_commit.ts";
import { CommandFailed, examples, print, printJson } from "./output.ts";
import manifest from "../../deno.json" with { type: "json" };

/** What stands beside an executable's program, in `build.json`. */
const buildFile = z.object({ commit: z.string(), kind: z.string(), date: z.string().optional() });

/** What is told. */
interface Version {
  version: string;
  /** Hexadecimal, with `+changes` where an executable was built from more than the commit; "unknown" where it cannot be told. */
  commit: string;
  /** Of the commit, where it is known. */
  date?: string | undefined;
  /** `source`, or how the executable was made. */
  kind: string;
  target: string;
  deno: string;
  v8: string;
  /** SHA-256 of each file, in hexadecimal. */
  wasm: Record<string, string>;
}

export function versionCommand(): Command {
  const command = withJson(
    new Command("version").description(
      "tells version, commit, Deno and V8, and the SHA-256 of the WebAssembly files that are loaded",
    ),
    "{version, commit, date?, kind, target, deno, v8, wasm: {file: sha256}} as JSON",
  ).action(async ({ json }: { json?: boolean }) => {
    const version = await readVersion();
    if (json) printJson(version);
    else show(version);
  });
  return examples(command, ["zonebench --version", "zonebench version --json"]);
}

async function readVersion(): Promise<Version> {
  // In an executable this module is part of the program's one file, and these lie beside it.
  const build = await readBuild(new URL("./build.json", import.meta.url));
  const { deno, v8 } = Deno.version;
  const database = build === undefined ? import.meta.resolve("@electric-sql/pglite") : import.meta.url;
  return {
    version: manifest.version,
    ...build ?? {
      commit: await commitOf(join(dirname(fileURLToPath(import.meta.url)), "..", "..")) ?? "unknown",
      kind: "source",
    },
    target: Deno.build.target,
    deno,
    v8,
    wasm: {
      "tls.wasm": await sha256(tlsWasm),
      "zstd.wasm": await sha256(zstdWasm),
      "pglite.wasm": await sha256(await Deno.readFile(new URL("./pglite.wasm", database))),
      "initdb.wasm": await sha256(await Deno.readFile(new URL("./initdb.wasm", database))),
    },
  };
}

async function readBuild(file: URL): Promise<z.infer<typeof buildFile> | undefined> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  try {
    return buildFile.parse(JSON.parse(text));
  } catch (cause) {
    throw new CommandFailed(`${file.pathname}: expected commit and kind of the build`, { cause });
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

function show({ version, commit, date, kind, target, deno, v8, wasm }: Version): void {
  print(`zonebench ${version}`);
  const rows: [string, string][] = [
    ["commit", date === undefined ? commit : `${commit}, ${date}`],
    ["built", kind === "source" ? "no: runs from source; changes since the commit do not show" : kind],
    ["runtime", `Deno ${deno}, V8 ${v8}, ${target}`],
    ...Object.entries(wasm).map(([name, hash]): [string, string] => [name, `sha256:${hash}`]),
  ];
  for (const [name, value] of rows) print(`  ${name.padEnd(12)} ${value}`);
}
