// What verification needs of the outside: a place that keeps trusted metadata, and a way to fetch what is offered.

import type { RepositoryName } from "./models.ts";

/** Keeps what is trusted. The vehicle's is in its database; a test's in memory. */
export interface MetadataStore {
  /** All files of a repository, by name; none when nothing was ever kept. */
  load(repository: RepositoryName): Promise<ReadonlyMap<string, Uint8Array>>;
  /**
   * Replaces all files of a repository. After a power cut at any moment either the old ones are there or the new ones, whole.
   */
  replace(repository: RepositoryName, files: ReadonlyMap<string, Uint8Array>): Promise<void>;
}

/** A file that is wanted. */
export interface FetchRequest {
  readonly repository: RepositoryName;
  /** A top-level role, or the name of a delegated one. */
  readonly role: string;
  /** Undefined: the newest, for the timestamp and for partial verification. */
  readonly version: number | undefined;
  /** Name in the repository, e.g. `4.snapshot.json` (Uptane Standard 2.1, section 5.2.7). */
  readonly fileName: string;
  /** What more is sent than this many bytes is of no use. */
  readonly maxLength: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

/** Fetches metadata. What it gives is not trusted. */
export interface MetadataFetcher {
  /** @returns {Promise} the file's bytes as they come; undefined if there is no such file */
  fetch(request: FetchRequest): Promise<AsyncIterable<Uint8Array> | undefined>;
}

/** Bounds of verification. */
export interface Limits {
  /** Bytes of a root. @default 524288 */
  readonly root: number;
  /** Bytes of a timestamp. @default 65536 */
  readonly timestamp: number;
  /** Bytes of a snapshot. @default 1048576 */
  readonly snapshot: number;
  /** Bytes of targets. @default 4194304 */
  readonly targets: number;
  /** Roots that are fetched at a time. @default 64 */
  readonly rootRotations: number;
  /** Delegated roles that are visited for one image. @default 32 */
  readonly delegations: number;
  /** Longest time for one file, ms. @default 30000 */
  readonly fileTime: number;
}

/** The bounds where nothing else is said. */
export const defaultLimits: Limits = {
  root: 524_288,
  timestamp: 65_536,
  snapshot: 1_048_576,
  targets: 4_194_304,
  rootRotations: 64,
  delegations: 32,
  fileTime: 30_000,
};

/** Checks bounds that were handed in. @throws {RangeError} that quotes the value */
export function limitsOf(given: Partial<Limits> = {}): Limits {
  const limits = { ...defaultLimits, ...given };
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value < 1 || value > 2 ** 31 - 1) {
      throw new RangeError(`limit ${name}: expected a whole number from 1 to 2147483647, got ${value}`);
    }
  }
  return limits;
}
