// `zonebench repo`: the repositories of signed metadata, founded, signed and checked without a server.

import { Command, InvalidArgumentError, Option } from "commander";
import { join } from "node:path";
import { z } from "zod";
import { parseFirmware } from "../../hardware/flash/format/parse_firmware.ts";
import { publicMode, writeWhole } from "../pqc/files.ts";
import * as id from "../contract/identifiers.ts";
import { AuthorError } from "../uptane/author.ts";
import { addSignature, EnvelopeError, readMetadata } from "../uptane/envelope.ts";
import { imageTarget, imageTargetName } from "../uptane/image_target.ts";
import { importSigner, KeyError, type LocalSigner } from "../uptane/keys.ts";
import {
  mustMatch,
  type RepositoryName,
  repositoryNames,
  targetName,
  topLevelRoles,
} from "../uptane/models.ts";
import { toDownload } from "../server/ota/catalogue.ts";
import { RepositoryAuthor } from "../server/uptane/repository_author.ts";
import { RepositoryDirectory, RepositoryDirectoryError } from "../server/uptane/repository_directory.ts";
import {
  defaultValidity,
  type RoleSetting,
  rolesOf,
  type RootRole,
  type Validity,
  type Written,
} from "../server/uptane/roles.ts";
import {
  address,
  type CommonOptions,
  configOf,
  firmwareFormats,
  foldersOf,
  interruption,
  makeCommand,
  oneOf,
  withJson,
} from "./common.ts";
import { CommandFailed, examples, print, printJson, printTable, UsageError } from "./output.ts";
import { repositoryFolder } from "./uptane.ts";
import { type RoleOption, roleOption, roleSetting, settingsOf, validityOption } from "./repo_settings.ts";
import { repoInventoryCommand } from "./repo_inventory.ts";
import { repoVerifyCommand } from "./repo_verify.ts";

interface RepoOptions extends CommonOptions {
  repo?: string;
  expires: Validity;
}

/** Largest metadata file that is signed, bytes. */
const maxMetadata = 4_194_304;

export function repoCommand(): Command {
  const command = new Command("repo").description("signed metadata: the Director and the Image repository");
  command.addCommand(init()).addCommand(sign()).addCommand(rotate()).addCommand(publish())
    .addCommand(repoVerifyCommand()).addCommand(repoInventoryCommand());
  return examples(command, [
    "zonebench repo init",
    "zonebench repo init --role root=ml-dsa-65,ml-dsa-65,ml-dsa-65:2 --role image.targets=both",
    "zonebench repo publish body.hex --ecu-type BODY_CONTROLLER --hardware 1.0 --version 1.2.0",
    "zonebench repo rotate targets --repository image",
    "zonebench repo sign data/repo/staged/image/2.root.json --key /media/stick/root.key",
    "zonebench repo verify",
  ]);
}

function repoOptions(command: Command, json: string): Command {
  return withJson(command, json)
    .addOption(
      new Option(
        "--repo <dir>",
        "folder of the repositories (default: server.uptane.directory, which is repo in the data folder)",
      ),
    )
    .addOption(
      new Option("--expires <role=days>", "how long metadata made now is good; may be given again")
        .argParser(validityOption).default(
          defaultValidity,
          "root 365, targets 365, snapshot 30, timestamp 7",
        ),
    );
}

async function open(
  options: RepoOptions,
): Promise<{ directory: RepositoryDirectory; author: RepositoryAuthor }> {
  const directory = new RepositoryDirectory(
    options.repo ?? repositoryFolder(await configOf(options), foldersOf(options.data)),
  );
  return { directory, author: new RepositoryAuthor(directory, new Date(), options.expires) };
}

function init(): Command {
  return repoOptions(
    makeCommand("init", "makes the keys and the first metadata of both repositories"),
    "files as JSON",
  )
    .addOption(
      new Option(
        "--role <role=keys>",
        "keys of a role: ml-dsa-65, ecdsa-p256, both, or a list with a threshold such as ml-dsa-65,ecdsa-p256:2; " +
          "the role may be all, and stand behind director. or image.; may be given again",
      ).argParser(roleOption).default([], "all=ml-dsa-65"),
    )
    .action(async (options: RepoOptions & { role: RoleOption[] }) => {
      const { directory, author } = await open(options);
      const written = await directory.locked(async () => {
        const files: Written[] = [];
        for (const repository of repositoryNames) {
          files.push(...await author.found(repository, settingsOf(repository, options.role)));
        }
        return files;
      });
      if (options.json) return printWritten(written, options);
      if (written.length === 0) print(`Repositories in ${directory.path} kept as they are`);
      else {
        printWritten(written, options);
        print(
          `Keys are in ${
            join(directory.path, "keys")
          }: take those of root and targets away from this machine`,
        );
      }
    });
}

