// The folder in which repositories lie: metadata as it is given out, what still waits for signatures, and private keys.
//
//   director/1.root.json …                        the Director's roots; a vehicle's files below director/<VIN>/
//   image/1.root.json, timestamp.json …           the Image repository's metadata
//   image/targets/body/<SHA-256>.1.bin            its images (Uptane Standard 2.1, section 5.2.7)
//   staged/image/2.root.json …                    not given out: signatures are missing
//   staged/image/supplier.delegation              a delegation that comes into the targets when its role has signed
//   keys/image-targets-<key id>.key               private keys, mode 0600

import { dirname, join } from "node:path";
import { z } from "zod";
import { type Metadata, readMetadata } from "../../uptane/envelope.ts";
import { importSigner, KeyError, type LocalSigner } from "../../uptane/keys.ts";
import {
  delegatedRoleName,
  delegationsSchema,
  type RepositoryName,
  repositoryNames,
  type TopLevelRole,
} from "../../uptane/models.ts";
import { makePrivateDirectory, privateMode, publicMode, withLock, writeWhole } from "../../pqc/files.ts";

/** Longest wait for another program that works in the folder, ms. */
const lockTimeout = 30_000;

/** A file in the folder is not what it should be. */
export class RepositoryDirectoryError extends Error {
  override readonly name = "RepositoryDirectoryError";
}

/** Metadata with the number in its file's name. */
export interface Numbered<Role extends TopLevelRole> {
  readonly version: number;
  readonly metadata: Metadata<Role>;
}

/** A file that waits for signatures. */
export interface Staged {
  readonly repository: RepositoryName;
  readonly fileName: string;
  /** Role and version in the file's name. */
  readonly role: string;
  readonly version: number;
  readonly path: string;
}

const delegationEnding = ".delegation";

/** A delegation that is not in the targets yet. */
const pendingDelegation = z.strictObject({
  delegations: delegationsSchema.refine((it) => it.roles.length === 1, "must be one delegation"),
  /** The role that is asked after it. */
  before: delegatedRoleName.optional(),
});
export type PendingDelegation = z.infer<typeof pendingDelegation>;

const numbered = /^([1-9]\d{0,15})\.([A-Za-z0-9][A-Za-z0-9_.-]*)\.json$/;

/** The folder. */
export class RepositoryDirectory {
  /** @param path e.g. `data/repo` */
  constructor(readonly path: string) {}

  /** Makes the folder, and runs `work` while nobody else does so. */
  async locked<T>(work: () => Promise<T>): Promise<T> {
    await makePrivateDirectory(this.path);
    return await withLock(this.path, lockTimeout, work);
  }

