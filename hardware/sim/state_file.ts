// Small state of a simulated ECU as a JSON file that is there whole or not at all.

/** Reads the file. @returns undefined when there is none. @throws {SyntaxError} naming the file when it is no JSON */
export function readState(path: string): unknown {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`${path}: expected JSON`, { cause: error });
  }
}

/** Replaces the file: temporary name, fsync, rename. */
export function writeState(path: string, value: unknown): void {
  Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  const temporary = `${path}.new`;
  using file = Deno.openSync(temporary, { write: true, create: true, truncate: true });
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
  file.syncSync();
  Deno.renameSync(temporary, path);
}