function sign(): Command {
  return withJson(
    makeCommand("sign", "adds signatures to a metadata file that was staged"),
    "{file, signatures} as JSON",
  )
    .argument("<FILE>", "metadata, e.g. data/repo/staged/image/2.root.json")
    .requiredOption(
      "--key <file>",
      "private key (PKCS#8 PEM); may be given again",
      (file: string, before: string[]) => [...before, file],
      [],
    )
    .action(async (file: string, options: CommonOptions & { key: string[] }) => {
      if (options.key.length === 0) throw new UsageError("expected a private key: --key FILE");
      let bytes = await readBounded(file);
      for (const key of options.key) bytes = await addSignature(readAny(file, bytes), await readKey(key));
      await writeWhole(file, new TextDecoder().decode(bytes), publicMode);
      const signatures = readAny(file, bytes).signatures.map(({ keyid }) => keyid);
      if (options.json) return printJson({ file, signatures });
      print(`${file}: signed by ${signatures.length} key(s)`);
      for (const keyid of signatures) print(`  ${keyid}`);
      print(`Next: zonebench repo publish, where the repository is`);
    });
}

/** Any metadata, by what it says that it is. */
function readAny(file: string, bytes: Uint8Array) {
  const failures: string[] = [];
  for (const role of topLevelRoles) {
    try {
      return readMetadata(role, bytes);
    } catch (error) {
      if (!(error instanceof EnvelopeError)) throw error;
      failures.push(error.message);
    }
  }
  // That of the role whose type it has says most.
  const told = failures.find((it) => !it.startsWith("signed._type")) ?? failures[0];
  throw new CommandFailed(`${file}: ${told}`);
}

async function readBounded(file: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const { size } = await Deno.stat(file);
    if (size > maxMetadata) {
      throw new CommandFailed(`${file}: expected at most ${maxMetadata} bytes, got ${size}`);
    }
    return await Deno.readFile(file);
  } catch (error) {
    throw unreadable(file, error);
  }
}

async function readKey(file: string): Promise<LocalSigner> {
  try {
    return await importSigner(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof KeyError) throw new CommandFailed(`${file}: ${error.message}`, { cause: error });
    throw unreadable(file, error);
  }
}

function unreadable(file: string, cause: unknown): CommandFailed {
  if (cause instanceof CommandFailed) return cause;
  return new CommandFailed(`${file}: cannot be read: ${cause instanceof Error ? cause.message : cause}`, {
    cause,
  });
}

function rotate(): Command {
  return repoOptions(makeCommand("rotate", "gives a role new keys, by a new root"), "files as JSON")
    .argument("<ROLE>", "root, timestamp, snapshot, targets or time", oneOf(rolesOf.director))
    .addOption(
      new Option("--repository <name>", "whose role").choices([...repositoryNames]).makeOptionMandatory(),
    )
    .addOption(
      new Option("--keys <keys>", "as --role of init has them (default: of the same kind as now)").argParser(
        roleSetting,
      ),
    )
    .action(
      async (role: RootRole, options: RepoOptions & { repository: RepositoryName; keys?: RoleSetting }) => {
        const { directory, author } = await open(options);
        const written = await failing(directory, async () => {
          const root = await author.rotate(options.repository, role, options.keys);
          const released = root.staged === undefined && options.repository === "image" && role !== "root"
            ? await author.release()
            : [];
          return [root, ...released];
        });
        printWritten(written, options);
      },
    );
}

interface PublishOptions extends RepoOptions {
  ecuType?: string;
  hardware: string[];
  version?: string;
  name?: string;
  releaseCounter?: number;
  format: typeof firmwareFormats[number];
  baseAddress?: number;
}

function publish(): Command {
  return repoOptions(
    makeCommand(
      "publish",
      "puts an image into the Image repository; without FILE, gives out what was staged and refreshes what expires",
    ),
    "files as JSON",
  )
    .argument("[FILE]", "Intel HEX, S-record, VBF or raw binary; its payload is what is signed")
    .option("--ecu-type <type>", "kind of ECU that the image is for, e.g. BODY_CONTROLLER")
    .option(
      "--hardware <version>",
      "hardware version that it runs on; may be given again",
      (value: string, before: string[]) => [...before, value],
      [],
    )
    .option("--version <version>", "semantic version of the image, e.g. 1.2.0")
    .option(
      "--name <name>",
      "name in the repository (default: TYPE/HARDWARE/VERSION.bin, as a server calls it)",
    )
    .option(
      "--release-counter <number>",
      "ECUs take no lower one afterwards (default: one more than the highest of the type)",
      releaseCounter,
    )
    .option("--format <format>", "auto, intel-hex, s-record, vbf or binary", oneOf(firmwareFormats), "auto")
    .option("--base-address <address>", "first address of a raw binary, e.g. 0x8000", address)
    .action(async (file: string | undefined, options: PublishOptions) => {
      const { directory, author } = await open(options);
      const written = await failing(directory, async () => {
        const settled = await author.settle();
        const made = file === undefined ? undefined : await publishFile(file, options, directory, author);
        const published = made === undefined ? [] : [made];
        const waiting = published.some(({ staged }) => staged !== undefined);
        return [...settled, ...published, ...waiting ? [] : await author.release()];
      });
      printWritten(written, options);
    });
}

