// A disk that fails: the n-th operation of this program's files, or every one from there on, meets a full disk, an I/O error, or
// takes a part of the bytes. The threads that a program starts while {@link reachThreads} holds are of the program.

import { control, type DiskFault, type DiskScope } from "./disk_control.ts";
import { failFiles } from "./failing_files.ts";

export type { DiskFault, DiskScope } from "./disk_control.ts";

/** Operations that are counted. */
export interface FailingDisk extends Disposable {
  /** How many there were. */
  readonly operations: number;
  /** How many of them failed, or took a part. */
  readonly injected: number;
}

/** What {@link failDisk} takes beside the fault and its place. */
export interface FailDiskOptions {
  /** Fails from there on, until it is disposed of. @default false: once */
  stays?: boolean;
  /** Whose operations. @default files */
  scope?: DiskScope;
}

/**
 * Has the n-th operation fail, until it is disposed of: writes, syncs, renames, links, copies, and files and folders that are
 * made; for a short write, which takes one byte, writes alone.
 * @param at Infinity: they are counted alone
 */
export function failDisk(
  fault: DiskFault,
  at: number,
  { stays = false, scope = "files" }: FailDiskOptions = {},
): FailingDisk {
  const disk = control();
  const restore = failFiles(disk);
  disk.begin(fault, at, stays, scope);
  return {
    get operations() {
      return disk.operations;
    },
    get injected() {
      return disk.injected;
    },
    [Symbol.dispose]() {
      disk.end();
      restore();
    },
  };
}

/** Has {@link failDisk} reach the threads that are started until it is disposed of, for as long as they live. */
export function reachThreads(): Disposable {
  const Real = globalThis.Worker;
  const { memory } = control();
  class Reached extends Real {
    constructor(specifier: string | URL, options?: WorkerOptions) {
      super(new URL("./failing_thread.ts", import.meta.url), options);
      this.postMessage({ module: new URL(specifier).href, memory });
    }
  }
  globalThis.Worker = Reached;
  return {
    [Symbol.dispose]() {
      globalThis.Worker = Real;
    },
  };
}
