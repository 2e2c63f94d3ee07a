// Metadata does not last: what has less than half of its days left is made anew, as far as its keys are here. Of what they are
// not here for, whoever runs the server is told in time.

import { readMetadata } from "../../uptane/envelope.ts";
import { type RepositoryName, repositoryNames, type Snapshot } from "../../uptane/models.ts";
import { lackingSignatures } from "../../uptane/threshold.ts";
import { RepositoryAuthor, type Validity, type Written } from "./repository_author.ts";
import type { RepositoryDirectory } from "./repository_directory.ts";

/** What a look at the repositories came to. */
export interface Renewal {
  readonly written: readonly Written[];
  /** For people: what expires, and cannot be made anew here. */
  readonly lacking: readonly string[];
  /** When to look again, ms since 1970. */
  readonly due: number;
}

const day = 86_400_000;
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
  const renew = async (
    repository: RepositoryName,
    role: "root" | "targets",
    expires: string,
    make: () => Promise<Written | undefined>,
  ) => {
    if (left(role, expires) >= 0.5) return seen(role, expires);
    const made = await make();
    if (made !== undefined) {
      written.push(made);
      due = Math.min(due, now.getTime() + validity[role] * day / 2);
      return;
    }
    due = Math.min(due, now.getTime() + lackingInterval);
    if (left(role, expires) >= 0.25) return;
    lacking.push(
      `The ${repository} repository's ${role} is good until ${expires}, and its keys are not here: ` +
        (role === "root"
          ? `"zonebench repo rotate" makes the next one for them to sign`
          : `publish an image, and sign with them`),
    );
  };
  for (const repository of repositoryNames) {
    const { expires } = (await directory.root(repository)).signed;
    await renew(repository, "root", expires, () => author.renewRoot(repository));
  }
  const targets = await directory.newest("image", "targets");
  if (targets !== undefined) {
    await renew("image", "targets", targets.metadata.signed.expires, () => author.renewTargets());
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
 * What timestamp and snapshot of the Image repository show; undefined when it is not the newest targets, or not signed by whom the
 * newest root names.
 */
async function shownBy(
  directory: RepositoryDirectory,
): Promise<{ timestamp: string; snapshot: Snapshot } | undefined> {
  const { signed: root } = await directory.root("image");
  const timestamp = await directory.timestamp("image");
  const targets = await directory.newest("image", "targets");
  if (timestamp === undefined || targets === undefined) return undefined;
  const { version } = timestamp.signed.meta["snapshot.json"];
  const bytes = await directory.read("image", `${version}.snapshot.json`);
  if (bytes === undefined) return undefined;
  const snapshot = readMetadata("snapshot", bytes);
  const authority = (
    role: "timestamp" | "snapshot" | "targets",
  ) => [{ keys: root.keys, role: root.roles[role] }];
  const unsigned = await lackingSignatures(timestamp, authority("timestamp")) ??
    await lackingSignatures(snapshot, authority("snapshot")) ??
    await lackingSignatures(targets.metadata, authority("targets"));
  const named = snapshot.signed.meta["targets.json"]?.version;
  return unsigned !== undefined || named !== targets.version
    ? undefined
    : { timestamp: timestamp.signed.expires, snapshot: snapshot.signed };
}
