// `zonebench repo list`: the roles of both repositories, what is known of their keys here, and whom the targets delegate to.

import type { Command } from "commander";
import { delegatedRoles } from "../server/uptane/delegated_roles.ts";
import type { RepositoryDirectory } from "../server/uptane/repository_directory.ts";
import { rolesOf } from "../server/uptane/roles.ts";
import type { Metadata } from "../uptane/envelope.ts";
import { type Delegation, type RepositoryName, repositoryNames, type RoleKeys } from "../uptane/models.ts";
import { type CommonOptions, makeCommand } from "./common.ts";
import { examples, print, printJson, printTable } from "./output.ts";
import { directoryOf, failing, withRepository } from "./repo_folder.ts";

/** A role as it is shown. */
interface ListedRole {
  repository: RepositoryName;
  role: string;
  /** Null: it has signed nothing, or what it signs is each vehicle's own. */
  version: number | null;
  expires: string | null;
  keyids: string[];
  threshold: number;
  /** Keys of it that are in the folder. */
  keys_here: number;
  /** Of targets and delegated roles: how many images it signed. */
  images: number | null;
  /** Of delegated roles. */
  delegation: { paths: string[]; hardware_ids: string[] | null; terminating: boolean } | null;
}

export function repoListCommand(): Command {
  const command = withRepository(
    makeCommand(
      "list",
      "shows the roles: versions, expiry, keys, and delegations in the order in which they are asked",
    ),
    "{roles, staged} as JSON",
  ).action(async (options: CommonOptions & { repo?: string }) => {
    const directory = await directoryOf(options);
    const { roles, staged } = await failing(directory, async () => ({
      roles: await listRoles(directory),
      staged: await listStaged(directory),
    }));
    if (options.json) return printJson({ roles, staged });
    printTable(
      ["REPOSITORY", "ROLE", "VERSION", "EXPIRES", "MUST SIGN", "KEYS HERE", "IMAGES"],
      roles.map((it) => [
        it.repository,
        it.role,
        String(it.version ?? "-"),
        it.expires ?? "-",
        `${it.threshold} of ${it.keyids.length}`,
        String(it.keys_here),
        String(it.images ?? "-"),
      ]),
    );
    for (const { role, delegation } of roles) {
      if (delegation === null) continue;
      const { paths, hardware_ids, terminating } = delegation;
      const hardware = hardware_ids === null ? "any hardware" : `hardware ${hardware_ids.join(", ")}`;
      print(
        `${role} may sign ${paths.join(", ")} for ${hardware}${
          terminating ? "; nobody is asked after it" : ""
        }`,
      );
    }
    for (const file of staged) print(`${file} waits for signatures`);
  });
  return examples(command, ["zonebench repo list", "zonebench repo list --json"]);
}

async function listRoles(directory: RepositoryDirectory): Promise<ListedRole[]> {
  const keys = await directory.keys();
  const listed: ListedRole[] = [];
  const add = (
    repository: RepositoryName,
    role: string,
    { keyids, threshold }: RoleKeys,
    signed: Metadata<"root" | "timestamp" | "snapshot" | "targets">["signed"] | undefined,
    delegation: ListedRole["delegation"] = null,
  ) => {
    listed.push({
      repository,
      role,
      version: signed?.version ?? null,
      expires: signed?.expires ?? null,
      keyids,
      threshold,
      keys_here: keyids.filter((keyid) => keys.has(keyid)).length,
      images: signed?._type === "targets" ? Object.keys(signed.targets).length : null,
      delegation,
    });
  };
  for (const repository of repositoryNames) {
    const { signed: root } = await directory.root(repository);
    for (const role of rolesOf[repository]) {
      const held = root.roles[role];
      if (held === undefined) continue;
      const newest = role === "time"
        ? undefined
        : role === "timestamp"
        ? await directory.timestamp(repository)
        : (await directory.newest(repository, role))?.metadata;
      add(repository, role, held, newest?.signed);
    }
  }
  const top = (await directory.newest("image", "targets"))?.metadata.signed;
  if (top === undefined) return listed;
  const roles = await delegatedRoles(directory, top, (await directory.shown("image"))?.signed);
  const delegating = [top, ...[...roles.values()].flatMap(({ good }) => good?.metadata.signed ?? [])];
  const delegations: Delegation[] = delegating.flatMap((it) => it.delegations?.roles ?? []);
  for (const [name, { authority, good }] of roles) {
    const delegation = delegations.find((it) => it.name === name);
    add(
      "image",
      name,
      authority.role,
      good?.metadata.signed,
      delegation === undefined ? null : {
        paths: delegation.paths,
        hardware_ids: delegation.hardware_ids ?? null,
        terminating: delegation.terminating,
      },
    );
  }
  return listed;
}

async function listStaged(directory: RepositoryDirectory): Promise<string[]> {
  return (await directory.staged()).map(({ repository, fileName }) => `staged/${repository}/${fileName}`);
}
