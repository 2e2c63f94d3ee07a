// Metadata does not last: what has less than half of its days left is made anew, as far as its keys are here. Of what they are
// not here for, whoever runs the server is told in time.

import { repositoryNames, type Snapshot } from "../../uptane/models.ts";
import { lackingSignatures } from "../../uptane/threshold.ts";
import { delegatedRoles } from "./delegated_roles.ts";
import { RepositoryAuthor } from "./repository_author.ts";
import type { RepositoryDirectory } from "./repository_directory.ts";
import { day, type Validity, type Written } from "./roles.ts";

/** What a look at the repositories came to. */
export interface Renewal {
  readonly written: readonly Written[];
  /** For people: what expires, and cannot be made anew here. */
  readonly lacking: readonly string[];
  /** When to look again, ms since 1970. */
  readonly due: number;
}

/** Between two looks at what cannot be made anew, ms. */
const lackingInterval = 3_600_000;

/**
 * Looks at both repositories, and renews; under the folder's lock.
 *
 * @throws {RepositoryDirectoryError} when a repository is damaged, or keys of the Image repository's snapshot or timestamp are
 *   not here.
 */
export async function renewal(
  directory: RepositoryDirectory,
  validity: Validity,
  now: Date,
): Promise<Renewal> {
  const author = new RepositoryAuthor(directory, now, validity);
  const written: Written[] = [];
  const lacking: string[] = [];
  let due = Infinity;
  /** Days left of a file, in parts of its validity. */
  const left = (role: keyof Validity, expires: string) =>
    (Date.parse(expires) - now.getTime()) / (validity[role] * day);
  const seen = (role: keyof Validity, expires: string) => {
    due = Math.min(due, Date.parse(expires) - validity[role] * day / 2);
  };
  /** @param kind whose days count @param what the role, for people @param remedy what makes the next one, to be signed elsewhere */
  const renew = async (
    kind: "root" | "targets",
    expires: string,
    make: () => Promise<Written | undefined>,
    what: string,
    remedy: string,
  ) => {
    if (left(kind, expires) >= 0.5) return seen(kind, expires);
    const made = await make();
    if (made !== undefined) {
      written.push(made);
      due = Math.min(due, now.getTime() + validity[kind] * day / 2);
      return;
    }
    due = Math.min(due, now.getTime() + lackingInterval);
    if (left(kind, expires) >= 0.25) return;
    lacking.push(
      `The ${what} is good until ${expires}, and its keys are not here: ` +
        `"zonebench repo ${remedy}" makes the next one for them to sign`,
    );
  };
  for (const repository of repositoryNames) {
    const { expires } = (await directory.root(repository)).signed;
    const remedy = `rotate root --repository ${repository}`;
    await renew(
      "root",
      expires,
      () => author.renewRoot(repository),
      `${repository} repository's root`,
      remedy,
    );
  }
  const top = await directory.newest("image", "targets");
  if (top !== undefined) {
    const { signed } = top.metadata;
    const renewTargets = async (role: string, expires: string, what: string) =>
      await renew("targets", expires, () => author.renewImages(role), what, `publish --role ${role}`);
    await renewTargets("targets", signed.expires, "image repository's targets");
    for (
      const [name, { good }] of await delegatedRoles(
        directory,
        signed,
        (await directory.shown("image"))?.signed,
      )
    ) {
      if (good === undefined) continue;
      await renewTargets(name, good.metadata.signed.expires, `image repository's delegated role ${name}`);
    }
  }
  const shown = await shownBy(directory);
  if (
    shown === undefined || left("timestamp", shown.timestamp) < 0.5 ||
    left("snapshot", shown.snapshot.expires) < 0.5
  ) {
    written.push(...await author.release());
    due = Math.min(due, now.getTime() + validity.timestamp * day / 2);
  } else {
    seen("timestamp", shown.timestamp);
    seen("snapshot", shown.snapshot.expires);
  }
  return { written, lacking, due };
}

/**
 * What timestamp and snapshot of the Image repository show; undefined when it is not the newest targets and delegated roles, or not
 * signed by whom the newest root names.
 */
async function shownBy(
  directory: RepositoryDirectory,
): Promise<{ timestamp: string; snapshot: Snapshot } | undefined> {
  const { signed: root } = await directory.root("image");
  const timestamp = await directory.timestamp("image");
  const targets = await directory.newest("image", "targets");
  const snapshot = await directory.shown("image");
  if (timestamp === undefined || targets === undefined || snapshot === undefined) return undefined;
  const authority = (
    role: "timestamp" | "snapshot" | "targets",
  ) => [{ keys: root.keys, role: root.roles[role] }];
  const unsigned = await lackingSignatures(timestamp, authority("timestamp")) ??
    await lackingSignatures(snapshot, authority("snapshot")) ??
    await lackingSignatures(targets.metadata, authority("targets"));
  if (unsigned !== undefined) return undefined;
  const { meta } = snapshot.signed;
  const shows = (name: string, version: number) => meta[`${name}.json`]?.version === version;
  if (!shows("targets", targets.version)) return undefined;
  for (const [name, { good }] of await delegatedRoles(directory, targets.metadata.signed, snapshot.signed)) {
    if (good !== undefined && !shows(name, good.version)) return undefined;
  }
  return { timestamp: timestamp.signed.expires, snapshot: snapshot.signed };
}
