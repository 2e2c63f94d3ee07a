// `zonebench backup`: database, files, vehicles' state and, on request, keys into one file, while everything goes on.

import type { Command } from "commander";
import { Buffer } from "node:buffer";
import { dirname, join, relative, resolve } from "node:path";
import { ArchiveWriter } from "../backup/archive_writer.ts";
import { type DataFile, dataFiles } from "../backup/data_folder.ts";
import { databasePart, keysName, unfinishedName } from "../backup/entry_path.ts";
import type { Manifest } from "../backup/manifest.ts";
import { encryptSecret } from "../backup/secret.ts";
import { copySqlite } from "../backup/sqlite_copy.ts";
import { KeyBundle } from "../backup/key_bundle.ts";
import type { Config } from "../config/schema.ts";
import { DumpReader, LineSplitter } from "../server/store/dump_lines.ts";
import { takeDump } from "./backup_database.ts";
import { repositoryFolder } from "./uptane.ts";
import {
  configOf,
  foldersOf,
  interruption,
  makeCommand,
  type OperatorOptions,
  withJson,
  withOperator,
} from "./common.ts";
import { exists, sync } from "./files.ts";
import {
  CommandFailed,
  examples,
  formatSize,
  print,
  printJson,
  printNote,
  Progress,
  UsageError,
} from "./output.ts";
import { passPhraseVariable, readPassPhrase } from "./pass_phrase.ts";
import project from "../../deno.json" with { type: "json" };

interface BackupOptions extends OperatorOptions {
  withKeys?: boolean;
  passFile?: string;
  force?: boolean;
}

/** Bytes of the dump in one entry. */
const partSize = 4 * 1024 * 1024;
/** Files up to this size are read at once: what is replaced meanwhile is the old one or the new one, whole. */
const wholeSize = 4 * 1024 * 1024;

export function backupCommand(): Command {
  const command = withJson(
    withOperator(makeCommand("backup", "puts database, files and vehicles' state into one file")),
    "what is in it as JSON",
  )
    .argument("<FILE>", "the backup, e.g. bench.tar.zst")
    .option("--with-keys", "the private keys too, encrypted with a pass phrase")
    .option("--pass-file <file>", "the pass phrase is the first line of this file")
    .option("--force", "replaces FILE")
    .addHelpText(
      "after",
      `\nThe server and the gateways may run meanwhile. The pass phrase comes from --pass-file, from the environment variable\n` +
        `${passPhraseVariable}, or is asked for. The file is a tar archive in Zstandard (tar --zstd -tf FILE lists it), readable by\n` +
        `its owner alone: also without keys it holds all that the bench knows.`,
    )
    .action(run);
  return examples(command, [
    "zonebench backup bench.tar.zst",
    "zonebench backup bench.tar.zst --with-keys --pass-file pass-phrase.txt",
    "zonebench backup bench.tar.zst --set database.url=postgres://user:password@localhost/zonebench",
  ]);
}

async function run(file: string, options: BackupOptions): Promise<void> {
  const config = await configOf(options);
  const { root } = foldersOf(options.data);
  await checkFolder(root);
  await checkTarget(file, root, options);
  if (options.passFile !== undefined && !options.withKeys) {
    throw new UsageError("--pass-file: keys are in the backup with --with-keys only");
  }
  const passPhrase = options.withKeys
    ? await readPassPhrase({ passFile: options.passFile, confirm: true })
    : undefined;
  using stop = interruption();
  const { manifest, size } = await writeFile(file, async (sink) => {
    using progress = new Progress(options.json);
    return await write(sink, options, config, { passPhrase, progress, signal: stop.signal });
  });
  report(file, size, manifest, options);
}

async function checkFolder(root: string): Promise<void> {
  const info = await Deno.stat(root).catch(() => undefined);
  if (!info?.isDirectory) throw new CommandFailed(`${root}: there is no data folder to back up (--data DIR)`);
  if (await exists(join(root, unfinishedName))) {
    throw new CommandFailed(`${root}: a restore into it has not ended; there is nothing whole to back up`);
  }
}

async function checkTarget(file: string, root: string, { force }: BackupOptions): Promise<void> {
  const folder = await Deno.realPath(dirname(resolve(file))).catch((cause) => {
    throw new CommandFailed(`${dirname(file)}: there is no such folder for the backup`, { cause });
  });
  const within = relative(await Deno.realPath(root), folder);
  if (!within.startsWith("..")) {
    throw new CommandFailed(`${file}: a backup does not lie in the data folder that it is one of`);
  }
  const there = await Deno.lstat(file).then(() => true, () => false);
  if (there && !force) throw new CommandFailed(`${file}: is there already; --force replaces it`);
}

/** Writes a file that is there whole or not at all, for its owner alone. */
async function writeFile<T>(
  path: string,
  fill: (sink: (bytes: Uint8Array) => Promise<void>) => Promise<T>,
): Promise<{ manifest: T; size: number }> {
  const draft = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    let size = 0;
    let manifest: T;
    {
      using file = await Deno.open(draft, { write: true, createNew: true, mode: 0o600 });
      manifest = await fill(async (bytes) => {
        for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
        size += bytes.length;
      });
      await file.sync();
    }
    await Deno.rename(draft, path);
    await sync(dirname(resolve(path)));
    return { manifest, size };
  } catch (error) {
    // The first error is the one that counts.
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
}

interface Work {
  passPhrase: string | undefined;
  progress: Progress;
  signal: AbortSignal;
}

