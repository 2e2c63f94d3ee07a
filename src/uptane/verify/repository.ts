// One repository as a vehicle trusts it: what it has of root, timestamp, snapshot and targets, and the steps by which newer ones
// take their place (Uptane Standard 2.1, sections 5.4.4.3 to 5.4.4.6). Each file is kept as soon as it is trusted, so that an
// interrupted cycle goes on where it was, and nothing older is taken afterwards.

import { createHash } from "node:crypto";
import type { CheckCode, Checker } from "../checks.ts";
import { EnvelopeError, type Metadata, readMetadata } from "../envelope.ts";
import { StoreError } from "../errors.ts";
import type { Hashes, RepositoryName, RoleKeys, TopLevelRole } from "../models.ts";
import type { Limits, MetadataFetcher, MetadataStore } from "../store.ts";
import { type Authority, countSignatures } from "../threshold.ts";
import { retrieve } from "./retrieve.ts";

/** What verification of one repository goes by. */
export interface RepositoryOptions {
  readonly repository: RepositoryName;
  readonly store: MetadataStore;
  readonly fetcher: MetadataFetcher;
  /** The time to measure expiry by: attested, or of a clock that is trusted. */
  readonly time: Date;
  readonly limits: Limits;
  readonly signal: AbortSignal;
  readonly checker: Checker;
}

/** A role whose metadata was checked. */
export interface CheckedTargets {
  readonly role: string;
  readonly metadata: Metadata<"targets">;
}

/** A repository and what of it is trusted. */
export class TrustedRepository {
  readonly #options: RepositoryOptions;
  readonly #files: Map<string, Uint8Array>;
  #root: Metadata<"root">;
  #timestamp: Metadata<"timestamp"> | undefined;
  #snapshot: Metadata<"snapshot"> | undefined;
  /** Targets and delegated roles as they were trusted last. */
  readonly #targets = new Map<string, Metadata<"targets">>();

  private constructor(options: RepositoryOptions, files: ReadonlyMap<string, Uint8Array>) {
    this.#options = options;
    this.#files = new Map(files);
    const root = this.#stored("root", "root");
    if (root === undefined) {
      throw new StoreError(
        "not_provisioned",
        `${options.repository}: expected a trusted root, got none; a vehicle is given its first one when it is made`,
      );
    }
    this.#root = root;
    this.#timestamp = this.#stored("timestamp", "timestamp");
    this.#snapshot = this.#stored("snapshot", "snapshot");
  }

  /** @throws {StoreError} when the store holds no trusted root, or what it holds is no metadata. */
  static async open(options: RepositoryOptions): Promise<TrustedRepository> {
    return new TrustedRepository(options, await options.store.load(options.repository));
  }

  get name(): RepositoryName {
    return this.#options.repository;
  }

  get root(): Metadata<"root"> {
    return this.#root;
  }

  get timestamp(): Metadata<"timestamp"> | undefined {
    return this.#timestamp;
  }

  get snapshot(): Metadata<"snapshot"> | undefined {
    return this.#snapshot;
  }

  /** A file of the store that is no metadata, e.g. the release counters. */
  file(name: string): Uint8Array | undefined {
    return this.#files.get(name);
  }

  /** Section 5.4.4.3, steps 1 and 2: goes from root to root up to the newest. The time plays no part in it. */
  async updateRoot(): Promise<void> {
    const { limits, checker } = this.#options;
    for (let fetched = 0;; fetched++) {
      const version = this.#root.signed.version + 1;
      const subject = this.#subject("root", version);
      const bytes = await this.#fetch("root", version, limits.root);
      if (bytes === undefined) return;
      checker.require(
        "root_chain",
        subject,
        fetched < limits.rootRotations,
        () => `expected at most ${limits.rootRotations} new roots at a time, got more`,
      );
      const next = this.#read("root", bytes, subject);
      await this.#signed("root_signed_by_previous", subject, next, authority(this.#root, "root"));
      await this.#signed("root_signed_by_itself", subject, next, authority(next, "root"));
      checker.require(
        "root_version",
        subject,
        next.signed.version === version,
        () => `expected version ${version}, got ${next.signed.version}`,
      );
      await this.#trustRoot(next);
    }
  }

