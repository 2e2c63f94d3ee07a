// What the boot loader of a simulated ECU keeps over a restart: which application runs, and which is to run next.
import { readState } from "./state_file.ts";

/** A run of bytes in the CPU's address space. */
export interface Run {
  address: number;
  length: number;
}

/** What was downloaded and checked, and was not accepted yet. */
export interface StagedRecord {
  readonly segments: readonly Run[];
  /** Of the segments' bytes one after another, hexadecimal. */
  readonly sha256: string;
  /** Bank of each region that is not in bank 0. */
  readonly banks: Readonly<Record<string, number>>;
  /** Whether it is to run on trial. @default false */
  readonly trial?: boolean;
  /** Its release counter. @default that of the ECU */
  readonly release?: number;
}

/** An application in flash. */
export interface CommitRecord extends StagedRecord {
  readonly version: string;
}

/** The applications, and the counter that keeps old ones out. */
export interface BootState {
  /** What ran last. With `trial` it was not confirmed yet: the next start goes back to `previous`. */
  running?: CommitRecord;
  /** What is to run from the next start on. */
  next?: CommitRecord;
  /** What ran before `running` and lies in the other bank, while it can be gone back to. */
  previous?: CommitRecord;
  staged?: StagedRecord;
  /** Software of a lower release counter is refused. @default 0 */
  release?: number;
}

/** Reads the file; undefined when there is none. @throws {SyntaxError} when it holds anything else */
export function readBootState(path: string): BootState | undefined {
  const kept = readState(path);
  return kept === undefined ? undefined : bootState(kept, path);
}

function bootState(value: unknown, path: string): BootState {
  if (typeof value !== "object" || value === null) throw wrong(path, "an object");
  const state: BootState = {};
  if ("running" in value && value.running !== undefined) state.running = commitRecord(value.running, path);
  if ("next" in value && value.next !== undefined) state.next = commitRecord(value.next, path);
  if ("previous" in value && value.previous !== undefined) {
    state.previous = commitRecord(value.previous, path);
  }
  if ("staged" in value && value.staged !== undefined) state.staged = stagedRecord(value.staged, path);
  if ("release" in value && value.release !== undefined) state.release = release(value.release, path);
  return state;
}

function commitRecord(value: unknown, path: string): CommitRecord {
  if (typeof value !== "object" || value === null || !("version" in value)) {
    throw wrong(path, "a commit record with version, segments, sha256 and banks");
  }
  const { version } = value;
  if (typeof version !== "string") throw wrong(path, "version as text");
  return { version, ...stagedRecord(value, path) };
}

function stagedRecord(value: unknown, path: string): StagedRecord {
  if (
    typeof value !== "object" || value === null || !("segments" in value) || !("sha256" in value) ||
    !("banks" in value)
  ) throw wrong(path, "a record with segments, sha256 and banks");
  const { segments, sha256, banks } = value;
  if (typeof sha256 !== "string") throw wrong(path, "sha256 as text");
  if (!Array.isArray(segments)) throw wrong(path, "segments as a list");
  if (typeof banks !== "object" || banks === null) throw wrong(path, "banks as an object");
  const runs = segments.map((segment: unknown) => {
    if (
      typeof segment !== "object" || segment === null || !("address" in segment) || !("length" in segment) ||
      typeof segment.address !== "number" || typeof segment.length !== "number"
    ) throw wrong(path, "segments with address and length");
    return { address: segment.address, length: segment.length };
  });
  const bankOf: Record<string, number> = {};
  for (const [name, bank] of Object.entries(banks)) {
    if (bank !== 0 && bank !== 1) throw wrong(path, "banks 0 or 1");
    bankOf[name] = bank;
  }
  return {
    segments: runs,
    sha256,
    banks: bankOf,
    ..."trial" in value && value.trial === true ? { trial: true } : {},
    ..."release" in value && value.release !== undefined ? { release: release(value.release, path) } : {},
  };
}

function release(value: unknown, path: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) {
    return value;
  }
  throw wrong(path, "release as a number of 32 bits");
}

function wrong(path: string, expected: string): SyntaxError {
  return new SyntaxError(`${path}: expected ${expected}`);
}
