// `zonebench repo delegate`: who else may sign images of the Image repository, and which (Uptane Standard 2.1, section 5.2.3.2).

import { type Command, Option } from "commander";
import { join } from "node:path";
import type { DelegationKeys, WantedDelegation } from "../server/uptane/delegation_author.ts";
import type { KeyModel } from "../uptane/models.ts";
import { makeCommand } from "./common.ts";
import { readPublicKey } from "./key_files.ts";
import { examples, print, UsageError } from "./output.ts";
import {
  failing,
  open,
  printNext,
  printWritten,
  released,
  type RepoOptions,
  repoOptions,
} from "./repo_folder.ts";
import {
  delegatedHardware,
  delegatedRole,
  type MadeKeys,
  madeKeys,
  pathPattern,
  thresholdOption,
} from "./repo_settings.ts";

interface DelegateOptions extends RepoOptions {
  path?: string[];
  hardware?: string[];
  anyHardware?: true;
  keys?: MadeKeys;
  publicKey?: string[];
  threshold?: number;
  terminating?: boolean;
  before?: string;
  remove?: true;
}

/** Options that say what a delegation is. */
const saying = [
  "path",
  "hardware",
  "anyHardware",
  "keys",
  "publicKey",
  "threshold",
  "terminating",
  "before",
] as const;

export function repoDelegateCommand(): Command {
  const command = repoOptions(
    makeCommand("delegate", "lets somebody else sign images of certain names, or changes or removes that"),
    "files as JSON",
  )
    .argument("<NAME>", "the delegated role, e.g. supplier", delegatedRole)
    .addOption(
      new Option(
        "--path <pattern...>",
        "names of the images that it may sign; * and ? stand for what may vary between two slashes. A server calls " +
          "images TYPE/HARDWARE/VERSION.bin: 'BRAKE_CONTROLLER/*/*' are all of one type; may be given again",
      ).argParser(pathPattern),
    )
    .addOption(
      new Option(
        "--hardware <version...>",
        "hardware that it may sign for; may be given again (default: any)",
      )
        .argParser(delegatedHardware),
    )
    .addOption(new Option("--any-hardware", "takes back what --hardware said before").conflicts("hardware"))
    .addOption(
      new Option(
        "--keys <keys>",
        "keys to make here: a number of ML-DSA-65 keys, or as rotate has them (default: one, where it has none yet)",
      ).argParser(madeKeys).conflicts("publicKey"),
    )
    .addOption(
      new Option(
        "--public-key <file...>",
        "public key (PEM, ECDSA P-256 or ML-DSA-65) of somebody who keeps the private one; may be given again",
      ),
    )
    .addOption(
      new Option("--threshold <number>", "how many of the keys must sign (default: 1)").argParser(
        thresholdOption,
      ),
    )
    .addOption(
      new Option(
        "--terminating",
        "nobody else is asked after it for what its paths cover: what it did not sign does not exist",
      ),
    )
    .addOption(new Option("--no-terminating", "the delegations after it are asked, too (default)"))
    .addOption(
      new Option(
        "--before <role>",
        "is asked before that role (default: last; one that is there keeps its place)",
      )
        .argParser(delegatedRole),
    )
    .addOption(new Option("--remove", "removes the delegation: what the role signed is not found any more"))
    .action(delegate);
  examples(command, [
    "zonebench repo delegate supplier --path 'BRAKE_CONTROLLER/*/*'",
    "zonebench repo delegate supplier --path 'BRAKE_CONTROLLER/*/*' --hardware 1.0 --public-key supplier.pub",
    "zonebench repo delegate plant --path 'BODY_?/*/*' --keys 2 --threshold 2 --terminating --before supplier",
    "zonebench repo delegate supplier --hardware 1.0 2.0",
    "zonebench repo delegate supplier --remove",
  ]);
  return command.addHelpText(
    "after",
    `
A delegation that is there is changed: what is not given stays as it is. Vehicles look for an image in the targets first, then
in the delegations whose paths and hardware cover it, in their order. Where a role's keys are elsewhere, its first metadata is
staged: its holder signs it ("repo sign"), and "repo publish" puts the delegation into the targets.`,
  );
}

async function delegate(name: string, options: DelegateOptions): Promise<void> {
  const said = saying.filter((it) => options[it] !== undefined);
  if (options.remove && said.length > 0) {
    throw new UsageError(`--remove: expected nothing else with it, got ${said.length} other option(s)`);
  }
  if (!options.remove && said.length === 0) {
    throw new UsageError(
      "expected what the delegation is to be: --path PATTERN for a new one, --remove to remove it",
    );
  }
  const wanted = await wantedOf(name, options);
  const { directory, author } = await open(options);
  const { written, made } = await failing(directory, async () => {
    const before = new Set((await directory.keys()).keys());
    const changed = options.remove ? await author.undelegate(name) : await author.delegate(wanted);
    const written = await released(author, changed);
    return { written, made: [...(await directory.keys()).keys()].some((keyid) => !before.has(keyid)) };
  });
  if (written.length > 0 || options.json) printWritten(written, options);
  if (options.json) return;
  if (options.remove && written.length === 0) print(`The delegation to ${name}, which waited, is given up`);
  if (made) {
    print(
      `Keys of ${name} are in ${
        join(directory.path, "keys")
      }: give them to whoever signs for it. Left there, the ` +
        `server signs with them what is added to its catalogue`,
    );
  }
  printNext(directory, written);
}

async function wantedOf(name: string, options: DelegateOptions): Promise<WantedDelegation> {
  const { path, hardware, anyHardware, keys, publicKey, threshold, terminating, before } = options;
  let given: DelegationKeys | undefined;
  if (publicKey !== undefined) {
    const models: KeyModel[] = [];
    for (const file of publicKey) models.push(await readPublicKey(file));
    given = { public: models };
  } else if (keys !== undefined) given = { make: keys.algorithms };
  return {
    name,
    paths: path,
    hardwareIds: anyHardware ? "any" : hardware,
    keys: given,
    threshold: threshold ?? keys?.threshold,
    terminating,
    before,
  };
}