/** The backup: the database first, so that every file that a row names is still there when files are read. */
async function write(
  sink: (bytes: Uint8Array) => Promise<void>,
  options: BackupOptions,
  config: Config,
  { passPhrase, progress, signal }: Work,
): Promise<Manifest> {
  const { root } = foldersOf(options.data);
  const writer = new ArchiveWriter(sink, { program: project.version, created: new Date() });
  await writer.begin();
  const database = await writeDatabase(writer, options, config, progress, signal);

  const files = await Array.fromAsync(dataFiles(root, filesElsewhere(config, root)));
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const sqlite: Manifest["sqlite"] = [];
  const keys = new KeyBundle();
  const saving = `saving files, ${formatSize(total)}`;
  let done = 0;
  for (const file of files) {
    signal.throwIfAborted();
    progress.update(total === 0 ? 1 : done / total, saving);
    if (file.kind === "sqlite") {
      const version = await writeSqlite(writer, root, file);
      sqlite.push({ path: file.path, version });
    } else if (file.kind === "file") {
      await writeData(writer, file, (bytes) => {
        signal.throwIfAborted();
        progress.update((done + bytes) / total, saving);
      });
    } else if (passPhrase !== undefined) await keys.add(file);
    done += file.size;
  }
  if (passPhrase !== undefined) {
    progress.update(1, "encrypting keys");
    await writer.addBytes(keysName, await encryptSecret(keys.bytes(), passPhrase));
  }
  return await writer.finish({ database, sqlite });
}

/** Images, packages and repositories may lie apart; in a backup they stand where they are without that. */
export function filesElsewhere(config: Config, root: string): Map<string, string> {
  const { files } = config.server;
  const folders = files === ""
    ? []
    : ["images", "packages"].map((name) => [name, join(files, name)] as const);
  const all = [...folders, ["repo", repositoryFolder(config, foldersOf(root))] as const];
  return new Map(all.filter(([name, folder]) => resolve(folder) !== resolve(join(root, name))));
}

async function writeDatabase(
  writer: ArchiveWriter,
  options: BackupOptions,
  config: Config,
  progress: Progress,
  signal: AbortSignal,
): Promise<Manifest["database"]> {
  let part: Uint8Array[] = [];
  let size = 0;
  let parts = 0;
  const flush = async () => {
    if (size > 0) await writer.add({ path: databasePart(++parts), size }, part);
    part = [];
    size = 0;
  };
  // Read as a restore will read it: what could not be restored is no backup.
  const splitter = new LineSplitter();
  const reader = new DumpReader();
  progress.update(0, "opening the database");
  const source = await takeDump(options, config, async (dumped) => {
    for (const line of splitter.push(dumped)) reader.read(line);
    part.push(dumped);
    size += dumped.length;
    // How much will come is not known.
    progress.update(0, "saving the database");
    if (size >= partSize) await flush();
  }, signal);
  if (source === undefined) return undefined;
  splitter.finish();
  reader.finish();
  await flush();
  return { migrations: reader.header?.migrations.length ?? 0, tables: reader.tables, rows: reader.rows };
}

async function writeSqlite(
  writer: ArchiveWriter,
  root: string,
  { path, absolute }: DataFile,
): Promise<number> {
  // A killed backup leaves it where the server tidies up.
  const folder = join(root, "tmp");
  await Deno.mkdir(folder, { recursive: true, mode: 0o750 });
  const copy = join(folder, `${crypto.randomUUID()}.tmp`);
  try {
    const version = await copySqlite(absolute, copy);
    await writeData(writer, { path, absolute: copy, kind: "file", size: 0 }, () => {});
    return version;
  } finally {
    await Deno.remove(copy).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

async function writeData(
  writer: ArchiveWriter,
  { path, absolute }: DataFile,
  onRead: (bytes: number) => void,
): Promise<void> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(absolute, { read: true });
  } catch (error) {
    // Retention removed it since it was listed; no row that counts names it.
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  using opened = file;
  const info = await opened.stat();
  const body = info.size <= wholeSize ? [await readWhole(opened)] : readOn(opened, onRead);
  const size = Array.isArray(body) ? body[0].length : info.size;
  const mtime = (info.mtime?.getTime() ?? 0) / 1000;
  const sha256 = await writer.add({ path: `data/${path}`, size, mode: info.mode ?? undefined, mtime }, body);
  const named = /^(?:images|packages)\/([0-9a-f]{64})\.[a-z]+$/.exec(path)?.[1];
  if (named !== undefined && named !== sha256) {
    printNote(`${path}: is damaged: its SHA-256 is ${sha256}; the backup has it as it is`);
  }
}

async function readWhole(file: Deno.FsFile): Promise<Uint8Array> {
  const bytes: Uint8Array[] = [];
  for await (const part of readOn(file, () => {})) bytes.push(part.slice());
  return Buffer.concat(bytes);
}

async function* readOn(
  file: Deno.FsFile,
  onRead: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, void> {
  const buffer = new Uint8Array(256 * 1024);
  for (let read = 0;;) {
    const got = await file.read(buffer);
    if (got === null) return;
    read += got;
    onRead(read);
    yield buffer.subarray(0, got);
  }
}

function report(file: string, size: number, manifest: Manifest, { json, withKeys }: BackupOptions): void {
  const { database, entries, created } = manifest;
  const files = entries.filter(({ path }) => path.startsWith("data/")).length;
  if (json) {
    printJson({ file, size, created, database: database ?? null, files, keys: manifest.keys });
    return;
  }
  print(`${file}: ${formatSize(size)}`);
  print(
    database === undefined
      ? "  no database: this data folder has none"
      : `  database: schema version ${database.migrations}, ${database.tables} tables, ${database.rows} rows`,
  );
  print(`  ${files} files`);
  print(
    withKeys
      ? "  private keys, encrypted: without the pass phrase nobody gets them back"
      : "  no private keys: --with-keys puts them in; without them a restore goes on with keys that are kept elsewhere",
  );
}
