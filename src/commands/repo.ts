// `zonebench repo`: the repositories of signed metadata, founded, signed and checked without a server.

import { Command, Option } from "commander";
import { join } from "node:path";
import { publicMode, writeWhole } from "../pqc/files.ts";
import { addSignature, EnvelopeError, readMetadata } from "../uptane/envelope.ts";
import { type RepositoryName, repositoryNames, topLevelRoles } from "../uptane/models.ts";
import { type RoleSetting, rolesOf, type Written } from "../server/uptane/roles.ts";
import { type CommonOptions, makeCommand, withJson } from "./common.ts";
import { readKey, unreadable } from "./key_files.ts";
import { CommandFailed, examples, print, printJson, UsageError } from "./output.ts";
import { repoDelegateCommand } from "./repo_delegate.ts";
import {
  failing,
  open,
  printNext,
  printWritten,
  released,
  type RepoOptions,
  repoOptions,
} from "./repo_folder.ts";
import { repoInventoryCommand } from "./repo_inventory.ts";
import { repoListCommand } from "./repo_list.ts";
import { repoPublishCommand } from "./repo_publish.ts";
import { anyRole, type RoleOption, roleOption, roleSetting, settingsOf } from "./repo_settings.ts";
import { repoVerifyCommand } from "./repo_verify.ts";

/** Largest metadata file that is signed, bytes. */
const maxMetadata = 4_194_304;

export function repoCommand(): Command {
  const command = new Command("repo").description("signed metadata: the Director and the Image repository");
  command.addCommand(init()).addCommand(sign()).addCommand(rotate()).addCommand(repoPublishCommand())
    .addCommand(repoDelegateCommand()).addCommand(repoListCommand()).addCommand(repoVerifyCommand())
    .addCommand(repoInventoryCommand());
  return examples(command, [
    "zonebench repo init",
    "zonebench repo init --role root=ml-dsa-65,ml-dsa-65,ml-dsa-65:2 --role image.targets=both",
    "zonebench repo publish body.hex --ecu-type BODY_CONTROLLER --hardware 1.0 --version 1.2.0",
    "zonebench repo delegate supplier --path 'BRAKE_CONTROLLER/*/*' --public-key supplier.pub",
    "zonebench repo rotate targets --repository image",
    "zonebench repo sign data/repo/staged/image/2.root.json --key /media/stick/root.key",
    "zonebench repo list",
    "zonebench repo verify",
  ]);
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

function rotate(): Command {
  return repoOptions(
    makeCommand("rotate", "gives a role new keys: by a new root, a delegated role by new targets"),
    "files as JSON",
  )
    .argument("<ROLE>", "root, timestamp, snapshot, targets, time, or the name of a delegated role", anyRole)
    .addOption(
      new Option("--repository <name>", "whose role; a delegated one is the Image repository's").choices([
        ...repositoryNames,
      ]),
    )
    .addOption(
      new Option("--keys <keys>", "as --role of init has them (default: of the same kind as now)").argParser(
        roleSetting,
      ),
    )
    .action(async (name: string, options: RotateOptions) => {
      const { directory, author } = await open(options);
      const { repository = "image", keys } = options;
      const role = rolesOf.director.find((it) => it === name);
      if (role !== undefined && options.repository === undefined) {
        throw new UsageError("required option '--repository <name>' not specified");
      }
      if (role === undefined && repository !== "image") {
        throw new UsageError(`--repository: the Director has no delegated roles, expected image`);
      }
      const written = await failing(directory, async () => {
        if (role === undefined) return await released(author, await author.rotateDelegated(name, keys));
        const root = await author.rotate(repository, role, keys);
        return repository === "image" && role !== "root" ? await released(author, [root]) : [root];
      });
      printWritten(written, options);
      if (!options.json) printNext(directory, written);
    });
}

interface RotateOptions extends RepoOptions {
  repository?: RepositoryName;
  keys?: RoleSetting;
}