  /** Bytes of a file; undefined if there is none. */
  async read(...parts: string[]): Promise<Uint8Array | undefined> {
    try {
      return await Deno.readFile(join(this.path, ...parts));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** The newest metadata of a role; undefined if there is none. @throws {RepositoryDirectoryError} for a file that is none. */
  async newest<Role extends TopLevelRole>(
    repository: RepositoryName,
    kind: Role,
    role: string = kind,
  ): Promise<Numbered<Role> | undefined> {
    return await this.numbered(repository, kind, await this.lastVersion(repository, role), role);
  }

  /** Version of the newest metadata of a role; 0 if there is none. */
  async lastVersion(repository: RepositoryName, role: string): Promise<number> {
    let version = 0;
    for (const name of await this.#names(repository)) {
      const [, digits, found] = numbered.exec(name) ?? [];
      if (found === role) version = Math.max(version, Number(digits));
    }
    return version;
  }

  /** Metadata of one version; undefined if there is none. @throws {RepositoryDirectoryError} for a file that is none. */
  async numbered<Role extends TopLevelRole>(
    repository: RepositoryName,
    kind: Role,
    version: number,
    role: string = kind,
  ): Promise<Numbered<Role> | undefined> {
    const fileName = `${version}.${role}.json`;
    const bytes = version === 0 ? undefined : await this.read(repository, fileName);
    return bytes && { version, metadata: this.#parsed(kind, bytes, `${repository}/${fileName}`) };
  }

  /** The newest root. @throws {RepositoryDirectoryError} if there is none. */
  async root(repository: RepositoryName): Promise<Metadata<"root">> {
    const root = await this.newest(repository, "root");
    if (root !== undefined) return root.metadata;
    throw new RepositoryDirectoryError(
      `${this.path}: no root of the ${repository} repository there; "repo init" makes one`,
    );
  }

  /** The timestamp, whose name has no number; undefined if there is none. */
  async timestamp(repository: RepositoryName): Promise<Metadata<"timestamp"> | undefined> {
    const bytes = await this.read(repository, "timestamp.json");
    return bytes && this.#parsed("timestamp", bytes, `${repository}/timestamp.json`);
  }

  /** The snapshot that the timestamp shows; undefined if there is none yet. */
  async shown(repository: RepositoryName): Promise<Metadata<"snapshot"> | undefined> {
    const timestamp = await this.timestamp(repository);
    if (timestamp === undefined) return undefined;
    const { version } = timestamp.signed.meta["snapshot.json"];
    return (await this.numbered(repository, "snapshot", version))?.metadata;
  }

  #parsed<Role extends TopLevelRole>(kind: Role, bytes: Uint8Array, name: string): Metadata<Role> {
    try {
      return readMetadata(kind, bytes);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new RepositoryDirectoryError(`${join(this.path, name)}: ${reason}`, { cause });
    }
  }

  /** Gives a file out. */
  async write(repository: RepositoryName, fileName: string, bytes: Uint8Array): Promise<void> {
    await this.#write(bytes, repository, fileName);
  }

  /** Puts a file aside that waits for signatures. */
  async stage(repository: RepositoryName, fileName: string, bytes: Uint8Array): Promise<string> {
    return await this.#write(bytes, "staged", repository, fileName);
  }

  async #write(bytes: Uint8Array, ...parts: string[]): Promise<string> {
    const path = join(this.path, ...parts);
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeWhole(path, new TextDecoder().decode(bytes), publicMode);
    return path;
  }

  /** What waits for signatures: roots first, for they say who signs the rest, then targets; the lowest versions first. */
  async staged(): Promise<Staged[]> {
    const found: Staged[] = [];
    for (const repository of repositoryNames) {
      for (const fileName of await this.#names("staged", repository)) {
        const [, digits, role] = numbered.exec(fileName) ?? [];
        if (role === undefined) continue;
        const path = join(this.path, "staged", repository, fileName);
        found.push({ repository, fileName, role, version: Number(digits), path });
      }
    }
    const rank = ({ role }: Staged) => role === "root" ? 0 : role === "targets" ? 1 : 2;
    return found.sort((a, b) => rank(a) - rank(b) || a.version - b.version);
  }

  /** Delegations that wait for the first signatures of their roles, by role. @throws {RepositoryDirectoryError} */
  async pendingDelegations(): Promise<Map<string, PendingDelegation>> {
    const found = new Map<string, PendingDelegation>();
    for (const fileName of await this.#names("staged", "image")) {
      if (!fileName.endsWith(delegationEnding)) continue;
      const role = fileName.slice(0, -delegationEnding.length);
      const path = this.#pendingPath(role);
      try {
        const pending = pendingDelegation.parse(JSON.parse(await Deno.readTextFile(path)));
        found.set(role, pending);
      } catch (cause) {
        if (!(cause instanceof SyntaxError || cause instanceof z.ZodError)) throw cause;
        throw new RepositoryDirectoryError(`${path}: expected a delegation, got something else`, { cause });
      }
    }
    return found;
  }

  /** Puts a delegation aside until its role has signed. */
  async stageDelegation(role: string, pending: PendingDelegation): Promise<void> {
    const bytes = new TextEncoder().encode(`${JSON.stringify(pending)}\n`);
    await this.#write(bytes, "staged", "image", `${role}${delegationEnding}`);
  }

  /** Removes a delegation that was put aside; nothing if there is none. */
  async dropDelegation(role: string): Promise<void> {
    try {
      await Deno.remove(this.#pendingPath(role));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  #pendingPath(role: string): string {
    return join(this.path, "staged", "image", `${role}${delegationEnding}`);
  }

  /** Names in a folder; none if there is no such folder. */
  async #names(...parts: string[]): Promise<string[]> {
    const names: string[] = [];
    try {
      for await (const { name, isFile } of Deno.readDir(join(this.path, ...parts))) {
        if (isFile) names.push(name);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return names;
  }

  /** Keeps a private key. @returns {Promise<string>} its file */
  async addKey(repository: RepositoryName, role: string, signer: LocalSigner): Promise<string> {
    const folder = join(this.path, "keys");
    await makePrivateDirectory(folder);
    const path = join(folder, `${repository}-${role}-${signer.keyid.slice(0, 16)}.key`);
    await writeWhole(path, await signer.exportPem(), privateMode);
    return path;
  }

  /** The private keys that are here, by key id. @throws {RepositoryDirectoryError} for a file that is none. */
  async keys(): Promise<Map<string, LocalSigner>> {
    const keys = new Map<string, LocalSigner>();
    for (const name of (await this.#names("keys")).filter((it) => it.endsWith(".key"))) {
      const path = join(this.path, "keys", name);
      try {
        const signer = await importSigner(await Deno.readTextFile(path));
        keys.set(signer.keyid, signer);
      } catch (cause) {
        if (!(cause instanceof KeyError)) throw cause;
        throw new RepositoryDirectoryError(`${path}: ${cause.message}`, { cause });
      }
    }
    return keys;
  }

  /** Where an image lies: its hash stands before the last part of its name (section 5.2.7, rule 2). */
  imagePath(filename: string, sha256: string): string {
    const parts = filename.split("/");
    const last = parts.pop();
    return join(this.path, "image", "targets", ...parts, `${sha256}.${last}`);
  }
}