  /** Step 3. */
  checkRootExpiry(): void {
    this.#unexpired("root_expiry", this.#subject("root", this.#root.signed.version), this.#root);
  }

  /**
   * Sets the root. Step 4: whoever had a role's old keys may have signed a version as high as can be; with new keys the role
   * begins anew.
   */
  async #trustRoot(next: Metadata<"root">): Promise<void> {
    const rotated = (role: TopLevelRole) => {
      const before = this.#root.signed.roles[role];
      const after = next.signed.roles[role];
      return before.threshold !== after.threshold ||
        before.keyids.length !== after.keyids.length ||
        before.keyids.some((keyid) => !after.keyids.includes(keyid));
    };
    const forget: string[] = [];
    if (rotated("timestamp") || rotated("snapshot")) {
      forget.push("timestamp", "snapshot");
      this.#timestamp = undefined;
      this.#snapshot = undefined;
    }
    if (rotated("targets")) {
      forget.push("targets");
      this.#targets.delete("targets");
    }
    this.#root = next;
    for (const role of forget) this.#files.delete(`${role}.json`);
    this.#files.set("root.json", next.bytes);
    await this.save();
  }

  /** Section 5.4.4.4. */
  async updateTimestamp(): Promise<Metadata<"timestamp">> {
    const { limits, checker } = this.#options;
    const subject = `${this.name} timestamp`;
    const bytes = await this.#mustFetch("timestamp", undefined, limits.timestamp, subject);
    const next = this.#read("timestamp", bytes, subject);
    await this.#signed("timestamp_signed", subject, next, authority(this.#root, "timestamp"));
    const previous = this.#timestamp;
    if (previous !== undefined) {
      checker.require(
        "timestamp_rollback",
        subject,
        next.signed.version >= previous.signed.version,
        () => `expected version ${previous.signed.version} or later, got ${next.signed.version}`,
      );
      const before = previous.signed.meta["snapshot.json"].version;
      const after = next.signed.meta["snapshot.json"].version;
      checker.require(
        "timestamp_snapshot_rollback",
        subject,
        after >= before,
        () => `expected snapshot ${before} or later, got ${after}`,
      );
    }
    this.#unexpired("timestamp_expiry", subject, next);
    this.#timestamp = next;
    await this.#keep("timestamp", next);
    return next;
  }

  /**
   * Section 5.4.4.5, and the shortcut of 5.4.4.2 (4, 8): a snapshot that is the one in the timestamp is not fetched again. It is
   * checked again all the same, for the time has gone on.
   */
  async updateSnapshot(): Promise<Metadata<"snapshot">> {
    const { limits, checker } = this.#options;
    const timestamp = required(this.#timestamp, "timestamp");
    const wanted = timestamp.signed.meta["snapshot.json"];
    const subject = this.#subject("snapshot", wanted.version);
    const previous = this.#snapshot;
    const kept = previous !== undefined && previous.signed.version === wanted.version &&
        differenceOf(previous.bytes, wanted.hashes) === undefined
      ? previous
      : undefined;
    const maxLength = Math.min(wanted.length ?? limits.snapshot, limits.snapshot);
    const next = kept ?? await this.#fetchSnapshot(wanted.version, maxLength, wanted.hashes, subject);
    checker.require(
      "snapshot_version",
      subject,
      next.signed.version === wanted.version,
      () => `expected the version that the timestamp names, ${wanted.version}, got ${next.signed.version}`,
    );
    await this.#signed("snapshot_signed", subject, next, authority(this.#root, "snapshot"));
    if (previous !== undefined && kept === undefined) this.#noOlderSnapshot(subject, previous, next);
    this.#unexpired("snapshot_expiry", subject, next);
    this.#snapshot = next;
    if (kept === undefined) await this.#keep("snapshot", next);
    return next;
  }

  async #fetchSnapshot(
    version: number,
    maxLength: number,
    hashes: Hashes,
    subject: string,
  ): Promise<Metadata<"snapshot">> {
    const bytes = await this.#mustFetch("snapshot", version, maxLength, subject);
    this.#hashed("snapshot_hashes", subject, bytes, hashes);
    return this.#read("snapshot", bytes, subject);
  }

  /** Steps 4 to 6. */
  #noOlderSnapshot(subject: string, previous: Metadata<"snapshot">, next: Metadata<"snapshot">): void {
    const { checker } = this.#options;
    checker.require(
      "snapshot_rollback",
      subject,
      next.signed.version >= previous.signed.version,
      () => `expected version ${previous.signed.version} or later, got ${next.signed.version}`,
    );
    const before = Object.entries(previous.signed.meta);
    const missing = before.find(([name]) => !Object.hasOwn(next.signed.meta, name));
    checker.require(
      "snapshot_targets_listed",
      subject,
      missing === undefined,
      () => `expected ${missing?.[0]}, which the previous one named, got none`,
    );
    const older = before.find(([name, { version }]) => next.signed.meta[name].version < version);
    checker.require(
      "snapshot_targets_rollback",
      subject,
      older === undefined,
      () =>
        older === undefined
          ? ""
          : `expected ${older[0]} of version ${older[1].version} or later, got ${
            next.signed.meta[older[0]].version
          }`,
    );
  }

  /**
   * Section 5.4.4.6 for the top-level targets, and for a role that `delegator` delegates to. What the snapshot says to be there
   * already is not fetched again, but checked.
   *
   * @param keep Whether it is trusted with that. The Director's are only when the Image repository agrees: see {@link keepTargets}.
   */
  async loadTargets(role: string, by: Authority, keep: boolean): Promise<CheckedTargets> {
    const { limits, checker } = this.#options;
    const snapshot = required(this.#snapshot, "snapshot");
    const name = `${role}.json`;
    const listed = Object.hasOwn(snapshot.signed.meta, name) ? snapshot.signed.meta[name] : undefined;
    if (listed === undefined) {
      throw checker.failed(
        "targets_in_snapshot",
        `${this.name} ${role}`,
        `expected ${name} in snapshot ${snapshot.signed.version}, got none`,
      );
    }
    const subject = this.#subject(role, listed.version);
    checker.passed("targets_in_snapshot", subject);
    const previous = this.#previousTargets(role);
    const { hashes } = listed;
    const kept = previous?.signed.version === listed.version &&
        (hashes === undefined || differenceOf(previous.bytes, hashes) === undefined)
      ? previous
      : undefined;
    let next = kept;
    if (next === undefined) {
      const maxLength = Math.min(listed.length ?? limits.targets, limits.targets);
      const bytes = await this.#mustFetch(role, listed.version, maxLength, subject);
      if (hashes !== undefined) this.#hashed("targets_hashes", subject, bytes, hashes);
      next = this.#read("targets", bytes, subject);
    }
    const { version } = next.signed;
    checker.require(
      "targets_version",
      subject,
      version === listed.version,
      () => `expected the version that the snapshot names, ${listed.version}, got ${version}`,
    );
    const metadata = await this.#checkTargets(subject, next, previous, by);
    if (keep && kept === undefined) await this.keepTargets({ role, metadata });
    return { role, metadata };
  }

  /** Section 5.4.4.6 without a snapshot, for partial verification. */
  async loadNewestTargets(): Promise<CheckedTargets> {
    const subject = `${this.name} targets`;
    const bytes = await this.#mustFetch("targets", undefined, this.#options.limits.targets, subject);
    const next = this.#read("targets", bytes, subject);
    const previous = this.#previousTargets("targets");
    const metadata = await this.#checkTargets(subject, next, previous, this.targetsAuthority());
    return { role: "targets", metadata };
  }

  /** Steps 3 to 5. */
  async #checkTargets(
    subject: string,
    next: Metadata<"targets">,
    previous: Metadata<"targets"> | undefined,
    by: Authority,
  ): Promise<Metadata<"targets">> {
    await this.#signed("targets_signed", subject, next, by);
    if (previous !== undefined) {
      this.#options.checker.require(
        "targets_rollback",
        subject,
        next.signed.version >= previous.signed.version,
        () => `expected version ${previous.signed.version} or later, got ${next.signed.version}`,
      );
    }
    this.#unexpired("targets_expiry", subject, next);
    return next;
  }

  /** Who may sign the top-level targets. */
  targetsAuthority(): Authority {
    return authority(this.#root, "targets");
  }

  /** Keeps targets as trusted, and another file with them. */
  async keepTargets(
    { role, metadata }: CheckedTargets,
    more?: { name: string; bytes: Uint8Array },
  ): Promise<void> {
    this.#targets.set(role, metadata);
    if (more !== undefined) this.#files.set(more.name, more.bytes);
    await this.#keep(role, metadata);
  }

  async #keep(role: string, { bytes }: { bytes: Uint8Array }): Promise<void> {
    this.#files.set(`${role}.json`, bytes);
    await this.save();
  }

  /** Writes what is trusted into the store. */
  async save(): Promise<void> {
    await this.#options.store.replace(this.name, this.#files);
  }

  #previousTargets(role: string): Metadata<"targets"> | undefined {
    const known = this.#targets.get(role) ?? this.#stored("targets", role);
    if (known !== undefined) this.#targets.set(role, known);
    return known;
  }

  #stored<Kind extends TopLevelRole>(kind: Kind, role: string): Metadata<Kind> | undefined {
    const bytes = this.#files.get(`${role}.json`);
    if (bytes === undefined) return undefined;
    try {
      return readMetadata(kind, bytes);
    } catch (cause) {
      if (!(cause instanceof EnvelopeError)) throw cause;
      throw new StoreError("store_damaged", `${this.name}: kept ${role}.json: ${cause.message}`, { cause });
    }
  }

  #subject(role: string, version: number): string {
    return `${this.name} ${role} ${version}`;
  }

  async #fetch(
    role: string,
    version: number | undefined,
    maxLength: number,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { fetcher, limits, signal, checker } = this.#options;
    const fileName = version === undefined ? `${role}.json` : `${version}.${role}.json`;
    return await retrieve(fetcher, {
      request: { repository: this.name, role, version, fileName, maxLength },
      time: limits.fileTime,
      signal,
      subject: version === undefined ? `${this.name} ${role}` : this.#subject(role, version),
      checker,
    });
  }

  async #mustFetch(
    role: string,
    version: number | undefined,
    maxLength: number,
    subject: string,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.#fetch(role, version, maxLength);
    if (bytes !== undefined) return bytes;
    throw this.#options.checker.failed("metadata_present", subject, "expected the file, got none");
  }

  #read<Kind extends TopLevelRole>(kind: Kind, bytes: Uint8Array, subject: string): Metadata<Kind> {
    try {
      const metadata = readMetadata(kind, bytes);
      this.#options.checker.passed("metadata_form", subject);
      return metadata;
    } catch (cause) {
      if (!(cause instanceof EnvelopeError)) throw cause;
      throw this.#options.checker.failed("metadata_form", subject, cause.message, { cause });
    }
  }

  async #signed(
    code: CheckCode,
    subject: string,
    metadata: Metadata<TopLevelRole>,
    by: Authority,
  ): Promise<void> {
    const signatures = await countSignatures(metadata, by);
    const { threshold } = by.role;
    this.#options.checker.require(
      code,
      subject,
      signatures >= threshold,
      () => `expected good signatures of ${threshold} of the role's keys, got ${signatures}`,
    );
  }

  #hashed(code: CheckCode, subject: string, bytes: Uint8Array, hashes: Hashes): void {
    const difference = differenceOf(bytes, hashes);
    this.#options.checker.require(code, subject, difference === undefined, () => difference ?? "");
  }

  #unexpired(code: CheckCode, subject: string, { signed: { expires } }: Metadata<TopLevelRole>): void {
    const { time, checker } = this.#options;
    checker.require(
      code,
      subject,
      time.getTime() < Date.parse(expires),
      () => `expected to be read before ${expires}, it is ${time.toISOString()}`,
    );
  }
}

/** Who may sign for a top-level role. */
function authority(root: Metadata<"root">, role: TopLevelRole): Authority {
  const keys: RoleKeys = root.signed.roles[role];
  return { keys: root.signed.keys, role: keys };
}

/** How bytes differ from their hashes; undefined if they do not. */
function differenceOf(bytes: Uint8Array, hashes: Hashes): string | undefined {
  for (const name of ["sha256", "sha512"] as const) {
    const expected = hashes[name];
    if (expected === undefined) continue;
    const found = createHash(name).update(bytes).digest("hex");
    if (found !== expected) return `expected ${name} ${expected}, got ${found}`;
  }
  return undefined;
}

function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new TypeError(`the ${what} must be updated first`);
  return value;
}
