// `zonebench doctor`: looks at all that a bench needs and says what to do where something is wrong. It changes nothing, and
// runs beside a server or without one.

import type { Command } from "commander";
import { certificates } from "./doctor/certificates.ts";
import { type Check, type Checked, runChecks, type Verdict } from "./doctor/check.ts";
import { database, dataFolder, disk, gateways } from "./doctor/data.ts";
import { adapters, gatewaysInReach, serialPorts } from "./doctor/hardware.ts";
import { benchAddresses, healthOf, ports } from "./doctor/network.ts";
import { clock, configuration, engines, runPrograms } from "./doctor/system.ts";
import { ConfigError } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { type CommonOptions, configOf, foldersOf, interruption, makeCommand, withJson } from "./common.ts";
import { CommandFailed, examples, plain, print, printJson } from "./output.ts";

const checks: readonly Check[] = [
  configuration,
  engines,
  runPrograms,
  clock,
  dataFolder,
  disk,
  database,
  gateways,
  certificates,
  ports,
  benchAddresses,
  gatewaysInReach,
  adapters,
  serialPorts,
];

const colors: Record<Verdict, string> = { ok: "32", warning: "33", broken: "31", skipped: "90" };

export function doctorCommand(): Command {
  const command = withJson(
    makeCommand(
      "doctor",
      "checks ports, certificates, database, disk, clock, adapters and settings, and says what to do",
    ),
    "{checks: [{check, verdict, subject, found, advice?}], broken, warnings} as JSON",
  )
    .addHelpText(
      "after",
      "\nGive it the settings that serve is started with. It changes nothing and may run beside serve. Verdicts: ok, warning, broken,\n" +
        "skipped (nothing there to look at yet). Exit code 0: nothing is broken; 1: something is.",
    )
    .action(run);
  return examples(command, [
    "zonebench doctor",
    "zonebench doctor --bench config/examples/real-doip.yaml",
    "zonebench doctor --json",
  ]);
}

async function run(options: CommonOptions): Promise<void> {
  using stop = interruption();
  const found = await look(options, stop.signal);
  const broken = found.filter(({ verdict }) => verdict === "broken").length;
  const warnings = found.filter(({ verdict }) => verdict === "warning").length;
  if (options.json) printJson({ checks: found, broken, warnings });
  else show(found, warnings);
  if (broken > 0) {
    throw new CommandFailed(broken === 1 ? "one thing is broken" : `${broken} things are broken`);
  }
}

async function look(options: CommonOptions, signal: AbortSignal): Promise<Checked[]> {
  let config: Config;
  try {
    config = await configOf(options);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    // What else there is to look at depends on them.
    return error.message.split("\n").map((line) => ({
      check: "settings",
      verdict: "broken",
      subject: "settings",
      found: line,
      advice: "config/server.yaml and config/bench.yaml describe every setting",
    }));
  }
  const health = await healthOf(config);
  const context = { options, config, folders: foldersOf(options.data), health, now: new Date() };
  return await runChecks(checks, context, signal);
}

function show(found: readonly Checked[], warnings: number): void {
  const color = Deno.stdout.isTerminal() && !Deno.noColor;
  const width = Math.max(...found.map(({ subject }) => plain(subject).length));
  for (const { verdict, subject, found: what, advice } of found) {
    const word = verdict.padEnd(7);
    print(
      `${color ? `\x1b[${colors[verdict]}m${word}\x1b[0m` : word}  ${plain(subject).padEnd(width)}  ${
        plain(what)
      }`,
    );
    if (advice !== undefined) print(`${" ".repeat(9)}${" ".repeat(width)}  do: ${plain(advice)}`);
  }
  if (found.every(({ verdict }) => verdict !== "broken")) {
    print(warnings === 0 ? "All is well." : `Nothing is broken; ${warnings} warning(s).`);
  }
}
