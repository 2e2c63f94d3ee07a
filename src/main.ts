// The command line.

import { Command, CommanderError } from "commander";
import { ConfigError } from "./config/load.ts";
import { ProblemError } from "./contract/client.ts";
import { describeError } from "./log.ts";
import { adaptersCommand } from "./commands/adapters.ts";
import { completionCommand } from "./commands/completion.ts";
import { demoCommand } from "./commands/demo.ts";
import { backupCommand } from "./commands/backup.ts";
import { diagCommand } from "./commands/diag.ts";
import { discoverCommand } from "./commands/discover.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { dtcCommand } from "./commands/dtc.ts";
import { firmwareCommand } from "./commands/firmware.ts";
import { flashCommand } from "./commands/flash.ts";
import { licensesCommand } from "./commands/licenses.ts";
import { linkCommand } from "./commands/link.ts";
import { CommandFailed, examples, OutputClosed, printError, UsageError } from "./commands/output.ts";
import { mqttCommand } from "./commands/mqtt.ts";
import { pkiCommand } from "./commands/pki.ts";
import { programName } from "./commands/program_name.ts";
import { packageCommand } from "./commands/package.ts";
import { repoCommand } from "./commands/repo.ts";
import { restoreCommand } from "./commands/restore.ts";
import { serveCommand } from "./commands/serve.ts";
import { updateCommand } from "./commands/update.ts";
import { vciCommand } from "./commands/vci.ts";
import { vehicleCommand } from "./commands/vehicle.ts";
import { versionCommand } from "./commands/version.ts";

/** Exit codes. */
const failed = 1;
const wrongUsage = 2;
/** 128 and the number of SIGPIPE, what a shell shows of a program whose reader is gone. */
const readerGone = 141;

function program(): Command {
  const program = new Command("zonebench")
    .description(
      "Over-the-air updates and diagnostics on the test bench: server, vehicle gateway, adapters, simulation.",
    )
    .usage("<command> [options]")
    .option("-V, --version", "as the command version")
    // Commands have options of that name: what stands behind a command's name is the command's.
    .enablePositionalOptions();
  const commands = [
    serveCommand(),
    pkiCommand(),
    packageCommand(),
    repoCommand(),
    mqttCommand(),
    firmwareCommand(),
    updateCommand(),
    vciCommand(),
    vehicleCommand(),
    linkCommand(),
    discoverCommand(),
    adaptersCommand(),
    diagCommand(),
    dtcCommand(),
    flashCommand(),
    backupCommand(),
    restoreCommand(),
    doctorCommand(),
    demoCommand(main),
    completionCommand(),
    versionCommand(),
    licensesCommand(),
  ];
  for (const command of commands) program.addCommand(command);
  examples(program, [
    "zonebench demo                                  the whole story in one terminal, in a minute",
    "zonebench serve                                 everything on this machine, with a simulated bench",
    "zonebench discover                              which gateways answer",
    "zonebench diag ECU_003 0x22 F190                one UDS request",
    "zonebench firmware add --help                   how an image gets into the catalogue",
  ]);
  settle(program);
  return program;
}

/** Wrong usage is thrown, not exited on, in every command; and each says where its help is. */
function settle(command: Command): void {
  command.exitOverride().showHelpAfterError("(--help tells more)");
  command.commands.forEach(settle);
}

/** Runs one command line. @returns the exit code */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const asked = args[0] === "--version" || args[0] === "-V" ? ["version", ...args.slice(1)] : args;
    await program().parseAsync(asked, { from: "user" });
    return 0;
  } catch (error) {
    return exitCodeOf(error);
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has said what it had to: help and versions end with 0, all else is wrong usage.
    return error.exitCode === 0 && error.code !== "commander.help" ? 0 : wrongUsage;
  }
  if (error instanceof OutputClosed) return readerGone;
  if (error instanceof UsageError || error instanceof ConfigError) {
    printError(error.message);
    return wrongUsage;
  }
  if (error instanceof DOMException && error.name === "AbortError") {
    printError("interrupted");
    return failed;
  }
  printError(
    error instanceof CommandFailed || error instanceof ProblemError ? error.message : explain(error),
  );
  return failed;
}

/** What an unforeseen error says, and what to do about the usual ones. */
function explain(error: unknown): string {
  const text = describeError(error);
  if (/ECONNREFUSED|connection refused|Connection refused/.test(text)) {
    return `${text}\nIs the server running? Start it with: ${programName} serve`;
  }
  return text;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
