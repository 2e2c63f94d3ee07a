// `zonebench restore`: a backup into a new data folder, and its database into an empty one.

import { type Command, Option } from "commander";
import { join } from "node:path";
import { statfs } from "node:fs/promises";
import { type EntryVisitor, readBackup } from "../backup/archive_reader.ts";
import { readKeyBundle } from "../backup/key_bundle.ts";
import { decryptSecret } from "../backup/secret.ts";
import { BadBackup, NewerBackup } from "../backup/errors.ts";
import type { Manifest } from "../backup/manifest.ts";
import type { Config } from "../config/schema.ts";
import { DumpReader, linesOf, LineSplitter } from "../server/store/dump_lines.ts";
import { DatabaseNotEmptyError, loadDatabase, migrationsOf } from "../server/store/load.ts";
import { migrations } from "../server/store/migrations/mod.ts";
import type { Database } from "../server/store/mod.ts";
import { openPglite } from "../server/store/pglite.ts";
import { openPostgres } from "../server/store/postgres.ts";
import { stateVersion } from "../vmg/mod.ts";
import { filesElsewhere } from "./backup.ts";
import { type CommonOptions, configOf, foldersOf, interruption, makeCommand, withJson } from "./common.ts";
import { copyFile, exists, nearest, openFile, sync } from "./files.ts";
import { CommandFailed, examples, formatSize, print, printJson, Progress } from "./output.ts";
import { passPhraseVariable, readPassPhrase } from "./pass_phrase.ts";
import { RestorePlace, writeFile } from "./restore_place.ts";
import { placeRepositories } from "./restore_repositories.ts";

interface RestoreOptions extends CommonOptions {
  replace?: boolean;
  passFile?: string;
  withoutKeys?: boolean;
}

/** What files of a backup may be opened for: no set-user-id, nothing for others to write. */
const modeMask = 0o755;

export function restoreCommand(): Command {
  const command = withJson(
    makeCommand("restore", "brings back what zonebench backup wrote, into an empty data folder"),
    "what was restored as JSON",
  )
    .argument("<FILE>", "the backup")
    .option("--replace", "puts aside what the data folder holds; nothing of it is deleted")
    .option("--pass-file <file>", "the pass phrase for the keys is the first line of this file")
    .addOption(new Option("--without-keys", "leaves the backup's keys where they are").conflicts("passFile"))
    .addHelpText(
      "after",
      `\nThe whole backup is checked before anything is changed. The database goes to where the settings say: the embedded one\n` +
        `in the data folder, or an empty one at database.url, whichever it came from. The pass phrase comes from --pass-file,\n` +
        `from the environment variable ${passPhraseVariable}, or is asked for.`,
    )
    .action(run);
  return examples(command, [
    "zonebench restore bench.tar.zst --data restored",
    "zonebench restore bench.tar.zst --replace --pass-file pass-phrase.txt",
    "zonebench restore bench.tar.zst --data restored --set database.url=postgres://user:password@localhost/empty",
  ]);
}

async function run(path: string, options: RestoreOptions): Promise<void> {
  const config = await configOf(options);
  const { root } = foldersOf(options.data);
  using stop = interruption();
  const { signal } = stop;
  using file = await openFile(path);
  const { size } = await file.stat();
  using progress = new Progress(options.json);
  // Said before the whole file is read; it is looked at again when the restore begins.
  await RestorePlace.look(root, options.replace === true);
  const room = await roomFor(root, config);

  let read = 0;
  const checking = { maxContent: room, signal, onRead: told("checking") };
  const { manifest, sealed } = await inspect(path, file, checking);
  progress[Symbol.dispose]();
  const keys = await keysOf(sealed, options);

  read = 0;
  progress.update(0, "making the database");
  await using place = await RestorePlace.open(root, options.replace === true);
  const writing = { maxContent: room, signal, onRead: told("restoring") };
  const kept = await restored(path, file, { manifest, keys, place, config, reading: writing });
  progress[Symbol.dispose]();
  report(manifest, keys, kept, place, options);

  function told(what: string): (bytes: number) => void {
    return (bytes) => {
      read += bytes;
      progress.update(size === 0 ? 1 : read / size, `${what}, ${formatSize(size)}`);
    };
  }
}

