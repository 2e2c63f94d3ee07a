// Work on repositories by those who hold their keys: founding them, rotating keys, publishing. What cannot be signed here for want
// of keys is staged: signatures are added on other machines, and it is given out when there are enough.

import { isDeepStrictEqual } from "node:util";
import {
  AuthorError,
  type Common,
  makeRoot,
  makeSnapshot,
  makeTargets,
  makeTimestamp,
  type NamedFile,
  type RoleHolders,
} from "../../uptane/author.ts";
import type { JsonObject } from "../../uptane/canonical_json.ts";
import { readMetadata, signEnvelope } from "../../uptane/envelope.ts";
import { algorithmOf, generateSigner, type LocalSigner, type SignatureAlgorithm } from "../../uptane/keys.ts";
import {
  type RepositoryName,
  type Root,
  type Target,
  targetSchema,
  topLevelRoles,
} from "../../uptane/models.ts";
import { defaultLimits } from "../../uptane/store.ts";
import { type Authority, lackingSignatures } from "../../uptane/threshold.ts";
import { type RepositoryDirectory, RepositoryDirectoryError, type Staged } from "./repository_directory.ts";

/** Roles of a root. */
export type RootRole = keyof Root["roles"];

/** Roles by repository. The time is attested by the Director alone. */
export const rolesOf: Readonly<Record<RepositoryName, readonly RootRole[]>> = {
  director: [...topLevelRoles, "time"],
  image: topLevelRoles,
};

/** Which keys a role has, one of each algorithm in the list, and how many must sign. */
export interface RoleSetting {
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly threshold: number;
}

/** How long metadata is good, in days. */
export type Validity = Readonly<Record<(typeof topLevelRoles)[number], number>>;

/** How long it is good where nothing else is said. */
export const defaultValidity: Validity = { root: 365, targets: 365, snapshot: 30, timestamp: 7 };

const day = 86_400_000;

/** A file that was made. */
export interface Written {
  readonly repository: RepositoryName;
  readonly fileName: string;
  /** Staged: how many signatures it has of those that it needs. */
  readonly staged: { readonly signatures: number; readonly threshold: number } | undefined;
}

/** Works in one folder. */
export class RepositoryAuthor {
  readonly #directory: RepositoryDirectory;
  readonly #now: Date;
  readonly #validity: Validity;

  /** @param now The time from which validity counts. */
  constructor(directory: RepositoryDirectory, now: Date, validity: Validity = defaultValidity) {
    this.#directory = directory;
    this.#now = now;
    this.#validity = validity;
  }

