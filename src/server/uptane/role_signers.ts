// The Director's online keys, as they are now: read again whenever a root or a key came or went.

import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Signer } from "../../uptane/keys.ts";
import type { Root } from "../../uptane/models.ts";
import type { RepositoryDirectory } from "./repository_directory.ts";

/** Roles with which the server signs for the Director. */
const onlineRoles = ["targets", "snapshot", "timestamp", "time"] as const;
type OnlineRole = typeof onlineRoles[number];

/** Keys that the server needs are not on it. */
export class RoleKeysMissing extends Error {
  override readonly name = "RoleKeysMissing";
}

/** The Director's root and who signs for it here. */
export interface DirectorKeys {
  readonly root: Root;
  /** Of the root's file. */
  readonly rootSha256: string;
  /** @throws {RoleKeysMissing} when fewer keys are here than must sign. */
  signers(role: OnlineRole): readonly Signer[];
}

/** Reads keys from a folder of repositories. */
export class RoleSigners {
  readonly #directory: RepositoryDirectory;
  #read: { readonly stamp: string; readonly keys: Promise<DirectorKeys> } | undefined;

  constructor(directory: RepositoryDirectory) {
    this.#directory = directory;
  }

  /** The keys by now. @throws {RepositoryDirectoryError} when there is no root, or a file is none. */
  async director(): Promise<DirectorKeys> {
    const stamp = await this.#stamp();
    let read = this.#read;
    if (read?.stamp !== stamp) {
      read = { stamp, keys: this.#load() };
      this.#read = read;
      read.keys.catch(() => this.#read = undefined);
    }
    return await read.keys;
  }

  /** Changes when a file comes into one of the folders, or leaves it: files are never written in place. */
  async #stamp(): Promise<string> {
    const times: string[] = [];
    for (const folder of ["director", "keys"]) {
      try {
        const { mtime, ino } = await Deno.stat(join(this.#directory.path, folder));
        times.push(`${ino} ${mtime?.getTime()}`);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        times.push("none");
      }
    }
    return times.join(" ");
  }

  async #load(): Promise<DirectorKeys> {
    const directory = this.#directory;
    const { signed: root, bytes } = await directory.root("director");
    const keys = await directory.keys();
    const signers = (role: OnlineRole): readonly Signer[] => {
      const held = root.roles[role];
      const found = (held?.keyids ?? []).flatMap((keyid) => keys.get(keyid) ?? []);
      if (held === undefined || found.length < held.threshold) {
        throw new RoleKeysMissing(
          `Director ${role}: expected ${held?.threshold ?? 1} of the role's keys in ${
            join(directory.path, "keys")
          }, got ${found.length}`,
        );
      }
      return found;
    };
    return { root, rootSha256: createHash("sha256").update(bytes).digest("hex"), signers };
  }
}
