// `zonebench repo verify`: looks at repositories as a vehicle does, and shows each check.

import { type Command, InvalidArgumentError, Option } from "commander";
import { join } from "node:path";
import * as id from "../contract/identifiers.ts";
import { Checker, type CheckResult } from "../uptane/checks.ts";
import { UptaneError } from "../uptane/errors.ts";
import { type RepositoryName, repositoryNames, type Target } from "../uptane/models.ts";
import {
  defaultLimits,
  type FetchRequest,
  type MetadataFetcher,
  type MetadataStore,
} from "../uptane/store.ts";
import type { VehicleEcu } from "../uptane/verify/director.ts";
import { verifyFully } from "../uptane/verify/full.ts";
import { verifyRepository } from "../uptane/verify/image_repository.ts";
import { checkedImage } from "../uptane/verify/image.ts";
import { provision } from "../uptane/verify/provision.ts";
import { TrustedRepository } from "../uptane/verify/repository.ts";
import { RepositoryDirectory } from "../server/uptane/repository_directory.ts";
import { repositoryFolder } from "./uptane.ts";
import { type CommonOptions, configOf, foldersOf, interruption, makeCommand, withJson } from "./common.ts";
import { CommandFailed, examples, plain, print, printJson, UsageError } from "./output.ts";

interface VerifyOptions extends CommonOptions {
  root?: string;
  time?: Date;
  vin?: string;
  ecu: VehicleEcu[];
}

export function repoVerifyCommand(): Command {
  const command = withJson(
    makeCommand("verify", "checks the repositories as a vehicle does, and prints each check"),
    "{passed, checks} as JSON",
  )
    .argument(
      "[DIR]",
      "folder of the repositories (default: server.uptane.directory, which is repo in the data folder)",
    )
    .addOption(
      new Option(
        "--root <dir>",
        "folder with director.root.json and image.root.json to begin from (default: both 1.root.json of DIR, as they are)",
      ),
    )
    .addOption(new Option("--time <time>", "time to measure expiry by (default: now)").argParser(time))
    .addOption(new Option("--vin <vin>", "checks what the Director gives this vehicle, too").argParser(vin))
    .addOption(
      new Option("--ecu <id=hardware>", "an ECU of that vehicle; may be given again").argParser(ecu).default(
        [],
        "none",
      ),
    )
    .action(verify);
  return examples(command, [
    "zonebench repo verify",
    "zonebench repo verify /media/stick/repo --root /etc/zonebench/roots --time 2027-01-01T00:00:00Z",
    "zonebench repo verify --vin KMHZB00BENCH00001 --ecu ECU_001=1.0 --ecu ECU_002=1.0",
  ]);
}

function time(text: string): Date {
  if (!id.timestamp.safeParse(text).success) {
    throw new InvalidArgumentError("expected a date and time such as 2027-01-01T00:00:00Z");
  }
  return new Date(text);
}

function vin(text: string): string {
  const { success, error } = id.vin.safeParse(text);
  if (!success) throw new InvalidArgumentError(error.issues[0].message);
  return text;
}

function ecu(text: string, before: readonly VehicleEcu[]): VehicleEcu[] {
  const [ecuId, hardwareId] = text.split("=");
  if (!id.ecuId.safeParse(ecuId).success || !id.hwVersion.safeParse(hardwareId).success) {
    throw new InvalidArgumentError("expected ECU=HARDWARE, such as ECU_001=1.0");
  }
  return [...before, { ecuId, hardwareId }];
}

