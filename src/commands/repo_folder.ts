// What the commands of `repo` share: the folder and its author, the lock, and how the files that were made are shown.

import { type Command, Option } from "commander";
import { join } from "node:path";
import { AuthorError } from "../uptane/author.ts";
import { EnvelopeError } from "../uptane/envelope.ts";
import { RepositoryAuthor } from "../server/uptane/repository_author.ts";
import { RepositoryDirectory, RepositoryDirectoryError } from "../server/uptane/repository_directory.ts";
import { defaultValidity, type Validity, type Written } from "../server/uptane/roles.ts";
import { type CommonOptions, configOf, foldersOf, withJson } from "./common.ts";
import { CommandFailed, print, printJson, printTable } from "./output.ts";
import { validityOption } from "./repo_settings.ts";
import { repositoryFolder } from "./uptane.ts";

export interface RepoOptions extends CommonOptions {
  repo?: string;
  expires: Validity;
}

/** Adds the folder. */
export function withRepository(command: Command, json: string): Command {
  return withJson(command, json).addOption(
    new Option(
      "--repo <dir>",
      "folder of the repositories (default: server.uptane.directory, which is repo in the data folder)",
    ),
  );
}

/** Adds the folder, and how long what is made is good. */
export function repoOptions(command: Command, json: string): Command {
  return withRepository(command, json)
    .addOption(
      new Option("--expires <role=days>", "how long metadata made now is good; may be given again")
        .argParser(validityOption).default(
          defaultValidity,
          "root 365, targets 365, snapshot 30, timestamp 7",
        ),
    );
}

/** The folder that the options say. */
export async function directoryOf(options: CommonOptions & { repo?: string }): Promise<RepositoryDirectory> {
  return new RepositoryDirectory(
    options.repo ?? repositoryFolder(await configOf(options), foldersOf(options.data)),
  );
}

/** The folder, and who works in it. */
export async function open(
  options: RepoOptions,
): Promise<{ directory: RepositoryDirectory; author: RepositoryAuthor }> {
  const directory = await directoryOf(options);
  return { directory, author: new RepositoryAuthor(directory, new Date(), options.expires) };
}

/** Works with the folder locked; what the repository itself refuses needs no stack. */
export async function failing<T>(directory: RepositoryDirectory, work: () => Promise<T>): Promise<T> {
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

/** What was made, given out by a new snapshot unless some of it waits for signatures. */
export async function released(author: RepositoryAuthor, made: readonly Written[]): Promise<Written[]> {
  const waits = made.length === 0 || made.some(({ staged }) => staged !== undefined);
  return [...made, ...waits ? [] : await author.release()];
}

/** Shows files that were made. */
export function printWritten(written: readonly Written[], { json }: { json?: boolean }): void {
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
      stateOf(staged),
    ]),
  );
}

function stateOf(staged: Written["staged"]): string {
  if (staged === undefined) return "given out";
  const { signatures, threshold, awaits } = staged;
  return `staged: ${signatures} of ${threshold} signatures${awaits === undefined ? "" : `, after ${awaits}`}`;
}

/** Says what is to be done with what waits for signatures. */
export function printNext(directory: RepositoryDirectory, written: readonly Written[]): void {
  const waiting = written.filter(({ staged }) => staged !== undefined);
  for (const { repository, fileName } of waiting) {
    print(`Next: zonebench repo sign ${join(directory.path, "staged", repository, fileName)} --key FILE`);
  }
  if (waiting.length > 0) print(`then: zonebench repo publish`);
}