  #common(role: keyof Validity, version: number): Common {
    return { version, expires: new Date(this.#now.getTime() + this.#validity[role] * day) };
  }

  /**
   * Founds a repository: keys for each role, a root, and for the Image repository empty targets with snapshot and timestamp. The
   * root is written last: a repository without one is founded anew.
   *
   * @returns {Promise} what was written; nothing if there is a root already
   */
  async found(
    repository: RepositoryName,
    settings: Readonly<Record<RootRole, RoleSetting>>,
  ): Promise<Written[]> {
    if (await this.#directory.newest(repository, "root") !== undefined) return [];
    const holders = new Map<RootRole, RoleHolders & { signers: LocalSigner[] }>();
    for (const role of rolesOf[repository]) {
      const { algorithms, threshold } = settings[role];
      const signers = await this.#makeKeys(repository, role, algorithms);
      holders.set(role, { signers, keys: signers.map(({ key }) => key), threshold });
    }
    const [root, timestamp, snapshot, targets] = topLevelRoles.map((role) => {
      const found = holders.get(role);
      if (found === undefined) throw new TypeError(`no holders of ${role}`);
      return found;
    });
    const time = holders.get("time");
    const signed = makeRoot({
      ...this.#common("root", 1),
      roles: { root, timestamp, snapshot, targets, time },
    });
    const bytes = await signEnvelope(signed, root.signers);
    const written: Written[] = [];
    if (repository === "image") {
      const empty = await signEnvelope(
        makeTargets({ ...this.#common("targets", 1), targets: {} }),
        targets.signers,
      );
      await this.#directory.write(repository, "1.targets.json", empty);
      written.push({ repository, fileName: "1.targets.json", staged: undefined });
      written.push(...await this.#release(readMetadata("root", bytes).signed));
    }
    await this.#directory.write(repository, "1.root.json", bytes);
    return [{ repository, fileName: "1.root.json", staged: undefined }, ...written];
  }

  async #makeKeys(
    repository: RepositoryName,
    role: string,
    algorithms: readonly SignatureAlgorithm[],
  ): Promise<LocalSigner[]> {
    const signers: LocalSigner[] = [];
    for (const algorithm of algorithms) {
      const signer = await generateSigner(algorithm);
      await this.#directory.addKey(repository, role, signer);
      signers.push(signer);
    }
    return signers;
  }

  /**
   * Gives a role new keys; the old ones are good for nothing any more. The new root is signed with the keys that are here, of those
   * before and of its own.
   *
   * @param setting Keys of the role from now on. @default as many of each algorithm as it has
   */
  async rotate(repository: RepositoryName, role: RootRole, setting?: RoleSetting): Promise<Written> {
    await this.#nothingStaged(repository, "root");
    const { signed } = await this.#directory.root(repository);
    const present = signed.roles[role];
    if (present === undefined) {
      throw new RepositoryDirectoryError(`the ${repository} repository has no role ${role}`);
    }
    const algorithms = setting?.algorithms ?? present.keyids.map((keyid) => {
      const algorithm = algorithmOf(signed.keys[keyid]);
      if (algorithm === undefined) {
        throw new RepositoryDirectoryError(`${keyid}: a key of no known algorithm`);
      }
      return algorithm;
    });
    const made = await this.#makeKeys(repository, role, algorithms);
    const renewed = { keys: made.map(({ key }) => key), threshold: setting?.threshold ?? present.threshold };
    return await this.#nextRoot(repository, signed, { [role]: renewed });
  }

  /** The root after `before`: other holders where some are given, the same elsewhere. */
  async #nextRoot(
    repository: RepositoryName,
    before: Root,
    others: Partial<Record<RootRole, RoleHolders>>,
  ): Promise<Written> {
    const holders = (of: RootRole): RoleHolders | undefined => {
      const kept = before.roles[of];
      return others[of] ??
        (kept && { keys: kept.keyids.map((keyid) => before.keys[keyid]), threshold: kept.threshold });
    };
    const [root, timestamp, snapshot, targets] = topLevelRoles.map((of) => {
      const found = holders(of);
      if (found === undefined) throw new TypeError(`no holders of ${of}`);
      return found;
    });
    const version = before.version + 1;
    const next = makeRoot({
      ...this.#common("root", version),
      roles: { root, timestamp, snapshot, targets, time: holders("time") },
    });
    const { keys, roles } = readMetadata("root", await signEnvelope(next, [])).signed;
    return await this.#finish(repository, "root", version, next, [
      { keys: before.keys, role: before.roles.root },
      { keys, role: roles.root },
    ]);
  }

  /** A root that says the same for longer; undefined when its keys are not here. */
  async renewRoot(repository: RepositoryName): Promise<Written | undefined> {
    const { signed } = await this.#directory.root(repository);
    if (await this.#waiting(repository, "root") !== undefined) return undefined;
    if (!await this.#canSign({ keys: signed.keys, role: signed.roles.root })) return undefined;
    return await this.#nextRoot(repository, signed, {});
  }

  /** Targets of the Image repository that say the same for longer; undefined when their keys are not here. */
  async renewTargets(): Promise<Written | undefined> {
    const { signed: root } = await this.#directory.root("image");
    const newest = await this.#directory.newest("image", "targets");
    const authority = { keys: root.keys, role: root.roles.targets };
    if (newest === undefined || await this.#waiting("image", "targets") !== undefined) return undefined;
    if (!await this.#canSign(authority)) return undefined;
    const { targets, delegations } = newest.metadata.signed;
    const version = newest.version + 1;
    const signed = makeTargets({ ...this.#common("targets", version), targets, delegations });
    return await this.#finish("image", "targets", version, signed, [authority]);
  }

  async #canSign(authority: Authority): Promise<boolean> {
    return (await this.#signersFor([authority])).length >= authority.role.threshold;
  }

  /**
   * Puts images into the top-level targets of the Image repository, in place of those of the same names.
   *
   * @param intoStaged Whether targets that wait for signatures are added to; those that they have are lost. @default false
   * @returns {Promise} undefined when all of it stands there already.
   * @throws {AuthorError} when the targets would be longer than vehicles take.
   */
  async publish(
    targets: Readonly<Record<string, Target>>,
    intoStaged: boolean = false,
  ): Promise<Written | undefined> {
    const { signed: root } = await this.#directory.root("image");
    const waiting = await this.#waiting("image", "targets");
    if (waiting !== undefined && !intoStaged) throw waitsForSignatures(waiting);
    const newest = await this.#directory.newest("image", "targets");
    const base = waiting === undefined
      ? newest?.metadata
      : readMetadata("targets", await Deno.readFile(waiting.path));
    const present = base?.signed;
    const version = (newest?.version ?? 0) + 1;
    if (
      base !== undefined && Object.entries(targets).every(([name, it]) => same(present?.targets[name], it))
    ) {
      return undefined;
    }
    const signed = makeTargets({
      ...this.#common("targets", version),
      targets: { ...present?.targets, ...targets },
      delegations: present?.delegations,
    });
    const written = await this.#finish("image", "targets", version, signed, [{
      keys: root.keys,
      role: root.roles.targets,
    }]);
    if (waiting !== undefined && (written.staged === undefined || waiting.version !== version)) {
      await Deno.remove(waiting.path);
    }
    return written;
  }

  /** Signs with the keys that are here, and gives out what has enough signatures; stages what has not. */
  async #finish(
    repository: RepositoryName,
    role: "root" | "targets",
    version: number,
    signed: JsonObject,
    authorities: readonly Authority[],
  ): Promise<Written> {
    const fileName = `${version}.${role}.json`;
    const bytes = await signEnvelope(signed, await this.#signersFor(authorities));
    if (bytes.length > defaultLimits[role]) {
      throw new AuthorError(
        `${repository}/${fileName}: expected at most ${
          defaultLimits[role]
        } bytes, which is what vehicles take, got ${bytes.length}`,
      );
    }
    const lacking = await lackingSignatures(readMetadata(role, bytes), authorities);
    if (lacking === undefined) await this.#directory.write(repository, fileName, bytes);
    else await this.#directory.stage(repository, fileName, bytes);
    return { repository, fileName, staged: lacking };
  }

  async #signersFor(authorities: readonly Authority[]): Promise<LocalSigner[]> {
    const wanted = new Set(authorities.flatMap(({ role }) => role.keyids));
    return [...(await this.#directory.keys()).values()].filter(({ keyid }) => wanted.has(keyid));
  }

  async #waiting(repository: RepositoryName, role: string): Promise<Staged | undefined> {
    return (await this.#directory.staged()).find((it) => it.repository === repository && it.role === role);
  }

  async #nothingStaged(repository: RepositoryName, role: string): Promise<void> {
    const waiting = await this.#waiting(repository, role);
    if (waiting !== undefined) throw waitsForSignatures(waiting);
  }

  /** Gives out the staged files that have their signatures by now; says of the others what they lack. */
  async settle(): Promise<Written[]> {
    const written: Written[] = [];
    for (const staged of await this.#directory.staged()) written.push(await this.#settleOne(staged));
    return written;
  }

  async #settleOne({ repository, fileName, role, version, path }: Staged): Promise<Written> {
    const { signed: root } = await this.#directory.root(repository);
    const bytes = await Deno.readFile(path);
    if (role !== "root" && role !== "targets") {
      throw new RepositoryDirectoryError(`${path}: expected a root or targets, got ${role}`);
    }
    const metadata = readMetadata(role, bytes);
    const before = (await this.#directory.newest(repository, role))?.version ?? 0;
    if (metadata.signed.version !== version || version !== before + 1) {
      throw new RepositoryDirectoryError(
        `${path}: expected version ${before + 1}, got ${metadata.signed.version}`,
      );
    }
    const authorities = [{ keys: root.keys, role: root.roles[role] }];
    if (metadata.signed._type === "root") {
      authorities.push({ keys: metadata.signed.keys, role: metadata.signed.roles.root });
    }
    const lacking = await lackingSignatures(metadata, authorities);
    if (lacking === undefined) {
      await this.#directory.write(repository, fileName, bytes);
      await Deno.remove(path);
    }
    return { repository, fileName, staged: lacking };
  }

  /**
   * Brings the Image repository to what its newest root and targets say: targets that the root's keys did not sign are signed anew,
   * and a new snapshot and timestamp show all of it.
   *
   * @throws {RepositoryDirectoryError} when the keys of snapshot and timestamp are not here.
   */
  async release(): Promise<Written[]> {
    const { signed: root } = await this.#directory.root("image");
    const authority = { keys: root.keys, role: root.roles.targets };
    const newest = await this.#directory.newest("image", "targets");
    const written: Written[] = [];
    if (newest !== undefined && await lackingSignatures(newest.metadata, [authority]) !== undefined) {
      await this.#nothingStaged("image", "targets");
      const { targets, delegations } = newest.metadata.signed;
      const version = newest.version + 1;
      const signed = makeTargets({ ...this.#common("targets", version), targets, delegations });
      const again = await this.#finish("image", "targets", version, signed, [authority]);
      written.push(again);
      // Until the holders of the new keys have signed there is nothing good to show.
      if (again.staged !== undefined) return written;
    }
    return [...written, ...await this.#release(root)];
  }

  async #release(root: Root): Promise<Written[]> {
    const top = await this.#directory.newest("image", "targets");
    if (top === undefined) {
      throw new RepositoryDirectoryError(`${this.#directory.path}: no targets in image/`);
    }
    const files = new Map<string, NamedFile>([["targets", {
      version: top.version,
      bytes: top.metadata.bytes,
    }]]);
    const delegating = [top.metadata.signed];
    for (const { delegations } of delegating) {
      for (const { name } of delegations?.roles ?? []) {
        if (files.has(name)) continue;
        const delegated = await this.#directory.newest("image", "targets", name);
        if (delegated === undefined) continue; // The role has signed nothing yet.
        files.set(name, { version: delegated.version, bytes: delegated.metadata.bytes });
        delegating.push(delegated.metadata.signed);
      }
    }
    const snapshotVersion = ((await this.#directory.newest("image", "snapshot"))?.version ?? 0) + 1;
    const timestampVersion = ((await this.#directory.timestamp("image"))?.signed.version ?? 0) + 1;
    const snapshot = await this.#online(
      "snapshot",
      makeSnapshot({ ...this.#common("snapshot", snapshotVersion), targets: files }),
      root,
    );
    const timestamp = await this.#online(
      "timestamp",
      makeTimestamp({
        ...this.#common("timestamp", timestampVersion),
        snapshot: { version: snapshotVersion, bytes: snapshot },
      }),
      root,
    );
    // The timestamp is what shows the rest: it comes last.
    const fileName = `${snapshotVersion}.snapshot.json`;
    await this.#directory.write("image", fileName, snapshot);
    await this.#directory.write("image", "timestamp.json", timestamp);
    return [fileName, "timestamp.json"].map((name) => ({
      repository: "image",
      fileName: name,
      staged: undefined,
    }));
  }

  async #online(role: "snapshot" | "timestamp", signed: JsonObject, root: Root): Promise<Uint8Array> {
    const authority = { keys: root.keys, role: root.roles[role] };
    const bytes = await signEnvelope(signed, await this.#signersFor([authority]));
    const lacking = await lackingSignatures(readMetadata(role, bytes), [authority]);
    if (lacking === undefined) return bytes;
    throw new RepositoryDirectoryError(
      `image ${role}: expected ${lacking.threshold} of the role's keys in ${this.#directory.path}/keys, ` +
        `got ${lacking.signatures}`,
    );
  }
}

function waitsForSignatures({ path }: Staged): RepositoryDirectoryError {
  return new RepositoryDirectoryError(
    `${path} waits for signatures: add them with "repo sign", or remove the file to give it up`,
  );
}

/** Whether two images say the same. */
function same(a: Target | undefined, b: Target): boolean {
  return a !== undefined && isDeepStrictEqual(targetSchema.parse(a), targetSchema.parse(b));
}
