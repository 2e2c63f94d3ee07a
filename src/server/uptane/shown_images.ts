// What vehicles find in the Image repository by now: the targets and delegated roles that timestamp and snapshot show, searched as a
// vehicle searches them.

import { join } from "node:path";
import type { Targets } from "../../uptane/models.ts";
import { defaultLimits } from "../../uptane/store.ts";
import { type FoundImage, searchImage, type WantedImage } from "../../uptane/verify/delegations.ts";
import { type DelegatedRole, delegatedRoles } from "./delegated_roles.ts";
import type { RepositoryDirectory } from "./repository_directory.ts";

interface Shown {
  /** Of the folder when it was read. */
  readonly stamp: string;
  readonly top: Targets;
  readonly roles: ReadonlyMap<string, DelegatedRole>;
}

/** Reads a folder, again whenever a file came or went. */
export class ShownImages {
  readonly #directory: RepositoryDirectory;
  #shown: Shown | undefined;

  constructor(directory: RepositoryDirectory) {
    this.#directory = directory;
  }

  /** An image as vehicles find it; undefined when they do not. */
  async find(wanted: WantedImage): Promise<FoundImage | undefined> {
    const shown = await this.#read();
    if (shown === undefined) return undefined;
    let lost = false;
    const search = await searchImage(shown.top, wanted, defaultLimits.delegations, (role) => {
      const said = shown.roles.get(role)?.good?.metadata.signed;
      // Vehicles refuse everything where a role on their way has signed nothing good.
      lost ||= said === undefined;
      return Promise.resolve(said ?? { targets: {} });
    });
    return search.end === "found" && !lost ? search.found : undefined;
  }

  async #read(): Promise<Shown | undefined> {
    const stamp = await this.stamp();
    if (this.#shown?.stamp === stamp) return this.#shown;
    const directory = this.#directory;
    const snapshot = (await directory.shown("image"))?.signed;
    const version = snapshot?.meta["targets.json"]?.version ?? 0;
    const top = (await directory.numbered("image", "targets", version))?.metadata.signed;
    this.#shown = top && {
      stamp,
      top,
      roles: await delegatedRoles(directory, top, snapshot, true),
    };
    return this.#shown;
  }

  /**
   * Changes when a file comes into the folder or leaves it: files are never written in place. The clock of file systems stands still
   * for some milliseconds: the timestamp, which shows all else, counts by its own number too.
   */
  async stamp(): Promise<string> {
    const folder = join(this.#directory.path, "image");
    const stamps: string[] = [];
    for (const path of [folder, join(folder, "timestamp.json")]) {
      try {
        const { mtime, ino } = await Deno.stat(path);
        stamps.push(`${ino} ${mtime?.getTime()}`);
      } catch (error) {
        if (path === folder || !(error instanceof Deno.errors.NotFound)) throw error;
        stamps.push("none");
      }
    }
    return stamps.join(" ");
  }
}
