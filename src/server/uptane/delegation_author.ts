// Delegations of the Image repository's targets (Uptane Standard 2.1, section 5.2.3.2): made, changed, removed. A vehicle that is led
// to a role which has signed nothing refuses what it is given: a delegation comes into the targets once its role has signed.

import { AuthorError, makeDelegations, makeTargets } from "../../uptane/author.ts";
import { algorithmOf, generateSigner, type LocalSigner, type SignatureAlgorithm } from "../../uptane/keys.ts";
import {
  delegatedRoleName,
  type Delegation,
  type Delegations,
  delegationSchema,
  type KeyModel,
} from "../../uptane/models.ts";
import { lackingSignatures } from "../../uptane/threshold.ts";
import type { RoleContent } from "../../uptane/verify/delegations.ts";
import { delegatedRoles, withDelegation, withoutDelegation } from "./delegated_roles.ts";
import type { ImageAuthor } from "./image_author.ts";
import { RepositoryDirectoryError } from "./repository_directory.ts";
import type { Written } from "./roles.ts";
import { type SigningDesk, waitsForSignatures } from "./signing_desk.ts";

/** Keys of a delegated role: to be made here, or public ones of somebody who keeps the private halves. */
export type DelegationKeys =
  | { readonly make: readonly SignatureAlgorithm[] }
  | { readonly public: readonly KeyModel[] };

/** A delegation that is wanted. Where there is one of its name already, what is not said stays as it is. */
export interface WantedDelegation {
  readonly name: string;
  /** Names of images, with `*` and `?` for what may vary between two slashes. A new delegation has at least one. */
  readonly paths?: readonly string[];
  /** Hardware that it is for. @default any */
  readonly hardwareIds?: readonly string[] | "any";
  /** Whether nobody else is asked after it. @default false */
  readonly terminating?: boolean;
  /** @default one key of ML-DSA-65, made here */
  readonly keys?: DelegationKeys;
  /** How many of the keys must sign. @default 1 */
  readonly threshold?: number;
  /** The delegation that is asked after it. @default it is asked last */
  readonly before?: string;
}

/** Works in the Image repository of one folder. */
export class DelegationAuthor {
  readonly #desk: SigningDesk;
  readonly #images: ImageAuthor;

  constructor(desk: SigningDesk, images: ImageAuthor) {
    this.#desk = desk;
    this.#images = images;
  }

