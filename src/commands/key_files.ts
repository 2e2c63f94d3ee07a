// Key files that the commands of `repo` are given.

import { importPublicKey, importSigner, KeyError, type LocalSigner } from "../uptane/keys.ts";
import type { KeyModel } from "../uptane/models.ts";
import { CommandFailed } from "./output.ts";

/** Longest file of a public key, bytes. */
const maxKeyFile = 65_536;

/** A private key. @throws {CommandFailed} that names the file */
export async function readKey(file: string): Promise<LocalSigner> {
  try {
    return await importSigner(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof KeyError) throw new CommandFailed(`${file}: ${error.message}`, { cause: error });
    throw unreadable(file, error);
  }
}

/** A public key. @throws {CommandFailed} that names the file, and for a private one that it is one */
export async function readPublicKey(file: string): Promise<KeyModel> {
  let text: string;
  try {
    const { size } = await Deno.stat(file);
    if (size > maxKeyFile) {
      throw new CommandFailed(`${file}: expected at most ${maxKeyFile} bytes, got ${size}`);
    }
    text = await Deno.readTextFile(file);
  } catch (error) {
    throw unreadable(file, error);
  }
  if (text.includes("PRIVATE KEY-----")) {
    throw new CommandFailed(
      `${file}: a private key, which stays where it is; its public half: openssl pkey -in ${file} -pubout`,
    );
  }
  try {
    return await importPublicKey(text);
  } catch (cause) {
    if (!(cause instanceof KeyError)) throw cause;
    throw new CommandFailed(`${file}: ${cause.message}`, { cause });
  }
}

/** What reading a file ended with, as the command ends with it. */
export function unreadable(file: string, cause: unknown): CommandFailed {
  if (cause instanceof CommandFailed) return cause;
  return new CommandFailed(`${file}: cannot be read: ${cause instanceof Error ? cause.message : cause}`, {
    cause,
  });
}
