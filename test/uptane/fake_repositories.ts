// A Director and an Image repository in memory, with everything that an attacker may do to them, and a vehicle that looks at them.
// Files are made with the library's own author, but a test may put any file in the place of any other.

import assert from "node:assert/strict";
import { UptaneError } from "../../src/uptane/errors.ts";
import {
  generateSigner,
  type LocalSigner,
  type SignatureAlgorithm,
  type Signer,
} from "../../src/uptane/keys.ts";
import {
  type DelegationRequest,
  hashesOf,
  makeDelegations,
  makeRoot,
  makeSnapshot,
  makeTargets,
  makeTimestamp,
} from "../../src/uptane/author.ts";
import type { JsonObject } from "../../src/uptane/canonical_json.ts";
import type { CheckResult } from "../../src/uptane/checks.ts";
import { signEnvelope } from "../../src/uptane/envelope.ts";
import type { RepositoryName, Target, TopLevelRole } from "../../src/uptane/models.ts";
import type { FetchRequest, Limits, MetadataFetcher, MetadataStore } from "../../src/uptane/store.ts";
import { type VerifiedUpdate, verifyFully } from "../../src/uptane/verify/full.ts";
import type { VehicleEcu } from "../../src/uptane/verify/director.ts";
import { provision } from "../../src/uptane/verify/provision.ts";

/** The time in all tests. */
export const now = new Date("2026-03-01T12:00:00Z");
export const vin = "KMHZB00BENCH00001";

/** `now` and some days. */
export function inDays(days: number): Date {
  return new Date(now.getTime() + days * 86_400_000);
}

type Role = TopLevelRole | "time";

/** Who holds a role. */
export interface Holders {
  signers: Signer[];
  threshold: number;
}

/** One repository. */
export class FakeRepository {
  readonly files = new Map<string, Uint8Array>();
  readonly holders: Record<TopLevelRole, Holders> & { time?: Holders };
  readonly versions: Record<TopLevelRole, number> = { root: 0, timestamp: 0, snapshot: 0, targets: 0 };
  readonly expires: Record<TopLevelRole, Date>;
  /** Targets and delegated roles by name, as the snapshot names them. */
  readonly targets = new Map<string, { version: number; bytes: Uint8Array }>();
  #rootSigners: Signer[] = [];

  /** @param begins When what it makes begins to count its days */
  constructor(holders: FakeRepository["holders"], begins = now) {
    this.holders = holders;
    const after = (days: number) => new Date(begins.getTime() + days * 86_400_000);
    this.expires = { root: after(365), targets: after(90), snapshot: after(30), timestamp: after(7) };
  }

  static async make(
    roles: readonly Role[],
    algorithm: SignatureAlgorithm = "ecdsa-p256",
    begins = now,
  ): Promise<FakeRepository> {
    const holder = async (): Promise<Holders> => ({
      signers: [await generateSigner(algorithm)],
      threshold: 1,
    });
    const repository = new FakeRepository({
      root: await holder(),
      timestamp: await holder(),
      snapshot: await holder(),
      targets: await holder(),
      ...roles.includes("time") ? { time: await holder() } : {},
    }, begins);
    await repository.writeRoot();
    return repository;
  }

