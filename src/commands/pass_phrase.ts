// The pass phrase for a backup's keys: from a file, from the environment, or typed without being shown. Never from the command
// line, where every user of the machine could read it.

import { leastPassPhrase } from "../backup/secret.ts";
import { describeError } from "../log.ts";
import { CommandFailed, UsageError } from "./output.ts";

/** The environment variable. It does not begin with ZONEBENCH_, as settings do. */
export const passPhraseVariable = "BACKUP_PASSPHRASE";

export interface PassPhraseOptions {
  passFile?: string;
}

const encoder = new TextEncoder();

/**
 * @param options.confirm asks twice: a typing error would close the keys for ever
 * @throws {UsageError} when there is none, or it is too short
 */
export async function readPassPhrase(
  { passFile, confirm }: PassPhraseOptions & { confirm: boolean },
): Promise<string> {
  const fromVariable = Deno.env.get(passPhraseVariable);
  let phrase: string;
  if (passFile !== undefined) phrase = await firstLine(passFile);
  else if (fromVariable !== undefined) phrase = fromVariable;
  else phrase = await typed(confirm);
  if ([...phrase].length < leastPassPhrase) {
    throw new UsageError(`the pass phrase must have ${leastPassPhrase} characters at least`);
  }
  return phrase;
}

async function firstLine(file: string): Promise<string> {
  try {
    return (await Deno.readTextFile(file)).split(/\r?\n/, 1)[0];
  } catch (cause) {
    throw new CommandFailed(`--pass-file ${file} cannot be read: ${describeError(cause)}`, { cause });
  }
}

async function typed(confirm: boolean): Promise<string> {
  if (!Deno.stdin.isTerminal()) {
    throw new UsageError(
      `no pass phrase: there is no terminal to ask at; give --pass-file FILE or the environment variable ${passPhraseVariable}`,
    );
  }
  const first = await ask("Pass phrase: ");
  if (confirm && await ask("The same again: ") !== first) throw new UsageError("the pass phrases differ");
  return first;
}

/** Asks at the terminal; what is typed is not shown. */
async function ask(question: string): Promise<string> {
  Deno.stderr.writeSync(encoder.encode(question));
  Deno.stdin.setRaw(true);
  try {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(1024);
    let text = "";
    for (;;) {
      const got = await Deno.stdin.read(buffer);
      if (got === null) throw new UsageError("no pass phrase: the input has ended");
      for (const character of decoder.decode(buffer.subarray(0, got), { stream: true })) {
        if (character === "\r" || character === "\n") return text;
        // Raw mode: Ctrl+C, Ctrl+D, backspace and Ctrl+U do not work by themselves.
        if (character === "\x03" || character === "\x04") throw new DOMException("interrupted", "AbortError");
        if (character === "\x7f" || character === "\b") text = [...text].slice(0, -1).join("");
        else if (character === "\x15") text = "";
        else text += character;
      }
    }
  } finally {
    Deno.stdin.setRaw(false);
    Deno.stderr.writeSync(encoder.encode("\n"));
  }
}