async function verify(path: string | undefined, options: VerifyOptions): Promise<void> {
  if (options.vin === undefined && options.ecu.length > 0) {
    throw new UsageError("--ecu: expected --vin with it");
  }
  const directory = new RepositoryDirectory(
    path ?? repositoryFolder(await configOf(options), foldersOf(options.data)),
  );
  const checks: CheckResult[] = [];
  const observe = (check: CheckResult) => {
    checks.push(check);
    if (!options.json) print(line(check));
  };
  using stop = interruption();
  let refused: UptaneError | undefined;
  try {
    await verifyAll(directory, options, observe, stop.signal);
  } catch (error) {
    if (!(error instanceof UptaneError)) throw error;
    refused = error;
  }
  if (options.json) {
    printJson({
      passed: refused === undefined,
      ...refused === undefined
        ? {}
        : { code: refused.code, attack: refused.attack, clause: refused.clause, message: refused.message },
      checks,
    });
  } else if (refused === undefined) print(`All ${checks.length} checks passed`);
  if (refused !== undefined) {
    throw new CommandFailed(`${refused.attack}: ${refused.message}`, { cause: refused });
  }
}

function line({ passed, clause, subject, asks, message }: CheckResult): string {
  return plain(
    `${passed ? "passed" : "FAILED"}  ${clause.padEnd(18)}  ${subject} ${asks}${
      message ? `: ${message}` : ""
    }`,
  );
}

async function verifyAll(
  directory: RepositoryDirectory,
  options: VerifyOptions,
  observe: (check: CheckResult) => void,
  signal: AbortSignal,
): Promise<void> {
  const store = new ForgetfulStore();
  await provision(store, await firstRoots(directory, options.root));
  const common = {
    store,
    fetcher: fetcherOf(directory, options.vin),
    time: options.time ?? new Date(),
    signal,
    observe,
  };
  const director = await TrustedRepository.open({
    ...common,
    repository: "director",
    limits: defaultLimits,
    checker: new Checker(observe),
  });
  await director.updateRoot();
  director.checkRootExpiry();
  const { content } = await verifyRepository(common);
  for (const { metadata } of content) await verifyImages(directory, metadata.signed.targets, observe);
  if (options.vin === undefined) return;
  await verifyFully({ ...common, vehicleId: options.vin, ecus: options.ecu });
}

/** The images that are here, against what was signed of them. */
async function verifyImages(
  directory: RepositoryDirectory,
  targets: Readonly<Record<string, Target>>,
  observe: (check: CheckResult) => void,
): Promise<void> {
  const checker = new Checker(observe);
  for (const [filename, { length, hashes }] of Object.entries(targets)) {
    let file: Deno.FsFile;
    try {
      file = await Deno.open(directory.imagePath(filename, hashes.sha256), { read: true });
    } catch (cause) {
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw checker.failed("metadata_present", filename, "expected the image, got none", { cause });
    }
    for await (const _ of checkedImage(file.readable, { filename, length, hashes }, { checker }));
  }
}

async function firstRoots(
  directory: RepositoryDirectory,
  folder: string | undefined,
): Promise<Record<RepositoryName, Uint8Array>> {
  const read = async (repository: RepositoryName) => {
    const path = folder === undefined
      ? join(directory.path, repository, "1.root.json")
      : join(folder, `${repository}.root.json`);
    try {
      return await Deno.readFile(path);
    } catch (cause) {
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw new CommandFailed(`${path}: not there; "repo init" makes repositories`, { cause });
    }
  };
  const [director, image] = await Promise.all(repositoryNames.map(read));
  return { director, image };
}

/** Keeps nothing beyond the command: each look is a vehicle's first. */
class ForgetfulStore implements MetadataStore {
  readonly #files = new Map<RepositoryName, ReadonlyMap<string, Uint8Array>>();

  load(repository: RepositoryName): Promise<ReadonlyMap<string, Uint8Array>> {
    return Promise.resolve(this.#files.get(repository) ?? new Map());
  }

  replace(repository: RepositoryName, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
    this.#files.set(repository, new Map(files));
    return Promise.resolve();
  }
}

/** Gives what lies in the folder; the Director's files other than roots are the vehicle's own. */
function fetcherOf(directory: RepositoryDirectory, vin: string | undefined): MetadataFetcher {
  return {
    fetch: async ({ repository, role, fileName }: FetchRequest) => {
      const parts = repository === "director" && role !== "root" ? [repository, vin ?? ""] : [repository];
      const bytes = await directory.read(...parts, fileName);
      return bytes && (async function* () {
        yield await Promise.resolve(bytes);
      })();
    },
  };
}
