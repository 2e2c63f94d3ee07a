// What all commands share: the common options, the configuration made from them, and the way to the server as operator.

import { Command, InvalidArgumentError, Option } from "commander";
import { join } from "node:path";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { RestClient } from "../contract/client.ts";
import { createLogger, type Logger } from "../log.ts";
import { httpsAgent } from "../tls/https_agent.ts";
import { clientCredentials, clientProfile } from "./tls.ts";

export interface CommonOptions {
  config?: string;
  bench?: string;
  data: string;
  set: string[];
  log: "text" | "json";
  json?: boolean;
}

/** Options of commands that talk to the server. */
export interface OperatorOptions extends CommonOptions {
  server?: string;
  operator: string;
}

/** The folders below the data folder. */
export interface DataFolders {
  root: string;
  pki: string;
  database: string;
  server: string;
  vmg: string;
  bench: string;
  repository: string;
  temporary: string;
}

export function foldersOf(root: string): DataFolders {
  return {
    root,
    pki: join(root, "pki"),
    database: join(root, "db"),
    server: root,
    vmg: join(root, "vmg"),
    bench: join(root, "bench"),
    repository: join(root, "repo"),
    temporary: join(root, "tmp"),
  };
}

/** Makes a command with the common options. They may stand before or after the command's name. */
export function makeCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(new Option("--config <file>", "settings file (default: the settings in config/server.yaml)"))
    .addOption(new Option("--bench <file>", "bench file (default: the small simulated bench)"))
    .addOption(new Option("--data <dir>", "folder for everything that the program writes").default("data"))
    .addOption(
      new Option("--set <a.b.c=value>", "overrides one setting; may be given again").default([], "none")
        .argParser((value: string, before: string[]) => [...before, value]),
    )
    .addOption(
      new Option("--log <format>", "log lines for people or machines").choices(["text", "json"]).default(
        "text",
      ),
    );
}

/** Adds what a command needs to reach the server. */
export function withOperator(command: Command): Command {
  return command
    .addOption(
      new Option("--server <url>", "the server's REST interface (default: this machine, server.https.port)"),
    )
    .addOption(new Option("--operator <name>", "operator certificate in the data folder").default("bench"));
}

/** Adds `--json`. */
export function withJson(command: Command, what: string): Command {
  return command.addOption(new Option("--json", what));
}

export async function configOf(options: CommonOptions): Promise<Config> {
  return await loadConfig({
    configFile: options.config,
    benchFile: options.bench,
    set: options.set,
    environment: Deno.env.toObject(),
  });
}

export function loggerOf(options: CommonOptions, config: Config): Logger {
  return createLogger({ format: options.log, level: config.log.level });
}

/** Where a client on this machine reaches a listener, and the name that its certificate carries for that. */
export function localTarget(
  hostname: string,
  port: number,
): { hostname: string; port: number; serverName: string } {
  const anywhere = hostname === "0.0.0.0" || hostname === "::";
  return { hostname: anywhere ? "127.0.0.1" : hostname, port, serverName: "localhost" };
}

/** Runs a function with a client that shows the operator's certificate. */
export async function asOperator<T>(
  options: OperatorOptions,
  run: (client: RestClient, config: Config) => Promise<T>,
): Promise<T> {
  const config = await configOf(options);
  const profile = clientProfile(config);
  const { certificateChain, privateKey, trust } = await clientCredentials(
    foldersOf(options.data).pki,
    `operator ${options.operator}`,
    profile,
  );
  const target = options.server === undefined
    ? localTarget(config.server.https.hostname, config.server.https.port)
    : undefined;
  const agent = httpsAgent({
    credentials: { certificateChain, privateKey },
    profile,
    engine: config.tls.engine,
    trust,
    serverName: target?.serverName,
    // An upload or a package may keep the server busy before it answers.
    headersTimeout: 600_000,
    bodyTimeout: 600_000,
  });
  const origin = options.server ?? `https://${bracketed(target!.hostname)}:${target!.port}`;
  try {
    return await run(new RestClient({ origin, dispatcher: agent, timeout: 60_000 }), config);
  } finally {
    await agent.destroy();
  }
}

export function bracketed(hostname: string): string {
  return hostname.includes(":") ? `[${hostname}]` : hostname;
}

/** Parser for an option that takes seconds. */
export function seconds(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 31_536_000)) {
    throw new InvalidArgumentError("expected a number of seconds above 0");
  }
  return value;
}

/** A signal that Ctrl+C and SIGTERM raise; the listeners are taken off when it is disposed of. */
export function interruption(): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const abort = () => controller.abort(new DOMException("interrupted", "AbortError"));
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const name of signals) Deno.addSignalListener(name, abort);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of signals) Deno.removeSignalListener(name, abort);
    },
  };
}

/** What `--format` takes for a firmware file. */
export const firmwareFormats = ["auto", "intel-hex", "s-record", "vbf", "binary"] as const;

/** Parser for an option that takes a 32-bit address. */
export function address(text: string): number {
  const value = /^(?:0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN;
  if (!(value >= 0 && value <= 0xffff_ffff)) throw new InvalidArgumentError("expected 0 to 0xFFFFFFFF");
  return value;
}

/** Parser for an option that takes one of some words; the words are at it, for those who ask what it takes. */
export function oneOf<T extends string>(
  values: readonly T[],
): ((text: string) => T) & { choices: readonly T[] } {
  const parse = (text: string) => {
    const value = values.find((it) => it === text);
    if (value === undefined) throw new InvalidArgumentError(`expected one of ${values.join(", ")}`);
    return value;
  };
  return Object.assign(parse, { choices: values });
}