/** Bytes that there is room for: a file that claims to hold more is not read on. */
async function roomFor(root: string, config: Config): Promise<number> {
  const folders = [root, ...config.server.files === "" ? [] : [config.server.files]];
  let room = 0;
  for (const folder of folders) {
    const { bavail, bsize } = await statfs(await nearest(folder));
    room += bavail * bsize;
  }
  return room;
}

type Reading = Parameters<typeof readBackup>[2];

/** Reads all of it and keeps nothing but the keys: after this a restore fails for what is here, not for what came. */
async function inspect(
  path: string,
  file: Deno.FsFile,
  reading: Reading,
): Promise<{ manifest: Manifest; sealed: Uint8Array | undefined }> {
  const splitter = new LineSplitter();
  const reader = new DumpReader();
  let sealed: Uint8Array | undefined;
  let dumped = false;
  const manifest = await naming(path, () =>
    readBackup(file, {
      database: async (body) => {
        dumped = true;
        for await (const part of body) {
          for (const text of splitter.push(part)) {
            const line = reader.read(text);
            if (line.kind === "header") migrationsOf(line.header, migrations);
          }
        }
      },
      data: () => Promise.resolve(),
      keys: (bytes) => Promise.resolve(void (sealed = bytes)),
    }, reading));
  await naming(path, () => {
    if (dumped) {
      splitter.finish();
      reader.finish();
    }
    checkContents(manifest, dumped, sealed !== undefined);
    return Promise.resolve();
  });
  return { manifest, sealed };
}

/** What is wrong with a backup is said with its name. */
async function naming<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof DOMException) throw cause;
    throw new CommandFailed(`${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

function checkContents(manifest: Manifest, dumped: boolean, sealed: boolean): void {
  if (dumped !== (manifest.database !== undefined) || sealed !== manifest.keys) {
    throw new BadBackup("the manifest does not say what the backup holds");
  }
  for (const { path, version } of manifest.sqlite) {
    if (!/^vmg\/[^/]+\/vmg\.db$/.test(path) || version <= stateVersion) continue;
    throw new NewerBackup(
      `the gateway's state ${path} has schema version ${version}, this program knows versions up to ${stateVersion}: ` +
        `restore it with the program that made it, or a newer one`,
    );
  }
}

async function keysOf(
  sealed: Uint8Array | undefined,
  { passFile, withoutKeys }: RestoreOptions,
): Promise<Map<string, Uint8Array> | undefined> {
  if (sealed === undefined || withoutKeys) return undefined;
  const plain = await decryptSecret(sealed, await readPassPhrase({ passFile, confirm: false }));
  return await readKeyBundle(plain);
}

interface Restoring {
  manifest: Manifest;
  keys: ReadonlyMap<string, Uint8Array> | undefined;
  place: RestorePlace;
  config: Config;
  reading: Reading;
}

/** What a restore has left as it was. */
interface Kept {
  /** Keys of the folder that is replaced are in use. */
  keys: boolean;
  /** Where repositories are now that lay apart and are replaced. */
  repositories: string | undefined;
}

/** Restores; when that fails, everything is as it was. */
async function restored(path: string, file: Deno.FsFile, restoring: Restoring): Promise<Kept> {
  try {
    return await restore(path, file, restoring);
  } catch (error) {
    await restoring.place.undo();
    throw error;
  }
}

