// The Image repository by those who hold its keys: images published into the targets or a delegated role, and all of it shown by a
// new snapshot and timestamp.

import { isDeepStrictEqual } from "node:util";
import {
  AuthorError,
  makeSnapshot,
  makeTargets,
  makeTimestamp,
  type NamedFile,
} from "../../uptane/author.ts";
import { readMetadata } from "../../uptane/envelope.ts";
import { delegatedRoleName, type Root, type Target, targetSchema } from "../../uptane/models.ts";
import { defaultLimits } from "../../uptane/store.ts";
import { type Authority, lackingSignatures } from "../../uptane/threshold.ts";
import {
  applying,
  type RoleContent,
  searchImage,
  type WantedImage,
} from "../../uptane/verify/delegations.ts";
import { type DelegatedRole, delegatedRoles, withDelegation } from "./delegated_roles.ts";
import { RepositoryDirectoryError, type Staged } from "./repository_directory.ts";
import type { Written } from "./roles.ts";
import { type SigningDesk, waitsForSignatures } from "./signing_desk.ts";

/** What may be said of a publication. */
export interface PublishOptions {
  /** `targets` or the name of a delegated role. @default "targets" */
  readonly role?: string;
  /** Whether a file that waits for signatures is added to, though it loses those that others made. @default false */
  readonly intoStaged?: boolean;
}

/** What is to be changed in a role. */
interface Editable {
  readonly authorities: readonly Authority[];
  /** What it says now; undefined if nothing. */
  readonly content: RoleContent | undefined;
  /** Targets in which vehicles will find the role. */
  readonly top: RoleContent;
}

/** Works in the Image repository of one folder. */
export class ImageAuthor {
  readonly #desk: SigningDesk;

  constructor(desk: SigningDesk) {
    this.#desk = desk;
  }

  /**
   * Puts images into a role, in place of those of the same names.
   *
   * @returns {Promise} undefined when all of it stands there already.
   * @throws {AuthorError} when the metadata would be longer than vehicles take, or no vehicle would find an image in that role.
   */
  async publish(
    targets: Readonly<Record<string, Target>>,
    { role = "targets", intoStaged = false }: PublishOptions = {},
  ): Promise<Written | undefined> {
    return await this.change(role, async (present, top) => {
      if (
        present !== undefined &&
        Object.entries(targets).every(([name, it]) => same(present.targets[name], it))
      ) return undefined;
      const next = { targets: { ...present?.targets, ...targets }, delegations: present?.delegations };
      if (role !== "targets") await this.#assertFound(role, Object.keys(targets), next, top);
      return next;
    }, intoStaged);
  }

  /** Metadata that says the same for longer. */
  async renew(role: string): Promise<Written | undefined> {
    return await this.change(role, (present) => Promise.resolve(present ?? { targets: {} }));
  }

