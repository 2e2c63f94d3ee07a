// Which operation of the disk is to fail, in memory that all threads of a program share.

/** What goes wrong. */
export type DiskFault = "ENOSPC" | "EIO" | "short";

/** Whose operations: those of files that the program writes itself, or those of the embedded database's. */
export type DiskScope = "files" | "database";

const faults: readonly DiskFault[] = ["ENOSPC", "EIO", "short"];
const scopes: readonly DiskScope[] = ["files", "database"];
/** As the operating system and Deno say them. */
const texts = {
  ENOSPC: "No space left on device (os error 28)",
  EIO: "Input/output error (os error 5)",
} as const;

const cell = { count: 0, at: 1, fault: 2, stays: 3, scope: 4, injected: 5 } as const;
const none = -1;

/** The fault that is to come. */
export class DiskControl {
  readonly #cells: Int32Array<SharedArrayBuffer>;

  /** @param memory Shared with the other threads. @default new, without a fault */
  constructor(memory?: SharedArrayBuffer) {
    this.#cells = new Int32Array(memory ?? new SharedArrayBuffer(32));
    if (memory === undefined) this.#cells[cell.scope] = none;
  }

  get memory(): SharedArrayBuffer {
    return this.#cells.buffer;
  }

  get operations(): number {
    return Atomics.load(this.#cells, cell.count);
  }

  get injected(): number {
    return Atomics.load(this.#cells, cell.injected);
  }

  begin(fault: DiskFault, at: number, stays: boolean, scope: DiskScope): void {
    const cells = this.#cells;
    cells[cell.count] = 0;
    cells[cell.injected] = 0;
    cells[cell.at] = Number.isFinite(at) ? at : 2 ** 31 - 1;
    cells[cell.fault] = faults.indexOf(fault);
    cells[cell.stays] = Number(stays);
    Atomics.store(cells, cell.scope, scopes.indexOf(scope));
  }

  end(): void {
    Atomics.store(this.#cells, cell.scope, none);
  }

  /** Counts an operation; for a short one, writes alone. @returns what it meets; undefined: nothing */
  meets(scope: DiskScope, isWrite = false): DiskFault | undefined {
    const cells = this.#cells;
    if (Atomics.load(cells, cell.scope) !== scopes.indexOf(scope)) return undefined;
    const fault = faults[cells[cell.fault]];
    if (fault === "short" && !isWrite) return undefined;
    const count = Atomics.add(cells, cell.count, 1) + 1;
    const at = cells[cell.at];
    if (count !== at && (cells[cell.stays] === 0 || count < at)) return undefined;
    Atomics.add(cells, cell.injected, 1);
    return fault;
  }

  /** As {@link meets}, of an operation that cannot be short: throws. */
  check(scope: DiskScope): void {
    const fault = this.meets(scope);
    if (fault !== undefined && fault !== "short") throw failure(fault);
  }
}

/** The error that an operation ends with. */
export function failure(fault: "ENOSPC" | "EIO"): Error {
  return Object.assign(new Error(texts[fault]), { code: fault });
}

let own: DiskControl | undefined;

/** That of this thread. */
export function control(): DiskControl {
  return own ??= new DiskControl();
}