  /**
   * Makes a delegation, or changes the one of that name. Its role's first metadata, or the next one where its keys change, is made
   * with it; where the keys of that are elsewhere it is staged, and {@link complete} goes on when it was signed.
   *
   * @throws {AuthorError} for what is no delegation.
   * @throws {RepositoryDirectoryError} when something in its way waits for signatures.
   */
  async delegate(wanted: WantedDelegation): Promise<Written[]> {
    const { name, before } = wanted;
    const { directory } = this.#desk;
    const targets = await this.#targets();
    const present = targets.delegations?.roles.find((it) => it.name === name);
    await this.#nothingWaits(name);
    if (before !== undefined && !targets.delegations?.roles.some((it) => it.name === before)) {
      throw new AuthorError(`before: expected the name of another delegation, got ${before}`);
    }
    if (before === name) throw new AuthorError(`before: expected another delegation than ${name} itself`);
    const kept = present?.keyids.map((keyid) => targets.delegations?.keys[keyid]).filter((it) =>
      it !== undefined
    );
    const { made, keys } = await keysOf(wanted.keys, kept);
    const delegations = delegationOf(wanted, present, keys);
    const [delegation] = delegations.roles;
    // The whole must be one before a key of it is kept.
    makeTargets({ ...this.#desk.common("targets", 1), ...withDelegation(targets, delegations, before) });
    for (const signer of made) await directory.addKey("image", name, signer);

    const written: Written[] = [];
    const authority = { keys: delegations.keys, role: delegation };
    const signed = await directory.newest("image", "targets", name);
    const good = present !== undefined && signed !== undefined &&
      await lackingSignatures(signed.metadata, [authority]) === undefined;
    if (!good) {
      const content = present === undefined ? { targets: {} } : await this.#content(targets, name);
      const version = (signed?.version ?? 0) + 1;
      const next = makeTargets({ ...this.#desk.common("targets", version), ...content });
      const first = await this.#desk.finish("image", name, version, next, [authority]);
      written.push(first);
      if (first.staged !== undefined) {
        await directory.stageDelegation(name, { delegations, before });
        return written;
      }
    }
    return [...written, ...await this.#change((content) => withDelegation(content, delegations, before))];
  }

  /** Takes a delegation out of the targets; one that waits for its role is given up. What the role signed is not found any more. */
  async undelegate(name: string): Promise<Written[]> {
    const { directory } = this.#desk;
    const pending = (await directory.pendingDelegations()).has(name);
    const present = (await this.#targets()).delegations?.roles.some((it) => it.name === name) === true;
    if (!pending && !present) {
      throw new AuthorError(`the Image repository's targets delegate to no role ${name}`);
    }
    const written = present ? await this.#change((content) => withoutDelegation(content, name)) : [];
    const waiting = await this.#desk.waiting("image", name);
    if (waiting !== undefined) await Deno.remove(waiting.path);
    await directory.dropDelegation(name);
    return written;
  }

  /**
   * Gives a delegated role new keys, made here.
   *
   * @param setting @default as many of each algorithm as it has
   */
  async rotate(
    name: string,
    setting?: { algorithms: readonly SignatureAlgorithm[]; threshold: number },
  ): Promise<Written[]> {
    const { delegations } = await this.#targets();
    const present = delegations?.roles.find((it) => it.name === name);
    if (delegations === undefined || present === undefined) {
      throw new AuthorError(`the Image repository's targets delegate to no role ${name}`);
    }
    const make = setting?.algorithms ?? present.keyids.map((keyid) => {
      const algorithm = algorithmOf(delegations.keys[keyid]);
      if (algorithm === undefined) {
        throw new RepositoryDirectoryError(`${keyid}: a key of no known algorithm`);
      }
      return algorithm;
    });
    return await this.delegate({ name, keys: { make }, threshold: setting?.threshold ?? present.threshold });
  }

  /** Puts delegations into the targets whose roles have signed by now. */
  async complete(): Promise<Written[]> {
    const { directory } = this.#desk;
    const written: Written[] = [];
    for (const [name, { delegations, before }] of await directory.pendingDelegations()) {
      const [role] = delegations.roles;
      const newest = await directory.newest("image", "targets", name);
      const authority = { keys: delegations.keys, role };
      if (
        newest === undefined || await this.#desk.waiting("image", name) !== undefined ||
        await lackingSignatures(newest.metadata, [authority]) !== undefined
      ) continue;
      written.push(...await this.#change((content) => withDelegation(content, delegations, before)));
      await directory.dropDelegation(name);
    }
    return written;
  }

  async #change(edit: (content: RoleContent) => RoleContent): Promise<Written[]> {
    const written = await this.#images.change(
      "targets",
      (content) => Promise.resolve(edit(content ?? { targets: {} })),
    );
    return written === undefined ? [] : [written];
  }

  /** The newest targets: those that wait for signatures, where some do. */
  async #targets(): Promise<RoleContent> {
    await this.#desk.directory.root("image"); // Says it when there is no repository.
    let content: RoleContent | undefined;
    await this.#images.change("targets", (present) => {
      content = present;
      return Promise.resolve(undefined);
    });
    return content ?? { targets: {} };
  }

  /** What a role said by the delegation that it had. */
  async #content(targets: RoleContent, name: string): Promise<RoleContent> {
    const { directory } = this.#desk;
    const shown = (await directory.shown("image"))?.signed;
    const roles = await delegatedRoles(directory, targets, shown);
    const { targets: images = {}, delegations } = roles.get(name)?.good?.metadata.signed ?? {};
    return { targets: images, delegations };
  }

  async #nothingWaits(name: string): Promise<void> {
    if ((await this.#desk.directory.pendingDelegations()).has(name)) {
      throw new RepositoryDirectoryError(
        `the delegation to ${name} waits for signatures of its role: add them with "repo sign", ` +
          `or give it up with "repo delegate ${name} --remove"`,
      );
    }
    const waiting = await this.#desk.waiting("image", name);
    if (waiting !== undefined) throw waitsForSignatures(waiting);
  }
}

/** Keys that a delegation is to have, and those of them that were made. */
async function keysOf(
  wanted: DelegationKeys | undefined,
  kept: readonly KeyModel[] | undefined,
): Promise<{ made: LocalSigner[]; keys: readonly KeyModel[] }> {
  if (wanted !== undefined && "public" in wanted) return { made: [], keys: wanted.public };
  if (wanted === undefined && kept !== undefined) return { made: [], keys: kept };
  const made: LocalSigner[] = [];
  for (const algorithm of wanted?.make ?? ["ml-dsa-65"]) made.push(await generateSigner(algorithm));
  return { made, keys: made.map(({ key }) => key) };
}

/** @throws {AuthorError} for what is none. */
function delegationOf(
  { name, paths, hardwareIds, terminating, keys: given, threshold }: WantedDelegation,
  present: Delegation | undefined,
  keys: readonly KeyModel[],
): Delegations {
  const valid = delegatedRoleName.safeParse(name);
  if (!valid.success) throw new AuthorError(`name: ${valid.error.issues[0].message}, got ${name}`);
  const all = paths ?? present?.paths ?? [];
  if (all.length === 0) {
    throw new AuthorError(`paths: expected the names of the images that ${name} may sign, got none`);
  }
  const hardware = hardwareIds ?? present?.hardware_ids ?? "any";
  const made = makeDelegations([{
    name,
    paths: [...all],
    keys,
    threshold: threshold ?? (given === undefined ? present?.threshold : undefined) ?? 1,
    terminating: terminating ?? present?.terminating ?? false,
    ...hardware === "any" ? {} : { hardwareIds: hardware },
  }]);
  const { success, error } = delegationSchema.safeParse(made.roles[0]);
  if (!success) {
    const [{ path, message }] = error.issues;
    throw new AuthorError(`${path.join(".") || "threshold"}: ${message}`);
  }
  return made;
}
