// A disk that fails: the n-th operation of this process's files meets a full disk, an I/O error, or takes a part of the bytes.

/** What goes wrong. */
export type DiskFault = "ENOSPC" | "EIO" | "short";

/** Operations that are counted: writes, syncs, renames. */
export interface FailingDisk extends Disposable {
  /** How many there were. */
  readonly operations: number;
}

/**
 * Has the n-th operation fail, until it is disposed of. A short write takes one byte; a sync or a rename cannot be short and
 * goes through.
 * @param at Infinity: they are counted alone
 */
export function failDisk(fault: DiskFault, at: number): FailingDisk {
  const { write, sync } = Deno.FsFile.prototype;
  const { rename } = Deno;
  let operations = 0;
  const meets = () => ++operations === at;
  const error = () =>
    fault === "ENOSPC"
      ? new Error("No space left on device (os error 28)")
      : new Error("Input/output error (os error 5)");
  Deno.FsFile.prototype.write = function (bytes) {
    if (!meets()) return write.call(this, bytes);
    if (fault === "short" && bytes.length > 1) return write.call(this, bytes.subarray(0, 1));
    return fault === "short" ? write.call(this, bytes) : Promise.reject(error());
  };
  Deno.FsFile.prototype.sync = function () {
    return meets() && fault !== "short" ? Promise.reject(error()) : sync.call(this);
  };
  Deno.rename = (from, to) => meets() && fault !== "short" ? Promise.reject(error()) : rename(from, to);
  return {
    get operations() {
      return operations;
    },
    [Symbol.dispose]() {
      Object.assign(Deno.FsFile.prototype, { write, sync });
      Deno.rename = rename;
    },
  };
}