  /** The next root, signed by the last one's keys and its own, or by whom the test wants. */
  async writeRoot(signers?: readonly Signer[], version = this.versions.root + 1): Promise<Uint8Array> {
    const own = this.holders.root.signers;
    const both = [...new Map([...this.#rootSigners, ...own].map((it) => [it.keyid, it])).values()];
    const roles = Object.fromEntries(
      Object.entries(this.holders).map(([role, holders]) => [role, publicOf(holders)]),
    );
    const { root, timestamp, snapshot, targets, time } = roles;
    const bytes = await signEnvelope(
      makeRoot({ version, expires: this.expires.root, roles: { root, timestamp, snapshot, targets, time } }),
      signers ?? both,
    );
    this.versions.root++;
    this.files.set(`${this.versions.root}.root.json`, bytes);
    this.#rootSigners = [...own];
    return bytes;
  }

  /** The next targets. */
  async writeTargets(
    targets: Record<string, Target>,
    more: { delegations?: DelegationRequest[]; vehicleId?: string; version?: number; signers?: Signer[] } =
      {},
  ): Promise<void> {
    const version = more.version ?? this.versions.targets + 1;
    const signed = makeTargets({
      version,
      expires: this.expires.targets,
      targets,
      delegations: more.delegations && makeDelegations(more.delegations),
      vehicleId: more.vehicleId,
    });
    await this.writeRole("targets", signed, version, more.signers ?? this.holders.targets.signers);
    this.versions.targets = version;
  }

  /** Metadata of a delegated role. */
  async writeDelegated(
    role: string,
    signers: Signer[],
    targets: Record<string, Target>,
    more: { delegations?: DelegationRequest[]; version?: number; expires?: Date } = {},
  ): Promise<void> {
    const version = more.version ?? (this.targets.get(role)?.version ?? 0) + 1;
    const expires = more.expires ?? this.expires.targets;
    const delegations = more.delegations && makeDelegations(more.delegations);
    await this.writeRole(role, makeTargets({ version, expires, targets, delegations }), version, signers);
  }

  async writeRole(
    role: string,
    signed: JsonObject,
    version: number,
    signers: readonly Signer[],
  ): Promise<void> {
    const bytes = await signEnvelope(signed, signers);
    this.files.set(`${version}.${role}.json`, bytes);
    this.targets.set(role, { version, bytes });
  }

  /** The next snapshot. */
  async writeSnapshot(more: { version?: number; signers?: Signer[] } = {}): Promise<void> {
    const version = more.version ?? this.versions.snapshot + 1;
    const signed = makeSnapshot({ version, expires: this.expires.snapshot, targets: this.targets });
    this.files.set(
      `${version}.snapshot.json`,
      await signEnvelope(signed, more.signers ?? this.holders.snapshot.signers),
    );
    this.versions.snapshot = version;
  }

  /** The next timestamp. */
  async writeTimestamp(more: { version?: number; signers?: Signer[] } = {}): Promise<void> {
    const version = more.version ?? this.versions.timestamp + 1;
    const snapshot = {
      version: this.versions.snapshot,
      bytes: this.file(`${this.versions.snapshot}.snapshot.json`),
    };
    const signed = makeTimestamp({ version, expires: this.expires.timestamp, snapshot });
    this.files.set(
      "timestamp.json",
      await signEnvelope(signed, more.signers ?? this.holders.timestamp.signers),
    );
    this.versions.timestamp = version;
  }

  /** Shows what was written. */
  async release(): Promise<void> {
    await this.writeSnapshot();
    await this.writeTimestamp();
  }

  file(name: string): Uint8Array {
    const bytes = this.files.get(name);
    if (bytes === undefined) throw new Error(`the fake has no ${name}`);
    return bytes;
  }

  /** A copy of all files: what an attacker has recorded. */
  record(): Map<string, Uint8Array> {
    return new Map(this.files);
  }

  /** Puts recorded files in place of the present ones. */
  replay(files: ReadonlyMap<string, Uint8Array>): void {
    this.files.clear();
    for (const [name, bytes] of files) this.files.set(name, bytes);
  }
}

function publicOf({ signers, threshold }: Holders) {
  return { keys: signers.map(({ key }) => key), threshold };
}

/** An image as the Image repository signs it. */
export function image(content: string, releaseCounter = 1, hardwareIds = ["1.0"]): Target {
  const bytes = new TextEncoder().encode(content);
  return {
    length: bytes.length,
    hashes: hashesOf(bytes),
    custom: {
      must_match: { hardware_ids: hardwareIds, ecu_types: ["BODY"], release_counter: releaseCounter },
    },
  };
}

/** The same image as the Director sends it to ECUs. */
export function directedTo(target: Target, ...ecuIds: string[]): Target {
  return {
    ...target,
    custom: {
      ...target.custom,
      ecus: Object.fromEntries(ecuIds.map((ecuId) => [ecuId, { hardware_id: "1.0" }])),
    },
  };
}

/** Keeps files in memory. */
export class MemoryStore implements MetadataStore {
  readonly repositories = new Map<RepositoryName, Map<string, Uint8Array>>();
  /** Counts down with each change; the one that finds 0 is lost, as at a power cut. */
  changesUntilCut = Infinity;

  load(repository: RepositoryName): Promise<Map<string, Uint8Array>> {
    return Promise.resolve(new Map(this.repositories.get(repository)));
  }

  replace(repository: RepositoryName, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
    if (this.changesUntilCut-- <= 0) return Promise.reject(new Error("power cut"));
    this.repositories.set(repository, new Map(files));
    return Promise.resolve();
  }
}

/** The two repositories and a vehicle. */
export class Bench {
  readonly store = new MemoryStore();
  readonly fetched: string[] = [];
  readonly seen: CheckResult[] = [];
  /** Answers in place of the repositories where it gives something; `null`: there is no such file. */
  intercept: (request: FetchRequest) => AsyncIterable<Uint8Array> | Uint8Array | null | undefined = () =>
    undefined;

  constructor(readonly director: FakeRepository, readonly image: FakeRepository) {}

  /** Both repositories with one image for ECU_001, and a vehicle with their roots. */
  static async make(algorithm?: SignatureAlgorithm): Promise<Bench> {
    const bench = new Bench(
      await FakeRepository.make(["time"], algorithm),
      await FakeRepository.make([], algorithm),
    );
    await bench.publish({ "body/1.bin": image("version 1") });
    await bench.direct({ "body/1.bin": directedTo(image("version 1"), "ECU_001") });
    await provision(bench.store, {
      director: bench.director.file("1.root.json"),
      image: bench.image.file("1.root.json"),
    });
    return bench;
  }

  async publish(targets: Record<string, Target>, delegations?: DelegationRequest[]): Promise<void> {
    await this.image.writeTargets(targets, { delegations });
    await this.image.release();
  }

  async direct(targets: Record<string, Target>, vehicleId = vin): Promise<void> {
    await this.director.writeTargets(targets, { vehicleId });
    await this.director.release();
  }

  get fetcher(): MetadataFetcher {
    return {
      fetch: (request) => {
        this.fetched.push(`${request.repository}/${request.fileName}`);
        const instead = this.intercept(request);
        if (instead === null) return Promise.resolve(undefined);
        if (instead !== undefined) {
          return Promise.resolve(instead instanceof Uint8Array ? inParts(instead) : instead);
        }
        const bytes = this[request.repository].files.get(request.fileName);
        return Promise.resolve(bytes && inParts(bytes));
      },
    };
  }

  /** What the vehicle's Primary does. */
  async verify(
    more: {
      ecus?: VehicleEcu[];
      time?: Date;
      limits?: Partial<Limits>;
      signal?: AbortSignal;
      vehicleId?: string;
    } = {},
  ): Promise<VerifiedUpdate> {
    return await verifyFully({
      store: this.store,
      fetcher: this.fetcher,
      time: more.time ?? now,
      vehicleId: more.vehicleId ?? vin,
      ecus: more.ecus ?? [ecu("ECU_001"), ecu("ECU_002")],
      limits: more.limits,
      signal: more.signal ?? new AbortController().signal,
      observe: (result) => this.seen.push(result),
    });
  }
}

/** An ECU of the vehicle. */
export function ecu(ecuId: string, more: Partial<VehicleEcu> = {}): VehicleEcu {
  return { ecuId, hardwareId: "1.0", ecuType: "BODY", ...more };
}

/** Bytes as a network gives them. */
export async function* inParts(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}

/** Makes keys. */
export async function signers(
  count: number,
  algorithm: SignatureAlgorithm = "ecdsa-p256",
): Promise<LocalSigner[]> {
  return await Promise.all(Array.from({ length: count }, () => generateSigner(algorithm)));
}

/** Awaits what must be refused by a check, against an attack. */
export async function refused(run: Promise<unknown>, code: string, attack: string): Promise<UptaneError> {
  try {
    await run;
  } catch (error) {
    assert.ok(error instanceof UptaneError, String(error));
    assert.equal(error.code, code, error.message);
    assert.equal(error.attack, attack, error.message);
    assert.notEqual(error.clause, "");
    return error;
  }
  assert.fail(`expected ${code}, nothing was refused`);
}

/** A file that never comes. */
export async function* silence(): AsyncGenerator<Uint8Array> {
  yield await new Promise<never>(() => {});
}