  /** The same, where nothing waits and its keys are here; undefined where not. */
  async renewHere(role: string): Promise<Written | undefined> {
    if (await this.#desk.waiting("image", role) !== undefined) return undefined;
    const { authorities } = await this.#editable(role);
    return await this.#desk.canSign(authorities) ? await this.renew(role) : undefined;
  }

  /**
   * The next metadata of a role. What waits for signatures is changed, if it has none but of keys that are here.
   *
   * @param edit Says what it is to say; undefined: as it is. `top`: targets in which vehicles will find the role.
   * @param intoStaged Whether signatures that others made may be lost.
   */
  async change(
    role: string,
    edit: (present: RoleContent | undefined, top: RoleContent) => Promise<RoleContent | undefined>,
    intoStaged: boolean = false,
  ): Promise<Written | undefined> {
    const desk = this.#desk;
    const waiting = await desk.waiting("image", role);
    if (waiting !== undefined && !intoStaged && await this.signedElsewhere(waiting)) {
      throw waitsForSignatures(waiting);
    }
    const { authorities, content, top } = await this.#editable(role);
    const next = await edit(content, top);
    if (next === undefined) return undefined;
    const version = await desk.directory.lastVersion("image", role) + 1;
    const { targets, delegations } = next;
    const signed = makeTargets({ ...desk.common("targets", version), targets, delegations });
    const written = await desk.finish("image", role, version, signed, authorities);
    if (waiting !== undefined && (written.staged === undefined || waiting.version !== version)) {
      await Deno.remove(waiting.path);
    }
    return written;
  }

  /** Whether a staged file has signatures that cannot be made again here. */
  async signedElsewhere({ path }: Staged): Promise<boolean> {
    const keys = await this.#desk.directory.keys();
    const { signatures } = readMetadata("targets", await Deno.readFile(path));
    return signatures.some(({ keyid }) => !keys.has(keyid));
  }

  /** What a role says, and who must sign when it says something else. @throws {AuthorError} when nobody delegates to it. */
  async #editable(role: string): Promise<Editable> {
    const { directory } = this.#desk;
    const { signed: root } = await directory.root("image");
    const given = (await directory.newest("image", "targets"))?.metadata.signed;
    const waiting = await this.#stagedContent("targets");
    if (role === "targets") {
      const content = waiting ?? given;
      return {
        authorities: [{ keys: root.keys, role: root.roles.targets }],
        content,
        top: content ?? { targets: {} },
      };
    }
    const shown = (await directory.shown("image"))?.signed;
    const own = await this.#stagedContent(role);
    const inForce = given && (await delegatedRoles(directory, given, shown)).get(role);
    const pending = (await directory.pendingDelegations()).get(role);
    if (pending !== undefined) {
      const [delegation] = pending.delegations.roles;
      const authority = { keys: pending.delegations.keys, role: delegation };
      const top = withDelegation(given ?? { targets: {} }, pending.delegations, pending.before);
      return { authorities: [authority], content: own ?? inForce?.good?.metadata.signed, top };
    }
    // Targets that wait may name other keys: what is signed now must be good before them and after.
    const to = waiting && (await delegatedRoles(directory, waiting, shown)).get(role);
    const found = [inForce, to].filter((it): it is DelegatedRole => it !== undefined);
    if (found.length === 0) {
      throw new AuthorError(`the Image repository's targets delegate to no role ${role}`);
    }
    const good = found.find((it) => it.good !== undefined)?.good;
    return {
      authorities: found.map(({ authority }) => authority),
      content: own ?? good?.metadata.signed,
      top: (to === undefined ? given : waiting) ?? { targets: {} },
    };
  }

