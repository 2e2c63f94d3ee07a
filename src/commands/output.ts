// How results and progress reach people and programs: results on standard output, progress on standard error.

import type { Command } from "commander";

const encoder = new TextEncoder();

/** Writes one result line. @throws {OutputClosed} */
export function print(text: string): void {
  try {
    writeAll(Deno.stdout, `${text}\n`);
  } catch (cause) {
    if (cause instanceof Deno.errors.BrokenPipe) throw new OutputClosed("nobody reads the output", { cause });
    throw cause;
  }
}

/** Who read the output has seen enough, as `head` does: the command ends, and nothing is to be said about it. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** Writes one result as a JSON line. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Writes rows in aligned columns under a heading. */
export function printTable(heading: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => plain(row[column] ?? "").length))
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => plain(cell ?? "").padEnd(widths[column])).join("  ").trimEnd();
  print(line(heading));
  for (const row of rows) print(line(row));
}

/** What came from outside must not steer the terminal. */
export function plain(text: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what this takes out
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/** `1.4 MiB` */
export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/** `05:12` */
function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${String(Math.floor(whole / 60)).padStart(2, "0")}:${String(whole % 60).padStart(2, "0")}`;
}

/** Shows how far something is: a bar that is drawn over on a terminal, a line at each new step elsewhere. */
export class Progress implements Disposable {
  readonly #terminal = Deno.stderr.isTerminal();
  readonly #started = performance.now();
  #last = -Infinity;
  #lastText = "";
  #open = false;

  /** @param quiet shows nothing, for `--json` */
  constructor(readonly quiet = false) {}

  /**
   * @param fraction 0 to 1
   * @param text what is being done
   */
  update(fraction: number, text: string): void {
    if (this.quiet) return;
    const now = performance.now();
    const within = Math.min(1, Math.max(0, fraction));
    const percent = Math.floor(within * 100);
    if (!this.#terminal) {
      // Elsewhere: a line when the text changes, and every two seconds.
      if (text === this.#lastText && now - this.#last < 2000) return;
      this.#last = now;
      this.#lastText = text;
      writeAll(Deno.stderr, `${String(percent).padStart(3)} % ${plain(text)}\n`);
      return;
    }
    if (now - this.#last < 50 && percent < 100 && text === this.#lastText) return;
    this.#last = now;
    this.#lastText = text;
    const elapsed = (now - this.#started) / 1000;
    const left = within > 0.02 && within < 1 ? ` ${formatSeconds(elapsed / within - elapsed)} left` : "";
    const width = 30;
    const filled = Math.round(within * width);
    const bar = "█".repeat(filled) + "░".repeat(width - filled);
    writeAll(Deno.stderr, `\r\x1b[2K${bar} ${String(percent).padStart(3)} % ${plain(text)}${left}`);
    this.#open = true;
  }

  /** A line of its own beside the bar. */
  note(text: string): void {
    if (this.quiet) return;
    if (this.#open) writeAll(Deno.stderr, "\n");
    this.#open = false;
    printNote(text);
  }

  [Symbol.dispose](): void {
    if (this.#open) writeAll(Deno.stderr, "\n");
    this.#open = false;
  }
}

function writeAll(file: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

/** Says what went wrong and what to do, in the colours of a terminal where there is one. */
export function printError(message: string): void {
  const label = Deno.stderr.isTerminal() && !Deno.noColor ? "\x1b[31merror:\x1b[0m" : "error:";
  // Lines are kept: a configuration error has one for each thing that is wrong.
  writeAll(Deno.stderr, `${label} ${message.split("\n").map(plain).join("\n       ")}\n`);
}

/** Says something beside the result, on standard error. */
export function printNote(message: string): void {
  writeAll(Deno.stderr, `${plain(message)}\n`);
}

/** A command line that cannot be carried out as it is written: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The command did what it could and failed: its message says all, no stack is needed. Exit code 1. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
}

/** Adds examples below a command's help. */
export function examples(command: Command, lines: readonly string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}
