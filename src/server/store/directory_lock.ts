// One program at a time on the embedded database's directory. The lock is the operating system's (flock), so it ends with
// the process that holds it, however that ends; the file that stays behind blocks nobody.
import { join } from "node:path";
import { DatabaseLockedError } from "./errors.ts";

/** A held lock. */
export interface DirectoryLock {
  release(): Promise<void>;
}

/**
 * Locks `directory` (which must exist) through the file `lock` in it.
 * @throws DatabaseLockedError with the process id of the holder when another program has it
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const path = join(directory, "lock");
  const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
  try {
    if (!await file.tryLock(true)) {
      const holder = (await Deno.readTextFile(path)).trim();
      throw new DatabaseLockedError(
        `the database in ${directory} is in use by another program` +
          `${
            /^\d+$/.test(holder) ? ` (process ${holder})` : ""
          }: stop it, or choose another --data directory`,
      );
    }
    await file.truncate(0);
    await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
  } catch (error) {
    file.close();
    throw error;
  }
  return {
    release: async () => {
      await file.unlock();
      file.close();
    },
  };
}
