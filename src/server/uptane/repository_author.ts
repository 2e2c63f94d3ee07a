// Work on repositories by those who hold their keys: founding them, and their roots. What cannot be signed here for want of keys is
// staged: signatures are added on other machines, and it is given out when there are enough.

import { makeRoot, makeTargets, type RoleHolders } from "../../uptane/author.ts";
import { readMetadata, signEnvelope } from "../../uptane/envelope.ts";
import { algorithmOf, type LocalSigner } from "../../uptane/keys.ts";
import { type RepositoryName, type Root, type Target, topLevelRoles } from "../../uptane/models.ts";
import type { WantedImage } from "../../uptane/verify/delegations.ts";
import { DelegationAuthor, type WantedDelegation } from "./delegation_author.ts";
import { ImageAuthor, type PublishOptions } from "./image_author.ts";
import { type RepositoryDirectory, RepositoryDirectoryError, type Staged } from "./repository_directory.ts";
import {
  defaultValidity,
  type RoleSetting,
  rolesOf,
  type RootRole,
  type Validity,
  type Written,
} from "./roles.ts";
import { SigningDesk } from "./signing_desk.ts";

/** Works in one folder. */
export class RepositoryAuthor {
  readonly #directory: RepositoryDirectory;
  readonly #desk: SigningDesk;
  readonly #images: ImageAuthor;
  readonly #delegations: DelegationAuthor;

  /** @param now The time from which validity counts. */
  constructor(directory: RepositoryDirectory, now: Date, validity: Validity = defaultValidity) {
    this.#directory = directory;
    this.#desk = new SigningDesk(directory, now, validity);
    this.#images = new ImageAuthor(this.#desk);
    this.#delegations = new DelegationAuthor(this.#desk, this.#images);
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
      const signers = await this.#desk.makeKeys(repository, role, algorithms);
      holders.set(role, { signers, keys: signers.map(({ key }) => key), threshold });
    }
    const [root, timestamp, snapshot, targets] = topLevelRoles.map((role) => {
      const found = holders.get(role);
      if (found === undefined) throw new TypeError(`no holders of ${role}`);
      return found;
    });
    const time = holders.get("time");
    const signed = makeRoot({
      ...this.#desk.common("root", 1),
      roles: { root, timestamp, snapshot, targets, time },
    });
    const bytes = await signEnvelope(signed, root.signers);
    const written: Written[] = [];
    if (repository === "image") {
      const empty = await signEnvelope(
        makeTargets({ ...this.#desk.common("targets", 1), targets: {} }),
        targets.signers,
      );
      await this.#directory.write(repository, "1.targets.json", empty);
      written.push({ repository, fileName: "1.targets.json", staged: undefined });
      written.push(...await this.#images.show(readMetadata("root", bytes).signed));
    }
    await this.#directory.write(repository, "1.root.json", bytes);
    return [{ repository, fileName: "1.root.json", staged: undefined }, ...written];
  }

  /**
   * Gives a role new keys; the old ones are good for nothing any more. The new root is signed with the keys that are here, of those
   * before and of its own.
   *
   * @param setting Keys of the role from now on. @default as many of each algorithm as it has
   */
  async rotate(repository: RepositoryName, role: RootRole, setting?: RoleSetting): Promise<Written> {
    await this.#desk.nothingStaged(repository, "root");
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
    const made = await this.#desk.makeKeys(repository, role, algorithms);
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
      ...this.#desk.common("root", version),
      roles: { root, timestamp, snapshot, targets, time: holders("time") },
    });
    const { keys, roles } = readMetadata("root", await signEnvelope(next, [])).signed;
    return await this.#desk.finish(repository, "root", version, next, [
      { keys: before.keys, role: before.roles.root },
      { keys, role: roles.root },
    ]);
  }

  /** A root that says the same for longer; undefined when its keys are not here. */
  async renewRoot(repository: RepositoryName): Promise<Written | undefined> {
    const { signed } = await this.#directory.root(repository);
    if (await this.#desk.waiting(repository, "root") !== undefined) return undefined;
    if (!await this.#desk.canSign([{ keys: signed.keys, role: signed.roles.root }])) return undefined;
    return await this.#nextRoot(repository, signed, {});
  }

  /** {@linkcode ImageAuthor.renewHere} */
  async renewImages(role: string): Promise<Written | undefined> {
    return await this.#images.renewHere(role);
  }

  /** {@linkcode ImageAuthor.renew} */
  async renew(role: string): Promise<Written | undefined> {
    return await this.#images.renew(role);
  }

  /** {@linkcode ImageAuthor.publish} */
  async publish(
    targets: Readonly<Record<string, Target>>,
    options?: PublishOptions,
  ): Promise<Written | undefined> {
    return await this.#images.publish(targets, options);
  }

  /** {@linkcode ImageAuthor.roleFor} */
  async roleFor(wanted: WantedImage): Promise<string> {
    return await this.#images.roleFor(wanted);
  }

  /** {@linkcode DelegationAuthor.delegate} */
  async delegate(wanted: WantedDelegation): Promise<Written[]> {
    return await this.#delegations.delegate(wanted);
  }

  /** {@linkcode DelegationAuthor.undelegate} */
  async undelegate(role: string): Promise<Written[]> {
    return await this.#delegations.undelegate(role);
  }

  /** {@linkcode DelegationAuthor.rotate} */
  async rotateDelegated(role: string, setting?: RoleSetting): Promise<Written[]> {
    return await this.#delegations.rotate(role, setting);
  }

  /** {@linkcode ImageAuthor.release} */
  async release(): Promise<Written[]> {
    return await this.#images.release();
  }

  /** Gives out the staged files that have their signatures by now; says of the others what they lack. */
  async settle(): Promise<Written[]> {
    const written: Written[] = [];
    for (const staged of await this.#directory.staged()) {
      if (staged.role === "root") written.push(await this.#settleRoot(staged));
      else if (staged.repository === "image") written.push(await this.#images.settle(staged));
      else {
        throw new RepositoryDirectoryError(`${staged.path}: expected a root, got ${staged.role}`);
      }
    }
    return [...written, ...await this.#delegations.complete()];
  }

  async #settleRoot(staged: Staged): Promise<Written> {
    const { signed: before } = await this.#directory.root(staged.repository);
    const metadata = readMetadata("root", await Deno.readFile(staged.path));
    return await this.#desk.settle(staged, metadata, [
      { keys: before.keys, role: before.roles.root },
      { keys: metadata.signed.keys, role: metadata.signed.roles.root },
    ]);
  }
}