async function restore(path: string, file: Deno.FsFile, restoring: Restoring): Promise<Kept> {
  const { manifest, keys, place, config, reading } = restoring;
  const elsewhere = filesElsewhere(config, place.root);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const visitor: EntryVisitor = {
    database: async (body) => {
      for await (const part of body) await writer.write(part.slice());
    },
    data: async (name, { mode }, body) => {
      await writeFile(join(place.draft, name), body, mode & modeMask);
    },
    keys: () => Promise.resolve(),
  };
  const readAll = async () => {
    try {
      const again = await naming(path, () => readBackup(file, visitor, reading));
      // Between the two readings the file may have been changed.
      if (JSON.stringify(again) !== JSON.stringify(manifest)) {
        throw new CommandFailed(`${path}: was changed while it was read`);
      }
      await writer.close();
    } catch (error) {
      // Ends the loading too, which undoes what it has done.
      await writer.abort(error).catch(() => {});
      throw error;
    }
  };
  const kept: Kept = { keys: false, repositories: undefined };
  const prepare = async () => {
    if (keys === undefined) kept.keys = await place.keepKeys();
    for (const [name, bytes] of keys ?? []) await writeFile(join(place.draft, name), [bytes], 0o600);
    kept.repositories = await moveApart(place, elsewhere);
  };
  if (manifest.database === undefined) {
    const drained = readable.pipeTo(new WritableStream());
    await Promise.all([readAll(), drained]);
    await prepare();
    await place.settle();
    return kept;
  }
  const embedded = config.database.url === "";
  const database = await openDatabase(config, join(place.draft, "db"), reading.signal);
  try {
    const read = readAll();
    // Whichever fails first is what is reported.
    read.catch(() => {});
    await loaded(
      database,
      linesOf(readable),
      async () => {
        await read;
        await prepare();
        if (!embedded) await place.settle();
      },
      reading.signal,
    );
    await read;
  } finally {
    await database.close();
  }
  if (embedded) await place.settle();
  return kept;
}

async function loaded(
  database: Database,
  lines: AsyncIterable<string>,
  beforeCommit: () => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await loadDatabase(database, lines, { migrations, beforeCommit, signal });
  } catch (error) {
    if (error instanceof DatabaseNotEmptyError) {
      throw new CommandFailed(
        `${error.message}; make a new one (createdb) and name it in database.url`,
        { cause: error },
      );
    }
    throw error;
  }
}

async function openDatabase(
  config: Config,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<Database> {
  return config.database.url === ""
    ? await openPglite({ directory, signal })
    : await openPostgres({ url: config.database.url, connections: 2, signal });
}

/**
 * What lies apart: images and packages are named by their hash, those that are there already are the same.
 * @returns where repositories are now that were there
 */
async function moveApart(
  place: RestorePlace,
  elsewhere: ReadonlyMap<string, string>,
): Promise<string | undefined> {
  let aside: string | undefined;
  for (const [name, folder] of elsewhere) {
    const from = join(place.draft, name);
    if (!await exists(from)) continue;
    if (name === "repo") {
      aside = await placeRepositories(from, folder, place);
      await Deno.remove(from, { recursive: true });
      continue;
    }
    await Deno.mkdir(folder, { recursive: true, mode: 0o750 });
    for await (const entry of Deno.readDir(from)) {
      const draft = join(folder, `${entry.name}.${crypto.randomUUID()}.tmp`);
      await copyFile(join(from, entry.name), draft);
      await Deno.rename(draft, join(folder, entry.name));
    }
    await sync(folder);
    await Deno.remove(from, { recursive: true });
  }
  return aside;
}

function report(
  manifest: Manifest,
  keys: ReadonlyMap<string, Uint8Array> | undefined,
  kept: Kept,
  { root, aside }: RestorePlace,
  { json }: RestoreOptions,
): void {
  const { database, entries, created, program } = manifest;
  const files = entries.filter(({ path }) => path.startsWith("data/")).length;
  if (json) {
    printJson({
      data: root,
      created,
      database: database ?? null,
      files,
      keys: keys?.size ?? 0,
      replaced: aside ?? null,
      replaced_repositories: kept.repositories ?? null,
    });
    return;
  }
  print(`${root}: restored as of ${created}, zonebench ${program}`);
  if (database !== undefined) {
    print(
      `  database: schema version ${database.migrations}, ${database.tables} tables, ${database.rows} rows`,
    );
  }
  print(`  ${files} files, ${keys?.size ?? 0} private keys`);
  if (keys === undefined) {
    print(
      kept.keys
        ? "  the keys and certificates of the folder that was replaced were kept"
        : "  it has no private keys: copy them to where they were (pki/*.key), or remove pki/ and let serve make a new authority",
    );
  }
  if (aside !== undefined) print(`  what was there before is in ${aside}`);
  if (kept.repositories !== undefined) {
    print(`  repositories of signed metadata that were there before are in ${kept.repositories}`);
  }
}