function releaseCounter(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("expected a whole number from 0 on");
  return Number(text);
}

const publishing = z.object({
  ecuType: id.ecuType,
  hardware: z.array(id.hwVersion).min(1),
  version: id.releaseVersion,
});

async function publishFile(
  file: string,
  options: PublishOptions,
  directory: RepositoryDirectory,
  author: RepositoryAuthor,
): Promise<Written | undefined> {
  const { success, data, error } = publishing.safeParse(options);
  if (!success) {
    const [{ path: [name], message }] = error.issues;
    const flag = String(name).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const missing = name === "hardware"
      ? options.hardware.length === 0
      : options[name === "ecuType" ? name : "version"] === undefined;
    throw new UsageError(`--${flag}: ${missing ? "must be given with FILE" : message}`);
  }
  const { ecuType, hardware, version } = data;
  const name = targetName.safeParse(
    options.name ?? imageTargetName({ ecuType, hwVersion: hardware[0], version }),
  );
  if (!name.success) throw new UsageError(`--name: ${name.error.issues[0].message}`);
  const { signed } = await directory.root("image"); // Whether there is a repository at all, before anything is read.
  if (signed._type !== "root") throw new TypeError("expected a root");
  const present = (await directory.newest("image", "targets"))?.metadata.signed.targets ?? {};
  const counter = options.releaseCounter ?? 1 + Math.max(
        0,
        ...Object.values(present).flatMap(({ custom }) =>
          custom?.must_match?.ecu_types?.includes(ecuType) === true
            ? [custom.must_match.release_counter ?? 0]
            : []
        ),
      );
  using stop = interruption();
  const payload = join(directory.path, `payload.${crypto.randomUUID()}.tmp`);
  try {
    const parsed = await parse(file, options, payload, stop.signal);
    const sha256 = parsed.payloadSha256.toHex();
    const path = directory.imagePath(name.data, sha256);
    await Deno.mkdir(join(path, ".."), { recursive: true });
    await Deno.rename(payload, path);
    const target = imageTarget({
      ecuType,
      hwVersion: hardware[0],
      version,
      segments: parsed.segments,
      download: parsed.hints && toDownload(parsed.hints),
      sha256,
      size: parsed.payloadSize,
      releaseCounter: counter,
    });
    const match = mustMatch.parse({ ...target.custom?.must_match, hardware_ids: hardware });
    return await author.publish({ [name.data]: { ...target, custom: { must_match: match } } });
  } finally {
    await Deno.remove(payload).catch((error) => {
      // It has its place by then, or was never made.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

async function parse(file: string, options: PublishOptions, output: string, signal: AbortSignal) {
  let handle: Deno.FsFile;
  try {
    handle = await Deno.open(file, { read: true });
  } catch (error) {
    throw unreadable(file, error);
  }
  const { format, baseAddress } = options;
  return await parseFirmware(handle.readable, { format, baseAddress, output, signal });
}

/** Works with the folder locked; what the repository itself refuses needs no stack. */
async function failing<T>(directory: RepositoryDirectory, work: () => Promise<T>): Promise<T> {
  try {
    return await directory.locked(work);
  } catch (error) {
    if (
      error instanceof RepositoryDirectoryError || error instanceof AuthorError ||
      error instanceof EnvelopeError
    ) throw new CommandFailed(error.message, { cause: error });
    throw error;
  }
}

function printWritten(written: readonly Written[], { json }: { json?: boolean }): void {
  if (json) {
    printJson(written.map(({ repository, fileName, staged }) => ({
      repository,
      file: fileName,
      staged: staged !== undefined,
      ...staged,
    })));
    return;
  }
  printTable(
    ["REPOSITORY", "FILE", "STATE"],
    written.map(({ repository, fileName, staged }) => [
      repository,
      fileName,
      staged === undefined ? "given out" : `staged: ${staged.signatures} of ${staged.threshold} signatures`,
    ]),
  );
}
