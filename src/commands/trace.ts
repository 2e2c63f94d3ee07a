// `--trace FILE`: everything that crosses the buses, for the commands that use them.

import { type Command, InvalidArgumentError, Option } from "commander";
import { TraceError } from "../../hardware/trace/errors.ts";
import { BusTrace } from "../../hardware/trace/trace.ts";
import { CommandFailed, printNote } from "./output.ts";

/** What `withTrace` adds. */
export interface TraceOptions {
  trace?: string;
  traceSize: number;
  traceFiles: number;
}

/** Adds `--trace` and its limits. */
export function withTrace(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--trace <file>",
        "records what crosses the buses: pcapng for DoIP and CAN, a candump log of CAN alone when it ends in .log",
      ),
    )
    .addOption(
      new Option("--trace-size <MiB>", "size at which FILE becomes FILE.1 and a new one begins")
        .default(256).argParser(within(1, 1_048_576)),
    )
    .addOption(
      new Option("--trace-files <count>", "files that are kept, the newest ones")
        .default(8).argParser(within(1, 1_000)),
    );
}

/** A trace that is under way; at its end it is said what was kept, and what was not. */
export interface RunningTrace extends AsyncDisposable {
  readonly bus: BusTrace;
}

/**
 * Begins a trace if one was asked for.
 *
 * @param say takes what is worth knowing: lost records, the end. @default standard error
 */
export async function openTrace(
  options: TraceOptions,
  say: { info: (message: string) => void; warn: (message: string) => void } = {
    info: printNote,
    warn: printNote,
  },
): Promise<RunningTrace | undefined> {
  const { trace: path, traceSize, traceFiles } = options;
  if (path === undefined) return undefined;
  let bus: BusTrace;
  try {
    bus = await BusTrace.open({
      path,
      maxFileSize: traceSize * 1_048_576,
      maxFiles: traceFiles,
      warn: say.warn,
    });
  } catch (cause) {
    if (!(cause instanceof TraceError)) throw cause;
    throw new CommandFailed(`--trace ${cause.message}`, { cause });
  }
  return {
    bus,
    async [Symbol.asyncDispose]() {
      const { kept, lost, unsuited } = await bus.close();
      say.info(`Trace ${path}: ${kept} packets and frames`);
      if (lost > 0) say.warn(`Trace ${path}: ${lost} could not be written and are missing`);
      if (unsuited > 0) {
        say.warn(`Trace ${path}: ${unsuited} DoIP packets are not in it: a candump log holds CAN alone`);
      }
    },
  };
}

function within(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= least && value <= most)) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
    }
    return value;
  };
}
