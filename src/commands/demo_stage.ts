// How the demo is shown: steps with a heading, the commands that it runs in full view, and what was verified after each.

import { CommandFailed, plain, print } from "./output.ts";

/** Runs one command line and gives its exit code. */
export type RunCommand = (args: readonly string[]) => Promise<number>;

/** Options of {@link Stage}. */
export interface StageOptions {
  run: RunCommand;
  /** What each command is given besides what is shown: where the demo's server and data are. */
  hidden: readonly string[];
  /** How many steps there are. */
  steps: number;
  /** Called before each step. @default it goes on by itself */
  before?: (() => Promise<void>) | undefined;
  signal: AbortSignal;
}

/** Something was not as it should be. */
export class NotAsShown extends CommandFailed {}

const styles = { bold: "1", dim: "2", green: "32", cyan: "36" } as const;

/** The stage. */
export class Stage {
  readonly #options: StageOptions;
  readonly #coloured = Deno.stdout.isTerminal() && !Deno.noColor;
  #step = 0;
  #verified = 0;

  constructor(options: StageOptions) {
    this.#options = options;
  }

  /** Checks that held so far. */
  get verified(): number {
    return this.#verified;
  }

  /** Steps that were begun. */
  get step(): number {
    return this.#step;
  }

  /** Begins a step. @param text what happens, and why it is worth a look */
  async begin(title: string, text: string): Promise<void> {
    const { signal, steps, before } = this.#options;
    signal.throwIfAborted();
    print("");
    print(this.style("bold", `${++this.#step}/${steps}  ${title}`));
    for (const line of text.split("\n")) print(`     ${line}`);
    await before?.();
  }

  /** Shows a command and runs it; its output follows. @throws {NotAsShown} unless it ends with exit code 0 */
  async command(...args: string[]): Promise<void> {
    print("");
    print(`  ${this.style("cyan", `$ zonebench ${args.map(quoted).join(" ")}`)}`);
    const { run, hidden, signal } = this.#options;
    const code = await run([...args, ...hidden]);
    signal.throwIfAborted();
    if (code !== 0) throw new NotAsShown(`zonebench ${args.join(" ")}: expected exit code 0, got ${code}`);
  }

  /** Says what goes on between two commands. */
  say(text: string): void {
    print(this.style("dim", `    ${plain(text)}`));
  }

  /** Notes what was verified. @throws {NotAsShown} when it does not hold */
  check(holds: boolean, what: string, found = ""): void {
    if (!holds) throw new NotAsShown(`expected: ${what}${found === "" ? "" : `; found: ${found}`}`);
    this.#verified++;
    print(`  ${this.style("green", "✓")} ${plain(what)}`);
  }

  style(name: keyof typeof styles, text: string): string {
    return this.#coloured ? `\x1b[${styles[name]}m${text}\x1b[0m` : text;
  }
}

/** An argument as a shell takes it. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Waits for a key on a terminal in raw mode. @throws {DOMException} AbortError for Ctrl+C, Ctrl+D, Escape and q */
export async function keyPressed(prompt: string): Promise<void> {
  const encoder = new TextEncoder();
  Deno.stdout.writeSync(encoder.encode(prompt));
  Deno.stdin.setRaw(true);
  try {
    const key = new Uint8Array(16);
    const length = await Deno.stdin.read(key);
    if (length === null || [0x03, 0x04, 0x1b, 0x71].includes(key[0])) {
      throw new DOMException("interrupted", "AbortError");
    }
  } finally {
    Deno.stdin.setRaw(false);
    Deno.stdout.writeSync(encoder.encode("\r\x1b[2K"));
  }
}
