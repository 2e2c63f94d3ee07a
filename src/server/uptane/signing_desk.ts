// Where files of roles are signed with the keys that are here: given out when they have their signatures, staged when they have not.

import { AuthorError, type Common } from "../../uptane/author.ts";
import type { JsonObject } from "../../uptane/canonical_json.ts";
import { type Metadata, readMetadata, signEnvelope } from "../../uptane/envelope.ts";
import { generateSigner, type LocalSigner, type SignatureAlgorithm } from "../../uptane/keys.ts";
import type { RepositoryName, Root } from "../../uptane/models.ts";
import { defaultLimits } from "../../uptane/store.ts";
import { type Authority, lackingSignatures } from "../../uptane/threshold.ts";
import { type RepositoryDirectory, RepositoryDirectoryError, type Staged } from "./repository_directory.ts";
import { day, type Validity, type Written } from "./roles.ts";

/** Signs in one folder. */
export class SigningDesk {
  constructor(
    readonly directory: RepositoryDirectory,
    /** The time from which validity counts. */
    readonly now: Date,
    readonly validity: Validity,
  ) {}

  /** What a file of a role has: delegated roles are as good as targets. */
  common(role: keyof Validity, version: number): Common {
    return { version, expires: new Date(this.now.getTime() + this.validity[role] * day) };
  }

  /** Makes keys and keeps them in the folder. */
  async makeKeys(
    repository: RepositoryName,
    role: string,
    algorithms: readonly SignatureAlgorithm[],
  ): Promise<LocalSigner[]> {
    const signers: LocalSigner[] = [];
    for (const algorithm of algorithms) {
      const signer = await generateSigner(algorithm);
      await this.directory.addKey(repository, role, signer);
      signers.push(signer);
    }
    return signers;
  }

  /** Signs with the keys that are here, and gives out what has enough signatures; stages what has not. */
  async finish(
    repository: RepositoryName,
    role: string,
    version: number,
    signed: JsonObject,
    authorities: readonly Authority[],
  ): Promise<Written> {
    const kind = role === "root" ? "root" : "targets";
    const fileName = `${version}.${role}.json`;
    const bytes = await signEnvelope(signed, await this.#signersFor(authorities));
    assertLength(`${repository}/${fileName}`, kind, bytes);
    const lacking = await lackingSignatures(readMetadata(kind, bytes), authorities);
    if (lacking === undefined) await this.directory.write(repository, fileName, bytes);
    else await this.directory.stage(repository, fileName, bytes);
    return { repository, fileName, staged: lacking };
  }

  /** A file of a role whose keys must be here. @throws {RepositoryDirectoryError} when they are not. */
  async online(role: "snapshot" | "timestamp", signed: JsonObject, root: Root): Promise<Uint8Array> {
    const authority = { keys: root.keys, role: root.roles[role] };
    const bytes = await signEnvelope(signed, await this.#signersFor([authority]));
    const lacking = await lackingSignatures(readMetadata(role, bytes), [authority]);
    if (lacking === undefined) return bytes;
    throw new RepositoryDirectoryError(
      `image ${role}: expected ${lacking.threshold} of the role's keys in ${this.directory.path}/keys, ` +
        `got ${lacking.signatures}`,
    );
  }

  /** Whether enough keys are here to sign for all of them. */
  async canSign(authorities: readonly Authority[]): Promise<boolean> {
    for (const authority of authorities) {
      if ((await this.#signersFor([authority])).length < authority.role.threshold) return false;
    }
    return true;
  }

  async #signersFor(authorities: readonly Authority[]): Promise<LocalSigner[]> {
    const wanted = new Set(authorities.flatMap(({ role }) => role.keyids));
    return [...(await this.directory.keys()).values()].filter(({ keyid }) => wanted.has(keyid));
  }

  /** The file of a role that waits for signatures. */
  async waiting(repository: RepositoryName, role: string): Promise<Staged | undefined> {
    return (await this.directory.staged()).find((it) => it.repository === repository && it.role === role);
  }

  /** @throws {RepositoryDirectoryError} when a file of the role waits for signatures. */
  async nothingStaged(repository: RepositoryName, role: string): Promise<void> {
    const waiting = await this.waiting(repository, role);
    if (waiting !== undefined) throw waitsForSignatures(waiting);
  }

  /**
   * Gives a staged file out if it has its signatures by now; says what it lacks otherwise.
   *
   * @param role what the file's role is called in the repository
   * @throws {RepositoryDirectoryError} when it is not the next version.
   */
  async settle(
    { repository, fileName, role, version, path }: Staged,
    metadata: Metadata<"root" | "targets">,
    authorities: readonly Authority[],
  ): Promise<Written> {
    const before = await this.directory.lastVersion(repository, role);
    const given = version === before ? await this.directory.read(repository, fileName) : undefined;
    if (given !== undefined && Buffer.compare(given, metadata.bytes) === 0) {
      // An earlier try came as far as giving it out.
      await Deno.remove(path);
      return { repository, fileName, staged: undefined };
    }
    if (metadata.signed.version !== version || version !== before + 1) {
      throw new RepositoryDirectoryError(
        `${path}: expected version ${before + 1}, got ${metadata.signed.version}`,
      );
    }
    // Whoever signed it elsewhere may have taken his time, or changed it.
    if (Date.parse(metadata.signed.expires) <= this.now.getTime()) {
      throw new RepositoryDirectoryError(
        `${path}: good until ${metadata.signed.expires} and no longer: remove it, and have the next one made`,
      );
    }
    assertLength(path, role === "root" ? "root" : "targets", metadata.bytes);
    const lacking = await lackingSignatures(metadata, authorities);
    if (lacking === undefined) {
      await this.directory.write(repository, fileName, metadata.bytes);
      await Deno.remove(path);
    }
    return { repository, fileName, staged: lacking };
  }
}

/** @throws {AuthorError} */
function assertLength(name: string, kind: "root" | "targets", { length }: Uint8Array): void {
  const most = defaultLimits[kind];
  if (length <= most) return;
  throw new AuthorError(
    `${name}: expected at most ${most} bytes, which is what vehicles take, got ${length}`,
  );
}

/** A file is in the way that others have to sign. */
export function waitsForSignatures({ path }: Staged): RepositoryDirectoryError {
  return new RepositoryDirectoryError(
    `${path} waits for signatures: add them with "repo sign", or remove the file to give it up`,
  );
}
