// What the boot loader of a simulated ECU keeps over a restart: which application runs, and which is to run next.
import { readState } from "./state_file.ts";

/** A run of bytes in the CPU's address space. */
export interface Run {
  address: number;
  length: number;
}

/** An application in flash. */
export interface CommitRecord {
  readonly version: string;
  readonly segments: readonly Run[];
  /** Of the segments' bytes one after another, hexadecimal. */
  readonly sha256: string;
  /** Bank of each region that is not in bank 0. */
  readonly banks: Readonly<Record<string, number>>;
}

/** The two applications. */
export interface BootState {
  /** What ran last. */
  running?: CommitRecord;
  /** What is to run from the next start on. */
  next?: CommitRecord;
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
  return state;
}

function commitRecord(value: unknown, path: string): CommitRecord {
  if (
    typeof value !== "object" || value === null || !("version" in value) || !("segments" in value) ||
    !("sha256" in value) || !("banks" in value)
  ) throw wrong(path, "a commit record with version, segments, sha256 and banks");
  const { version, segments, sha256, banks } = value;
  if (typeof version !== "string" || typeof sha256 !== "string") {
    throw wrong(path, "version and sha256 as text");
  }
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
  return { version, segments: runs, sha256, banks: bankOf };
}

function wrong(path: string, expected: string): SyntaxError {
  return new SyntaxError(`${path}: expected ${expected}`);
}
