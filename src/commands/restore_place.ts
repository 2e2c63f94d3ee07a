// Puts a restored data folder in its place: everything is prepared in a folder within it, so that it works on a volume of its
// own too, and moved at the end. While that folder is there nothing starts on the data; what was there before is put aside.

import { dirname, join } from "node:path";
import { dataFiles } from "../backup/data_folder.ts";
import { replacedPrefix, unfinishedName } from "../backup/entry_path.ts";
import { copyFolder, exists, sync } from "./files.ts";
import { CommandFailed } from "./output.ts";

/** A folder that is being restored into. */
export class RestorePlace implements AsyncDisposable {
  /** Where the new content is prepared. */
  readonly draft: string;
  /** Moves that have been made. */
  readonly #moved: { from: string; to: string }[] = [];
  /** Folders outside in which something is prepared. */
  readonly #drafts: string[] = [];
  readonly #locks: Deno.FsFile[] = [];
  #asideName: string | undefined;

  private constructor(readonly root: string, readonly before: readonly string[], readonly made: boolean) {
    this.draft = join(root, unfinishedName);
  }

  /** Name of the folder with what was there before, once it is there. */
  get aside(): string | undefined {
    return this.#asideName;
  }

  /**
   * Looks at what is there and changes nothing.
   * @returns what stands in the way of what comes, and whether an earlier restore has not ended
   * @throws {CommandFailed} when something is there that may not be put aside
   */
  static async look(root: string, replace: boolean): Promise<{ names: string[]; unfinished: boolean }> {
    const found = await namesIn(root);
    const unfinished = found.includes(unfinishedName);
    const names = found.filter((name) =>
      name !== unfinishedName && name !== "lost+found" && !name.startsWith(replacedPrefix)
    );
    if (unfinished && !replace) {
      throw new CommandFailed(
        `${root}: a restore into it has not ended; when none is running, --replace begins anew and puts aside what is there`,
      );
    }
    if (names.length > 0 && !replace) {
      throw new CommandFailed(
        `${root}: is not empty; choose another --data folder, or --replace puts aside what is there`,
      );
    }
    return { names, unfinished };
  }

  /**
   * @param replace whether what is there may be put aside
   * @throws {CommandFailed} when something is there that may not, or a program works on it
   */
  static async open(root: string, replace: boolean): Promise<RestorePlace> {
    const made = !await exists(root);
    await Deno.mkdir(root, { recursive: true, mode: 0o700 });
    const { names, unfinished } = await RestorePlace.look(root, replace);
    const place = new RestorePlace(root, names, made);
    try {
      await place.#lock();
      if (unfinished) await Deno.remove(place.draft, { recursive: true });
      await Deno.mkdir(place.draft, { mode: 0o700 });
    } catch (error) {
      place.#unlock();
      throw error;
    }
    return place;
  }

  /** Holds the locks of server and gateways, so that neither runs nor starts on what is put aside. */
  async #lock(): Promise<void> {
    const folders = [join(this.root, "db")];
    const vmg = join(this.root, "vmg");
    for (const name of await namesIn(vmg)) folders.push(join(vmg, name));
    for (const folder of folders) {
      const path = join(folder, "lock");
      let file: Deno.FsFile;
      try {
        file = await Deno.open(path, { read: true, write: true });
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) continue;
        throw error;
      }
      this.#locks.push(file);
      if (await file.tryLock(true)) continue;
      const holder = (await Deno.readTextFile(path)).trim();
      throw new CommandFailed(
        `${folder} is in use${
          /^\d+$/.test(holder) ? ` by process ${holder}` : ""
        }: stop it before its data are replaced`,
      );
    }
  }

  #unlock(): void {
    for (const file of this.#locks.splice(0)) file.close();
  }

  /** Takes over keys, and the whole authority, of what was there: for a backup that has none. @returns whether there were any */
  async keepKeys(): Promise<boolean> {
    let found = false;
    const pki = join(this.root, "pki");
    if ((await namesIn(pki)).length > 0) {
      await Deno.remove(join(this.draft, "pki"), { recursive: true }).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
      await copyFolder(pki, join(this.draft, "pki"));
      found = true;
    }
    for await (const { path, absolute, kind } of dataFiles(this.root)) {
      if (kind !== "key" || path.startsWith("pki/")) continue;
      await writeFile(join(this.draft, path), [await Deno.readFile(absolute)], 0o600);
      found = true;
    }
    return found;
  }

  /** Moves what was there aside and what was prepared in. @throws after which everything is as it was */
  async settle(): Promise<void> {
    try {
      if (this.before.length > 0) {
        const stamp = new Date().toISOString().replace(/\.\d+Z$/, "Z").replaceAll(":", "");
        this.#asideName = join(this.root, `${replacedPrefix}${stamp}`);
        await Deno.mkdir(this.#asideName, { mode: 0o700 });
        for (const name of this.before) await this.move(join(this.root, name), join(this.#asideName, name));
      }
      for (const name of await namesIn(this.draft)) {
        await this.move(join(this.draft, name), join(this.root, name));
      }
      await sync(this.root);
    } catch (error) {
      await this.undo();
      throw error;
    }
  }

  /** Puts everything back as it was. */
  async undo(): Promise<void> {
    for (const { from, to } of this.#moved.splice(0).reverse()) await Deno.rename(to, from);
    if (this.#asideName !== undefined) await Deno.remove(this.#asideName);
    this.#asideName = undefined;
  }

  /** Moves what belongs to this restore; {@link undo} moves it back. */
  async move(from: string, to: string): Promise<void> {
    await Deno.rename(from, to);
    this.#moved.push({ from, to });
    await sync(dirname(to));
  }

  /** Names a folder outside in which something is prepared: what is still there at the end is removed. */
  drafted(folder: string): void {
    this.#drafts.push(folder);
  }

  /** Removes what was prepared and not moved. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#unlock();
    for (const folder of this.#drafts) {
      if (await exists(folder)) await Deno.remove(folder, { recursive: true });
    }
    await Deno.remove(this.draft, { recursive: true });
    await sync(this.root);
    // A restore that failed leaves no folder behind that was not there.
    if (this.made && this.#moved.length === 0) await Deno.remove(this.root);
  }
}

/** Writes a file of a backup that is being restored; its name is new. @param parts its bytes */
export async function writeFile(
  path: string,
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  mode: number,
): Promise<void> {
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  using file = await Deno.open(path, { write: true, createNew: true, mode });
  for await (const part of parts) {
    for (let at = 0; at < part.length;) at += await file.write(part.subarray(at));
  }
  await file.sync();
}

/** Names in a folder; none if there is no such folder. */
async function namesIn(directory: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(directory)) names.push(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return names.sort();
}

/** @throws {CommandFailed} when a restore into the data folder has not ended: what is there is not whole */
export async function refuseUnfinished(root: string): Promise<void> {
  if (!await exists(join(root, unfinishedName))) return;
  throw new CommandFailed(
    `${root}: a restore into it runs, or was broken off: let it end, or run zonebench restore FILE --replace again`,
  );
}
