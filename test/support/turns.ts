// What only one test file may do at a time, of those that run at once in this process and in others.

import { tmpdir } from "node:os";
import { join } from "node:path";

/** A file to lock, exclusively, for what is done in turns; closing it ends the turn. */
export function turnFile(name: string): Deno.FsFile {
  const path = join(tmpdir(), `zonebench-test-${name}-uid${Deno.uid() ?? 0}.lock`);
  return Deno.openSync(path, { create: true, write: true });
}