  async #stagedContent(role: string): Promise<RoleContent | undefined> {
    const waiting = await this.#desk.waiting("image", role);
    return waiting && readMetadata("targets", await Deno.readFile(waiting.path)).signed;
  }

  /** Who must sign a role that is there or is to be. @throws {AuthorError} when nobody delegates to it. */
  async authorities(role: string): Promise<readonly Authority[]> {
    return (await this.#editable(role)).authorities;
  }

  /** Looks for images as vehicles will. @throws {AuthorError} when they do not find one in the role. */
  async #assertFound(role: string, names: readonly string[], content: RoleContent, top: RoleContent) {
    const { directory } = this.#desk;
    const roles = await delegatedRoles(directory, top, (await directory.shown("image"))?.signed);
    const load = (name: string) => {
      const said = name === role ? content : roles.get(name)?.good?.metadata.signed;
      if (said !== undefined) return Promise.resolve(said);
      throw new AuthorError(`vehicles look into ${name} before ${role}, and ${name} has signed nothing yet`);
    };
    for (const name of names) {
      // Each hardware looks for itself.
      for (const hardwareId of content.targets[name].custom?.must_match?.hardware_ids ?? [undefined]) {
        const hardwareIds = hardwareId === undefined ? [] : [hardwareId];
        const search = await searchImage(top, { name, hardwareIds }, defaultLimits.delegations, load);
        if (search.end === "found" && search.found.role === role) continue;
        const what = `${name}${hardwareId === undefined ? "" : ` for hardware ${hardwareId}`}`;
        const reason = search.end === "found"
          ? `find it in ${search.found.role}, which is asked first`
          : search.end === "terminated"
          ? `end their search at ${search.role}, whose delegation is terminating`
          : search.end === "bounded"
          ? `give up after ${defaultLimits.delegations} roles`
          : `do not look there: the delegation is for other paths or hardware`;
        throw new AuthorError(`${what}: expected that vehicles find it in ${role}, they ${reason}`);
      }
    }
  }

  /**
   * The role that an image belongs in: the one that vehicles find it in, where there is one; otherwise the first that the targets
   * delegate its name and hardware to; otherwise the targets themselves.
   */
  async roleFor(wanted: WantedImage): Promise<string> {
    const { directory } = this.#desk;
    const top = (await directory.newest("image", "targets"))?.metadata.signed;
    const [first] = applying(top?.delegations, wanted);
    if (top === undefined || first === undefined) return "targets";
    const roles = await delegatedRoles(directory, top, (await directory.shown("image"))?.signed);
    const search = await searchImage(
      top,
      wanted,
      defaultLimits.delegations,
      (name) => Promise.resolve(roles.get(name)?.good?.metadata.signed ?? { targets: {} }),
    );
    return search.end === "found" ? search.found.role : first.delegation.name;
  }

  /** Gives out a staged file of targets or a delegated role that has its signatures. */
  async settle(staged: Staged): Promise<Written> {
    const { role, path } = staged;
    if (role !== "targets" && !delegatedRoleName.safeParse(role).success) {
      throw new RepositoryDirectoryError(
        `${path}: expected a root, targets or a delegated role, got ${role}`,
      );
    }
    const metadata = readMetadata("targets", await Deno.readFile(path));
    const authorities = await this.authorities(role);
    const pending = (await this.#desk.directory.pendingDelegations()).has(role);
    const targets = pending ? await this.#desk.waiting("image", "targets") : undefined;
    if (targets !== undefined && await this.signedElsewhere(targets)) {
      // The delegation is to come into targets that others are signing just now.
      const [{ role: { threshold } }] = authorities;
      const lacking = await lackingSignatures(metadata, authorities) ?? { signatures: threshold, threshold };
      return {
        repository: "image",
        fileName: staged.fileName,
        staged: { ...lacking, awaits: targets.fileName },
      };
    }
    return await this.#desk.settle(staged, metadata, authorities);
  }

  /**
   * Brings the repository to what its newest root and targets say: targets that the root's keys did not sign are signed anew, and a
   * new snapshot and timestamp show all of it.
   *
   * @throws {RepositoryDirectoryError} when the keys of snapshot and timestamp are not here.
   */
  async release(): Promise<Written[]> {
    const { directory } = this.#desk;
    const { signed: root } = await directory.root("image");
    const authority = { keys: root.keys, role: root.roles.targets };
    const newest = await directory.newest("image", "targets");
    const written: Written[] = [];
    if (newest !== undefined && await lackingSignatures(newest.metadata, [authority]) !== undefined) {
      await this.#desk.nothingStaged("image", "targets");
      const again = await this.renew("targets");
      if (again !== undefined) written.push(again);
      // Until the holders of the new keys have signed there is nothing good to show.
      if (again?.staged !== undefined) return written;
    }
    return [...written, ...await this.show(root)];
  }

  /** A new snapshot and timestamp of what is there. */
  async show(root: Root): Promise<Written[]> {
    const { directory } = this.#desk;
    const top = await directory.newest("image", "targets");
    if (top === undefined) throw new RepositoryDirectoryError(`${directory.path}: no targets in image/`);
    const before = (await directory.shown("image"))?.signed;
    const files = new Map<string, NamedFile>([["targets", {
      version: top.version,
      bytes: top.metadata.bytes,
    }]]);
    for (const [name, { good }] of await delegatedRoles(directory, top.metadata.signed, before)) {
      if (good !== undefined) files.set(name, { version: good.version, bytes: good.metadata.bytes });
    }
    const snapshotVersion = await directory.lastVersion("image", "snapshot") + 1;
    const timestampVersion = ((await directory.timestamp("image"))?.signed.version ?? 0) + 1;
    const snapshot = await this.#desk.online(
      "snapshot",
      // A snapshot that no longer names a role is refused as a rollback (Uptane Standard 2.1, section 5.4.4.5, step 6): those
      // that nobody delegates to any more stay in it.
      makeSnapshot({
        ...this.#desk.common("snapshot", snapshotVersion),
        targets: files,
        kept: before?.meta,
      }),
      root,
    );
    const timestamp = await this.#desk.online(
      "timestamp",
      makeTimestamp({
        ...this.#desk.common("timestamp", timestampVersion),
        snapshot: { version: snapshotVersion, bytes: snapshot },
      }),
      root,
    );
    // The timestamp is what shows the rest: it comes last.
    const fileName = `${snapshotVersion}.snapshot.json`;
    await directory.write("image", fileName, snapshot);
    await directory.write("image", "timestamp.json", timestamp);
    return [fileName, "timestamp.json"].map((name) => ({
      repository: "image",
      fileName: name,
      staged: undefined,
    }));
  }
}

/** Whether two images say the same. */
function same(a: Target | undefined, b: Target): boolean {
  return a !== undefined && isDeepStrictEqual(targetSchema.parse(a), targetSchema.parse(b));
}
